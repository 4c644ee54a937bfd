"""Calls that come while others of their kind are being written are written together: one transaction for all of them.

Each transaction has a few round trips to the database, at whose end it holds what all others wait for too (counters, the
turn to write events). One for each call would be a queue that grows as soon as the way to the database is slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from taskengine.domain.errors import StoreUnavailable

G = TypeVar("G")
R = TypeVar("R")
_Entry = tuple[G, asyncio.Future[R]]


class Gathered(Generic[G, R]):
    """Has what is given written by `write`, in the order in which it came, at most `most` together; one `write` runs at a
    time. What fails together is tried each alone, unless the store is away."""

    def __init__(self, write: Callable[[Sequence[G]], Awaitable[Sequence[R]]], *, most: int) -> None:
        self._write, self._most = write, most
        self._waiting: list[_Entry[G, R]] = []
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, given: G) -> R:
        """Return when it is durable. Who is cancelled takes back what has not begun to be written, and leaves the rest."""
        entry = given, asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name="gathered writes")
        try:
            return await asyncio.shield(entry[1])
        except asyncio.CancelledError:
            self._waiting = [one for one in self._waiting if one is not entry]
            entry[1].cancel()
            raise

    async def _write_all(self) -> None:
        some: Sequence[_Entry[G, R]] = ()
        try:
            while self._waiting:
                some, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._settle(some)
        finally:  # where it is cancelled (the loop ends), nobody is left waiting
            self._writing = None
            for _, future in (*some, *self._waiting):
                future.cancel()

    async def _settle(self, some: Sequence[_Entry[G, R]]) -> None:
        """Write them and tell each caller."""
        try:
            results = await self._write([given for given, _ in some])
        except StoreUnavailable as error:
            _fail(some, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is its caller's
            if len(some) == 1:
                _fail(some, error)
                return
            for one in some:
                await self._settle([one])
        else:
            for (_, future), result in zip(some, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(some: Sequence[_Entry[G, R]], error: Exception) -> None:
    for _, future in some:
        if not future.done():
            future.set_exception(error)
