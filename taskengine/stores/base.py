"""What the parts of a store share, whatever its database: the way to units of work that write and that read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from taskengine.ports import Clock
from taskengine.stores.session import Work

T = TypeVar("T")


class Units(ABC):
    """Has units of work done: each is one transaction."""

    dialect: str  # the folder of its SQL

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    async def _write(self, work: Work[T], jobs: Sequence[int] = ()) -> T:
        """Do it whole or not at all, holding these jobs from its beginning (`Session.hold`); return when it is durable."""

    async def _write_at_once(self, work: Work[T], jobs: Sequence[int]) -> T:
        """Do what reads these jobs and then writes by one statement, which may judge what was seen in place of holding it.
        Raises Overtaken where that cannot be."""
        return await self._write(work, jobs)

    @abstractmethod
    async def _write_apart(self, work: Work[T]) -> T:
        """Do what does no harm when it is done twice, each of its statements in a transaction of its own: it takes no more
        round trips than it has statements."""

    @abstractmethod
    async def _read(self, work: Work[T]) -> T:
        """Do what only reads, by one statement."""

    @abstractmethod
    async def _read_whole(self, work: Work[T]) -> T:
        """Do what only reads, by several statements that see one state of the database."""
