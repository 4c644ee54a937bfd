"""The contract of stores: leases, heartbeats, progress and timers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from taskengine.domain.job import Changes
from taskengine.domain.messages import Running, WorkerInfo
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import Dispatched, Store
from tests.support.clock import START
from tests.support.stores import Database, a_job, a_task, add_jobs, add_ready, move_job, move_task, submit, token_maker

WORKER = WorkerInfo("w1", "box", "python", {"work": 4}, {"files": "OK"})
HOUR = 3_600_000


async def dispatched(store: Store, amount: int, *, running: int = 0) -> Sequence[Dispatched]:
    """Tasks that are out, the first of them running."""
    await add_ready(store, amount)
    sent = await store.dispatch("work", window=amount, now=START, tokens=token_maker())
    for one in sent[:running]:
        await store.decide(
            [one.task.job_id],
            lambda s: move_task(
                s, 0, TaskState.RUNNING, worker_id="w1", worker="box", seen_at=START, attempt_started_at=START
            ),
        )
    return sent


def named(sent: Dispatched, token: str | None = None) -> Running:
    """As a worker names it."""
    return Running(sent.task.id or 0, sent.task.attempt, token or sent.task.token or "")


async def test_a_heartbeat_renews_what_it_names_and_tells_what_is_not_held(store: Store) -> None:
    """Tokens decide: a running or dispatched task is renewed by its token, any other name is returned."""
    running, out, ended, stale = await dispatched(store, 4, running=1)
    await store.decide([ended.task.job_id], lambda s: move_task(s, 0, TaskState.RUNNING))
    await store.decide([ended.task.job_id], lambda s: move_task(s, 0, TaskState.COMPLETED))
    unknown = [named(ended), named(stale, "another"), Running(99_999, 1, "none")]
    refused = await store.heartbeat(WORKER, [named(running), named(out), *unknown], START + 500)
    assert list(refused) == unknown
    seen = [(await store.tasks(one.task.job_id))[0].task.seen_at for one in (running, out, ended, stale)]
    assert seen == [START + 500, START + 500, None, None]
    [named_first] = await store.tasks(out.task.job_id)
    assert (named_first.task.worker_id, named_first.task.worker) == ("w1", "box")
    assert (await store.heartbeat(WORKER, [], START + 600)) == []


async def test_heartbeats_that_come_together_each_have_their_answer(store: Store) -> None:
    """A worker that was silent for an hour and comes back among them is known again."""
    one, other = await dispatched(store, 2)
    back = WorkerInfo("w2", "other", "go", {"work": 2})
    await store.heartbeat(back, [], START - HOUR - 1)
    stale = named(one, "another")
    answers = await asyncio.gather(
        store.heartbeat(WORKER, [named(one)], START + 500),
        store.heartbeat(back, [named(other), stale], START + 500),
        store.heartbeat(WorkerInfo("w3", "third", "go", {}), [], START + 500),
    )
    assert [list(answer) for answer in answers] == [[], [stale], []]
    assert sorted(worker["id"] for worker in await store.workers()) == ["w1", "w2", "w3"]
    held = [(await store.tasks(sent.task.job_id))[0].task for sent in (one, other)]
    assert [(task.worker_id, task.seen_at) for task in held] == [("w1", START + 500), ("w2", START + 500)]


async def test_workers_are_known_by_their_heartbeats(store: Store) -> None:
    """A worker's row is its last sign of life; those that were silent for an hour are gone."""
    await dispatched(store, 2, running=1)
    await store.heartbeat(WorkerInfo("old", "gone", "python", {"work": 1}), [], START - HOUR - 1)
    await store.heartbeat(WORKER, [], START - 5)
    await store.heartbeat(WorkerInfo("w2", "other", "go", {"work": 1, "package": 2}), [], START)
    await store.heartbeat(WORKER, [], START)
    assert [dict(worker) for worker in await store.workers()] == [
        {"id": "w1", "name": "box", "language": "python", "queues": {"work": 4}, "seen_at": START, "working": 1,
         "sandbox": {"files": "OK"}},
        {"id": "w2", "name": "other", "language": "go", "queues": {"work": 1, "package": 2}, "seen_at": START,
         "working": 0, "sandbox": {}},
    ]  # fmt: skip
    queues = (await store.health()).queues
    assert queues["work"] == {"workers": 2, "slots": 5, "working": 1, "pending": 1}
    assert queues["package"] == {"workers": 1, "slots": 2, "working": 0, "pending": 0}


async def test_silent_workers_count_for_no_slots(store: Store, database: Database) -> None:
    """The health of a queue tells who is there now."""
    await store.heartbeat(WORKER, [], START)
    await database.clock.advance(120)
    assert (await store.health()).queues.get("work", {"workers": 0})["workers"] == 0
    assert [worker["id"] for worker in await store.workers()] == ["w1"]


async def test_running_tasks_expire_by_their_last_heartbeat(store: Store) -> None:
    """A lease that was renewed in time is left alone, one that was not is told, oldest jobs first."""
    first, second, third = await dispatched(store, 3, running=3)
    await store.heartbeat(WORKER, [named(second)], START + 1000)
    expired = await store.expired(seen_before=START + 1000, published_before=0, limit=10)
    assert list(expired) == [(one.task.job_id, one.task.id, one.task.token) for one in (first, third)]
    assert len(await store.expired(seen_before=START + 1000, published_before=0, limit=1)) == 1
    assert await store.expired(seen_before=START, published_before=0, limit=10) == []


async def test_dispatched_tasks_expire_until_they_are_published(store: Store) -> None:
    """What the broker has is not sent again; what it may not have is found by the sweep."""
    confirmed, lost = await dispatched(store, 2)
    await store.confirm_published([confirmed.task.token or "", "unknown"])
    await store.confirm_published([])
    expired = await store.expired(seen_before=START + HOUR, published_before=START + 1, limit=10)
    assert list(expired) == [(lost.task.job_id, lost.task.id, lost.task.token)]
    assert await store.expired(seen_before=START + HOUR, published_before=START, limit=10) == []
    [stored] = await store.tasks(confirmed.task.job_id)
    assert stored.task.published


async def test_what_was_dispatched_and_has_not_started_is_told(store: Store) -> None:
    """With its queue; neither what runs, nor what a worker has named since, nor what is new."""
    _, out, at_hand = await dispatched(store, 3, running=1)
    await store.heartbeat(WORKER, [named(at_hand)], START + 500)
    found = await store.unstarted(before=START + 1, limit=10)
    assert found == [(out.task.job_id, out.task.id, out.task.token, "work")]
    assert await store.unstarted(before=START, limit=10) == []
    assert len(await store.unstarted(before=START + 501, limit=10)) == 2
    assert len(await store.unstarted(before=START + 501, limit=1)) == 1


async def test_every_held_task_is_told(store: Store) -> None:
    """Dispatched and running ones, which an embedded restart voids."""
    sent = await dispatched(store, 3, running=1)
    await add_ready(store)
    await store.decide([sent[2].task.job_id], lambda s: move_task(s, 0, TaskState.READY, token=None))
    assert list(await store.held()) == [(one.task.job_id, one.task.id, one.task.token) for one in sent[:2]]


async def test_progress_is_taken_from_the_token_that_is_out(store: Store) -> None:
    """A stale token changes nothing, and the job's `updated_at` is left alone."""
    running, stale = await dispatched(store, 2, running=2)
    rows = [(running.task.id or 0, running.task.token or "", 0.5), (stale.task.id or 0, "another", 0.7)]
    await store.save_progress(rows, START + 9)
    await store.save_progress([], START + 9)
    assert [(await store.tasks(one.task.job_id))[0].task.progress for one in (running, stale)] == [0.5, 0.0]
    job = await store.job(running.task.job_id)
    assert job is not None
    assert job.updated_at == START


async def test_a_jobs_progress_is_the_mean_of_its_tasks(store: Store) -> None:
    """By weight: ended tasks count 1; skipped ones and those of on_failure do not count."""
    tasks = [
        a_task(1, "a", state=TaskState.SKIPPED),
        a_task(1, "b", state=TaskState.RUNNING, progress=0.5, weight=6.0),
        a_task(1, "c"),
        a_task(1, "d", state=TaskState.COMPLETED, progress=0.1),
        a_task(1, "e", on_failure=True),
    ]
    skipped = [a_task(3, state=TaskState.SKIPPED)]
    await submit(store, Changes(a_job(1), new_tasks=tasks), Changes(a_job(2)), Changes(a_job(3), new_tasks=skipped))
    progress = await store.progress([1, 2, 3])
    assert progress.get(1) == pytest.approx((6 * 0.5 + 1) / 8)
    assert progress.get(3) == 1.0
    assert progress.get(2, 0.0) == 0.0


async def test_the_job_of_a_task(store: Store) -> None:
    """Task ids are resolved, unknown ones are left out."""
    first, second = await add_ready(store, 2)
    ids = [(await store.tasks(job_id))[0].task.id or 0 for job_id in (first, second)]
    assert await store.job_of([*ids, 99_999]) == {ids[0]: first, ids[1]: second}
    assert await store.job_of([]) == {}


async def test_timers_are_due_in_order_of_their_times(store: Store) -> None:
    """Retries, times of scheduled jobs, and deadlines of started ones; each job once."""
    assert await store.next_due() is None
    waits = [a_task(1, step, state=TaskState.RETRY_WAIT, ready_at=START + at) for step, at in (("a", 30), ("b", 40))]
    await submit(
        store,
        Changes(a_job(1, state=JobState.STARTED, deadline_at=START + 90), new_tasks=waits),
        Changes(a_job(2, state=JobState.SCHEDULED, run_at=START + 20)),
        Changes(a_job(3, state=JobState.STARTED, deadline_at=START + 10)),
        Changes(a_job(4, state=JobState.SCHEDULED, run_at=START + 5, semaphore_url="http://gate/")),
        Changes(a_job(5, state=JobState.PAUSED, run_at=START + 1, deadline_at=START + 1)),
        Changes(a_job(6, state=JobState.STARTED)),
    )
    assert await store.next_due() == START + 10
    assert list(await store.due(START + 9, 10)) == []
    assert list(await store.due(START + 30, 10)) == [3, 2, 1]
    assert list(await store.due(START + 100, 2)) == [3, 2]
    await store.decide([3], lambda s: move_job(s, JobState.BROKEN))
    assert await store.next_due() == START + 20


async def test_a_scheduled_job_without_a_time_is_due(store: Store) -> None:
    """A job whose gate was taken away by hand does not wait for ever."""
    await add_jobs(store, state=JobState.SCHEDULED)
    assert (await store.next_due() or 0) <= START
    assert list(await store.due(START, 10)) == [1]


async def test_gated_jobs_are_those_whose_time_has_come(store: Store) -> None:
    """A semaphore is asked once `run_at` has passed, or there is none."""
    gate: dict[str, Any] = {"state": JobState.SCHEDULED, "semaphore_url": "http://gate/"}
    await submit(
        store, *(Changes(a_job(i, run_at=at, **gate)) for i, at in ((1, START + 5), (2, None), (3, START + 9)))
    )
    assert list(await store.gated(START + 5)) == [(2, "demo", "http://gate/"), (1, "demo", "http://gate/")]
    assert await store.next_due() is None


async def test_pending_jobs_are_told_once_what_they_wait_for_is_over(store: Store) -> None:
    """All ended, or one failed: then the engine decides."""
    ended: dict[str, Any] = {"state": JobState.COMPLETED, "completed_at": START}
    await submit(
        store,
        Changes(a_job(1, **ended)),
        Changes(a_job(2, state=JobState.STARTED)),
        Changes(a_job(3, failed=True, **ended)),
        Changes(a_job(4, state=JobState.BROKEN, completed_at=START)),
        Changes(a_job(10, state=JobState.PENDING, after=(1,))),
        Changes(a_job(11, state=JobState.PENDING, after=(1, 2))),
        Changes(a_job(12, state=JobState.PENDING, after=(2, 3))),
        Changes(a_job(13, state=JobState.PENDING, after=(2, 4))),
        Changes(a_job(14, state=JobState.QUEUED, after=(1,))),
        Changes(a_job(15, state=JobState.PENDING, after=(999,))),
    )
    pending = [(job_id, list(after)) for job_id, after in await store.pending_after()]
    assert pending == [(10, [1]), (12, [2, 3]), (13, [2, 4]), (15, [999])]
    await store.decide([2], lambda s: move_job(s, JobState.COMPLETED))
    assert [job_id for job_id, _ in await store.pending_after()] == [10, 11, 12, 13, 15]
