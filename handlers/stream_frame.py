"""`stream_frame`: one picture of a stream, exactly the one that is shown at a time."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.streams import Pieces, open_stream
from taskengine.handlers.support import ANY, FILE, STRING, in_thread, run, run_ffmpeg, schema
from taskengine.media.streams import argv, choosing
from taskengine.media.streams.model import StreamFault
from taskengine.media.streams.pictures import Pictures, read
from taskengine.ports import TaskContext

_FORMATS: Mapping[str, str] = {"jpg": "jpg", "jpeg": "jpg", "png": "png", "webp": "webp"}


class StreamFrame:
    """The largest rendition; its frames' own time stamps decide, not what the playlist rounds."""

    name = "stream_frame"
    inputs: Mapping[str, Any] = schema({"source": STRING, "time": ANY, "filename": STRING})
    outputs: Mapping[str, Any] = schema({"file": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `file`, the picture. InputFault where the stream has none at that time."""
        output = f"frame.{_format(str(context.inputs['filename']))}"
        opened = await open_stream(context, str(context.inputs["source"]), choosing.largest)
        try:
            wanted = choosing.moment(opened.stream, context.inputs["time"], "frame_time")
        except StreamFault as fault:
            raise InputFault(str(fault)) from fault
        pieces = Pieces(context)
        near = choosing.around(opened.stream, wanted)
        piece = await pieces.bring(near)
        pictures = await _pictures(context, piece)
        begun = pictures if near[0] == wanted.anchor else await _pictures(context, await pieces.bring([wanted.anchor]))
        shown = pictures.shown(begun.first + Fraction(wanted.after).limit_denominator(10**9))
        command = argv.frame(context.tools.ffmpeg, piece, float(shown), output)
        await run_ffmpeg(context, command, "taking the frame", of_input=True)
        if not await in_thread((context.scratch / output).is_file):
            raise InputFault(f"frame_time: the stream has no picture at {context.inputs['time']}")
        return {"file": await context.workspace.store(context.scratch / output, output)}


def _format(filename: str) -> str:
    extension = filename.rpartition(".")[2].lower() if "." in filename else ""
    if extension not in _FORMATS:
        raise InputFault(f"image_filename: {filename!r} must end in .jpg, .png or .webp")
    return _FORMATS[extension]


async def _pictures(context: TaskContext, piece: str) -> Pictures:
    """When the pictures of a piece are shown."""
    result = await run(context, argv.ticks(context.tools.ffprobe, piece), "looking at the stream", of_input=True)
    try:
        return read(result.stdout.decode(errors="replace"))
    except StreamFault as fault:
        raise InputFault(str(fault)) from fault
