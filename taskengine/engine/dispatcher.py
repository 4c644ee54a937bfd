"""Hands ready tasks to the broker: a shallow window per queue, refilled as tasks start."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from taskengine.domain.errors import BrokerUnavailable, SecretUnavailable, StorageError
from taskengine.domain.messages import MAX_MESSAGE_BYTES, TaskMessage, encode
from taskengine.domain.sealed import has_pieces
from taskengine.engine.signals import SWEEP_S, Signal, Signals
from taskengine.engine.vault import Vault
from taskengine.ports import Address, Broker, Clock, Dispatched, DispatchPlan, JobStore, Message, Outgoing

log = structlog.get_logger(__name__)

MIN_WINDOW = 8
_WORKERS_FRESH_MS = 2_000
_WORKERS_LIVE_MS = 60_000  # one that was silent for longer has no slots
_SWEEP_MS = round(SWEEP_S * 1000)
_CONFIRM_S = 0.25  # the time in which most tasks have ended, so that their confirmation need not be written
_KNOWN_TASKS = 100_000
_INPUTS = "inputs.json"  # under the attempt's own path in the workspace


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """What every task message carries: heartbeat (seconds), the storages a client's jobs may use, networks; and where
    inputs go that are too large for a message."""

    heartbeat_s: float
    storages: Callable[[str], Mapping[str, Any]]  # by client: names and roots, no credentials
    outbound_allow: Callable[[str], Sequence[str]]  # by client
    keep: Callable[[str, bytes], Awaitable[Mapping[str, Any]]]  # a document in the workspace: its reference


Fail = Callable[[int, int, str, str], Awaitable[Any]]
"""Counts a dispatch that cannot be made as a failed try: job id, task id, token, why."""

GiveBack = Callable[[Sequence[tuple[int, int, str]]], Awaitable[Any]]
"""Makes dispatched tasks ready again: (job id, task id, token)."""


class Dispatcher:
    """Keeps about twice the slots of each queue, at least 8, on their way to workers."""

    def __init__(
        self,
        store: JobStore,
        broker: Broker,
        signals: Signals,
        clock: Clock,
        policy: DispatchPolicy,
        give_back: GiveBack,
        fail: Fail,
        vault: Vault,
        queues: Callable[[], Sequence[str]],
    ) -> None:
        """`queues`: the names of all that a workflow sends tasks to."""
        self._vault, self._queues = vault, queues
        self._store, self._broker, self._signals = store, broker, signals
        self._clock, self._policy, self._give_back, self._fail = clock, policy, give_back, fail
        self._slots: dict[str, int] = {}
        self._slots_at = 0
        self._confirmed: set[str] = set()  # tokens that the broker has, and the store does not know of it
        self._some_confirmed = Signal()
        self._job_of: dict[int, int] = {}

    async def run(self) -> None:
        """Dispatch whenever a queue has something to do; at the start and now and then, look at every queue, and have the
        broker make those that it has not."""
        swept = self._clock.now() - _SWEEP_MS
        while True:
            now = self._clock.now()
            if not 0 <= now - swept < _SWEEP_MS:
                with suppress(BrokerUnavailable):
                    await self._broker.prepare(self._queues())
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
        """Fill the windows of these queues. Nothing is taken while the broker is away."""
        await self._broker.check()
        await self._refresh_slots()
        for queue in queues:
            dispatched = await self._store.dispatch(
                queue, window=self._window(queue), now=self._clock.now(), tokens=_token
            )
            await self.publish(dispatched)

    def plan(self) -> DispatchPlan:
        """How a decision hands out what it frees, now."""
        return DispatchPlan(self._window, self._clock.now(), _token)

    async def publish(self, dispatched: Sequence[Dispatched]) -> None:
        """Hand to the broker what was dispatched. What it does not confirm is given back, to be dispatched under new
        tokens: the old ones are refused, should they be out after all. Raises BrokerUnavailable then."""
        if not dispatched:
            return
        if len(self._job_of) > _KNOWN_TASKS:
            self._job_of.clear()
        self._job_of.update((one.task.id or 0, one.task.job_id) for one in dispatched)  # a report may be here first
        try:
            await self._broker.publish([made for one in dispatched if (made := await self._outgoing(one))])
        except BrokerUnavailable:
            await self._give_back([(t.job_id, t.id or 0, t.token or "") for t in (d.task for d in dispatched)])
            raise
        self._confirmed.update(one.task.token for one in dispatched if one.task.token)
        self._some_confirmed.set()

    async def confirmations(self) -> None:
        """Write down what the broker has, for what is not over by then."""
        while True:
            await self._some_confirmed.wait(self._clock)
            await self._clock.sleep(_CONFIRM_S)
            await self.confirm()

    async def confirm(self) -> None:
        """Write it down now."""
        tokens, self._confirmed = self._confirmed, set()
        try:
            await self._store.confirm_published(sorted(tokens))
        except BaseException:
            self._confirmed |= tokens
            self._some_confirmed.set()
            raise

    def told(self, token: str) -> None:
        """Its worker has said something of a dispatch: nobody needs the broker's word any more."""
        self._confirmed.discard(token)

    def job_of(self, task_id: int) -> int | None:
        """The job of a task that was dispatched here lately."""
        return self._job_of.get(task_id)

    def _window(self, queue: str) -> int:
        return max(MIN_WINDOW, 2 * self._slots.get(queue, 0))

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

    async def _outgoing(self, dispatched: Dispatched) -> Outgoing | None:
        """A task's message; None where it could not be made, which is the task's failed try."""
        task, message = dispatched.task, self._message(dispatched)
        body = message.to_json()
        if has_pieces(body):
            message = self._sealed(message)
            body = message.to_json()
        if len(body) > MAX_MESSAGE_BYTES:
            try:
                kept = await self._policy.keep(f"{message.workspace}/{_INPUTS}", encode(message.inputs))
            except StorageError as error:
                log.warning("inputs_not_kept", task_id=task.id, error=str(error))
                await self._fail(task.job_id, message.task_id, message.token, f"its inputs cannot be kept: {error}")
                return None
            body = replace(message, inputs={}, inputs_ref=kept).to_json()
        headers = {"handler": task.handler, "queue": task.queue, "task_id": task.id, "attempt": task.attempt}
        priority = 9 if task.top_of_queue else max(0, min(9, 10 - task.priority))
        return Outgoing(Address.TASKS, Message(body, message.message_id, headers, priority=priority), task.queue)

    def _message(self, dispatched: Dispatched) -> TaskMessage:
        task = dispatched.task
        return TaskMessage(
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
            workspace=f"ws://{dispatched.workspace}/{task.id}/{task.attempt}-{task.token}",
            storages=self._policy.storages(dispatched.client),
            outbound_allow=self._policy.outbound_allow(dispatched.client),
            timeout_s=task.timeout_s,
            heartbeat_s=self._policy.heartbeat_s,
            traceparent=dispatched.traceparent,
        )

    def _sealed(self, message: TaskMessage) -> TaskMessage:
        """The message with its secrets in the form of the contract."""
        try:
            return replace(message, inputs=self._vault.wire(message.client, message.inputs))
        except SecretUnavailable as error:  # the worker says so of the task
            log.warning("secret_not_opened", task_id=message.task_id, error=str(error))
            return message


def _token() -> str:
    return secrets.token_hex(16)
