"""What engines beside this one wrote and did not follow up: they may be gone, or their commit was not answered."""

from __future__ import annotations

from collections.abc import Callable

from taskengine.engine.signals import Signals
from taskengine.ports import Clock, JobStore

LOOK_S = 2.0  # of the 5 s within which work goes on after the end of an engine, half is left for what follows a look


class Others:
    """Signals do not reach from one engine to another. Each engine wakes its own loops every two seconds, so that what
    another one made ready, queued, timed or reported just before its end waits no longer than that."""

    def __init__(self, store: JobStore, signals: Signals, wake_callbacks: Callable[[], None], clock: Clock) -> None:
        self._store, self._signals, self._wake_callbacks, self._clock = store, signals, wake_callbacks, clock

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Wake every loop that may have something to do."""
        for queue in await self._store.ready_queues():
            self._signals.dispatch_queue(queue)
        for signal in (self._signals.admission, self._signals.timers, self._signals.awaited):
            signal.set()
        self._wake_callbacks()
