"""A clock that tests move: sleepers wake in order of their time, and nothing waits for real time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sized
from itertools import count

START = 1_800_000_000_000  # 2027-01-15T08:00:00.000Z
_ROUNDS = 10_000  # turns of the event loop after which runnable tasks are taken for tasks that never rest


class MovedClock:
    """The `Clock` port under a test's control.

    `advance` wakes whoever is due, one after another at their own times, and lets tasks run between. Work that waits for
    real I/O (sockets, threads) does not end meanwhile: wait for its result, or with `wait_for_sleeper` until
    it sleeps on the clock again.
    """

    def __init__(self, start: int = START) -> None:
        self._now = start
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._changed = asyncio.Condition()

    def now(self) -> int:
        """UTC milliseconds since the epoch."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + round(seconds * 1000), next(self._order), woken))
        async with self._changed:
            self._changed.notify_all()
        await woken

    async def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers in order; runnable tasks run before, between and after."""
        target = self._now + round(seconds * 1000)
        await self.settle()
        while (due := self.next_due()) is not None and due <= target:
            self._now = max(self._now, due)
            _, _, woken = heapq.heappop(self._sleepers)
            woken.set_result(None)
            await self.settle()
        self._now = target

    async def advance_to_next(self) -> None:
        """Wait for someone to sleep, then move time to the moment at which the first of them wakes."""
        await self.wait_for_sleeper()
        due = self.next_due()
        assert due is not None
        await self.advance((due - self._now) / 1000)

    async def wait_for_sleeper(self, sleepers: int = 1) -> None:
        """Wait until at least `sleepers` tasks sleep on this clock."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.sleepers() >= sleepers)

    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def next_due(self) -> int | None:
        """When the next sleeper wakes; None where nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():  # its task was cancelled
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def settle(self) -> None:
        """Let runnable tasks run until all of them wait for something."""
        ready: Sized = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009 - the loop tells it nowhere else
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError("some task runs on and on without waiting for anything")
