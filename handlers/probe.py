"""`probe`: what is in one media file, wherever it lies; the file is in the workspace from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.source import SOURCE, STORAGE, bring
from taskengine.handlers.support import BOOLEAN, FILE, NUMBER, beside, keep_version, plain_command, save, schema
from taskengine.media import probe
from taskengine.media.sources import Source, Sources, has_texts, longest
from taskengine.ports import TaskContext

_RETRIES: Mapping[str, Any] = {"type": "integer", "description": "Further tries at a storage that fails."}


class Probe:
    """Fetches and probes it, as `ingest` does with the files of a folder: a file that is cut short, or has nothing to
    encode, is told of here."""

    name = "probe"
    inputs: Mapping[str, Any] = schema({"source": SOURCE}, {"storage": STORAGE, "retries": _RETRIES})
    outputs: Mapping[str, Any] = schema({
        "path": FILE, "sources": FILE, "has_video": BOOLEAN, "has_audio": BOOLEAN, "has_text": BOOLEAN,
        "duration": NUMBER, "width": NUMBER, "height": NUMBER, "frame_rate": NUMBER,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `path`, the file in the workspace; `sources`, the document that `ingest` would give; what is in it:
        `duration` in seconds, `width`, `height` and `frame_rate` of the picture, 0 where there is none."""
        versions: dict[str, str] = {}
        async with beside(keep_version(context, "ffprobe", context.tools.ffprobe, versions)):
            source = await bring(context, copied=lambda _: True)  # what becomes of it is not known here
        commands = [plain_command(probe.probe_argv("ffprobe", source.plain))]
        found = Sources([source], commands=commands, versions=versions)
        return {
            "path": dict(source.file),
            "sources": await save(context, "sources.json", found, Sources),
            "has_video": source.video is not None,
            "has_audio": bool(source.probe.audio),
            "has_text": has_texts(source),
            "duration": longest([source]),
            **_picture(source),
        }


def _picture(source: Source) -> Mapping[str, float]:
    width, height = source.video.display_size if source.video else (0, 0)
    timing = source.video.timing if source.video else None
    return {"width": width, "height": height, "frame_rate": float(timing.rate) if timing else 0}
