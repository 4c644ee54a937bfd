"""`join`: chunks into whole tracks, without encoding and without a seam; the audio and what is copied beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskengine.handlers.encoding import as_found, fetch_sources, load_plan, stored
from taskengine.handlers.support import (
    FILE,
    NUMBER,
    beside,
    in_thread,
    keep_version,
    load,
    need_space,
    plain_command,
    run_ffmpeg,
    save,
    schema,
    together,
)
from taskengine.media import encode_argv
from taskengine.media.chunks import joined_list
from taskengine.media.encoding import Encoding, VideoEncoding
from taskengine.media.ladder import Rendition
from taskengine.media.tracks import Command, Media, Track
from taskengine.ports import TaskContext

_DOCUMENTS: Mapping[str, Any] = {"type": "array", "items": {"type": "object"}}


class Join:
    """Every track is counted again once it is whole."""

    name = "join"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "plan": FILE, "chunks": _DOCUMENTS}, {"audio": _DOCUMENTS})
    outputs: Mapping[str, Any] = schema({"media": FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `duration`."""
        encoding = (await load_plan(context)).encoding
        parts = await _documents(context, "chunks")
        audio = await _documents(context, "audio")
        await need_space(context, 2 * encoding.estimated_bytes, "joining")
        versions: dict[str, str] = {}
        async with beside(keep_version(context, "ffmpeg", context.tools.ffmpeg, versions)):
            joined, commands = await _video(context, encoding, parts)
        media = Media(
            [*await stored(context, joined), *_by_name([track for part in audio for track in part.tracks])],
            encoding.duration,
            encoding.segment_duration,
            [*(argv for part in [*parts, *audio] for argv in part.commands), *map(plain_command, commands)],
            versions,
        )
        return {"media": await save(context, "media.json", media, Media), "duration": encoding.duration}


async def _documents(context: TaskContext, name: str) -> Sequence[Media]:
    """The `media` that each task of a foreach gave."""
    given: Sequence[Mapping[str, Any]] = context.inputs.get(name) or []
    return await together(
        [load(context, item["media"], f"{name}_{index}.json", Media) for index, item in enumerate(given)]
    )


def _by_name(tracks: Sequence[Track]) -> Sequence[Track]:
    """As they were numbered, whichever task made them."""
    return sorted(tracks, key=lambda track: int(track.name.rpartition("_")[2]))


async def _video(
    context: TaskContext, encoding: Encoding, parts: Sequence[Media]
) -> tuple[Sequence[Track], Sequence[Command]]:  # fmt: skip
    """Each rendition of the video whole, and the commands that made it so."""
    video = encoding.video
    if video is None:
        return [], []
    commands = []
    for rendition in video.encoded:
        argv = await _rendition(context, video, rendition, parts)
        commands.append(argv)
    if video.copied:
        await fetch_sources(context, encoding.inputs)
        commands.append(encode_argv.copy(context.tools.ffmpeg, encoding, video.copied))
        await run_ffmpeg(context, commands[-1], "copying the source", of_input=True)
    tracks = await in_thread(_verified, context.scratch, encoding, len(parts))
    return tracks, commands


async def _rendition(
    context: TaskContext, video: VideoEncoding, rendition: Rendition, parts: Sequence[Media]
) -> Command:  # fmt: skip
    names = _chunk_names(rendition.name, len(parts))
    files = [next(track.file for track in part.tracks if track.name == rendition.name) for part in parts]
    await together([context.workspace.fetch(file, name) for file, name in zip(files, names, strict=True)])
    listed = context.scratch / encode_argv.chunks_list(rendition)
    await in_thread(listed.write_text, joined_list(names))
    argv = encode_argv.join(context.tools.ffmpeg, video, rendition)
    await run_ffmpeg(context, argv, "joining chunks")
    return argv


def _chunk_names(name: str, count: int) -> Sequence[str]:
    return [f"{name}_chunk_{index}.mp4" for index in range(count)]


def _verified(scratch: Path, encoding: Encoding, count: int) -> Sequence[Track]:
    from taskengine.media import verify  # its parsers are not needed before

    found = []
    for track in encoding.video.tracks(encoding.inputs) if encoding.video else []:
        chunks = [] if track.copied else _chunk_names(track.name, count)
        found.append(as_found(scratch, track, verify.joined(scratch, chunks, track)))
    return found
