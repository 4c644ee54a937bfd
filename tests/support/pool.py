"""A worker on the in-process broker, with handlers made by the test, and the engine's side of the talk."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.messages import (
    ControlAction,
    ControlMessage,
    Report,
    ReportEvent,
    TaskMessage,
    WorkerInfo,
    WorkerMessage,
)
from taskengine.engine.context import Facilities
from taskengine.engine.worker import Worker
from taskengine.ports import (
    Address,
    Broker,
    KeyProvider,
    Message,
    Outbound,
    Outgoing,
    ProcessRunner,
    Storage,
    TaskContext,
    Tools,
    Workspace,
)
from taskengine.process import SubprocessRunner
from taskengine.storage.scratch import scratch_dir
from tests.support.judged import faults
from tests.support.vault import VAULT

Work = Callable[[TaskContext], Awaitable[Any]]


class Made:
    """A handler of a function, which may return anything."""

    inputs: Mapping[str, Any] = {}
    outputs: Mapping[str, Any] = {}

    def __init__(self, name: str, work: Work) -> None:
        self.name, self._work = name, work

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Do it."""
        return cast(Mapping[str, Any], await self._work(context))


def facilities(scratch: Path, runner: ProcessRunner | None = None) -> Facilities:
    """A machine with a scratch and no storage."""

    def nothing(*_: object) -> Any:
        raise AssertionError("these tests have neither tools nor storages")

    workspace = cast(Callable[[TaskMessage, Path], Workspace], lambda _task, _scratch: None)
    tools = cast(Callable[[], Tools], nothing)
    storage = cast(Callable[[str, str, Mapping[str, str]], Storage], nothing)
    outbound = cast(Callable[[TaskMessage], Outbound], nothing)
    keys = cast(Callable[[str], KeyProvider], nothing)
    made = runner or SubprocessRunner()
    return Facilities(made, tools, lambda name: scratch_dir(scratch, name), workspace, storage, outbound, keys)


class Pool:
    """The engine's side: it sends tasks and hears what the worker says."""

    def __init__(self, broker: Broker, worker: Worker) -> None:
        self.broker, self.worker = broker, worker
        self.messages: list[WorkerMessage] = []
        self.sizes: list[int] = []
        self.faults: list[str] = []  # what the published schema has against the worker's messages
        self._heard = asyncio.Condition()
        self._ids = itertools.count(1)

    @property
    def reports(self) -> Sequence[Report]:
        """Every report so far."""
        return [report for message in self.messages for report in message.reports]

    def events(self, token: str) -> list[str]:
        """What was reported of a token, logs and progress left out."""
        quiet = {ReportEvent.LOG, ReportEvent.PROGRESS}
        return [one.event.value for one in self.reports if one.token == token and one.event not in quiet]

    async def send(
        self, handler: str, *, timeout_s: float = 60, token: str | None = None,
        inputs: Mapping[str, Any] | None = None, heartbeat_s: float = 0.1,
    ) -> str:  # fmt: skip
        """Send a task; its token."""
        number = next(self._ids)
        task = TaskMessage(
            job_id=1, task_id=number, attempt=1, token=token or f"t{number}", queue="work", handler=handler,
            client="demo", workflow="w", task_name="t", priority=5, inputs=inputs or {}, workspace="ws://1", storages={},
            outbound_allow=[], timeout_s=timeout_s, heartbeat_s=heartbeat_s,
        )  # fmt: skip
        await self.broker.publish([Outgoing(Address.TASKS, Message(task.to_json(), task.message_id), "work")])
        return task.token

    async def tell(self, action: str, token: str) -> None:
        """Tell all workers of a token."""
        message = ControlMessage(ControlAction(action), 1, token)
        await self.broker.publish([Outgoing(Address.CONTROL, Message(message.to_json()), "all")])

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until what was heard fulfils a condition."""
        async with asyncio.timeout(timeout_s), self._heard:
            await self._heard.wait_for(condition)

    async def end_of(self, token: str) -> Report:
        """Wait for the end of an attempt."""
        ends = {ReportEvent.COMPLETED, ReportEvent.FAILED, ReportEvent.RELEASED}

        def found() -> list[Report]:
            return [one for one in self.reports if one.token == token and one.event in ends]

        await self.until(lambda: bool(found()))
        return found()[0]

    async def listen(self) -> None:
        """Hear the worker."""
        async with self.broker.consume(Address.REPORTS, prefetch=100) as consumer:
            while deliveries := await consumer.batch(100):
                for delivery in deliveries:
                    self.sizes.append(len(delivery.message.body))
                    self.faults += faults("reports", json.loads(delivery.message.body))
                    self.messages.append(WorkerMessage.from_json(delivery.message.body))
                    await delivery.ack()
                async with self._heard:
                    self._heard.notify_all()


@asynccontextmanager
async def pool(scratch: Path, works: Mapping[str, Work], *, slots: int = 1, **how: float) -> AsyncIterator[Pool]:
    """Run a worker with these handlers until the block ends, then drain it at once."""
    async with open_broker("memory://") as broker, asyncio.TaskGroup() as group:
        given: dict[str, Any] = {"heartbeat_s": 0.1, "drain_grace_s": 0.0, **how}
        handlers = {name: Made(name, work) for name, work in works.items()}
        info = WorkerInfo("w1", "one", queues={"work": slots})
        worker = Worker(info, broker, handlers, facilities(scratch), SystemClock(), VAULT, **given)
        talk = Pool(broker, worker)
        listening = group.create_task(talk.listen())
        working = group.create_task(worker.run())
        await talk.until(lambda: bool(talk.messages))
        yield talk
        worker.drain()
        await asyncio.wait([working])
        listening.cancel()
        assert not talk.faults, talk.faults[:5]
