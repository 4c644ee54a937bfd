"""`stream_gif`: a part of a stream as an animated GIF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.streams import Choose, Pieces, lowest, open_stream
from taskengine.handlers.support import ANY, BOOLEAN, FILE, NUMBER, STRING, in_thread, run_ffmpeg, schema, tell
from taskengine.media.streams import argv, choosing
from taskengine.media.streams.argv import Animation
from taskengine.media.streams.model import Rendition, StreamFault
from taskengine.ports import TaskContext

_HEIGHT = 480
_MOST_FRAMES = 6_000
_REVERSED_FRAMES = 600  # they are held in memory
_OUTPUT = "animation.gif"


class StreamGif:
    """The rendition of the bitrate that was asked for, or the lowest that is large enough; a palette of its own."""

    name = "stream_gif"
    inputs: Mapping[str, Any] = schema(
        {"source": STRING, "start": ANY, "duration": NUMBER},
        {
            "bitrate": ANY, "fps": NUMBER, "width": NUMBER, "height": NUMBER, "plays": NUMBER, "reverse": BOOLEAN,
            "speed": NUMBER,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"file": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `file`, the GIF. InputFault where the stream has nothing of that time."""
        inputs = context.inputs
        wanted = _animation(inputs)
        opened = await open_stream(context, str(inputs["source"]), _choice(inputs, wanted))
        try:
            start = choosing.moment(opened.stream, inputs["start"], "start_at").seconds
        except StreamFault as fault:
            raise InputFault(str(fault)) from fault
        end = start + float(inputs["duration"])
        if end > opened.stream.duration + choosing.SLACK:
            tell(context, f"duration: the stream ends {end - opened.stream.duration:.3f} s before")
        pieces, found = Pieces(context), []
        for run in choosing.covering(opened.stream, start, end):
            first, last = run[0], run[-1]
            found.append((await pieces.bring(run), max(0.0, start - first.start), min(end, last.end) - first.start))
        command = argv.gif(context.tools.ffmpeg, found, wanted, _OUTPUT)
        await run_ffmpeg(context, command, "making the GIF", of_input=True)
        await in_thread(_verify, context)
        return {"file": await context.workspace.store(context.scratch / _OUTPUT, _OUTPUT)}


def _animation(inputs: Mapping[str, Any]) -> Animation:
    width, height = int(inputs.get("width", -1)), int(inputs.get("height", -1))
    if width == height == -1:
        height = _HEIGHT
    fps, speed = float(inputs.get("fps", 12)), float(inputs.get("speed", 1))
    duration, reverse = float(inputs["duration"]), bool(inputs.get("reverse"))
    frames, most = duration / speed * fps, _REVERSED_FRAMES if reverse else _MOST_FRAMES
    if frames > most:
        raise InputFault(
            f"duration: {frames:.0f} frames; a GIF{' that is reversed' if reverse else ''} may have {most}"
        )
    return Animation(fps, width, height, int(inputs.get("plays", 0)), reverse, speed)


def _choice(inputs: Mapping[str, Any], wanted: Animation) -> Choose:
    bitrate = inputs.get("bitrate")
    if bitrate is None:
        return lowest(max(0, wanted.width), max(0, wanted.height))

    def nearest(variants: Sequence[Rendition]) -> Rendition:
        return choosing.nearest_bitrate(variants, int(bitrate))

    return nearest


def _verify(context: TaskContext) -> None:
    with (context.scratch / _OUTPUT).open("rb") as file:
        head = file.read(6)
        file.seek(-1, 2)
        if head not in {b"GIF89a", b"GIF87a"} or file.read(1) != b";":
            raise InputFault("source: no GIF came of it")
