"""What the parts of the SQLite store share: the way to the writer and to the readers."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from taskengine.ports import Clock
from taskengine.stores.units import Readers, Work, Writer

T = TypeVar("T")


class Units:
    """Hands units of work to the threads: one hop each, however many statements it has."""

    def __init__(self, path: Path, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._clock = clock

    async def _write(self, work: Work[T]) -> T:
        return await self._writer.run(work)

    async def _read(self, work: Work[T]) -> T:
        return await self._readers.run(work)
