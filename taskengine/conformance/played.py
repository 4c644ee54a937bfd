"""The engine's part, played: tasks and control messages go out, what the worker says comes in and is kept."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pydantic import ValidationError

from taskengine.brokers.topology import worker_key
from taskengine.conformance.findings import Broken
from taskengine.contract.models import Reports
from taskengine.domain.messages import MAX_OUTPUT_BYTES, ControlAction, ControlMessage, TaskMessage, encode
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing

ENDS = frozenset({"completed", "failed", "released"})
_ID_BASE = 9_000_000_000  # of tasks and jobs: none that an engine would give out soon


class Told:
    """One report, and when it came (seconds of a clock that only runs)."""

    def __init__(self, body: Mapping[str, Any], at: float) -> None:
        self.event, self.token, self.at = str(body["event"]), str(body["token"]), at
        self.task_id, self.attempt, self.body = int(body["task_id"]), int(body["attempt"]), body


class PlayedEngine:
    """Talks with whatever serves one queue."""

    def __init__(self, broker: Broker, queue: str, heartbeat_s: float) -> None:
        self._broker, self.queue, self.heartbeat_s = broker, queue, heartbeat_s
        self.told: list[Told] = []
        self.heard: list[tuple[float, frozenset[str]]] = []  # when a message came, and the tokens that it named
        self.workers: dict[str, Mapping[str, Any]] = {}  # by id, as each last described itself
        self.faults: list[str] = []  # what was wrong with messages as such
        self.letters: list[Message] = []  # that came to the dead-letter queue
        self._came = asyncio.Condition()
        self._next_id = _ID_BASE + int(time.time()) % 1_000_000 * 1000

    # ------------------------------------------------------------------------------------------------------------ out

    def task(self, handler: str, inputs: Mapping[str, Any], timeout_s: float = 600) -> TaskMessage:
        """A task with ids and a token of its own."""
        self._next_id += 1
        return TaskMessage(
            job_id=self._next_id, task_id=self._next_id, attempt=1, token=uuid.uuid4().hex, queue=self.queue,
            handler=handler, client="conformance", workflow="conformance", task_name="conformance", priority=5,
            inputs=inputs, workspace=f"ws://{self._next_id}/", storages={}, outbound_allow=(), timeout_s=timeout_s,
            heartbeat_s=self.heartbeat_s,
        )  # fmt: skip

    async def send(self, task: TaskMessage, **unknown: Any) -> None:
        """Hand a task out; `unknown` fields are added."""
        await self.send_raw(message_of(task, **unknown))

    async def send_raw(self, message: Message) -> None:
        """Put any message into the queue of tasks."""
        await self._broker.publish([Outgoing(Address.TASKS, message, self.queue)])

    async def control(self, action: ControlAction, task: TaskMessage | None = None) -> None:
        """Tell every worker that was heard of."""
        told = ControlMessage(action, task.task_id if task else None, task.token if task else None, "conformance")
        message = Message(told.to_json())
        await self._broker.publish([Outgoing(Address.CONTROL, message, worker_key(one)) for one in self.workers])

    # ------------------------------------------------------------------------------------------------------------- in

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hear reports and dead letters while the block runs."""
        async with (
            self._broker.consume(Address.REPORTS, prefetch=100) as reports,
            self._broker.consume(Address.DEAD, prefetch=100) as letters,
        ):
            tasks = [
                asyncio.create_task(self._hear(reports, self._report)),
                asyncio.create_task(self._hear(letters, lambda delivery: self.letters.append(delivery.message))),
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _hear(self, consumer: Consumer, take: Callable[[Delivery], None]) -> None:
        while deliveries := await consumer.batch(100):
            for delivery in deliveries:
                take(delivery)
                await delivery.ack()
            async with self._came:
                self._came.notify_all()

    def _report(self, delivery: Delivery) -> None:
        now = time.monotonic()
        message = delivery.message
        if message.content_type != "application/json":
            self.faults.append(f"content_type is {message.content_type!r}; application/json is wanted")
        try:
            body = json.loads(message.body)
            Reports.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            self.faults.append(f"a message on reports breaks its schema at {where}: {first['msg']}")
            return
        except ValueError as error:
            self.faults.append(f"a message on reports is not JSON: {error}")
            return
        for report in body.get("reports") or ():
            if (size := len(encode(report.get("outputs") or {}))) > MAX_OUTPUT_BYTES:
                self.faults.append(f"outputs are {size} bytes of JSON; at most {MAX_OUTPUT_BYTES} are allowed")
        self.workers[body["worker"]["id"]] = body["worker"]
        tokens = frozenset(running["token"] for running in body.get("running") or ())
        self.heard.append((now, tokens))
        self.told += [Told(report, now) for report in body.get("reports") or ()]

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition on what came; whether it came true in time."""
        try:
            async with asyncio.timeout(seconds), self._came:
                await self._came.wait_for(condition)
        except TimeoutError:
            return condition()
        return True

    # --------------------------------------------------------------------------------------------------------- asking

    def of(self, task: TaskMessage) -> list[Told]:
        """What was told of an attempt, logs and progress left out."""
        return [told for told in self.told if told.token == task.token and told.event not in {"log", "progress"}]

    def events(self, task: TaskMessage) -> list[str]:
        """The names of that."""
        return [told.event for told in self.of(task)]

    async def end(self, task: TaskMessage, seconds: float) -> Told:
        """Wait for the end of an attempt; Broken where none comes, or it names another attempt."""
        if not await self.until(lambda: bool(ENDS & set(self.events(task))), seconds):
            raise Broken(
                f"no end of the task was reported within {seconds:g} s; reported: {self.events(task) or 'nothing'}"
                f"{self._unread}"
            )
        told = next(one for one in self.of(task) if one.event in ENDS)
        if (told.task_id, told.attempt) != (task.task_id, task.attempt):
            raise Broken(
                f"the report names task {told.task_id}, attempt {told.attempt}; not {task.task_id}, {task.attempt}"
            )
        return told

    async def begun(self, task: TaskMessage, seconds: float) -> None:
        """Wait until the worker names an attempt as running, or says that it started; Broken where it does not."""
        if not await self.until(lambda: bool(self.named(task)), seconds):
            raise Broken(f"no message named the task in `running` within {seconds:g} s{self._unread}")

    @property
    def _unread(self) -> str:
        """What was wrong with messages: where they cannot be read, nothing seems to have been said."""
        return f"; {self.faults[-1]}" if self.faults else ""

    def named(self, task: TaskMessage, after: float = 0.0) -> list[float]:
        """When messages named an attempt as running, after a moment."""
        return [at for at, tokens in self.heard if at > after and task.token in tokens]

    def silent_of(self, task: TaskMessage, after: float) -> bool:
        """Whether a message after a moment named it no more."""
        return any(at > after and task.token not in tokens for at, tokens in self.heard)

    async def waiting(self) -> int:
        """How many messages lie in the queue."""
        return await self._broker.waiting(self.queue)


def message_of(task: TaskMessage, **unknown: Any) -> Message:
    """A task as the engine sends it."""
    body = task.to_json()
    if unknown:
        body = json.dumps({**json.loads(body), **unknown}).encode()
    headers = {"handler": task.handler, "queue": task.queue, "task_id": task.task_id, "attempt": task.attempt}
    return Message(body, message_id=task.message_id, headers=headers)
