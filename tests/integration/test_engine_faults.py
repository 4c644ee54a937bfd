"""What must not stop the engine, nor leave a job without an end: each was a way to get stuck."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import ErrorKind, MessageError
from taskengine.domain.execution import Run
from taskengine.domain.job import Changes, Job, Task
from taskengine.domain.messages import MAX_INPUT_BYTES, WorkerMessage, decode, encode
from taskengine.domain.retry import RetryDefaults, retry_delay
from taskengine.domain.status import JobState
from taskengine.domain.workflow import RetryPolicy
from taskengine.engine import dispatcher, effects, scheduler
from taskengine.ports import Address, Message, Outgoing
from taskengine.workflows.expressions import CelEvaluator
from tests.support.engine import WORKFLOWS, Bench, bench, settings_for, write_workflows
from tests.support.life import Life, step, workflow
from tests.support.receiver import CallbackReceiver

MORE = {
    "retries": """
        steps:
          bad: {handler: debug.fail, foreach: [1, 2, 3, 4, 5, 6, 7, 8], retry: {limit: 3, delay: 60},
                with: {message: later, kind: internal}}
    """,
    "tidies": """
        steps:
          nap: {handler: debug.sleep, with: {seconds: 60}}
        on_failure:
          tidy: {handler: debug.sleep, with: {seconds: 0.7}}
    """,
}


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


@pytest.fixture
async def world(tmp_path: Path, receiver: CallbackReceiver) -> AsyncIterator[Bench]:
    """An engine with some workflows more."""
    settings = settings_for(tmp_path)
    write_workflows(tmp_path / "workflows", {**WORKFLOWS, **MORE})
    async with bench(settings, receiver) as running:
        yield running


def wire(**more: Any) -> dict[str, Any]:
    """A message of a worker with one report."""
    report = {"task_id": 1, "attempt": 1, "token": "t", "at": 0, "event": "completed", "outputs": {}, **more}
    return {"v": 1, "worker": {"id": "w", "name": "w", "queues": {}}, "running": [], "reports": [report]}


@pytest.mark.parametrize(
    "body",
    [
        wire(event="failed", error={"kind": "internal", "message": "x", "exit_code": "one"}),
        wire(event="failed", error={"kind": "internal", "message": "x", "exit_code": 2**70}),
        wire(process_s="long"),
        wire(event="progress", progress="nan"),
        wire(outputs=[1]),
        {**wire(), "worker": {"id": "\ud800"}},
        {**wire(), "worker": {"id": "w", "queues": {"work": 1e999}}},
    ],
)
def test_what_a_store_could_not_take_is_no_message(body: dict[str, Any]) -> None:
    """One such report would stop all that are taken with it, for ever."""
    text = json.dumps(body).replace("Infinity", "1e999").encode()
    with pytest.raises(MessageError):
        WorkerMessage.from_json(text)


def test_half_a_surrogate_pair_goes_over_the_wire() -> None:
    """A file name that is not UTF-8 must not end the worker that tells of it."""
    assert decode(encode({"v": 1, "name": "a\udc80"}))["name"] == "a\udc80"


def test_no_number_is_no_json() -> None:
    """NaN and Infinity, which Python reads, are refused."""
    with pytest.raises(MessageError, match="NaN"):
        decode(b'{"v": 1, "x": NaN}')


def test_a_deadline_is_acted_upon_once() -> None:
    """While the clean-up of a job runs whose time is over, its timer does not ring again and again."""
    life = Life(workflow(step("a"), on_failure=(step("tidy", on_failure=True),)), timeout_s=10).start()
    life.now += 10_000
    life.take(Run.timers)
    assert (life.job.failing, life.job.deadline_at, life.states()["tidy"]) == (True, None, "ready")
    assert life.take(Run.timers).empty


def test_clean_up_behind_a_clean_up_that_failed_does_not_hold_the_job() -> None:
    """Its need will never be met: it is cancelled and the job ends."""
    tidy = step("tidy", on_failure=True), step("after", on_failure=True, needs=("tidy",))
    life = Life(workflow(step("a"), on_failure=tidy)).start()
    life.fail("a")
    life.fail("tidy")
    assert (life.job.state, life.states()["after"]) == (JobState.COMPLETED, "cancelled")
    assert life.job.error == "a: broken"


def test_inputs_that_no_message_can_carry_fail_the_task() -> None:
    """The reason names the size; nothing is dispatched."""
    life = Life(
        workflow(step("a", inputs={"x": "${{ parameters.x }}"})), arguments={"x": "y" * MAX_INPUT_BYTES}
    ).start()
    assert (life.job.state, life.job.failed, life.states()) == (JobState.COMPLETED, True, {"a": "failed"})
    assert "bytes of JSON; at most" in (life.job.error or "")
    life = Life(workflow(step("a", inputs={"x": float("nan")}))).start()
    assert "no JSON" in (life.job.error or "")


def test_a_job_without_a_usable_definition_is_given_up() -> None:
    """Whatever happens to it next: it ends failed and says why."""
    for begin in ("queued", "started"):
        life = Life(workflow(step("a"), step("b", needs=("a",)), on_failure=(step("c", on_failure=True),)))
        if begin == "started":
            life.start()
        remains = workflow(step("a"), step("b"))
        life.rules = replace(life.rules, workflow=remains, unusable="it is gone")
        if begin == "started":
            life.complete("a")
        else:
            life.start()
        assert (life.job.state, life.job.failed, life.job.error) == (JobState.COMPLETED, True, "it is gone")
        assert life.callbacks[-1] == ("job", "job", "it is gone")


def test_a_great_backoff_is_bounded() -> None:
    """However often it was tried."""
    life = Life(workflow(step("a")), max_retries=1000)
    task: Task = life.task("a")
    task.tries = 500
    job: Job = life.job
    policy = RetryPolicy(delay_s=1.0, backoff=1e6, max_delay_s=60)
    assert retry_delay(ErrorKind.INTERNAL, task, job, policy, RetryDefaults(), 0.5) == 60


async def test_failures_make_room_for_what_waits(world: Bench) -> None:
    """A window full of tasks that all wait for another try does not keep the next ones from workers."""
    await world.submit("retries", quiet=True)
    second = await world.submit("chain")
    assert not (await world.ended(second, 5)).failed


async def test_the_timers_rest_while_a_late_job_is_cleaned_up(world: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of a job whose clean-up runs is not looked at in a loop without a pause."""
    looks = 0
    ring = scheduler.Scheduler.ring

    async def counted(self: scheduler.Scheduler) -> bool:
        nonlocal looks
        looks += 1
        return await ring(self)

    monkeypatch.setattr(scheduler.Scheduler, "ring", counted)
    job = await world.ended(await world.submit("tidies", timeout_s=0.2))
    assert (job.failed, job.error) == (True, "the job's time limit of 0.2 s is over")
    assert looks < 40


async def test_a_definition_that_does_not_compile_any_more_ends_its_jobs_alone(
    tmp_path: Path, receiver: CallbackReceiver
) -> None:
    """After an upgrade: the started job and the queued one end and say why, and others run."""
    settings = settings_for(tmp_path, drain_grace_s=0, **{"engine.max_jobs": 1})
    async with bench(settings, receiver) as world:
        started, queued = await world.submit("sleeps", 60), await world.submit("sleeps", 0)
        await world.heard(started, ("nap", "start"))
        digest = (await world.job(started)).workflow_digest
    with closing(sqlite3.connect(next((tmp_path / "data").glob("*.db")), isolation_level=None)) as database:
        database.execute("UPDATE definitions SET source = '{}' WHERE digest = ?", (digest,))
    async with bench(settings, receiver) as world:
        for job_id in (started, queued):
            assert "cannot be used any more" in ((await world.ended(job_id)).error or "")
        assert not (await world.ended(await world.submit("chain"))).failed


async def test_one_bad_report_does_not_stop_the_others(world: Bench) -> None:
    """It goes to the dead letters; the next job runs."""
    bad = encode(wire(event="failed", error={"kind": "internal", "message": "x", "exit_code": "one"}))
    await world.engine.broker.publish([Outgoing(Address.REPORTS, Message(bad))])
    assert not (await world.ended(await world.submit("chain"))).failed
    assert world.judge.faults.pop().startswith("reports.reports[0]")  # the schema sees it too


async def test_a_job_that_cannot_be_decided_does_not_hold_up_the_others(
    world: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of the core that one job meets ends that job; the reports beside its own are taken."""
    victim = await world.submit("sleeps", 0.3)
    await world.heard(victim, ("nap", "start"))
    advance = Run._advance

    def breaks(run: Run) -> None:
        if run.job.id == victim:
            raise RuntimeError("a defect")
        advance(run)

    monkeypatch.setattr(Run, "_advance", breaks)
    others = [await world.submit("chain") for _ in range(5)]
    for job_id in others:
        assert not (await world.ended(job_id)).failed
    job = await world.ended(victim)
    assert (job.state, job.error) == (JobState.BROKEN, "the engine failed: RuntimeError: a defect")


async def test_a_wake_up_that_was_lost_is_made_up_for(
    tmp_path: Path, receiver: CallbackReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing follows a commit (its answer was lost, its caller went away), the sweeps go on with the job."""
    over = asyncio.Event()

    async def listen(_: effects.Effects, written: Iterable[Changes], **_how: bool) -> None:
        if any(changes.job.ended for changes in written):
            over.set()

    monkeypatch.setattr(scheduler, "SWEEP_S", 0.05)
    monkeypatch.setattr(dispatcher, "SWEEP_S", 0.05)
    monkeypatch.setattr(dispatcher, "_SWEEP_MS", 50)
    monkeypatch.setattr(effects.Effects, "follow", listen)
    async with bench(settings_for(tmp_path), receiver) as world:
        await world.submit("chain", quiet=True)
        await asyncio.wait_for(over.wait(), 10)


async def test_an_evaluator_that_breaks_fails_the_task(world: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an expression raises is told as a fault of the expression."""
    job_id = await world.submit("sleeps", 0.2)
    await world.heard(job_id, ("nap", "start"))

    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError("odd")

    with monkeypatch.context() as patch:
        patch.setattr(CelEvaluator, "evaluate", breaks)
        job = await world.ended(job_id)
    assert "cannot be evaluated: ZeroDivisionError: odd" in (job.error or "")
