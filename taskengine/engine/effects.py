"""What follows a committed decision: wake the loops that have work now, and tell workers what to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.job import Cancel, Changes
from taskengine.domain.messages import ControlAction, ControlMessage
from taskengine.domain.status import TASK_HELD, JobState, TaskState
from taskengine.engine.signals import Signals
from taskengine.ports import Address, Broker, Message, Outgoing

log = structlog.get_logger(__name__)


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

    async def follow(self, written: Iterable[Changes]) -> None:
        """Act on changes that are durable now."""
        cancels: list[Cancel] = []
        for changes in written:
            self._wake(changes)
            cancels.extend(changes.cancels)
        if cancels:
            await self.tell(cancels)

    def _wake(self, changes: Changes) -> None:
        signals = self._signals
        if changes.callbacks:
            self._wake_callbacks()
        moved = changes.job.state is not changes.job_before
        if changes.job_changed and (moved or changes.job.state is JobState.QUEUED):
            signals.admission.set()
            signals.timers.set()
        if changes.job.state is JobState.SCHEDULED:
            signals.timers.set()
            if changes.job.semaphore_url:
                signals.semaphores.set()
        if changes.job_changed and changes.job.ended:
            self._on_ended(changes)
        if changes.job.state is JobState.PENDING or changes.job.ended:
            signals.awaited.set()
        self._wake_for_tasks(changes)
        if changes.job.state is JobState.STARTED and changes.job.deadline_at is not None:
            signals.timers.set()

    def _wake_for_tasks(self, changes: Changes) -> None:
        signals = self._signals
        for task, before in changes.tasks.values():
            if task.state is TaskState.READY or before in TASK_HELD:  # whatever became of it, it makes room
                signals.dispatch_queue(task.queue)
            if task.state is TaskState.RETRY_WAIT:
                signals.timers.set()
        for task in changes.new_tasks:
            if task.state is TaskState.READY:
                signals.dispatch_queue(task.queue)

    async def tell(self, cancels: Sequence[Cancel]) -> None:
        """Tell workers to end attempts; one that does not hear of it is refused at its next report."""
        messages = [
            Outgoing(
                Address.CONTROL,
                Message(ControlMessage(ControlAction(cancel.action), cancel.task_id, cancel.token).to_json()),
                f"worker.{cancel.worker_id}" if cancel.worker_id else "all",
            )
            for cancel in cancels
        ]
        try:
            await self._broker.publish(messages)
        except BrokerUnavailable as error:
            log.warning("control_not_sent", error=str(error), messages=len(messages))
