"""Wake-ups between the loops of one engine, so that nothing is polled that can be awaited."""

from __future__ import annotations

import asyncio

from taskengine.ports import Clock

SWEEP_S = 10.0  # what no signal told of (a commit whose answer was lost, another engine's) is found by then


class Signal:
    """A wake-up that is kept until somebody waits for it; many become one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake whoever waits, now or next."""
        self._event.set()

    async def wait(self, clock: Clock, seconds: float | None = None) -> None:
        """Until the signal was set, or `seconds` have passed on the clock."""
        if seconds is None:
            await self._event.wait()
        elif not self._event.is_set():
            await _first(self._event, clock, seconds)
        self._event.clear()


async def _first(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    sleeping = asyncio.ensure_future(clock.sleep(max(seconds, 0.0)))
    try:
        await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        sleeping.cancel()


class Signals:
    """One signal per loop."""

    def __init__(self) -> None:
        self.admission = Signal()  # a job was queued, a slot was given back, a budget changed
        self.timers = Signal()  # a timer was set
        self.semaphores = Signal()  # a job waits for one, or the interval of the looks is another
        self.dispatch = Signal()  # a task became ready, a window has room
        self.awaited = Signal()  # a job ended that others may wait for
        self.events = Signal()  # an event was written: for the bus
        self.feed = Signal()  # and for followers
        self.ready_queues: set[str] = set()  # where dispatch has something to do

    def dispatch_queue(self, queue: str) -> None:
        """A queue has a ready task, or room in its window."""
        self.ready_queues.add(queue)
        self.dispatch.set()
