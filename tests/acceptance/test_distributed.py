"""One engine and workers of their own, over a real RabbitMQ: whatever ends in the middle, every job ends well."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskengine.app.workers import build_worker
from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.messages import TaskMessage, WorkerMessage
from taskengine.net import GuardedClients
from taskengine.ports import Address, Message, Outgoing
from tests.support.brokers import take, to
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.rabbitmq import RabbitServer
from tests.support.receiver import CallbackReceiver

WAIT_S = 60


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


class Distributed:
    """An engine without workers in the test's process, and worker processes of their own."""

    def __init__(self, world: Bench, root: Path, url: str, stack: AsyncExitStack) -> None:
        self.world, self._root, self._url, self._stack = world, root, url, stack

    async def worker(self, *, grace_s: float = 30) -> asyncio.subprocess.Process:
        """Start `taskengine worker` and wait until the engine has heard of it."""
        known = await self.world.engine.store.workers()
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self._root), "PYTHONPATH": str(Path(__file__).parents[2]),
            "TASKENGINE_DATA_DIR": str(self._root / f"worker{len(known)}"), "TASKENGINE_HEARTBEAT_S": "0.5",
            "TASKENGINE_WORKSPACE": str(self.world.engine.settings.workspace),
            "TASKENGINE_DRAIN_GRACE_S": str(grace_s),
        }  # fmt: skip
        command = [sys.executable, "-m", "taskengine", "worker", "--queue", "work", "--concurrency", "2"]
        process = await asyncio.create_subprocess_exec(*command, "--broker", self._url, env=environment)
        self._stack.push_async_callback(_end, process)
        async with asyncio.timeout(WAIT_S):
            while len(await self.world.engine.store.workers()) == len(known):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)
        return process

    def queue(self, name: str) -> str:
        """The name of a queue of tasks on the broker."""
        return f"{self._url.partition('prefix=')[2]}.v1.tasks.{name}"

    async def outcomes(self, job_id: int) -> list[list[str]]:
        """The outcomes of the attempts of each task."""
        tasks = await self.world.engine.views.tasks(ADMIN, job_id)
        return [[str(attempt["outcome"]) for attempt in task.attempts] for task in tasks]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


@asynccontextmanager
async def distributed(root: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver) -> AsyncIterator[Distributed]:
    """An engine over RabbitMQ, with no workers yet."""
    url = rabbitmq.url()
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(bench(settings_for(root, broker_url=url), receiver, workers=False))
        yield Distributed(world, root, url, stack)


@pytest.fixture
async def place(tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver) -> AsyncIterator[Distributed]:
    """An engine over RabbitMQ, with no workers yet."""
    async with distributed(tmp_path, rabbitmq, receiver) as running:
        yield running


# --------------------------------------------------------------------------------------------------------- processes


async def test_a_worker_that_is_killed_is_replaced_by_another(place: Distributed) -> None:
    """kill -9 in the middle of a task: a new attempt runs elsewhere, and what was told stays in order."""
    first = await place.worker()
    job_id = await place.world.submit("sleeps", 3)
    await place.world.heard(job_id, ("nap", "start"), WAIT_S)
    first.kill()  # before another is started: that may take longer than the task does
    await place.worker()
    assert not (await place.world.ended(job_id, WAIT_S)).failed
    assert await place.outcomes(job_id) == [["lost", "completed"], ["completed"]]
    assert place.world.told(job_id)[-3:] == [("last", "start"), ("last", "complete"), ("job", "completed")]


async def test_a_worker_that_drains_hands_back_what_it_runs(place: Distributed) -> None:
    """SIGTERM with no time left: released, at no try's cost, and run by another."""
    first = await place.worker(grace_s=0)
    job_id = await place.world.submit("sleeps", 3)
    await place.world.heard(job_id, ("nap", "start"), WAIT_S)
    first.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(first.wait(), WAIT_S) == 0
    await place.worker()
    assert not (await place.world.ended(job_id, WAIT_S)).failed
    assert await place.outcomes(job_id) == [["released", "completed"], ["completed"]]


@pytest.mark.parametrize("mischief", ["purge_queue", "delete_queue"])
async def test_a_queue_that_is_emptied_loses_no_task(place: Distributed, rabbitmq: RabbitServer, mischief: str) -> None:
    """Tasks that were handed to a queue which was then purged or deleted are handed out again."""
    jobs = [await place.world.submit("chain", number) for number in range(2)]
    async with asyncio.timeout(WAIT_S):
        while await place.world.engine.broker.waiting("work") < len(jobs):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)
    await rabbitmq.control(mischief, place.queue("work"))
    await place.worker()
    for job_id in jobs:
        assert not (await place.world.ended(job_id, WAIT_S)).failed
        assert await place.outcomes(job_id) == [["released", "completed"], ["completed"], ["completed"]]


# -------------------------------------------------------------------------------------------------- within the process


async def test_garbage_on_every_queue_is_put_aside(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """What does not parse, or has an unknown version, becomes a dead letter with the reason; the work goes on."""
    url = rabbitmq.url()
    async with bench(settings_for(tmp_path, broker_url=url), receiver) as world, open_broker(url) as broker:
        for body in ("{", "[]", '{"v": 99}', "x" * 10_000_000):
            await broker.publish(
                [
                    *to(Address.TASKS, body, key="work"),
                    *to(Address.REPORTS, body),
                    *to(Address.JOBS, body),
                    *to(Address.CONTROL, body, key="all"),  # nothing keeps it: it is passed over
                ]
            )
        job_id = await world.submit("chain", 7)
        assert not (await world.ended(job_id, WAIT_S)).failed
        async with broker.consume(Address.DEAD, prefetch=12) as consumer:
            reasons = [str(dead.message.headers["x-reason"]) for dead in await take(consumer, 12)]
        assert sum("version 99" in reason for reason in reasons) == 3
        assert not (await world.ended(await world.submit("chain", 8), WAIT_S)).failed


async def test_a_long_task_meets_no_consumer_timeout_and_keeps_nobody_waiting(
    tmp_path: Path, rabbitmq: RabbitServer
) -> None:
    """With a consumer_timeout of 2 s, a task of 6 s is acknowledged early; what comes meanwhile runs in the free slot,
    and what comes while no slot is free stays in the queue."""
    url = rabbitmq.url()
    async with (
        consumer_timeout(rabbitmq, 2000),
        open_broker(url) as broker,
        GuardedClients() as clients,
        asyncio.TaskGroup() as group,
    ):
        worker = build_worker(settings_for(tmp_path, broker_url=url), broker, SystemClock(), {"work": 2}, clients)
        worker._early_ack_s = 0.5
        running = group.create_task(worker.run())
        await broker.publish([task(1, 6)])
        async with broker.consume(Address.REPORTS, prefetch=500) as reports:
            await told(reports, (1, "started"))
            await asyncio.sleep(1)  # it is acknowledged by then
            await broker.publish([task(number, 0) for number in range(2, 8)])
            early = await told(reports, (7, "completed"))
            assert (1, "completed") not in early
            await broker.publish([task(8, 6)])
            await told(reports, (8, "started"))
            late = await told(reports, (1, "completed"))
            late += await told(reports, (8, "completed")) if (8, "completed") not in late else []
            assert not [event for _, event in early + late if event in {"released", "failed"}]
        worker.drain()
        await running


@asynccontextmanager
async def consumer_timeout(rabbitmq: RabbitServer, milliseconds: int) -> AsyncIterator[None]:
    """Have the broker give up on deliveries early, and look often."""

    async def set_to(limit: int, tick: int) -> None:
        await rabbitmq.control(
            "eval",
            f"application:set_env(rabbit, consumer_timeout, {limit}), "
            f"application:set_env(rabbit, channel_tick_interval, {tick}).",
        )

    await set_to(milliseconds, 500)
    try:
        yield
    finally:
        await set_to(1_800_000, 60_000)


def task(number: int, seconds: float) -> Outgoing:
    """A task that sleeps."""
    message = TaskMessage(
        job_id=1, task_id=number, attempt=1, token=f"token{number}", queue="work", handler="debug.sleep", client="demo",
        workflow="test", task_name="nap", priority=5, inputs={"seconds": seconds}, workspace=f"ws://1/{number}/1-token",
        storages={}, outbound_allow=[], timeout_s=60, heartbeat_s=0.5,
    )  # fmt: skip
    return Outgoing(Address.TASKS, Message(message.to_json(), message.message_id), "work")


async def told(reports: Any, wanted: tuple[int, str]) -> list[tuple[int, str]]:
    """Every (task, event) that is reported, until `wanted` comes."""
    seen: list[tuple[int, str]] = []
    async with asyncio.timeout(WAIT_S):
        while wanted not in seen:
            for delivery in await reports.batch(100):
                message = WorkerMessage.from_json(delivery.message.body)
                seen += [(report.task_id, report.event.value) for report in message.reports]
                await delivery.ack()
    return seen
