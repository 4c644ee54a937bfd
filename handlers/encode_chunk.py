"""`encode_chunk`: one chunk of a long source, in every rendition that is encoded: any worker, one decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from taskengine.handlers.encoding import as_found, encode, fetch_sources, load_plan, stored
from taskengine.handlers.support import FILE, OPTIONAL_FILE, in_thread, need_space, plain_command, save, schema
from taskengine.media import encode_argv
from taskengine.media.encoding import NORMALISED, Chunk, Encoding
from taskengine.media.tracks import Media, Track
from taskengine.ports import TaskContext


class EncodeChunk:
    """Its frames are counted; only where they fail is it done again."""

    name = "encode_chunk"
    inputs: Mapping[str, Any] = schema(
        {"sources": FILE, "plan": FILE, "chunk": {"type": "integer"}}, {"normalised": OPTIONAL_FILE}
    )
    outputs: Mapping[str, Any] = schema({"media": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of the chunk's tracks)."""
        plan = await load_plan(context)
        chunk = plan.chunks[int(context.inputs["chunk"])]
        encoding = _part(plan.of_chunks, chunk)
        if context.inputs.get("normalised"):
            await context.workspace.fetch(context.inputs["normalised"], NORMALISED)
        else:
            await fetch_sources(context, [encoding.inputs[encoding.video.input]] if encoding.video else [])
        await need_space(context, encoding.estimated_bytes, "encoding a chunk")
        argv = encode_argv.chunk(context.tools.ffmpeg, encoding, chunk)
        versions = await encode(context, encoding, [argv])
        tracks = await in_thread(_verified, context.scratch, encoding)
        media = Media(
            await stored(context, tracks), encoding.duration, encoding.segment_duration, [plain_command(argv)], versions
        )
        return {"media": await save(context, "chunk.json", media, Media)}


def _part(encoding: Encoding, chunk: Chunk) -> Encoding:
    """The encoding with the chunk's length, for its progress and its space."""
    if encoding.video is None:
        return encoding
    alone = encoding.video_part(encoding.video.encoded)
    rate = encoding.video.rate
    video = replace(alone.video, frames=chunk.frames) if alone.video else None
    return replace(alone, video=video, duration=float(Fraction(chunk.frames) / rate))


def _verified(scratch: Path, encoding: Encoding) -> list[Track]:
    from taskengine.media import verify  # its parsers are not needed before

    tracks = encoding.tracks()
    return [as_found(scratch, track, verify.encoded_track(scratch, track, exact=True)) for track in tracks]
