"""What a worker says: its heartbeats come in time, however long the broker takes with each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from taskengine.domain.messages import WorkerInfo
from taskengine.engine.reporter import Reporter
from taskengine.ports import Broker, Outgoing
from tests.support.clock import START, MovedClock


class SlowBroker:
    """A broker that is far away."""

    def __init__(self, clock: MovedClock, answer_s: float) -> None:
        self._clock, self._answer_s = clock, answer_s
        self.published_at: list[float] = []  # seconds from the start

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Confirm after a while."""
        self.published_at += [(self._clock.now() - START) / 1000 for _ in messages]
        await self._clock.sleep(self._answer_s)


async def test_a_slow_confirmation_does_not_put_the_next_heartbeat_off() -> None:
    """The contract counts from message to message; where the broker takes longer than that, one follows the other."""
    for answer_s, expected in ((2.0, [0, 5, 10, 15, 20]), (7.0, [0, 7, 14])):
        clock = MovedClock()
        broker = SlowBroker(clock, answer_s)
        reporter = Reporter(WorkerInfo("w", "w", queues={"work": 1}), cast(Broker, broker), clock, 5.0)
        running = asyncio.create_task(reporter.run())
        await clock.advance(20)
        running.cancel()
        assert broker.published_at == expected
