"""Hands ready tasks to the broker: a shallow window per queue, refilled as tasks start."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from taskengine.domain.messages import TaskMessage
from taskengine.engine.signals import SWEEP_S, Signals
from taskengine.ports import Address, Broker, Clock, Dispatched, JobStore, Message, Outgoing

log = structlog.get_logger(__name__)

MIN_WINDOW = 8
_WORKERS_FRESH_MS = 2_000
_WORKERS_LIVE_MS = 60_000  # one that was silent for longer has no slots
_SWEEP_MS = round(SWEEP_S * 1000)


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """What every task message carries: heartbeat (seconds), the storages a client's jobs may use, networks."""

    heartbeat_s: float
    storages: Callable[[str], Mapping[str, Any]]  # by client: names and roots, no credentials
    outbound_allow: Callable[[str], Sequence[str]]  # by client


class Dispatcher:
    """Keeps about twice the slots of each queue, at least 8, on their way to workers."""

    def __init__(self, store: JobStore, broker: Broker, signals: Signals, clock: Clock, policy: DispatchPolicy) -> None:
        self._store, self._broker, self._signals = store, broker, signals
        self._clock, self._policy = clock, policy
        self._slots: dict[str, int] = {}
        self._slots_at = 0

    async def run(self) -> None:
        """Dispatch whenever a queue has something to do; at the start and now and then, look at every queue."""
        swept = self._clock.now() - _SWEEP_MS
        while True:
            now = self._clock.now()
            if not 0 <= now - swept < _SWEEP_MS:
                self._signals.ready_queues.update(await self._store.ready_queues())
                swept = now
            if not self._signals.ready_queues:
                await self._signals.dispatch.wait(self._clock, SWEEP_S)
            queues, self._signals.ready_queues = self._signals.ready_queues, set()
            try:
                await self.dispatch(sorted(queues))
            except BaseException:
                self._signals.ready_queues |= queues
                raise

    async def dispatch(self, queues: Sequence[str]) -> None:
        """Fill the windows of these queues."""
        await self._refresh_slots()
        for queue in queues:
            window = max(MIN_WINDOW, 2 * self._slots.get(queue, 0))
            dispatched = await self._store.dispatch(
                queue, window=window, now=self._clock.now(), tokens=lambda: uuid.uuid4().hex
            )
            if dispatched:
                await self._broker.publish([self._outgoing(one) for one in dispatched])
                await self._store.confirm_published([one.task.token for one in dispatched if one.task.token])

    async def _refresh_slots(self) -> None:
        now = self._clock.now()
        if 0 <= now - self._slots_at < _WORKERS_FRESH_MS:
            return
        slots: dict[str, int] = {}
        for worker in await self._store.workers():
            if worker["seen_at"] < now - _WORKERS_LIVE_MS:
                continue
            for queue, count in worker["queues"].items():
                slots[queue] = slots.get(queue, 0) + count
        self._slots, self._slots_at = slots, now

    def _outgoing(self, dispatched: Dispatched) -> Outgoing:
        task = dispatched.task
        message = TaskMessage(
            job_id=task.job_id,
            task_id=task.id or 0,
            attempt=task.attempt,
            token=task.token or "",
            queue=task.queue,
            handler=task.handler,
            client=dispatched.client,
            workflow=dispatched.workflow,
            task_name=task.name,
            priority=task.priority,
            inputs=task.inputs,
            workspace=f"ws://{task.job_id}/{task.id}/{task.attempt}-{task.token}",
            storages=self._policy.storages(dispatched.client),
            outbound_allow=self._policy.outbound_allow(dispatched.client),
            timeout_s=task.timeout_s,
            heartbeat_s=self._policy.heartbeat_s,
        )
        headers = {"handler": task.handler, "queue": task.queue, "task_id": task.id, "attempt": task.attempt}
        priority = 9 if task.top_of_queue else max(0, min(9, 10 - task.priority))
        return Outgoing(
            Address.TASKS, Message(message.to_json(), message.message_id, headers, priority=priority), task.queue
        )
