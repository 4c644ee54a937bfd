"""`capture_frame`: one picture of a media file, as the poster of an asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.source import SOURCE, STORAGE, bring
from taskengine.handlers.support import FILE, NUMBER, OPTIONAL_FILE, in_thread, plain_command, run_ffmpeg, save, schema
from taskengine.handlers.thumbnails import last_frame, take_poster, verify_images
from taskengine.media.ffmpeg import POSTER
from taskengine.media.thumbnails import seconds_of
from taskengine.media.tracks import Images
from taskengine.ports import TaskContext


class CaptureFrame:
    """Without `with`: of the file that a step before it gave as `path` (else of the job's `source`), at the time that the job
    names: `frame_time`, `start` or `thumbnail_time`, the first of them that it has; else the first picture."""

    name = "capture_frame"
    inputs: Mapping[str, Any] = schema(
        {"source": {**SOURCE, "x-from": ["needs.path", "parameters.source"]}},
        {
            "time": {
                "type": ["string", "number", "null"],
                "x-from": ["parameters.frame_time", "parameters.start", "parameters.thumbnail_time"],
                "description": "Seconds, m:ss.fff or hh:mm:ss.fff from the beginning; after the end: the last picture.",
            },
            "storage": STORAGE,
            "sources": {**OPTIONAL_FILE, "x-from": ["needs.sources"], "description": "What is known of the source."},
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"file": FILE, "images": FILE, "time": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `file`, a JPEG; `images`, the document with it, which `publish` takes; `time`: where it is from."""
        wanted = seconds_of(context.inputs.get("time") or 0, "time")
        source = await bring(context)
        if source.video is None:
            raise InputFault(f"source: {source.name} has no picture")
        time = min(wanted, last_frame(source))
        argv = take_poster(context, source, source.video, time)
        await run_ffmpeg(context, argv, "taking the picture", of_input=True)
        await in_thread(lambda: verify_images(context.scratch, poster=True, sheets=0))
        file = await context.workspace.store(context.scratch / POSTER, POSTER)
        images = Images(file, commands=[plain_command(argv)])
        return {"file": file, "images": await save(context, "images.json", images, Images), "time": time}
