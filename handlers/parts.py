"""A part of a file of the workspace that is far away: only the bytes that its pictures need, where they belong."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskengine.handlers.support import in_thread, together
from taskengine.media import mp4, parts, probe
from taskengine.media.encoding import Chunk, VideoEncoding
from taskengine.media.parts import Span
from taskengine.ports import TaskContext

_BLOCK = 8 * 1024 * 1024
_AT_ONCE = 4
_MOST_BOXES = 64
_MOST_INDEX = 256 * 1024 * 1024
_WORTH = 0.75  # of the file: where a part is more, the whole is fetched


class _Whole(Exception):
    """This file has to be there whole."""


async def fetch_part(
    context: TaskContext, reference: Mapping[str, Any], name: str, video: VideoEncoding, chunk: Chunk, clock: float
) -> bool:
    """Bring what a chunk reads of a file into a file of the same size, which has holes elsewhere; whether that was done.

    Not where the file is on the disk of the scratch, nor where it is no MP4 with one index (`moov`), nor where it would save
    little. `clock`: when the file's clock begins, in seconds.
    """
    if not await context.workspace.distant(reference):
        return False
    source = _Source(context, reference, context.scratch / name)
    try:
        await source.fetch_index()
        begin, end = parts.times_of(video, chunk, clock)
        argv = probe.places_argv(context.tools.ffprobe, name, video.stream, begin, end, parts.FIRST)
        lines = (await context.run(argv)).stdout.decode(errors="replace").split()
        needed = parts.spans(lines, source.size)
        if not needed or sum(span.length for span in needed) > _WORTH * source.size:
            raise _Whole
        await source.fetch(needed)
    except (_Whole, ValueError):  # ffprobe's answer and a BoxFault are ValueErrors
        await in_thread(lambda: source.target.unlink(missing_ok=True))
        return False
    return True


class _Source:
    """The file far away, and what of it is here."""

    def __init__(self, context: TaskContext, reference: Mapping[str, Any], target: Path) -> None:
        self._workspace, self._reference, self.target = context.workspace, reference, target
        self.size = int(reference["size"])

    async def fetch_index(self) -> None:
        """Bring all boxes but the media data. _Whole where they are not those of a plain MP4."""
        await in_thread(self._create)
        kinds: list[bytes] = []
        offset = 0
        while offset < self.size and len(kinds) < _MOST_BOXES:
            head = await self._workspace.read(self._reference, offset, 16)
            kind, header, length = mp4.box_header(head, self.size - offset)
            kinds.append(kind)
            whole = kind != b"mdat"
            if (whole and length > _MOST_INDEX) or kind == b"moof":
                raise _Whole
            await self.fetch([Span(offset, offset + (length if whole else header))])
            offset += length
        if offset < self.size or kinds.count(b"moov") != 1 or b"mdat" not in kinds:
            raise _Whole

    async def fetch(self, spans: Sequence[Span]) -> None:
        """Bring these bytes to where they belong."""
        blocks = [
            Span(start, min(start + _BLOCK, span.end))
            for span in spans
            for start in range(span.start, span.end, _BLOCK)
        ]
        await together([self._fetch(block) for block in blocks], _AT_ONCE)

    async def _fetch(self, block: Span) -> None:
        data = await self._workspace.read(self._reference, block.start, block.length)
        if len(data) != block.length:
            raise _Whole
        await in_thread(self._write, block.start, data)

    def _create(self) -> None:
        with self.target.open("xb") as file:
            os.truncate(file.fileno(), self.size)

    def _write(self, start: int, data: bytes) -> None:
        with self.target.open("r+b") as file:
            file.seek(start)
            file.write(data)
