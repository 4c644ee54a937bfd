"""Other systems on a real RabbitMQ: they submit jobs by message, with no more rights than that takes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiormq.exceptions import AMQPError

from taskengine.clock import SystemClock
from taskengine.ports import Address, JobFilter
from taskengine.stores import open_store
from tests.support.brokers import take
from tests.support.engine import bench, settings_for, write_workflows
from tests.support.foreign import Foreign, text
from tests.support.outsider import broker_user, outsider, queue_is_made, submissions_are_taken
from tests.support.rabbitmq import RabbitServer, unique_prefix
from tests.support.receiver import CallbackReceiver

WAIT_S = 60
HEADERS = {"client": "demo", "api-key": "test-key"}
JOB: Mapping[str, Any] = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c1", "x": 5}}


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


async def test_jobs_are_submitted_by_message_and_run(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """The answer is that of `POST /job`; one message is one job, however often it comes; faults are told."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    async with bench(settings, receiver) as world, outsider(rabbitmq, prefix) as other:
        body = {**JOB, "parameters": {**JOB["parameters"], "rest_endpoints": [f"{receiver.url}/cb"]}}
        first = await other.ask(body, "m1", headers=HEADERS)
        assert (first["status"], first["result"], first["job_id"]) == (200, "accepted", first["id"])
        assert await other.ask(body, "m1", headers=HEADERS) == first
        assert (await other.ask(JOB, "m1", headers=HEADERS))["status"] == 409
        wrong = await other.ask(JOB, headers={**HEADERS, "api-key": "wrong"})
        assert wrong == {"error": "The client or its api-key is missing or wrong", "status": 401}
        faulty = await other.ask({"job": {"workflow": "chain", "priority": 99}}, headers=HEADERS)
        assert (faulty["status"], faulty["details"][0]["path"]) == (400, "/job/priority")
        job = await world.ended(first["id"], WAIT_S)
        assert (job.failed, job.result) == (False, {"message": "5"})
        assert len(await world.engine.store.jobs(JobFilter())) == 1


async def test_an_engine_has_the_queues_of_tasks_made_before_there_is_a_job(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """A worker of another make that comes first finds what it consumes."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    async with bench(settings, receiver, workers=False):
        for queue in ("work", "package", "transcode"):
            await queue_is_made(rabbitmq, f"{prefix}.v1.tasks.{queue}")


async def test_garbage_among_submissions_is_put_aside(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """No JSON, an unknown version, 10 MB: dead letters with the reason and without the key; the consumer lives."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    async with bench(settings, receiver, workers=False) as world, outsider(rabbitmq, prefix) as other:
        for body in (b"{", {**JOB, "v": 99}, b"x" * 10_000_000):
            await other.send(body, message_id="garbage", headers=HEADERS)
        assert (await other.ask(JOB, headers=HEADERS))["status"] == 200
        async with world.engine.broker.consume(Address.DEAD, prefetch=3) as consumer:
            letters = [letter.message for letter in await take(consumer, 3)]
    reasons = sorted(str(letter.headers["x-reason"])[:20] for letter in letters)
    assert reasons == ["The body is larger t", "The body is not JSON", "version 99 is not kn"]
    assert all(letter.headers["api-key"] == "****" and len(letter.body) < 100_000 for letter in letters)


async def test_properties_that_are_no_text_stop_no_submission(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """Neither those of a message nor its routing key need be UTF-8: what cannot be read is a dead letter, without its
    secrets; the others are answered."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    async with bench(settings, receiver, workers=False) as world, outsider(rabbitmq, prefix) as other:
        await submissions_are_taken(rabbitmq, prefix)
        unreadable = Foreign(message_id=text(b"\xe9\xff"))
        await unreadable.publish(other.channel, "", f"{prefix}.v1.jobs".encode(), b'{"api-key": "test-key"}')
        await Foreign().publish(other.channel, f"{prefix}.v1.jobs", b"\xe9\xff", b"{")
        assert (await other.ask(JOB, headers=HEADERS))["status"] == 200
        async with world.engine.broker.consume(Address.DEAD, prefetch=2) as consumer:
            letters = {letter.body: letter.message.headers["x-reason"] for letter in await take(consumer, 2)}
    assert "properties cannot be read" in letters[b'{"api-key":"****"}']
    assert "not JSON" in letters[b"{"]


@pytest.mark.parametrize(
    ("worker", "named"),
    [("w", {"task_id": 2**70}), ("x" * 300, {}), ("w", {"token": "a\0b"})],
    ids=["id", "worker", "token"],
)
async def test_what_a_worker_of_another_make_says_stops_no_report(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver, worker: str, named: dict[str, Any]
) -> None:
    """A number beyond 64 bits, a name that is no part of a routing key: a dead letter, and jobs go on."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    running = {"task_id": 10**9, "attempt": 1, "token": "t"} | named
    reports = [running | {"event": "completed", "at": 1}]
    said = {"v": 1, "worker": {"id": worker, "name": "n", "queues": {}}, "running": [running], "reports": reports}
    async with bench(settings, receiver) as world, outsider(rabbitmq, prefix) as other:
        await other.send(said, queue="reports")
        async with world.engine.broker.consume(Address.DEAD) as consumer:
            [letter] = await asyncio.wait_for(take(consumer, 1), WAIT_S)
        assert "not a " in letter.message.headers["x-reason"]
        body = {**JOB, "parameters": {**JOB["parameters"], "rest_endpoints": [f"{receiver.url}/cb"]}}
        answer = await other.ask(body, headers=HEADERS)
        assert not (await world.ended(answer["id"], WAIT_S)).failed


async def test_a_user_of_the_broker_needs_no_key_and_few_rights(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """Who may write to the exchange of submissions alone submits as its client and gets its answers; it reaches no other
    queue, and cannot pass for another user."""
    prefix = unique_prefix()
    rights = {"write": rf"^{prefix}\.v1\.jobs$"}
    async with broker_user(rabbitmq, rights) as (user, password):
        settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix), **{"bus.users": {user: "demo"}})
        async with bench(settings, receiver, workers=False) as world:
            await submissions_are_taken(rabbitmq, prefix)
            exchange = f"{prefix}.v1.jobs"
            async with outsider(rabbitmq, prefix, user, password) as other:
                answer = await other.ask(JOB, exchange=exchange, user_id=user)
                assert (await world.job(answer["id"])).client == "demo"
                assert (await other.ask(JOB, exchange=exchange))["status"] == 401
                with pytest.raises(AMQPError):
                    await other.send(JOB, exchange=exchange, user_id="guest")
            async with outsider(rabbitmq, prefix, user, password) as other:
                with pytest.raises(AMQPError):
                    await other.send(b"{}", queue="reports")


async def test_no_answer_goes_to_the_engines_own_queues(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """A submitter cannot have the engine write for it where it may not."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix))
    async with bench(settings, receiver, workers=False) as world, outsider(rabbitmq, prefix) as other:
        await other.send(JOB, message_id="m", headers=HEADERS, reply_to=f"{prefix}.v1.dead")
        async with asyncio.timeout(WAIT_S):
            while not await world.engine.store.jobs(JobFilter()):  # noqa: ASYNC110 - the store gives no sign
                await asyncio.sleep(0.02)
        assert (await other.ask(JOB, headers=HEADERS))["status"] == 200
        dead = await other.channel.queue_declare(f"{prefix}.v1.dead", passive=True)
        assert dead.message_count == 0
        assert len(await world.engine.store.jobs(JobFilter())) == 2


async def test_submissions_outlive_an_engine_that_is_killed(tmp_path: Path, rabbitmq: RabbitServer) -> None:
    """kill -9 amid submissions: the next engine takes what is left, and each message makes one job."""
    prefix, count = unique_prefix(), 300
    async with outsider(rabbitmq, prefix) as other:
        async with served(tmp_path, rabbitmq.url(prefix)) as first:
            await submissions_are_taken(rabbitmq, prefix)
            asked = [asyncio.ensure_future(other.ask(JOB, f"m{n}", headers=HEADERS)) for n in range(count)]
            async with asyncio.timeout(WAIT_S):
                while sum(one.done() for one in asked) < 20:  # noqa: ASYNC110 - whichever comes first
                    await asyncio.sleep(0.001)
            first.kill()
        assert not all(one.done() for one in asked)
        async with served(tmp_path, rabbitmq.url(prefix)):
            answers = await asyncio.wait_for(asyncio.gather(*asked), WAIT_S)
    assert {answer["status"] for answer in answers} == {200}
    async with open_store(f"sqlite:///{tmp_path}/data/taskengine.db", SystemClock()) as store:
        jobs = await store.jobs(JobFilter(limit=1000))
    assert sorted(job.id for job in jobs) == sorted(answer["id"] for answer in answers)
    assert len({answer["id"] for answer in answers}) == count


@asynccontextmanager
async def served(root: Path, broker_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of an engine without workers."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(root), "PYTHONPATH": str(Path(__file__).parents[2]),
        "TASKENGINE_DATA_DIR": str(root / "data"), "TASKENGINE_BOOTSTRAP_API_KEY": "test-key", "TASKENGINE_PORT": "0",
        "TASKENGINE_WORKFLOWS_DIR": str(write_workflows(root / "workflows")),
    }  # fmt: skip
    command: list[Any] = [sys.executable, "-m", "taskengine", "serve", "--no-workers", "--broker", broker_url]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
