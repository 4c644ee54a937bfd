"""`encode_chunk`: one chunk of a long source, in every rendition that is encoded: any worker, one decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault, InternalFault
from taskengine.handlers.encoding import as_found, encode, load_plan, stored
from taskengine.handlers.parts import fetch_part
from taskengine.handlers.support import (
    FILE,
    OPTIONAL_FILE,
    in_thread,
    load,
    need_space,
    plain_command,
    save,
    schema,
    warn,
)
from taskengine.media import encode_argv
from taskengine.media.encoding import NORMALISED, Chunk, Encoding
from taskengine.media.sources import Sources
from taskengine.media.tracks import Command, Media, Track
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
        await need_space(context, encoding.estimated_bytes, "encoding a chunk")
        argv = encode_argv.chunk(context.tools.ffmpeg, encoding, chunk)
        source = await _source(context, encoding)
        versions, tracks = await _of_part(context, encoding, chunk, source, argv) or await _of_whole(
            context, encoding, source, argv
        )
        media = Media(
            await stored(context, tracks), encoding.duration, encoding.segment_duration, [plain_command(argv)], versions
        )
        return {"media": await save(context, "chunk.json", media, Media)}


@dataclass(frozen=True, slots=True)
class _Source:
    """The file that the chunk is of. `clock`: when its clock begins, in seconds."""

    name: str
    file: Mapping[str, Any]
    clock: float


async def _source(context: TaskContext, encoding: Encoding) -> _Source:
    if context.inputs.get("normalised"):
        return _Source(NORMALISED, context.inputs["normalised"], 0.0)
    sources = await load(context, context.inputs["sources"], "sources.json", Sources)
    name = encoding.inputs[encoding.video.input] if encoding.video else ""
    found = next(source for source in sources.sources if source.plain == name)
    return _Source(name, found.file, found.probe.start)


async def _of_part(
    context: TaskContext, encoding: Encoding, chunk: Chunk, source: _Source, argv: Command
) -> tuple[Mapping[str, str], list[Track]] | None:
    """The chunk of its own part of a source that is far away; None where that cannot be, or ffmpeg has missed anything."""
    video = encoding.video
    if video is None or not await fetch_part(context, source.file, source.name, video, chunk, source.clock):
        return None
    try:
        versions = await encode(context, encoding, [argv], faultless=True)
        return versions, await in_thread(_verified, context.scratch, encoding)
    except (InputFault, InternalFault) as fault:
        warn(context, f"chunk {chunk.index}: its part of the source does not do, the whole is fetched: {fault}")
        await in_thread((context.scratch / source.name).unlink)
        return None


async def _of_whole(
    context: TaskContext, encoding: Encoding, source: _Source, argv: Command
) -> tuple[Mapping[str, str], list[Track]]:
    await context.workspace.fetch(source.file, source.name)
    versions = await encode(context, encoding, [argv])
    return versions, await in_thread(_verified, context.scratch, encoding)


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
