"""The contract of stores: submitting and deciding jobs, durably and one after the other."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from taskengine.domain.errors import StoreUnavailable, UnknownState
from taskengine.domain.job import Attempt, Changes, Snapshot
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import Decide, Known, NewJob, Store
from tests.support.clock import START
from tests.support.stores import (
    Database,
    a_callback,
    a_job,
    a_task,
    add_jobs,
    add_ready,
    an_event,
    log,
    move_job,
    move_task,
    submit,
)

ODD: dict[str, Any] = {
    "big": 2**80,
    "float": 1.10,
    "exponent": 1e300,
    "nested": [{"z": 1, "a": [None, True, {}]}],
    "text": 'Grüße 🎬 \x00 \ud800 "quoted" \\ %_',
    "empty": "",
}


async def test_a_job_comes_back_as_it_was_stored(store: Store) -> None:
    """Every field of a job survives, its JSON to the letter."""
    job = a_job(
        1, state=JobState.SCHEDULED, parameters=ODD, arguments={"a": [ODD]}, custom_data=ODD, content_id="film",
        endpoints=("http://one/", "http://two/"), priority=3, top_of_queue=True, run_at=START + 5,
        semaphore_url="http://gate/", after=(7, 8), persist=True, max_retries=2, timeout_s=1.5, tags=("a", "b"),
        rerun_of=9, started_at=START, deadline_at=START + 9, failing=True, error="no \udcff name", seq=4, workspace_of=8,
    )  # fmt: skip
    await submit(store, Changes(job))
    assert await store.job(1) == dataclasses.replace(job, error="no ? name")


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, "text", 2**70, [1, None], ODD])
async def test_custom_data_of_every_kind_comes_back(store: Store, value: Any) -> None:
    """`custom_data` may be any JSON, null and the empty ones too."""
    await submit(store, Changes(a_job(1, custom_data=value)))
    job = await store.job(1)
    assert job is not None
    assert (job.custom_data, type(job.custom_data)) == (value, type(value))


async def test_a_task_comes_back_as_it_was_stored(store: Store) -> None:
    """Every field of a task survives insertion."""
    task = a_task(
        1, state=TaskState.RUNNING, id=77, index=2, on_failure=True, priority=1, top_of_queue=True, item=ODD, inputs=ODD,
        timeout_s=9.5, attempt=3, token="t", tries=1, timeouts=2, losses=3, dispatched_at=START, published=True,
        worker_id="w", worker="box", seen_at=START + 1, started_at=START + 2, attempt_started_at=START + 3, progress=0.5,
        outputs={"a": 1}, error="e", error_kind="internal", exit_code=-9,
    )  # fmt: skip
    await submit(store, Changes(a_job(1), new_tasks=[task]))
    stored = await store.task(77)
    assert stored is not None
    assert stored.task == task


async def test_every_change_of_a_task_is_written(store: Store) -> None:
    """What a decision may set of a task is found again, the item of a foreach that was expanded late too."""
    [job_id] = await add_jobs(store, tasks=[a_task])
    fields: dict[str, Any] = {
        "index": 0, "item": {"x": [1]}, "priority": 2, "top_of_queue": True, "inputs": {"in": 1}, "timeout_s": 2.5,
        "attempt": 4, "token": "t4", "tries": 1, "timeouts": 2, "losses": 3, "ready_at": 5, "dispatched_at": 6,
        "published": True, "worker_id": "w", "worker": "box", "seen_at": 7, "started_at": 8, "attempt_started_at": 9,
        "progress": 0.25, "outputs": {"out": 1}, "error": "e", "error_kind": "internal", "exit_code": 1,
    }  # fmt: skip
    [changes] = await store.decide([job_id], lambda s: move_task(s, 0, TaskState.READY, **fields))
    [stored] = await store.tasks(job_id)
    assert [stored.task] == [task for task, _ in changes.tasks.values()]


@pytest.mark.parametrize("faults", [{}, {"tries": 1, "error": "e", "error_kind": "internal", "exit_code": 1}])
async def test_the_course_of_a_task_is_written(store: Store, faults: dict[str, Any]) -> None:
    """As it is handed out, begins and completes, a task is found each time as the decision left it; so is one that had a
    fault before."""
    [job_id] = await add_jobs(store, tasks=[a_task])
    over = ("token", "dispatched_at", "worker_id", "seen_at", "attempt_started_at", "error", "error_kind", "exit_code")
    course: list[tuple[TaskState, dict[str, Any]]] = [
        (TaskState.READY, {"index": 0, "item": ODD, "inputs": ODD, **faults}),
        (TaskState.DISPATCHED, {"attempt": 1, "token": "t", "dispatched_at": 6}),
        (TaskState.RUNNING, {"worker_id": "w", "worker": "box", "seen_at": 7, "started_at": 8, "attempt_started_at": 9}),
        (TaskState.COMPLETED, {"ended_at": 10, "progress": 1.0, "outputs": ODD, **dict.fromkeys(over)}),
    ]  # fmt: skip

    def step(state: TaskState, fields: dict[str, Any]) -> Decide:
        return lambda snapshot: move_task(snapshot, 0, state, **fields)

    for state, fields in course:
        [changes] = await store.decide([job_id], step(state, fields))
        [stored] = await store.tasks(job_id)
        assert [stored.task] == [task for task, _ in changes.tasks.values()]


async def test_every_change_of_a_job_is_written(store: Store) -> None:
    """What a decision may set of a job is found again."""
    [job_id] = await add_jobs(store)
    fields: dict[str, Any] = {
        "updated_at": START + 1, "endpoints": ("http://two/",), "priority": 1, "top_of_queue": True, "run_at": 5,
        "semaphore_url": "http://gate/", "persist": True, "started_at": 6, "completed_at": 7, "deadline_at": 8,
        "failing": True, "failed": True, "error": "e", "result": {"files": ["a"]}, "seq": 12,
    }  # fmt: skip
    [changes] = await store.decide([job_id], lambda s: move_job(s, JobState.BROKEN, **fields))
    assert await store.job(job_id) == changes.job


async def test_ids_never_come_twice(database: Database) -> None:
    """Ids ascend, over a restart too."""
    async with database.open() as store:
        jobs, tasks = await store.allocate(jobs=2, tasks=3)
    async with database.open() as store:
        more_jobs, more_tasks = await store.allocate(jobs=2, tasks=1)
    assert (len(jobs), len(tasks)) == (2, 3)
    assert list(jobs) + list(more_jobs) == sorted({*jobs, *more_jobs})
    assert list(tasks) + list(more_tasks) == sorted({*tasks, *more_tasks})


async def test_ids_that_are_asked_for_together_are_each_ones_own(store: Store) -> None:
    """Everyone gets as many as were asked for."""
    given = await asyncio.gather(*(store.allocate(jobs=n % 3, tasks=n) for n in range(20)))
    assert [(len(jobs), len(tasks)) for jobs, tasks in given] == [(n % 3, n) for n in range(20)]
    for place in (0, 1):
        ids = [one for each in given for one in each[place]]
        assert len(ids) == len(set(ids))


async def test_new_tasks_get_ids_that_follow_the_allocated_ones(store: Store) -> None:
    """A task without an id is given one, known to the caller and to its log, event and callback."""
    _, [given] = await store.allocate(tasks=1)
    task = a_task(1, "late")
    changes = Changes(
        a_job(1), new_tasks=[a_task(1, "early", id=given), task], logs=[log("hello", task=task)],
        events=[an_event(task, "start")], callbacks=[a_callback(task=task)],
    )  # fmt: skip
    await submit(store, changes)
    assert task.id is not None
    assert task.id > given
    [entry] = await store.logs(1)
    [event] = await store.events_after(0, limit=10)
    [callback] = await store.callbacks(1)
    assert {entry["task_id"], event["task_id"], callback["task_id"]} == {task.id}


async def test_a_job_and_all_that_follows_is_there_after_a_restart(database: Database) -> None:
    """What was submitted is durable when the call returns."""
    async with database.open() as store:
        task = a_task(1)
        job = a_job(1)
        await submit(store, Changes(job, new_tasks=[task], logs=[log("hello")], events=[an_event()]))
    async with database.open() as store:
        assert await store.job(1) == job
        assert [stored.task for stored in await store.tasks(1)] == [task]
        assert [entry["message"] for entry in await store.logs(1)] == ["hello"]
        [event] = await store.events_after(0, limit=10)
        assert (event["client"], event["workflow"], event["task_name"]) == ("demo", "test", None)
        assert (event["kind"], event["name"], event["seq"], event["body"]) == ("job", "queued", 1, an_event().body)


async def test_the_same_idempotency_key_gives_the_first_answer(store: Store) -> None:
    """A key stands for the first job, per client; the second one is not stored."""

    def new(job_id: int, client: str, key: str | None) -> NewJob:
        return NewJob(Changes(a_job(job_id, client=client)), key, f"digest{job_id}", {"id": job_id})

    assert await store.submit([new(1, "demo", "k"), new(2, "demo", "k"), new(3, "other", "k")], START) == [
        None,
        Known(1, "digest1", {"id": 1}),
        None,
    ]
    assert await store.submit([new(4, "demo", "k"), new(5, "demo", None)], START) == [
        Known(1, "digest1", {"id": 1}),
        None,
    ]
    assert await store.job(2) is None
    assert await store.job(4) is None


async def test_an_idempotency_key_is_kept_a_day_and_not_for_ever(store: Store, database: Database) -> None:
    """Cleaning forgets keys, but none younger than 24 hours."""
    new = NewJob(Changes(a_job(1)), "k", "digest", {})
    await store.submit([new], START)
    await database.clock.advance(24 * 3600)
    await store.clean(ended_before=0, limit=10)
    assert await store.submit([NewJob(Changes(a_job(2)), "k")], database.clock.now()) == [Known(1, "digest", {})]
    await database.clock.advance(30 * 3600)
    await store.clean(ended_before=0, limit=10)
    assert await store.submit([NewJob(Changes(a_job(2)), "k")], database.clock.now()) == [None]


async def test_decide_writes_all_of_a_decision_together(store: Store) -> None:
    """Job, tasks, attempts, logs, events and callbacks of a decision are there at once."""
    [job_id] = await add_ready(store)

    def decide(snapshot: Snapshot) -> Changes:
        changes = move_task(snapshot, 0, TaskState.DISPATCHED, token="t", attempt=1)
        task = snapshot.tasks[0]
        assert task.id is not None
        changes.job_changed, changes.job.seq = True, 5
        changes.new_tasks = [a_task(job_id, "cleanup", on_failure=True)]
        changes.attempts = [Attempt(task.id, 1, "t0", "box", 1, 2, "lost", "gone", "lost", None, 1.5)]
        changes.logs, changes.events = [log("moved", task=task)], [an_event(task, "start", seq=5)]
        changes.callbacks = [a_callback(task=task)]
        return changes

    [changes] = await store.decide([job_id], decide)
    job, [moved, new] = await store.job(job_id), await store.tasks(job_id)
    assert job == changes.job
    assert (moved.task.state, new.task.step, new.task.on_failure) == (TaskState.DISPATCHED, "cleanup", True)
    assert [dict(attempt) for attempt in moved.attempts] == [{
        "attempt": 1, "token": "t0", "worker": "box", "started_at": 1, "ended_at": 2, "outcome": "lost",
        "error": "gone", "error_kind": "lost", "exit_code": None, "process_s": 1.5,
    }]  # fmt: skip
    assert [entry["task_id"] for entry in await store.logs(job_id)] == [moved.task.id]
    assert [event["task_name"] for event in await store.events_after(0, limit=9)] == ["step0"]
    assert [callback["event"] for callback in await store.callbacks(job_id)] == ["start"]


async def test_decide_passes_over_unknown_jobs_and_empty_decisions(store: Store) -> None:
    """Only what was decided comes back, in the order of the ids."""
    first, second, third = await add_jobs(store, 3)
    asked: list[int] = []

    def decide(snapshot: Snapshot) -> Changes | None:
        asked.append(snapshot.job.id)
        if snapshot.job.id == first:
            return None
        if snapshot.job.id == second:
            return Changes(snapshot.job, snapshot.job.state, job_changed=False)
        return move_job(snapshot, JobState.STARTED)

    changes = await store.decide([third, 999, second, first], decide)
    assert [one.job.id for one in changes] == [third]
    assert sorted(asked) == [first, second, third]


async def test_a_decision_that_raises_changes_nothing(store: Store) -> None:
    """The error reaches the caller, and what was decided for other jobs of the same call is not written either."""
    ids = await add_jobs(store, 2)

    def decide(snapshot: Snapshot) -> Changes:
        if snapshot.job.id == ids[1]:
            raise ZeroDivisionError("no")
        return move_job(snapshot, JobState.STARTED)

    with pytest.raises(ZeroDivisionError, match="no"):
        await store.decide(ids, decide)
    job = await store.job(ids[0])
    assert job is not None
    assert job.state is JobState.QUEUED


async def test_a_write_is_guarded_by_the_state_it_leaves(store: Store) -> None:
    """A decision that names a wrong state before is refused as a whole."""
    [job_id] = await add_ready(store)

    def wrong_task(snapshot: Snapshot) -> Changes:
        changes = move_task(snapshot, 0, TaskState.DISPATCHED, token="t")
        [(task_id, (task, _))] = changes.tasks.items()
        changes.tasks[task_id] = (task, TaskState.RUNNING)
        changes.logs = [log("never")]
        return changes

    def wrong_job(snapshot: Snapshot) -> Changes:
        changes = move_job(snapshot, JobState.PAUSED)
        changes.job_before = JobState.QUEUED
        return changes

    for wrong in (wrong_task, wrong_job):
        with pytest.raises(UnknownState, match="1 of 1 rows were not as the decision had them"):
            await store.decide([job_id], wrong)
    assert await store.logs(job_id) == []
    assert await store.ready_queues() == ["work"]


@pytest.mark.parametrize(
    ("state", "fields"),
    [(TaskState.COMPLETED, {"ended_at": None}), (TaskState.RUNNING, {"ended_at": START}), (TaskState.RUNNING, {"token": None})],
)  # fmt: skip
async def test_the_schema_ties_times_and_tokens_to_states(
    store: Store, state: TaskState, fields: dict[str, Any]
) -> None:
    """A task has an end if and only if it has ended, and a token where one is out."""
    with pytest.raises(UnknownState, match="refused a row"):
        await submit(store, Changes(a_job(1), new_tasks=[a_task(1, state=state, **fields)]))
    with pytest.raises(UnknownState, match="refused a row"):
        await submit(store, Changes(a_job(1, state=JobState.COMPLETED)))
    assert await store.job(1) is None


async def test_decisions_on_one_job_are_made_one_after_the_other(store: Store) -> None:
    """Fifty concurrent decisions each see what the one before wrote."""
    [job_id] = await add_jobs(store)

    def count_up(snapshot: Snapshot) -> Changes:
        snapshot.job.seq += 1
        return Changes(snapshot.job, snapshot.job.state, logs=[log(str(snapshot.job.seq))])

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(store.decide([job_id], count_up))
    job = await store.job(job_id)
    assert job is not None
    assert job.seq == 50
    assert [entry["message"] for entry in await store.logs(job_id)] == [str(number) for number in range(1, 51)]


async def test_one_failing_unit_does_not_fail_those_that_are_committed_with_it(store: Store) -> None:
    """Units that wait together share a commit, and each has its own outcome."""
    ids = await add_jobs(store, 20)

    def decide(snapshot: Snapshot) -> Changes:
        changes = move_job(snapshot, JobState.STARTED)
        if snapshot.job.id % 2:
            changes.job_before = JobState.PAUSED  # refused
        return changes

    outcomes = await asyncio.gather(*(store.decide([i], decide) for i in ids), return_exceptions=True)
    assert [isinstance(outcome, UnknownState) for outcome in outcomes] == [bool(i % 2) for i in ids]
    for job_id in ids:
        job = await store.job(job_id)
        assert job is not None
        assert job.state is (JobState.QUEUED if job_id % 2 else JobState.STARTED)


async def test_what_a_call_wrote_is_read_by_the_next_call(store: Store) -> None:
    """Reads go their own way and yet never lag behind a write that returned."""
    [job_id] = await add_jobs(store)
    for number in range(1, 40):

        def decide(snapshot: Snapshot, number: int = number) -> Changes:
            snapshot.job.seq = number
            return Changes(snapshot.job, snapshot.job.state)

        await store.decide([job_id], decide)
        job = await store.job(job_id)
        assert job is not None
        assert job.seq == number


async def test_a_cancelled_caller_leaves_a_whole_transaction(store: Store) -> None:
    """Whoever stops waiting for a write does not disturb it nor the ones after it."""
    ids = await add_jobs(store, 10)
    writes = [asyncio.ensure_future(store.decide([i], lambda s: move_job(s, JobState.STARTED, seq=1))) for i in ids]
    await asyncio.sleep(0)
    for write in writes[::2]:
        write.cancel()
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)  # CancelledError is none
    for job_id in ids:
        job = await store.job(job_id)
        assert job is not None
        assert (job.state, job.seq) in {(JobState.STARTED, 1), (JobState.QUEUED, 0)}
    health = await store.health()
    assert health.jobs["queued"] + health.jobs["started"] == 10


async def test_closing_waits_for_what_was_begun(database: Database) -> None:
    """Writes that are under way when the store closes are written, and their callers hear of it."""
    async with database.open() as store:
        ids = await add_jobs(store, 30)
        writes = [asyncio.ensure_future(store.decide([i], lambda s: move_job(s, JobState.STARTED))) for i in ids]
        await asyncio.sleep(0)
    assert [len(done) for done in await asyncio.gather(*writes)] == [1] * 30
    async with database.open() as store:
        assert (await store.health()).jobs["started"] == 30


async def test_a_closed_store_says_so(database: Database) -> None:
    """Reading and writing after the end raise StoreUnavailable."""
    async with database.open() as store:
        pass
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.allocate(jobs=1)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.job(1)


async def test_definitions_are_kept_once_by_their_digest(store: Store) -> None:
    """A digest stands for one source for ever."""
    await store.save_definition("d1", "vodstream", "{}")
    await store.save_definition("d1", "vodstream", "{}")
    assert await store.definition("d1") == ("vodstream", "{}")
    assert await store.definition("d2") is None


async def test_meta_values_and_duties(store: Store) -> None:
    """A value of the installation is set and read; a duty is claimed once per period, by one caller."""
    assert await store.meta("listened") is None
    await store.set_meta("listened", "1")
    await store.set_meta("listened", "2")
    assert await store.meta("listened") == "2"
    claims = await asyncio.gather(*(store.claim_duty("reaper", now=START, every_ms=1000) for _ in range(5)))
    assert sorted(claims) == [False] * 4 + [True]
    assert not await store.claim_duty("reaper", now=START + 999, every_ms=1000)
    assert await store.claim_duty("reaper", now=START + 1000, every_ms=1000)
    assert await store.claim_duty("cleaner", now=START, every_ms=1000)
    assert await store.claim_duty("reaper", now=START - 50_000, every_ms=1000), "a clock that was set back"


async def test_a_job_takes_the_place_of_another_in_one_write(store: Store) -> None:
    """Both are there afterwards, or, where the decision about the old one fails, neither."""
    await store.submit([NewJob(Changes(a_job(1)))], START)

    def fails(snapshot: Snapshot) -> Changes:
        raise LookupError(str(snapshot.job.id))

    with pytest.raises(LookupError):
        await store.replace(1, fails, Changes(a_job(2)))
    assert await store.job(2) is None
    await store.replace(1, lambda old: move_job(old, JobState.BROKEN), Changes(a_job(2), logs=[log("new")]))
    old, new = await store.job(1), await store.job(2)
    assert old is not None
    assert new is not None
    assert (old.state, [row["message"] for row in await store.logs(2)]) == (JobState.BROKEN, ["new"])
