"""What follows a committed decision: wake the loops that have work now, and tell workers what to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog

from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.job import Cancel, Changes
from taskengine.domain.messages import ControlAction, ControlMessage
from taskengine.domain.status import TASK_HELD, JobState, TaskState
from taskengine.engine.farewells import Expected, Farewells
from taskengine.engine.signals import Signals
from taskengine.ports import Address, Broker, Clock, Message, Outgoing

log = structlog.get_logger(__name__)

_FAREWELL_S = 3.0  # that workers may be silent while they end what was called off
_LONGEST_FAREWELL_S = 15.0  # however much is heard of them; processes that will not go are killed meanwhile
_UNDERWAY_S = 0.2
_TELL_S = 2.0  # a caller waits for it: a broker that does not answer keeps nobody longer


class Effects:
    """Nothing here is needed for correctness: what is lost is found again by timers, sweeps and refusals."""

    def __init__(
        self,
        broker: Broker,
        signals: Signals,
        on_ended: Callable[[Changes], None],
        wake_callbacks: Callable[[], None],
    ) -> None:
        self._broker, self._signals = broker, signals
        self._on_ended, self._wake_callbacks = on_ended, wake_callbacks
        self.farewells = Farewells()

    async def follow(self, written: Iterable[Changes], *, handed_out: bool = False) -> None:
        """Act on changes that are durable now; `handed_out`: what they made ready has been dispatched with them."""
        cancels: list[Cancel] = []
        for changes in written:
            self._wake(changes)
            if not handed_out:
                self._wake_dispatch(changes)
            cancels.extend(changes.cancels)
        if cancels:
            await self.tell(cancels)

    def _wake(self, changes: Changes) -> None:
        signals = self._signals
        if changes.callbacks:
            self._wake_callbacks()
        if changes.events:
            signals.events.set()
            signals.feed.set()
        moved = changes.job.state is not changes.job_before
        started = changes.job.state is JobState.STARTED
        if changes.job_changed and (moved or changes.job.state is JobState.QUEUED) and not started:
            signals.admission.set()
        if changes.job.state is JobState.SCHEDULED:
            signals.timers.set()
            if changes.job.semaphore_url:
                signals.semaphores.set()
        if changes.job_changed and changes.job.ended:
            self._on_ended(changes)
        if changes.job.state is JobState.PENDING or changes.job.ended:
            signals.awaited.set()
        if any(task.state is TaskState.RETRY_WAIT for task, _ in changes.tasks.values()):
            signals.timers.set()
        if started and moved and changes.job.deadline_at is not None:
            signals.timers.set()

    def _wake_dispatch(self, changes: Changes) -> None:
        signals = self._signals
        for task, before in changes.tasks.values():
            if task.state is TaskState.READY or before in TASK_HELD:  # whatever became of it, it makes room
                signals.dispatch_queue(task.queue)
        for task in changes.new_tasks:
            if task.state is TaskState.READY:
                signals.dispatch_queue(task.queue)

    def dispatch_later(self, queues: Iterable[str]) -> None:
        """What a decision could not hand out is the dispatcher's."""
        for queue in queues:
            self._signals.dispatch_queue(queue)

    async def call_off(self, cancels: Sequence[Cancel], clock: Clock) -> None:
        """Tell workers to end attempts, and hear out those that were at their end: as long as they are heard, which ours
        are as soon as they begin to end one. A worker that says nothing is not waited for for long: another engine may
        have heard it, or it is gone."""
        expected = self.farewells.expect({each.token: each.worker_id or "" for each in cancels})
        try:
            if not await self.tell(cancels):
                return
            if not all(each.worker_id for each in cancels):  # on their way: nobody knows who has them
                await expected.over.wait(clock, _UNDERWAY_S)
                expected.drop_unknown()
            await _hear_out(expected, clock)
        finally:
            self.farewells.forget(expected)

    async def tell(self, cancels: Sequence[Cancel]) -> bool:
        """Tell workers to end attempts; one that does not hear of it is refused at its next report. Whether it was sent."""
        messages = [
            Outgoing(
                Address.CONTROL,
                Message(ControlMessage(ControlAction(cancel.action), cancel.task_id, cancel.token).to_json()),
                f"worker.{cancel.worker_id}" if cancel.worker_id else "all",
            )
            for cancel in cancels
        ]
        try:
            async with asyncio.timeout(_TELL_S):
                await self._broker.publish(messages)
        except (BrokerUnavailable, TimeoutError) as error:
            log.warning("control_not_sent", error=str(error) or "no answer in time", messages=len(messages))
            return False
        return True


async def _hear_out(expected: Expected, clock: Clock) -> None:
    """Wait for the last of them, while they are heard or what they told is being decided on."""
    until = clock.now() + round(_LONGEST_FAREWELL_S * 1000)
    while expected.workers and clock.now() < until:
        expected.heard = False
        await expected.over.wait(clock, _FAREWELL_S)
        if not (expected.heard or expected.undecided):
            return
