"""The engine as a whole, in one process, with workflows of debug handlers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskengine.domain.errors import Conflict, InvalidRequest, NotFound
from taskengine.domain.status import JobState
from taskengine.domain.tenants import Caller, Role
from taskengine.domain.times import format_utc
from taskengine.engine.log_caps import FULL, LogCaps
from taskengine.engine.submissions import Submission
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


@pytest.fixture
async def world(tmp_path: Path, receiver: CallbackReceiver) -> AsyncIterator[Bench]:
    """An engine with four slots for jobs."""
    async with bench(settings_for(tmp_path, **{"engine.max_jobs": 4}), receiver) as running:
        yield running


async def test_a_task_that_logs_without_end_is_cut_short(
    tmp_path: Path, receiver: CallbackReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log says so; the engine's own entries of it are there all the same."""
    monkeypatch.setattr("taskengine.engine.coordinator.LogCaps", lambda: LogCaps(entries=0))
    async with bench(settings_for(tmp_path, debug_shell=True), receiver) as running:
        job_id = await running.submit("shell", "true")
        await running.ended(job_id)
        messages = [entry["message"] for entry in await running.engine.store.logs(job_id)]
    assert FULL in messages
    assert "'run' completed successfully" in messages
    assert not [message for message in messages if "exit 0" in message]


async def test_a_chain_completes_and_its_callbacks_come_in_order(world: Bench) -> None:
    """Start and complete of each task, then the job's."""
    job_id = await world.submit("chain", 7)
    job = await world.ended(job_id)
    assert (job.state, job.failed, job.result) == (JobState.COMPLETED, False, {"message": "7"})
    events = [(name, event) for name in "abc" for event in ("start", "complete")]
    assert world.told(job_id) == [*events, ("job", "completed")]


async def test_expressions_see_the_job_as_the_api_shows_it(world: Bench) -> None:
    """Its times are text, as everywhere."""
    job = await world.ended(await world.submit("named"))
    seen = {
        "id": job.id, "client": job.client, "workflow": "named", "priority": 5, "created_at": format_utc(job.created_at),
    }  # fmt: skip
    assert job.result == {"message": seen["created_at"], "job": seen, "said": seen}


async def test_a_fan_out_joins(world: Bench) -> None:
    """One task per item of a list that an earlier step gave."""
    job_id = await world.submit("fan")
    job = await world.ended(job_id)
    assert job.result == {"message": "4"}
    tasks = await world.engine.views.tasks(ADMIN, job_id)
    assert [task.task.step for task in tasks].count("each") == 4


async def test_failures_are_tried_again_and_told_once(world: Bench) -> None:
    """Two failures, then success: three attempts in the history, one start and one complete for the client."""
    job_id = await world.submit("flaky", 2)
    assert not (await world.ended(job_id)).failed
    assert world.told(job_id) == [("try", "start"), ("try", "complete"), ("job", "completed")]
    [stored] = await world.engine.views.tasks(ADMIN, job_id)
    assert [attempt["outcome"] for attempt in stored.attempts] == ["failed", "failed", "completed"]


async def test_a_failed_job_says_why_after_its_clean_up(world: Bench) -> None:
    """The failing task, the clean-up, then the job callback."""
    job_id = await world.submit("fails")
    job = await world.ended(job_id)
    assert (job.failed, job.error) == (True, "bad: it is wrong")
    assert world.told(job_id) == [
        ("bad", "start"), ("bad", "fail"), ("tidy", "start"), ("tidy", "complete"), ("job", "failed"),
    ]  # fmt: skip


async def test_pause_stops_the_running_task_and_resume_runs_it_again(world: Bench) -> None:
    """The nap of a minute is ended by the pause; the resumed job is broken off in the end."""
    job_id = await world.submit("sleeps", 60)
    await world.heard(job_id, ("nap", "start"))
    await world.engine.jobs.update(ADMIN, job_id, {"queue_state": "paused"})
    assert (await world.job(job_id)).state is JobState.PAUSED
    await world.engine.jobs.update(ADMIN, job_id, {"queue_state": "queued"})
    with pytest.raises(Conflict):
        await world.engine.jobs.update(ADMIN, job_id, {"queue_state": "queued"})
    await world.engine.jobs.remove(ADMIN, job_id)
    job = await world.ended(job_id)
    assert (job.state, job.error) == (JobState.BROKEN, "broken by demo")


async def test_a_broken_jobs_slot_is_used_at_once(tmp_path: Path, receiver: CallbackReceiver) -> None:
    """With one slot, the next job starts when the first is broken off."""
    async with bench(settings_for(tmp_path, **{"engine.max_jobs": 1}), receiver) as world:
        first = await world.submit("sleeps", 60)
        await world.heard(first, ("nap", "start"))
        second = await world.submit("chain")
        assert (await world.job(second)).state is JobState.QUEUED
        await world.engine.jobs.remove(ADMIN, first)
        assert not (await world.ended(second)).failed


async def test_jobs_start_by_priority_then_in_order(tmp_path: Path, receiver: CallbackReceiver) -> None:
    """What waits behind a busy slot is admitted top of the queue first, then by priority, then first come."""
    async with bench(settings_for(tmp_path, **{"engine.max_jobs": 1}), receiver) as world:
        busy = await world.submit("sleeps", 60)
        await world.heard(busy, ("nap", "start"))
        low = await world.submit("chain", priority=9)
        first, second = await world.submit("chain"), await world.submit("chain")
        high, top = await world.submit("chain", priority=1), await world.submit("chain", priority=10)
        await world.engine.jobs.update(ADMIN, top, {"top_of_queue": True})
        await world.engine.jobs.remove(ADMIN, busy)
        for job_id in (top, high, first, second, low):
            await world.ended(job_id)
        started = {job_id: (await world.job(job_id)).started_at or 0 for job_id in (top, high, first, second, low)}
        assert sorted(started, key=lambda job_id: started[job_id]) == [top, high, first, second, low]


async def test_run_at_is_kept_and_a_change_wakes_the_engine(world: Bench) -> None:
    """A job of tomorrow is scheduled; moved to now it runs."""
    job_id = await world.submit("chain", run_at=int(time.time() * 1000) + 86_400_000)
    assert (await world.job(job_id)).state is JobState.SCHEDULED
    await world.engine.jobs.update(ADMIN, job_id, {"run_at": int(time.time() * 1000) + 200})
    assert not (await world.ended(job_id)).failed


async def test_a_job_waits_for_another_and_fails_with_it(world: Bench) -> None:
    """`after`: started once the awaited one has completed; failed where that one failed."""
    good, bad = await world.submit("sleeps", 0.3), await world.submit("fails")
    waits, doomed = await world.submit("chain", after=[good]), await world.submit("chain", after=[bad, good])
    assert not (await world.ended(waits)).failed
    awaited = await world.job(good)
    assert ((await world.job(waits)).started_at or 0) >= (awaited.completed_at or 0) > 0
    job = await world.ended(doomed)
    assert (job.failed, job.error) == (True, f"job {bad}, which this job waits for, failed")


async def test_a_drain_hands_back_and_the_next_engine_goes_on(tmp_path: Path, receiver: CallbackReceiver) -> None:
    """What runs at the end of the grace period is released, at no try's cost, and run by the next engine."""
    settings = settings_for(tmp_path, drain_grace_s=0)
    async with bench(settings, receiver) as world:
        job_id = await world.submit("sleeps", 1.5)
        await world.heard(job_id, ("nap", "start"))
    async with bench(settings, receiver) as world:
        assert not (await world.ended(job_id)).failed
        [nap, _] = await world.engine.views.tasks(ADMIN, job_id)
        assert [attempt["outcome"] for attempt in nap.attempts] == ["released", "completed"]
    assert world.told(job_id)[:2] == [("nap", "start"), ("nap", "complete")]


async def test_a_rerun_is_a_new_job_and_breaks_the_old_one(world: Bench) -> None:
    """The old job's end is not told twice."""
    old = await world.submit("chain", 5)
    await world.ended(old)
    answer = await world.engine.jobs.rerun(ADMIN, old)
    new = await world.ended(int(answer["id"]))
    assert (new.rerun_of, new.result) == (old, {"message": "5"})
    assert (await world.job(old)).state is JobState.BROKEN
    assert [name for name, _ in world.told(old)].count("job") == 1


async def test_an_idempotency_key_stands_for_one_job(world: Bench) -> None:
    """The same body gets the first answer again, another body a conflict."""
    submission = Submission("demo", "chain", {}, idempotency_key="k", fingerprint="f")
    first = await world.engine.jobs.submit(submission)
    assert await world.engine.jobs.submit(submission) == first
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await world.engine.jobs.submit(Submission("demo", "chain", {}, idempotency_key="k", fingerprint="g"))


async def test_another_clients_job_does_not_exist(world: Bench) -> None:
    """Neither to look at nor to change."""
    job_id = await world.submit("chain")
    stranger = Caller("other", Role.SUBMITTER)
    for call in (
        world.engine.views.view(stranger, job_id),
        world.engine.jobs.update(stranger, job_id, {"priority": 1}),
        world.engine.jobs.rerun(stranger, job_id),
        world.engine.jobs.remove(stranger, job_id),
    ):
        with pytest.raises(NotFound):
            await call


async def test_what_is_not_there_is_refused_by_name(world: Bench) -> None:
    """An unknown workflow names the nearest; so does what a parameter names; all faults at once."""
    with pytest.raises(InvalidRequest, match="did you mean 'chain'"):
        await world.engine.jobs.submit(Submission("demo", "chian", {}))
    vodstream = {"content_id": "x", "source_folder": "in"}
    for given, text in (
        ({"source_storage": "S3"}, "source_storage: 'S3' is not configured here"),
        ({"source_storage": "s3"}, "'s3' is not known"),
        ({"output_root": "elsewhere"}, "'elsewhere' is not known; there are: output_root"),
        ({"encoding_profile": "h264"}, "'h264' is not known; there are: AV1, H264, .*; did you mean 'H264'"),
    ):
        with pytest.raises(InvalidRequest, match=text):
            await world.engine.jobs.submit(Submission("demo", "vodstream", {**vodstream, **given}))
    with pytest.raises(InvalidRequest) as caught:
        await world.engine.jobs.submit(Submission("demo", "vodstream", {"drm": ["wide"], "cpix": "so"}))
    assert {fault.path for fault in caught.value.faults} >= {
        "/parameters/drm/0", "/parameters/cpix", "/parameters/content_id", "/parameters/source_folder",
    }  # fmt: skip


async def test_the_log_tells_the_job_from_submission_to_end(world: Bench) -> None:
    """The submission first, then what operators search for."""
    job_id = await world.submit("chain")
    await world.ended(job_id)
    messages = [row["message"] for row in await world.engine.store.logs(job_id)]
    assert '"payload": "job_created"' in messages[0]
    assert "'a' completed successfully" in messages
    assert messages[-1] == "job has completed successfully"


async def test_each_attempt_is_a_line_that_is_shown_to_who_asks_for_all(world: Bench) -> None:
    """Who had it, how it ended, and what a failed one said last: the engine's inside, not the job's course."""
    job_id = await world.submit("flaky", 2)
    await world.ended(job_id)
    shown = await world.engine.store.logs(job_id)
    [task] = await world.engine.views.tasks(ADMIN, job_id)
    lines = [row for row in await world.engine.store.logs(job_id, show_all=True) if not row["visible"]]
    assert {row["task_id"] for row in lines} == {task.task.id}
    assert not {row["id"] for row in lines} & {row["id"] for row in shown}
    assert [row["message"].split(" after ")[0] for row in lines] == [
        f"'{task.task.name}' attempt {each['attempt']} {each['outcome']}" for each in task.attempts
    ]
    assert all(each["worker"] in row["message"] for row, each in zip(lines, task.attempts, strict=True))
