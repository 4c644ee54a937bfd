"""The contract of stores: admission into slots, and dispatch within a window."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from taskengine.domain.errors import WholeNeeded
from taskengine.domain.job import Changes, Snapshot
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import Candidates, DispatchPlan, Store
from tests.support.clock import START
from tests.support.stores import a_job, a_task, add_jobs, add_ready, move_job, move_task, submit, token_maker


def start(snapshot: Snapshot) -> Changes:
    """Start a job: its tasks become ready."""
    changes = move_job(snapshot, JobState.STARTED, started_at=START)
    for task in snapshot.tasks:
        assert task.id is not None
        changes.tasks[task.id] = (task, task.state)
        task.move(TaskState.READY)
    return changes


async def test_admission_sees_the_slots_and_the_heads_of_each_queue(store: Store) -> None:
    """Started jobs hold slots; queued ones come per client in their order."""
    await submit(
        store,
        Changes(a_job(1, state=JobState.STARTED, priority=2)),
        Changes(a_job(2, client="other", priority=9)),
        Changes(a_job(3, priority=5)),
        Changes(a_job(4, priority=1)),
        Changes(a_job(5, priority=9, top_of_queue=True)),
        Changes(a_job(6, state=JobState.PAUSED)),
        Changes(a_job(7, state=JobState.SCHEDULED)),
        Changes(a_job(8, priority=5)),
    )
    seen: list[Candidates] = []

    def choose(candidates: Candidates) -> Sequence[int]:
        seen.append(candidates)
        return []

    assert await store.admit(START, choose, start) == []
    assert list(seen[0].started) == [("demo", 2, False)]
    by_client: dict[str, list[int]] = {}
    for job_id, client, _, _ in seen[0].queued:
        by_client.setdefault(client, []).append(job_id)
    assert by_client == {"demo": [5, 4, 3, 8], "other": [2]}
    assert (5, "demo", 9, True) in seen[0].queued


async def test_admission_starts_what_was_chosen(store: Store) -> None:
    """`start` decides each chosen job, in the same transaction."""
    ids = await add_jobs(store, 3, tasks=[a_task])
    [changes] = await store.admit(START, lambda candidates: [candidates.queued[0][0]], start)
    assert changes.job.id == ids[0]
    job = await store.job(ids[0])
    assert job is not None
    assert (job.state, job.started_at) == (JobState.STARTED, START)
    assert await store.ready_queues() == ["work"]
    health = await store.health()
    assert (health.jobs["queued"], health.jobs["started"]) == (2, 1)


async def test_concurrent_admissions_never_exceed_the_slots(store: Store) -> None:
    """Each admission sees what the one before started."""
    await add_jobs(store, 20)

    def choose(candidates: Candidates) -> Sequence[int]:
        return [one[0] for one in candidates.queued][: 3 - len(candidates.started)]

    admitted = await asyncio.gather(*(store.admit(START, choose, start) for _ in range(10)))
    assert sum(len(one) for one in admitted) == 3
    assert (await store.health()).jobs["started"] == 3


async def test_dispatch_goes_by_top_of_queue_priority_job_and_task(store: Store) -> None:
    """The order in which ready tasks are dispatched."""

    def ready(job_id: int, task_id: int, priority: int, *, top: bool = False, queue: str = "work") -> Changes:
        task = a_task(
            job_id, state=TaskState.READY, id=task_id, priority=priority, top_of_queue=top, queue=queue
        )  # fmt: skip
        return Changes(a_job(job_id, state=JobState.STARTED, workflow=f"w{job_id}"), new_tasks=[task])

    await submit(
        store, ready(1, 11, 5), ready(2, 22, 1), ready(3, 3, 9, top=True), ready(4, 4, 5), ready(5, 5, 1, queue="other")
    )
    sent = await store.dispatch("work", window=10, now=START + 1, tokens=token_maker())
    assert [one.task.id for one in sent] == [3, 22, 11, 4]
    assert [(one.client, one.workflow) for one in sent[:2]] == [("demo", "w3"), ("demo", "w2")]


async def test_a_dispatched_task_has_a_new_attempt_and_token(store: Store) -> None:
    """What dispatch sets is what is stored, and nothing of the last attempt stays."""
    [job_id] = await add_ready(
        store, attempt=2, token="old", worker_id="w", worker="box", seen_at=START, published=True, inputs={"a": 1}
    )
    [sent] = await store.dispatch("work", window=1, now=START + 7, tokens=lambda: "fresh")
    assert (sent.task.state, sent.task.attempt, sent.task.token) == (TaskState.DISPATCHED, 3, "fresh")
    assert (sent.task.dispatched_at, sent.task.published, sent.task.inputs) == (START + 7, False, {"a": 1})
    assert (sent.task.worker_id, sent.task.worker, sent.task.seen_at) == (None, None, None)
    [stored] = await store.tasks(job_id)
    assert stored.task == sent.task


async def test_the_window_counts_what_is_out_and_not_running(store: Store) -> None:
    """A queue is filled up to its window, and again as tasks start."""
    ids = await add_ready(store, 6)
    tokens = token_maker()
    assert len(await store.dispatch("work", window=2, now=START, tokens=tokens)) == 2
    assert await store.dispatch("work", window=2, now=START, tokens=tokens) == []
    await store.decide([ids[0]], lambda s: move_task(s, 0, TaskState.RUNNING))
    assert [one.task.job_id for one in await store.dispatch("work", window=2, now=START, tokens=tokens)] == [ids[2]]
    assert await store.dispatch("nothing", window=2, now=START, tokens=tokens) == []


async def test_concurrent_dispatches_never_give_a_task_twice(store: Store) -> None:
    """Each task goes out once."""
    await add_ready(store, 10, tasks=3)
    tokens = token_maker()
    sent = await asyncio.gather(*(store.dispatch("work", window=30, now=START, tokens=tokens) for _ in range(8)))
    ids = [one.task.id for batch in sent for one in batch]
    assert len(ids) == len(set(ids)) == 30
    assert await store.ready_queues() == []


async def test_queues_with_ready_tasks(store: Store) -> None:
    """A queue is ready while something in it can be dispatched."""
    assert await store.ready_queues() == []
    await add_ready(store, 1, queue="b")
    await add_ready(store, 1, queue="a")
    assert await store.ready_queues() == ["a", "b"]
    await store.dispatch("a", window=8, now=START, tokens=token_maker())
    assert await store.ready_queues() == ["b"]


# ------------------------------------------------------------------------------- decided and handed out at one time


def plan(*, window: int = 8, token: Callable[[], str] | None = None) -> DispatchPlan:
    """The same window for every queue."""
    return DispatchPlan(lambda _queue: window, START + 5, token or token_maker())


def free_second(snapshot: Snapshot) -> Changes:
    """The job's first task has ended, and its second is ready."""
    first, second = snapshot.tasks
    changes = move_task(snapshot, 0, TaskState.RUNNING)
    first.move(TaskState.COMPLETED)
    first.ended_at, first.token = START, None
    assert second.id is not None
    changes.tasks[second.id] = (second, second.state)
    second.move(TaskState.READY)
    return changes


def end_second(snapshot: Snapshot) -> Changes:
    """The job's second task has ended."""
    second = snapshot.tasks[1]
    assert second.id is not None
    changes = Changes(snapshot.job, snapshot.job.state, job_changed=False)
    changes.tasks[second.id] = (second, second.state)
    second.move(TaskState.RUNNING)
    second.move(TaskState.COMPLETED)
    second.ended_at, second.token = START, None
    return changes


async def add_chains(store: Store, priorities: Sequence[int]) -> list[int]:
    """Started jobs of two steps, the first of which is dispatched; their ids."""
    [ids, _] = await store.allocate(jobs=len(priorities))
    await submit(
        store,
        *(
            Changes(
                a_job(job_id, state=JobState.STARTED, priority=priority),
                new_tasks=[
                    a_task(job_id, "a", state=TaskState.DISPATCHED, token=f"a{job_id}", priority=priority),
                    a_task(job_id, "b", priority=priority),
                ],
            )
            for job_id, priority in zip(ids, priorities, strict=True)
        ),
    )
    return list(ids)


async def test_a_decision_hands_out_what_it_frees(store: Store) -> None:
    """With its attempt and token, in the same transaction; counters say so."""
    [job_id] = await add_chains(store, [5])
    advanced = await store.advance({job_id: ()}, free_second, plan(window=1, token=lambda: "fresh"))
    [sent] = advanced.dispatched
    assert (sent.task.state, sent.task.attempt, sent.task.token) == (TaskState.DISPATCHED, 1, "fresh")
    assert (sent.task.dispatched_at, sent.client, sent.workflow) == (START + 5, "demo", "test")
    first, second = await store.tasks(job_id)
    assert (first.task.state, second.task) == (TaskState.COMPLETED, sent.task)
    assert (await store.health()).queues["work"]["pending"] == 1
    assert [one[1] for one in await store.held()] == [sent.task.id]


async def test_what_a_decision_frees_waits_behind_what_is_before_it(store: Store) -> None:
    """Strict priority, then first in first out, over all that is ready."""
    [urgent] = await add_ready(store, priority=1)
    ids = await add_chains(store, [5, 5, 5])
    [late] = await add_ready(store, priority=5)
    advanced = await store.advance(dict.fromkeys(ids, ()), free_second, plan(window=3))
    assert {one.task.job_id for one in advanced.dispatched} == {urgent, *ids[:2]}
    again = await store.dispatch("work", window=5, now=START, tokens=token_maker())
    assert [one.task.job_id for one in again] == [ids[2], late]


async def test_room_that_a_decision_makes_is_filled(store: Store) -> None:
    """A task that ended and freed nothing makes room for another job's."""
    [chain] = await add_chains(store, [5])
    [waiting] = await add_ready(store)
    assert await store.dispatch("work", window=1, now=START, tokens=token_maker()) == []

    def run(snapshot: Snapshot) -> Changes:
        return move_task(snapshot, 0, TaskState.RUNNING, worker_id="w", worker="box")

    advanced = await store.advance({chain: ()}, run, plan(window=1))
    assert [one.task.job_id for one in advanced.dispatched] == [waiting]


async def test_new_tasks_of_a_decision_are_handed_out_with_their_ids(store: Store) -> None:
    """A fan-out that a decision makes is stored as dispatched."""
    [job_id] = await add_jobs(store, 1)

    def fan_out(snapshot: Snapshot) -> Changes:
        return Changes(
            snapshot.job, snapshot.job.state, job_changed=False,
            new_tasks=[a_task(job_id, "each", state=TaskState.READY, index=index) for index in range(3)],
        )  # fmt: skip

    advanced = await store.advance({job_id: ()}, fan_out, plan(window=2))
    stored = {one.task.id: one.task.state for one in await store.tasks(job_id)}
    assert [stored[one.task.id] for one in advanced.dispatched] == [TaskState.DISPATCHED] * 2
    assert sorted(stored.values()) == [TaskState.DISPATCHED, TaskState.DISPATCHED, TaskState.READY]


async def test_what_waits_in_a_queue_that_was_free_goes_first(store: Store) -> None:
    """After a decision that left nothing waiting, the next is written with the queue's turn; it holds what came between."""
    first, second, third = await add_chains(store, [5, 5, 5])
    assert len((await store.advance({first: ()}, free_second, plan())).dispatched) == 1
    [urgent] = await add_ready(store, priority=1)
    beside = await store.advance({second: ()}, free_second, plan(window=3))
    assert [one.task.job_id for one in beside.dispatched] == [
        urgent
    ]  # of the chains the first's second step is out, and the third's first
    assert [one.task.job_id for one in await store.dispatch("work", window=4, now=START, tokens=token_maker())] == [
        second
    ]
    assert (await store.advance({third: ()}, free_second, plan(window=3))).dispatched == []
    assert [one.task.state for one in await store.tasks(third)] == [TaskState.COMPLETED, TaskState.READY]


async def test_what_leaves_a_queue_that_was_free_lets_in_what_waits(store: Store) -> None:
    """A decision that frees nothing fills the room that it makes, however the queue was before."""
    first, second = await add_chains(store, [5, 5])
    await store.advance({first: ()}, free_second, plan())
    [waiting] = await add_ready(store)

    def run(snapshot: Snapshot) -> Changes:
        return move_task(snapshot, 0, TaskState.RUNNING, worker_id="w", worker="box")

    advanced = await store.advance({second: ()}, run, plan(window=2))
    assert [one.task.job_id for one in advanced.dispatched] == [waiting]


async def test_concurrent_decisions_keep_one_window(store: Store) -> None:
    """However many decide at one time, no more is out than the window, and nothing goes out twice."""
    [first, *ids] = await add_chains(store, [5] * 31)
    tokens = token_maker()
    await store.advance({first: ()}, free_second, plan(window=100, token=tokens))
    await store.advance({first: ()}, end_second, plan(window=100, token=tokens))  # the queue is free now
    advanced, dispatched = await asyncio.gather(
        asyncio.gather(
            *(
                store.advance(dict.fromkeys(ids[n : n + 3], ()), free_second, plan(window=7, token=tokens))
                for n in range(0, 30, 3)
            )
        ),
        asyncio.gather(*(store.dispatch("work", window=7, now=START, tokens=tokens) for _ in range(5))),
    )
    sent = [one.task.id for some in (*(each.dispatched for each in advanced), *dispatched) for one in some]
    assert sorted(one[1] for one in await store.held()) == sorted(task_id for task_id in sent if task_id is not None)
    assert len(sent) == len(set(sent)) <= 7
    assert len(await store.dispatch("work", window=30, now=START, tokens=tokens)) == 30 - len(sent)


async def test_of_a_job_of_many_tasks_a_decision_is_given_what_it_is_about(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those tasks, the blocked ones and how many others there are; all of them where it asks for them."""
    monkeypatch.setattr("taskengine.stores.changes._MANY_TASKS", 4)
    states = [TaskState.COMPLETED, TaskState.DISPATCHED, TaskState.DISPATCHED, TaskState.READY, TaskState.BLOCKED]
    tasks = [a_task(1, "each", state=state, token=f"t{n}") for n, state in enumerate(states)]
    await submit(store, Changes(a_job(1, state=JobState.STARTED), new_tasks=tasks))
    ids = [one.task.id or 0 for one in await store.tasks(1)]
    seen: list[tuple[list[int | None], dict[tuple[str, TaskState], int]]] = []

    def look(snapshot: Snapshot) -> None:
        seen.append(([task.id for task in snapshot.tasks], dict(snapshot.rest)))

    def insist(snapshot: Snapshot) -> Changes:
        look(snapshot)
        if snapshot.rest:
            raise WholeNeeded("all of them")
        return move_task(snapshot, 1, TaskState.RUNNING, worker_id="w", worker="box")

    await store.advance({1: [ids[2]]}, look, plan(window=0))
    await store.advance({1: [ids[2]]}, look, plan(window=0))
    advanced = await store.advance({1: [ids[1]]}, insist, plan(window=0))
    await store.decide([1], look)
    rest = {("each", TaskState.COMPLETED): 1, ("each", TaskState.DISPATCHED): 1, ("each", TaskState.READY): 1}
    assert seen == [(ids, {}), ([ids[2], ids[4]], rest), ([ids[1], ids[4]], rest), (ids, {}), (ids, {})]
    assert [task.state for task, _ in advanced.changes[0].tasks.values()] == [TaskState.RUNNING]
    assert (await store.tasks(1))[1].task.state is TaskState.RUNNING
