"""`transcode`: one source into the renditions of a profile, with poster, previews and audio: one process, one decode."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    OPTIONAL_FILE,
    STRING,
    beside,
    in_thread,
    keep_version,
    load,
    need_space,
    plain_command,
    run_ffmpeg,
    save,
    save_images,
    schema,
    tell,
    tell_all,
    together,
)
from taskengine.media import ffmpeg
from taskengine.media.encoding import Encoding, Wishes, decide
from taskengine.media.profiles import load_profile
from taskengine.media.progress import EncodeProgress
from taskengine.media.sources import Sources
from taskengine.media.thumbnails import seconds_of
from taskengine.media.tracks import Media, Track, TrackKind
from taskengine.ports import TaskContext


class Transcode:
    """Decides by the probes of `ingest`, builds, runs, verifies."""

    name = "transcode"
    inputs: Mapping[str, Any] = schema(
        {"sources": FILE, "profile": STRING},
        {
            "all_audio_tracks": BOOLEAN, "extract_audio": BOOLEAN, "create_thumbnail": BOOLEAN, "thumbnail_time": ANY,
            "preview_thumbnails": BOOLEAN, "preview_thumbnails_interval": NUMBER, "mode": STRING,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"media": FILE, "images": OPTIONAL_FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `images` (a document, or null), `duration`."""
        sources = (await load(context, context.inputs["sources"], "sources.json", Sources)).sources
        await together([context.workspace.fetch(source.file, source.plain) for source in sources])
        encoding = decide(sources, load_profile(str(context.inputs["profile"])), _wishes(context.inputs))
        tell_all(context, encoding.notes)
        mode = context.inputs.get("mode", "STANDARD")
        if mode != "STANDARD":
            tell(context, f"encoding_mode: {mode!r} is accepted; it is encoded as STANDARD")
        await need_space(context, encoding.estimated_bytes, "encoding")
        argv = ffmpeg.transcode(context.tools.ffmpeg, encoding)
        versions = await _encode(context, encoding, argv)
        tracks = await in_thread(_verified, context.scratch, encoding)
        media = Media(
            await together([_stored(context, track) for track in tracks]),
            encoding.duration, encoding.segment_duration, [plain_command(argv)], versions,
        )  # fmt: skip
        return {
            "media": await save(context, "media.json", media, Media),
            "images": await save_images(
                context, poster=encoding.poster is not None, previews=encoding.previews, commands=[]
            ),
            "duration": encoding.duration,
        }


def _wishes(inputs: Mapping[str, Any]) -> Wishes:
    poster = inputs.get("create_thumbnail", True)
    previews = inputs.get("preview_thumbnails", False)
    return Wishes(
        all_audio_tracks=bool(inputs.get("all_audio_tracks", True)),
        extract_audio=bool(inputs.get("extract_audio", True)),
        poster_time=seconds_of(inputs.get("thumbnail_time") or 0, "thumbnail_time") if poster else None,
        preview_interval=float(inputs.get("preview_thumbnails_interval", 10)) if previews else None,
    )


async def _encode(context: TaskContext, encoding: Encoding, argv: Sequence[str]) -> Mapping[str, str]:
    """Run it, asking for the version beside it, which it returns."""
    video = encoding.video
    progress = EncodeProgress(
        frames=video.frames if video else None,
        rate=video.rate if video else None,
        duration=encoding.duration,
        clock=time.monotonic,
    )
    versions: dict[str, str] = {}
    async with beside(keep_version(context, "ffmpeg", context.tools.ffmpeg, versions)):
        await run_ffmpeg(context, argv, "encoding", progress, of_input=True)
    return versions


def _verified(scratch: Path, encoding: Encoding) -> Sequence[Track]:
    """Check every output; the tracks with the frames and bit rates that they have."""
    from taskengine.media import verify  # its parsers are not needed before

    counts = verify.encoding(scratch, encoding)
    return [_as_found(scratch, track, counts) for track in encoding.tracks()]


def _as_found(scratch: Path, track: Track, counts: Mapping[str, int]) -> Track:
    size = (scratch / f"{track.name}.mp4").stat().st_size
    bitrate = round(size * 8 / track.duration) if track.duration else None
    if track.kind is TrackKind.AUDIO or track.frame_rate is None:
        return replace(track, bitrate=bitrate)
    frames = counts[track.name]
    return replace(track, bitrate=bitrate, frames=frames, duration=float(frames / track.frame_rate))


async def _stored(context: TaskContext, track: Track) -> Track:
    name = f"{track.name}.mp4"
    return replace(track, file=await context.workspace.store(context.scratch / name, name))
