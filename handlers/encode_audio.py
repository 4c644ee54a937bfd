"""`encode_audio`: one audio track of a long source whole, in each of its renditions: lossy audio does not join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.encoding import encode, fetch_sources, load_plan, stored, verified, with_loudness
from taskengine.handlers.support import FILE, in_thread, plain_command, save, schema
from taskengine.media import encode_argv
from taskengine.media.tracks import Media
from taskengine.ports import TaskContext


class EncodeAudio:
    """Laid exactly over the video's length, as in one process."""

    name = "encode_audio"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "plan": FILE, "track": {"type": "integer"}})
    outputs: Mapping[str, Any] = schema({"media": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of the track's renditions)."""
        whole = (await load_plan(context)).encoding
        planned = whole.audio_of(whole.audio_inputs[int(context.inputs["track"])])
        await fetch_sources(context, planned.inputs)
        encoding, measuring = await with_loudness(context, planned)
        commands = encode_argv.transcode(context.tools.ffmpeg, encoding)
        versions = await encode(context, encoding, commands)
        tracks = await in_thread(verified, context.scratch, encoding)
        media = Media(
            await stored(context, tracks), encoding.duration, encoding.segment_duration,
            [plain_command(argv) for argv in [*measuring, *commands]], versions,
        )  # fmt: skip
        return {"media": await save(context, "audio.json", media, Media)}
