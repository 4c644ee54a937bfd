"""What another engine left is looked for."""

from __future__ import annotations

import asyncio
from typing import cast

from taskengine.engine.others import LOOK_S, Others
from taskengine.engine.signals import Signals
from taskengine.ports import JobStore
from tests.support.clock import MovedClock


class Ready:
    """As much of a store as is asked."""

    async def ready_queues(self) -> list[str]:
        """Two."""
        return ["package", "work"]


async def test_every_loop_is_woken_for_what_another_engine_left() -> None:
    """Two seconds after it was written at most, and again two seconds later."""
    signals, clock, woken = Signals(), MovedClock(), asyncio.Event()
    looking = asyncio.create_task(Others(cast(JobStore, Ready()), signals, woken.set, clock).run())
    for _ in range(2):
        waiting = [
            asyncio.create_task(signal.wait(clock))
            for signal in (signals.dispatch, signals.admission, signals.timers, signals.awaited)
        ]
        await clock.advance(LOOK_S - 0.001)
        assert not woken.is_set()
        await clock.advance(0.001)
        assert all(one.done() for one in waiting)
        assert signals.ready_queues == {"package", "work"}
        assert woken.is_set()
        signals.ready_queues.clear()
        woken.clear()
    looking.cancel()
