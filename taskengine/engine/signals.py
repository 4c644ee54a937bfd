"""Wake-ups between the loops of one engine, so that nothing is polled that can be awaited."""

from __future__ import annotations

import asyncio

from taskengine.ports import Clock

SWEEP_S = 10.0  # what no signal told of (a commit whose answer was lost, another engine's) is found by then


class Signal:
    """A wake-up that is kept until somebody waits for it; many become one."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        """Wake whoever waits, now or next."""
        self._is_set = True
        for waiting in self._waiting:
            _wake(waiting)

    async def wait(self, clock: Clock, seconds: float | None = None) -> None:
        """Until the signal was set, or `seconds` have passed on the clock."""
        if not self._is_set:
            await self._woken(clock, seconds)
        self._is_set = False

    async def _woken(self, clock: Clock, seconds: float | None) -> None:
        """No task stands between who sets the signal and who waits for it: this is on the way of every report."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeping = None if seconds is None else asyncio.ensure_future(clock.sleep(max(seconds, 0.0)))
        if sleeping is not None:
            sleeping.add_done_callback(lambda _: _wake(waiting))
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            if sleeping is not None:
                sleeping.cancel()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


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
