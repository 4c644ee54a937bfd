"""`transcode`: one source into the renditions of a profile, with poster, previews and audio: one process, one decode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.encoding import encode, fetch_sources, load_plan, stored, verified, with_loudness
from taskengine.handlers.support import (
    FILE,
    NUMBER,
    OPTIONAL_FILE,
    in_thread,
    need_space,
    plain_command,
    save,
    save_images,
    schema,
)
from taskengine.media import encode_argv
from taskengine.media.tracks import Media
from taskengine.ports import TaskContext


class Transcode:
    """Builds what was planned, runs it, verifies it."""

    name = "transcode"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "plan": FILE})
    outputs: Mapping[str, Any] = schema({"media": FILE, "images": OPTIONAL_FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `images` (a document, or null), `duration`."""
        planned = (await load_plan(context)).encoding
        await fetch_sources(context, planned.inputs)
        await need_space(context, planned.estimated_bytes, "encoding")
        encoding, measuring = await with_loudness(context, planned)
        commands = encode_argv.transcode(context.tools.ffmpeg, encoding)
        versions = await encode(context, encoding, commands)
        tracks = await in_thread(verified, context.scratch, encoding)
        media = Media(
            await stored(context, tracks), encoding.duration, encoding.segment_duration,
            [plain_command(argv) for argv in [*measuring, *commands]], versions,
        )  # fmt: skip
        return {
            "media": await save(context, "media.json", media, Media),
            "images": await save_images(
                context, poster=encoding.poster is not None, previews=encoding.previews, commands=[]
            ),
            "duration": encoding.duration,
        }
