"""Other systems follow what happens to jobs: CloudEvents on a real RabbitMQ, in order, without gaps, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiormq.exceptions import ChannelAccessRefused

from taskengine.domain.status import JobState
from taskengine.ports import Address
from tests.support.engine import ADMIN, bench, settings_for, write_workflows
from tests.support.outsider import Follower, broker_user, outsider, submissions_are_taken
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer, unique_prefix
from tests.support.receiver import CallbackReceiver

WAIT_S = 60
HEADERS = {"client": "demo", "api-key": "test-key"}


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


def assert_whole(follower: Follower) -> None:
    """Every job's events came in order and without a gap, from its first to its end."""
    for job, events in follower.by_job().items():
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), job
        assert events[-1]["type"] in {"taskengine.job.completed", "taskengine.job.failed"}, job


async def test_events_tell_what_callbacks_tell_and_more(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """Each state of the job and each event of its tasks, with the callback's body; keys as the contract has them."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix), **{"bus.source": "https://vod.example/"})
    async with bench(settings, receiver) as world, outsider(rabbitmq, prefix) as other:
        everything = await other.follow("#")
        ends = await other.follow("job.demo.*.completed", "job.*.*.failed")
        ids = [await world.submit(workflow, number) for number, workflow in enumerate(["chain"] * 5 + ["fails"])]
        await everything.until(lambda: everything.ended() == len(ids))
        for job_id in ids:
            await world.ended(job_id, WAIT_S)
        await ends.until(lambda: ends.ended() == len(ids))
    assert_whole(everything)
    told = [event["type"].removeprefix("taskengine.") for event in everything.by_job()[str(ids[0])]]
    steps = [f"task.{event}" for _ in "abc" for event in ("start", "complete")]
    assert told == ["job.queued", "job.started", *steps, "job.completed"]
    assert next(key for key in everything.keys if key.startswith("task.")) == "task.demo.chain.a.start"
    assert sorted(ends.keys) == ["job.demo.chain.completed"] * 5 + ["job.demo.fails.failed"]
    assert everything.types == {"application/cloudevents+json"}
    assert {(event["specversion"], event["source"]) for event in everything.events} == {("1.0", "https://vod.example/")}
    bodies = [event["data"] for event in everything.events if event["type"].partition(".")[2] not in STATES]
    assert sorted(map(str, bodies)) == sorted(map(str, receiver.bodies()))


STATES = frozenset(f"job.{state.value}" for state in JobState if state is not JobState.COMPLETED)


async def test_a_follower_sees_what_its_rights_let_it_see(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """A user with topic permissions for one client binds to that client's keys alone, and can publish nothing."""
    prefix = unique_prefix()
    own = r"^studio\."
    rights = {"configure": own, "write": own, "read": rf"^(studio\..*|{prefix}\.v1\.events)$"}
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    async with broker_user(rabbitmq, rights) as (user, password), bench(settings, receiver) as world:
        exchange = f"{prefix}.v1.events"
        await rabbitmq.control("set_topic_permissions", user, exchange, "^$", r"^(job|task)\.demo\.")
        await world.engine.tenants.add_client("other")
        async with outsider(rabbitmq, prefix, user, password) as other:
            follower = await other.follow("job.demo.#", queue="studio.events")
            job_id = await world.submit("chain")
            await world.ended(job_id, WAIT_S)
            await follower.until(lambda: follower.ended() == 1)
            with pytest.raises(ChannelAccessRefused):
                await other.follow("#", queue="studio.more")
        async with outsider(rabbitmq, prefix, user, password) as other:
            with pytest.raises(ChannelAccessRefused):
                await other.send(b"{}", exchange=exchange)
    assert set(follower.keys) == {f"job.demo.chain.{state}" for state in ("queued", "started", "completed")}


async def test_without_events_nothing_is_kept_or_published(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """Callbacks come all the same."""
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(), **{"bus.events": False})
    async with bench(settings, receiver) as world:
        async with world.engine.broker.subscribe(Address.EVENTS, ["#"]) as events:
            job_id = await world.submit("chain")
            assert not (await world.ended(job_id, WAIT_S)).failed
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(events.batch(1), 0.3)
        assert await world.engine.store.last_event() == 0
        assert (await world.engine.views.view(ADMIN, job_id)).job.seq == 0
        assert len(world.told(job_id)) == 7


async def test_events_outlive_the_engine_that_publishes_them(
    tmp_path: Path, rabbitmq: RabbitServer, postgres: PostgresServer
) -> None:
    """Two engines on one PostgreSQL; the one that publishes is killed amid jobs: the other takes over, and of every job
    every event comes, in order."""
    prefix, count = unique_prefix(), 30
    database = await postgres.new_database()
    environment = {
        "TASKENGINE_DATABASE_URL": database, "TASKENGINE_BROKER_URL": rabbitmq.url(prefix),
        "TASKENGINE_WORKSPACE": str(tmp_path / "workspace"), "TASKENGINE_ENGINE__MAX_JOBS": "20",
        "TASKENGINE_WORKFLOWS_DIR": str(write_workflows(tmp_path / "workflows")),
    }  # fmt: skip
    async with (
        outsider(rabbitmq, prefix) as other,
        serving(tmp_path / "one", environment) as first,
    ):
        await submissions_are_taken(rabbitmq, prefix)
        follower = await other.follow("#")
        await other.ask(job(0), headers=HEADERS)
        await follower.until(lambda: follower.ended() == 1)  # the first one publishes
        async with serving(tmp_path / "two", environment):
            await submissions_are_taken(rabbitmq, prefix, engines=2)
            asked = [asyncio.ensure_future(other.ask(job(n), headers=HEADERS)) for n in range(1, count)]
            await follower.until(lambda: follower.ended() > 3)
            first.send_signal(signal.SIGKILL)
            answers = await asyncio.gather(*asked)
            await follower.until(lambda: follower.ended() == count)
    assert_whole(follower)
    assert {str(answer["id"]) for answer in answers} < follower.by_job().keys()
    assert len(follower.by_job()) == count


def job(number: int) -> Mapping[str, Any]:
    """A submission."""
    return {"job": {"workflow": "chain"}, "parameters": {"content_id": "c", "x": number}}


@asynccontextmanager
async def serving(data: Path, environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of an engine with workers."""
    given = {
        "PATH": os.environ["PATH"], "HOME": str(data), "PYTHONPATH": str(Path(__file__).parents[2]),
        "TASKENGINE_DATA_DIR": str(data), "TASKENGINE_BOOTSTRAP_API_KEY": "test-key", "TASKENGINE_PORT": "0",
        "TASKENGINE_HEARTBEAT_S": "0.5", **environment,
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "taskengine", "serve", env=given)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
