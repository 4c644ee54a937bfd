"""`normalise`: a copy of a long video whose frames can be counted, for its chunks: constant rate, progressive, indexed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.encoding import encode, fetch_sources, load_plan
from taskengine.handlers.support import FILE, in_thread, schema
from taskengine.media import encode_argv
from taskengine.media.encoding import NORMALISED, Encoding
from taskengine.media.tracks import Track, TrackKind
from taskengine.ports import TaskContext


class Normalise:
    """As good as the source; its frames are counted."""

    name = "normalise"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "plan": FILE})
    outputs: Mapping[str, Any] = schema({"file": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `file`: the copy."""
        encoding = (await load_plan(context)).encoding
        await fetch_sources(context, [encoding.inputs[encoding.video.input]] if encoding.video else [])
        await encode(context, encoding, [encode_argv.normalise(context.tools.ffmpeg, encoding)])
        await in_thread(lambda: _verify(context, encoding))
        return {"file": await context.workspace.store(context.scratch / NORMALISED, NORMALISED)}


def _verify(context: TaskContext, encoding: Encoding) -> None:
    from taskengine.media import verify  # its parsers are not needed before

    video = encoding.video
    if video:
        name = NORMALISED.removesuffix(".mp4")
        track = Track(name, TrackKind.VIDEO, "h264", video.duration, frame_rate=video.rate, frames=video.frames)
        verify.encoded_track(context.scratch, track, exact=True)
