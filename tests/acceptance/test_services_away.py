"""The database or the broker is away, at the start or in the middle: calls are answered at once, and the work goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taskengine.app.workers import build_worker
from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.messages import TaskMessage
from taskengine.net import GuardedClients
from taskengine.ports import Address, Message, Outgoing
from tests.support.engine import Bench, bench, settings_for, write_workflows
from tests.support.postgres import PostgresServer
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.rabbitmq import RabbitServer
from tests.support.receiver import CallbackReceiver

WAIT_S = 60
HEADERS = {"client": "demo", "api-key": "test-key"}


@dataclass(frozen=True)
class Services:
    """A database and a broker, each behind a proxy."""

    database: FaultProxy
    broker: FaultProxy
    database_url: str
    broker_url: str


@pytest.fixture
async def services(postgres: PostgresServer, rabbitmq: RabbitServer) -> AsyncIterator[Services]:
    """Of the test's own."""
    url, broker_url = await postgres.new_database(await postgres.migrated()), rabbitmq.url()
    async with fault_proxy(url) as database, fault_proxy(broker_url) as broker:
        yield Services(database, broker, database.through(url), broker.through(broker_url))
    await postgres.drop_database(url)


class Place(Bench):
    """An engine that is called over HTTP, and its services."""

    services: Services
    http: aiohttp.ClientSession

    async def post_job(self) -> tuple[int, float, Any]:
        """(status, seconds, Retry-After) of one submission; the receiver hears of its job."""
        began = time.monotonic()
        parameters = {"content_id": "test", "rest_endpoints": [f"{self.receiver.url}/cb"]}
        body = {"job": {"workflow": "chain"}, "parameters": parameters}
        async with self.http.post(f"{self.engine.url}/job", json=body, headers=HEADERS) as answer:
            await answer.read()
            return answer.status, time.monotonic() - began, answer.headers.get("Retry-After")

    async def until(self, status: int) -> tuple[float, Any]:
        """Submit until it is answered so; seconds of the last try, Retry-After."""
        async with asyncio.timeout(WAIT_S):
            while True:
                answered, seconds, retry_after = await self.post_job()
                if answered == status:
                    return seconds, retry_after
                await asyncio.sleep(0.1)

    async def health_until(self, is_so: Callable[[str], bool]) -> Any:
        """What /health answers as soon as what it says of the broker is so."""
        async with asyncio.timeout(WAIT_S):
            while True:
                async with self.http.get(f"{self.engine.url}/health", headers=HEADERS) as answer:
                    body = await answer.json()
                if is_so(body["brokers"]["amqp"]):
                    assert answer.status == 500
                    return body
                await asyncio.sleep(0.1)

    async def all_ended(self, count: int) -> None:
        """Wait until so many jobs have completed, and that none of them failed."""
        async with asyncio.timeout(WAIT_S):
            while (jobs := (await self.engine.store.health()).jobs)["completed"] < count:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert jobs["failed"] == 0


@asynccontextmanager
async def placed(tmp_path: Path, services: Services) -> AsyncIterator[Place]:
    """A running engine with workers."""
    settings = settings_for(tmp_path, database_url=services.database_url, broker_url=services.broker_url)
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(CallbackReceiver())
        running = await stack.enter_async_context(bench(settings, receiver, http=True))
        place = Place(running.engine, receiver, running.judge)
        place.services = services
        place.http = await stack.enter_async_context(aiohttp.ClientSession())
        yield place


@pytest.fixture
async def place(tmp_path: Path, services: Services) -> AsyncIterator[Place]:
    """A running engine with workers."""
    async with placed(tmp_path, services) as place:
        yield place


# ---------------------------------------------------------------------------------------------------------- in the middle


@pytest.mark.parametrize("how", ["refused", "black hole"])
async def test_a_database_that_is_away_is_answered_503_at_once(place: Place, how: str) -> None:
    """With Retry-After, within seconds also where nothing answers; what was accepted ends well when it is back."""
    proxy = place.services.database
    assert (await place.post_job())[0] < 400
    if how == "refused":
        await proxy.refuse()
    else:
        proxy.black_hole()
    await place.until(503)
    seconds, retry_after = await place.until(503)
    assert seconds < 2
    assert int(retry_after) > 0
    async with place.http.get(f"{place.engine.url}/health", headers=HEADERS) as answer:
        assert answer.status in {500, 503}
    if how == "refused":
        await proxy.start()
    else:
        proxy.heal()
    await place.until(200)
    await place.all_ended(2)


@pytest.mark.parametrize("how", ["refused", "black hole"])
async def test_while_the_broker_is_away_jobs_are_accepted(
    place: Place, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """At once, also where nothing answers; /health says what is away; every job ends when it is back."""
    for module in ("amqp", "amqp_consumer", "rabbitmq"):
        monkeypatch.setattr(f"taskengine.brokers.{module}.ANSWER_S", 1.0)
    proxy = place.services.broker
    await (proxy.refuse() if how == "refused" else as_it_is(proxy.black_hole))
    for _ in range(3):
        status, seconds, _ = await place.post_job()
        assert status == 200
        assert seconds < 2
    assert (await place.health_until(lambda broker: broker != "OK"))["databases"] == {"postgresql": "OK"}
    await (proxy.start() if how == "refused" else as_it_is(proxy.heal))
    await place.all_ended(3)


async def as_it_is(call: Callable[[], None]) -> None:
    """A call that waits for nothing."""
    call()


async def test_a_blocked_broker_holds_up_no_call_and_all_goes_on_after_it(place: Place, rabbitmq: RabbitServer) -> None:
    """The memory alarm blocks publishers: jobs are accepted, /health says why nothing runs, and everything ends well."""
    await rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
    try:
        for _ in range(3):
            status, seconds, _ = await place.post_job()
            assert status == 200
            assert seconds < 2
        await place.health_until(lambda broker: "blocks publishers" in broker)
        assert (await place.engine.store.health()).jobs["completed"] == 0
    finally:
        await rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    await place.all_ended(3)


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_a_worker_drains_while_the_broker_is_away(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """It gives its last reports up in the end, and says how many; their tasks run again. However long one would wait for a
    broker that says nothing, it does not."""
    monkeypatch.setattr("taskengine.engine.worker._LAST_WORDS_S", 0.5)
    monkeypatch.setattr("taskengine.engine.worker._PAUSE_S", 0.5)
    for module in ("amqp", "amqp_consumer") if how == "silent" else ():
        monkeypatch.setattr(f"taskengine.brokers.{module}.ANSWER_S", WAIT_S * 2)
    url = place.services.broker_url
    async with open_broker(url) as broker, GuardedClients() as clients:
        worker = build_worker(settings_for(tmp_path, broker_url=url), broker, SystemClock(), {"aside": 1}, clients)
        running = asyncio.create_task(worker.run())
        message = TaskMessage(
            job_id=1, task_id=1, attempt=1, token="t1", queue="aside", handler="debug.sleep", client="demo",
            workflow="test", task_name="nap", priority=5, inputs={"seconds": 1}, workspace="ws://1/1/1-t1",
            storages={}, outbound_allow=[], timeout_s=60, heartbeat_s=0.5,
        )  # fmt: skip
        await broker.publish([Outgoing(Address.TASKS, Message(message.to_json(), message.message_id), "aside")])
        async with asyncio.timeout(WAIT_S):
            while not worker._attempts:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)
            if how == "refused":
                await place.services.broker.refuse()
            else:
                place.services.broker.black_hole()
            worker.drain()
            assert await running == 1
        place.services.broker.heal()


# ------------------------------------------------------------------------------------------------------------- at start


@asynccontextmanager
async def started(
    root: Path, services: Services, *command: str, wait_s: float
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of the command line, gone at the end."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(root), "PYTHONPATH": str(Path(__file__).parents[2]),
        "TASKENGINE_DATA_DIR": str(root / command[0]), "TASKENGINE_HEARTBEAT_S": "0.5", "TASKENGINE_PORT": "0",
        "TASKENGINE_WORKFLOWS_DIR": str(write_workflows(root / "workflows")),
        "TASKENGINE_START_WAIT_S": str(wait_s), "TASKENGINE_BROKER_URL": services.broker_url,
    }  # fmt: skip
    if command[0] == "serve":
        environment["TASKENGINE_DATABASE_URL"] = services.database_url
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "taskengine", *command, env=environment, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def says(stream: asyncio.StreamReader | None, *words: str) -> None:
    """Read until a line has all of these words."""
    assert stream is not None
    async with asyncio.timeout(WAIT_S):
        while line := (await stream.readline()).decode():
            if all(word in line for word in words):
                return
    raise AssertionError(f"it ended without {words}")


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """(exit code, what it said on stderr) of a process that ends."""
    async with asyncio.timeout(WAIT_S):
        _, said = await process.communicate()
    return process.returncode, said.decode()


async def test_an_engine_starts_while_the_broker_is_away(tmp_path: Path, services: Services) -> None:
    """It takes jobs, and they end when the broker comes; /health says what is away."""
    await services.broker.refuse()
    async with placed(tmp_path, services) as place:
        assert (await place.post_job())[0] == 200
        assert (await place.health_until(lambda broker: broker != "OK"))["status"] == "degraded"
        async with place.http.get(f"{place.engine.url}/readyz") as answer:
            assert answer.status == 200
        await services.broker.start()
        await place.all_ended(1)


async def test_a_start_waits_for_what_it_needs_and_says_so(tmp_path: Path, services: Services) -> None:
    """An engine for its database, a worker for its broker. A signal while it waits ends it in order."""
    await services.database.refuse()
    await services.broker.refuse()
    async with (
        started(tmp_path, services, "serve", "--no-workers", wait_s=WAIT_S) as serve,
        started(tmp_path, services, "worker", "--queue", "work", wait_s=WAIT_S) as worker,
    ):
        await says(serve.stderr, "start_waits", "database")
        await says(worker.stderr, "start_waits", "broker")
        worker.send_signal(signal.SIGTERM)
        assert (await ended(worker))[0] == 0
        await services.database.start()
        await says(serve.stdout, "ready")
        serve.send_signal(signal.SIGTERM)
        assert (await ended(serve))[0] == 0


async def test_a_start_that_waited_in_vain_says_for_what(tmp_path: Path, services: Services) -> None:
    """Exit code 3, and the fault in one line."""
    await services.database.refuse()
    await services.broker.refuse()
    for command, proxy in (
        (["serve", "--no-workers"], services.database), (["worker", "--queue", "work"], services.broker),
    ):  # fmt: skip
        async with started(tmp_path, services, *command, wait_s=0.3) as process:
            code, said = await ended(process)
        assert code == 3
        assert f"127.0.0.1:{proxy.port}" in said.splitlines()[-1]
        assert "waited 0.3 s" in said
        assert "Traceback" not in said


async def test_a_worker_says_what_it_misses_and_drains_at_sighup(tmp_path: Path, services: Services) -> None:
    """The workspace that it shares with the engine, and workflows with tasks for its queues; it works all the same."""
    command = ("worker", "--queue", "work", "--queue", "works")
    async with started(tmp_path, services, *command, wait_s=WAIT_S) as process:
        await says(
            process.stderr, "no workflow that is known here has tasks for the queue 'works'; did you mean 'work'?"
        )
        await says(process.stderr, "workspace_missing", str(tmp_path / "worker" / "workspace"))
        await says(process.stderr, "worker_ready")
        process.send_signal(signal.SIGHUP)
        code, said = await ended(process)
        assert (code, "draining" in said) == (0, True)
