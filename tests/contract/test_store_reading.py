"""The contract of stores: listing, paging, places, logs, events, health, cleaning."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from taskengine.domain.errors import InvalidRequest
from taskengine.domain.job import Attempt, Changes, Snapshot
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import JobFilter, NewJob, Store
from tests.support.clock import START
from tests.support.stores import (
    a_callback,
    a_job,
    a_task,
    add_jobs,
    add_ready,
    an_event,
    log,
    move_job,
    say,
    submit,
    token_maker,
)

ENDED: dict[str, Any] = {"state": JobState.COMPLETED, "completed_at": START}
DAY = 24 * 3_600_000


async def ids(store: Store, **conditions: Any) -> list[int]:
    """The ids of the page that these conditions give."""
    return [job.id for job in await store.jobs(JobFilter(**conditions))]


async def a_few(store: Store) -> None:
    """Jobs that differ in what can be asked for."""
    await submit(
        store,
        Changes(a_job(1, content_id="Film_100%", created_at=START, tags=("a", "b"))),
        Changes(a_job(2, client="other", created_at=START + 1, parameters={"folder": "in/Straße"})),
        Changes(a_job(3, created_at=START + 2, failed=True, **ENDED)),
        Changes(a_job(4, created_at=START + 3, **ENDED, persist=True, priority=2)),
        Changes(a_job(5, created_at=START + 4, state=JobState.BROKEN, completed_at=START, workflow="vodstream")),
    )


async def test_the_next_gate_is_the_first_whose_time_comes(store: Store) -> None:
    """Of scheduled jobs with a semaphore alone."""
    gated: dict[str, Any] = {"state": JobState.SCHEDULED, "semaphore_url": "http://gate/"}
    assert await store.next_gated(START) is None
    await submit(store, Changes(a_job(1, **gated)), Changes(a_job(2, run_at=START + 3, **gated)))
    await submit(
        store,
        Changes(a_job(3, run_at=START + 2, **gated)),
        Changes(a_job(4, run_at=START + 1, **{**gated, "semaphore_url": None})),
    )
    assert [await store.next_gated(START + after) for after in (0, 1, 2, 3)] == [START + 2, START + 2, START + 3, None]


async def test_a_workspace_is_for_the_latest_job_that_works_in_it(store: Store) -> None:
    """Its own job where there is no other; also when that is gone."""
    await submit(store, Changes(a_job(1)), Changes(a_job(2)), Changes(a_job(3, workspace_of=1)))
    await submit(store, Changes(a_job(4, workspace_of=1)), Changes(a_job(5, workspace_of=9)))
    users = [await store.workspace_user(workspace) for workspace in (1, 2, 3, 9, 7)]
    assert [user and user.id for user in users] == [4, 2, 3, 5, None]


@pytest.mark.parametrize(("conditions", "expected"), [
    ({}, [5, 4, 3, 2, 1]),
    ({"ascending": True}, [1, 2, 3, 4, 5]),
    ({"limit": 2}, [5, 4]),
    ({"client": "demo"}, [5, 4, 3, 1]),
    ({"client": "nobody"}, []),
    ({"states": [JobState.QUEUED]}, [2, 1]),
    ({"states": [JobState.COMPLETED, JobState.BROKEN]}, [5, 4, 3]),
    ({"states": []}, []),
    ({"failed": True}, [3]),
    ({"failed": False, "states": [JobState.COMPLETED]}, [4]),
    ({"created_from": START + 2}, [5, 4, 3]),
    ({"created_to": START + 2}, [3, 2, 1]),
    ({"created_from": START + 1, "created_to": START + 3, "client": "demo"}, [4, 3]),
    ({"job_ids": [1, 5, 77]}, [5, 1]),
    ({"job_ids": []}, []),
    ({"persist": True}, [4]),
    ({"persist": False, "client": "demo"}, [5, 3, 1]),
    ({"workflow": "vodstream"}, [5]),
    ({"priority": 2}, [4]),
    ({"tag": "b"}, [1]),
    ({"tag": "%"}, []),
    ({"search": "film"}, [5, 4, 3, 1]),
    ({"search": "VODSTREAM"}, [5]),
    ({"search": "_100%"}, [1]),
    ({"search": "m_1%"}, []),
    ({"search": "m\\_"}, []),
    ({"search": "Straße"}, [2]),
    ({"order_by": "priority", "ascending": True, "limit": 2}, [4, 1]),
    ({"order_by": "created_at"}, [5, 4, 3, 2, 1]),
])  # fmt: skip
async def test_jobs_are_listed_by_what_was_asked_for(
    store: Store, conditions: dict[str, Any], expected: list[int]
) -> None:
    """Each condition alone and together."""
    await a_few(store)
    assert await ids(store, **conditions) == expected


async def test_an_unknown_order_is_refused(store: Store) -> None:
    """Nothing of a caller becomes SQL."""
    with pytest.raises(InvalidRequest, match="order_by: 'state; drop' is not one of"):
        await store.jobs(JobFilter(order_by="state; drop"))


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize(
    "order_by", ["id", "created_at", "updated_at", "run_at", "priority", "started_at", "completed_at"]
)
async def test_pages_cover_every_job_once_whatever_the_order(store: Store, order_by: str, *, ascending: bool) -> None:
    """The cursor goes on after the last job of the page, where values are alike or missing too."""
    chance = random.Random(7)
    for job_id in range(1, 40):
        some_time = chance.choice([None, START, START + 1, START + 2])
        ended: dict[str, Any] = {"state": JobState.COMPLETED, "completed_at": START + job_id % 3}
        job = a_job(
            job_id, created_at=START + chance.randrange(5), priority=chance.randint(1, 3), run_at=some_time,
            started_at=some_time, **(ended if chance.random() < 0.5 else {}),
        )  # fmt: skip
        job.updated_at = START + chance.randrange(4)
        await submit(store, Changes(job))
    whole = await ids(store, order_by=order_by, ascending=ascending, limit=100)
    paged: list[int] = []
    while page := await ids(
        store, order_by=order_by, ascending=ascending, limit=7, after_id=paged[-1] if paged else None
    ):
        paged += page
    assert paged == whole
    assert len(set(whole)) == 39
    jobs = await store.jobs(JobFilter(order_by=order_by, ascending=ascending, limit=100))
    values = [(-1 if getattr(job, order_by) is None else getattr(job, order_by), job.id) for job in jobs]
    assert values == sorted(values, reverse=not ascending)


async def test_places_go_over_all_queued_jobs(store: Store) -> None:
    """1-based, by top of queue, priority and submission, whoever's they are; what is not queued has none."""
    chance = random.Random(11)
    numbers = list(range(1, 3000, 17))
    await submit(store, *(
        Changes(a_job(
            number, client=chance.choice(["demo", "other"]), priority=chance.randint(1, 4),
            top_of_queue=chance.random() < 0.1, state=chance.choice([JobState.QUEUED, JobState.STARTED]),
        ))
        for number in numbers
    ))  # fmt: skip
    await store.decide(numbers[::5], lambda s: move_job(s, JobState.PAUSED))
    await store.decide(numbers[::5], lambda s: move_job(s, JobState.QUEUED, priority=2, top_of_queue=False))
    await store.decide(numbers[3::7], _reprioritise)
    queued = [job for job in await store.jobs(JobFilter(limit=1000)) if job.state is JobState.QUEUED]
    in_order = sorted(queued, key=lambda job: (not job.top_of_queue, job.priority, job.id))
    expected = {job.id: place for place, job in enumerate(in_order, 1)}
    assert await store.positions(numbers) == expected
    some = numbers[10:20]
    assert await store.positions(some) == {job_id: place for job_id, place in expected.items() if job_id in some}
    assert await store.positions([]) == {}


def _reprioritise(snapshot: Snapshot) -> Changes:
    snapshot.job.priority, snapshot.job.top_of_queue = 1, True
    return Changes(snapshot.job, snapshot.job.state)


async def test_a_task_is_read_with_its_attempts(store: Store) -> None:
    """In the order in which they were made."""
    task = a_task(1, id=5)
    await submit(store, Changes(a_job(1), new_tasks=[task, a_task(1, "other", id=6)]))
    for number in (2, 1):
        attempt = Attempt(5, number, f"t{number}", None, None, START + number, "failed", "e", "internal", 1, None)
        await store.decide([1], partial(_with_attempt, attempt=attempt))
    stored = await store.task(5)
    assert stored is not None
    assert [(attempt["attempt"], attempt["outcome"], attempt["exit_code"]) for attempt in stored.attempts] == [
        (1, "failed", 1),
        (2, "failed", 1),
    ]
    assert [len(one.attempts) for one in await store.tasks(1)] == [2, 0]
    assert await store.task(99) is None
    assert list(await store.tasks(99)) == []


async def test_logs_are_read_in_order_and_by_condition(store: Store) -> None:
    """Hidden entries are shown on request; severity, task and cursor narrow."""
    task = a_task(1, id=5)
    await submit(store, Changes(a_job(1), new_tasks=[task], logs=[log("one"), log("two", task=task, severity=3)]))
    await store.decide([1], lambda s: say(s, log("three", visible=False), log("four", task=s.tasks[0], severity=0)))

    async def messages(**conditions: Any) -> list[str]:
        return [entry["message"] for entry in await store.logs(1, **conditions)]

    assert await messages() == ["one", "two", "four"]
    assert await messages(show_all=True) == ["one", "two", "three", "four"]
    assert await messages(severity=3) == ["two"]
    assert await messages(severity=0) == ["four"]
    assert await messages(task_id=5) == ["two", "four"]
    assert await messages(limit=1) == ["one"]
    first, *_ = await store.logs(1)
    assert await messages(after_id=first["id"], show_all=True, limit=2) == ["two", "three"]
    assert first == {
        "id": first["id"], "job_id": 1, "task_id": None, "severity": 1, "progname": "controller", "message": "one",
        "created_at": START, "visible": True,
    }  # fmt: skip
    assert list(await store.logs(999)) == []


async def test_log_text_of_any_kind_is_kept(store: Store) -> None:
    """Names that are not UTF-8, NUL and pictures do not stop a job."""
    await add_jobs(store)
    await store.decide([1], lambda s: say(s, log("a\x00b \udcff 🎬")))
    [entry] = await store.logs(1)
    assert entry["message"] == "a\x00b ? 🎬"


async def test_events_are_resumed_from_an_id(store: Store) -> None:
    """Ids ascend in the order of the commits."""
    task = a_task(1, "encode")
    await submit(store, Changes(a_job(1), new_tasks=[task], events=[an_event(seq=1), an_event(task, "start", seq=2)]))
    await submit(store, Changes(a_job(2, client="other", workflow="w"), events=[an_event(seq=1)]))
    events = await store.events_after(0, limit=2)
    assert [(event["job_id"], event["seq"], event["task_name"]) for event in events] == [(1, 1, None), (1, 2, "encode")]
    [last] = await store.events_after(events[-1]["id"], limit=2)
    assert (last["client"], last["workflow"], last["at"]) == ("other", "w", START)
    assert list(await store.events_after(last["id"], limit=2)) == []


async def test_health_counts_by_state_and_client(store: Store) -> None:
    """Every state is named; a client sees its own jobs alone."""
    empty = await store.health()
    assert set(empty.jobs) == {state.value for state in JobState} | {"failed"}
    assert set(empty.jobs.values()) == {0}
    assert dict(empty.tasks) == {"processed": 0, "failed": 0, "pending": 0}
    await a_few(store)
    everybody, demo = (await store.health()).jobs, (await store.health("demo")).jobs
    assert (everybody["queued"], everybody["completed"], everybody["failed"], everybody["broken"]) == (2, 2, 1, 1)
    assert (demo["queued"], demo["completed"], demo["failed"]) == (1, 2, 1)
    assert (await store.health("nobody")).jobs == empty.jobs


async def test_health_counts_tasks_by_queue(store: Store) -> None:
    """Waiting ones, whether their hint is out or not, working ones, and the totals of what was processed."""
    [job_id, *_] = await add_ready(store, 3)
    await add_ready(store, 1, queue="package")
    sent = await store.dispatch("work", window=2, now=START, tokens=token_maker())
    assert sent[0].task.job_id == job_id
    for state in (TaskState.RUNNING, TaskState.FAILED):
        await store.decide([job_id], partial(_move, state=state))
        if state is TaskState.RUNNING:
            assert (await store.health()).queues["work"] == {"workers": 0, "slots": 0, "working": 1, "pending": 2}
    health = await store.health()
    assert health.queues["work"]["pending"] == 2
    assert health.queues["package"]["pending"] == 1
    assert dict(health.tasks) == {"processed": 1, "failed": 1, "pending": 3}


def _with_attempt(snapshot: Snapshot, attempt: Attempt) -> Changes:
    return Changes(snapshot.job, snapshot.job.state, attempts=[attempt])


def _move(snapshot: Snapshot, state: TaskState) -> Changes:
    task = snapshot.tasks[0]
    before = task.state
    task.move(state)
    task.ended_at = START if task.ended else None
    return Changes(snapshot.job, snapshot.job.state, tasks={task.id or 0: (task, before)})


async def test_cleaning_deletes_ended_jobs_with_all_their_rows(store: Store) -> None:
    """The oldest first, at most as many as asked for; what runs, is young or is to persist stays."""
    task = a_task(2, state=TaskState.COMPLETED, id=5)
    attempt = Attempt(5, 1, "t", None, None, START, "completed")
    await submit(
        store,
        Changes(a_job(1, state=JobState.BROKEN, completed_at=START - 10)),
        Changes(a_job(2, failed=True, **{**ENDED, "completed_at": START - 20}), new_tasks=[task], attempts=[attempt],
                logs=[log("x")], events=[an_event()]),
        Changes(a_job(3, persist=True, **{**ENDED, "completed_at": START - 30})),
        Changes(a_job(4, **ENDED)),
        Changes(a_job(5, state=JobState.STARTED)),
    )  # fmt: skip
    assert list(await store.clean(ended_before=START, limit=1)) == [2]
    assert list(await store.clean(ended_before=START, limit=10)) == [1]
    assert list(await store.clean(ended_before=START, limit=10)) == []
    assert await ids(store) == [5, 4, 3]
    assert await store.task(5) is None
    assert (list(await store.logs(2)), list(await store.events_after(0, limit=9))) == ([], [])
    jobs = (await store.health()).jobs
    assert (jobs["completed"], jobs["failed"], jobs["broken"]) == (2, 0, 0)


async def test_a_job_may_come_back_under_a_cleaned_ones_client(store: Store) -> None:
    """Event and log ids go on after a clean, so that followers miss nothing."""
    await submit(store, Changes(a_job(1, **ENDED), events=[an_event()], logs=[log("x")], callbacks=[a_callback()]))
    [event], [entry] = await store.events_after(0, limit=9), await store.logs(1)
    await store.kill_line(1, "http://one/", "gone", START)
    await store.clean(ended_before=START + 1, limit=9)
    await store.submit([NewJob(Changes(a_job(2), events=[an_event()], logs=[log("y")]))], START)
    [next_event], [next_entry] = await store.events_after(event["id"], limit=9), await store.logs(2)
    assert next_event["id"] > event["id"]
    assert next_entry["id"] > entry["id"]


async def test_a_search_that_many_jobs_fulfil_keeps_every_condition_and_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks through the texts on its way; the answers are those of one that looked for its hits first."""
    monkeypatch.setattr("taskengine.stores.reading._MOST_HITS", 1)
    await a_few(store)
    assert await ids(store, search="film") == [5, 4, 3, 1]
    assert await ids(store, search="film", order_by="priority", ascending=True) == await ids(
        store, job_ids=[5, 4, 3, 1], order_by="priority", ascending=True
    )
    assert await ids(store, search="film", after_id=4, limit=1) == [3]
    assert await ids(store, search="film", client="demo", persist=True) == [4]
