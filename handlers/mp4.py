"""`mp4`: a progressive MP4 of an asset's tracks, without encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.handlers.support import (
    BOOLEAN,
    FILE,
    in_thread,
    load,
    plain_command,
    run_ffmpeg,
    schema,
    together,
)
from taskengine.media import ffmpeg
from taskengine.media.tracks import Media, Track, TrackKind, plain_name
from taskengine.ports import TaskContext

OUTPUT = "progressive.mp4"


class ProgressiveMp4:
    """The best video and audio; with `mezzanine` all tracks, with `texts` the texts, too."""

    name = "mp4"
    inputs: Mapping[str, Any] = schema({"media": FILE}, {"mezzanine": BOOLEAN, "texts": BOOLEAN})
    outputs: Mapping[str, Any] = schema({"file": FILE, "command": {"type": "array"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `file`, and the `command` that made it."""
        media = await load(context, context.inputs["media"], "media.json", Media)
        chosen = choose(media, mezzanine=bool(context.inputs.get("mezzanine")))
        if context.inputs.get("texts"):
            chosen = [*chosen, *media.of(TrackKind.TEXT)]
        sources = [f"in_{plain_name(track)}" for track in chosen]
        await together([
            context.workspace.fetch(track.file, name) for track, name in zip(chosen, sources, strict=True)
        ])  # fmt: skip
        parts = [(name, track.kind, track.language) for name, track in zip(sources, chosen, strict=True)]
        argv = ffmpeg.progressive(context.tools.ffmpeg, parts, OUTPUT)
        await run_ffmpeg(context, argv, "making the MP4")
        await in_thread(_verify, context, chosen)
        file = await context.workspace.store(context.scratch / OUTPUT, OUTPUT)
        return {"file": file, "command": list(plain_command(argv))}


def choose(media: Media, *, mezzanine: bool) -> Sequence[Track]:
    """The tracks of the MP4: all of them, or the best video and the first language's best audio."""
    if mezzanine:
        return media.packaged
    audio = media.of(TrackKind.AUDIO)
    candidates = [track for track in audio if track.language == audio[0].language]
    best = max(candidates, key=lambda track: ((track.channels or 0) <= 2, track.bitrate or 0), default=None)
    return [*media.of(TrackKind.VIDEO)[:1], *([best] if best else [])]


def _verify(context: TaskContext, tracks: Sequence[Track]) -> None:
    from taskengine.media import verify  # its parsers are not needed before

    verify.progressive(context.scratch / OUTPUT, tracks)
