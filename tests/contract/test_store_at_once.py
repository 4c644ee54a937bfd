"""PostgreSQL's decisions that hold nothing while they are made: two round trips, and whoever was overtaken decides again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any

import asyncpg
import pytest

from taskengine.domain.job import Cancel, Changes, Snapshot
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import DispatchPlan, Store
from taskengine.stores import open_store
from taskengine.stores.postgres_at_once import AtOnce
from tests.support.clock import START, MovedClock
from tests.support.proxy import fault_proxy
from tests.support.stores import a_job, a_task, add_ready, move_job, submit, token_maker

A, B, C = range(3)  # the tasks of a job: the third needs the other two
_token = token_maker()
Overtaking = Callable[[Store, int], Awaitable[Any]]


def plan() -> DispatchPlan:
    """A window that is never full."""
    return DispatchPlan(lambda _queue: 100, START + 5, _token)


def complete(which: int) -> Callable[[Snapshot], Changes]:
    """A decision: the task has completed; where the other one has too, the third is ready."""

    def decide(snapshot: Snapshot) -> Changes:
        changes = Changes(snapshot.job, snapshot.job.state, job_changed=False)
        if snapshot.job.state is not JobState.STARTED or snapshot.tasks[which].state is not TaskState.DISPATCHED:
            return changes
        tasks = snapshot.tasks
        changes.tasks[tasks[which].id or 0] = tasks[which], tasks[which].state
        tasks[which].move(TaskState.RUNNING)
        tasks[which].move(TaskState.COMPLETED)
        tasks[which].ended_at, tasks[which].token, tasks[which].dispatched_at = START, None, None
        if all(task.state is TaskState.COMPLETED for task in tasks[:C]):
            changes.tasks[tasks[C].id or 0] = tasks[C], tasks[C].state
            tasks[C].move(TaskState.READY)
        return changes

    return decide


async def add_join(store: Store) -> int:
    """A started job whose first two tasks are out; the queue is known to be clear afterwards."""
    [ids, _] = await store.allocate(jobs=2)
    for job_id in ids:
        out = [a_task(job_id, step, state=TaskState.DISPATCHED, token=f"{step}{job_id}") for step in "ab"]
        await submit(store, Changes(a_job(job_id, state=JobState.STARTED), new_tasks=[*out, a_task(job_id, "c")]))
    await store.advance({ids[0]: ()}, complete(A), plan())
    return ids[1]


async def states(store: Store, job_id: int) -> list[TaskState]:
    """Of a job's tasks."""
    return [one.task.state for one in await store.tasks(job_id)]


async def test_it_takes_two_round_trips_and_the_next_one_takes_one(url: str) -> None:
    """One that reads, one that judges and writes; what was written is known then."""
    async with fault_proxy(url) as proxy, open_store(proxy.through(url), MovedClock()) as store:
        for _ in range(2):  # the statements are prepared
            await store.advance({await add_join(store): ()}, complete(B), plan())
        job_id = await add_join(store)
        sent: list[bytes] = []

        def note(piece: bytes) -> bool:
            if b"transaction_read_only" not in piece:  # of the pulse
                sent.append(piece)
            return False

        proxy.watch = note
        advanced = await store.advance({job_id: ()}, complete(A), plan())
        assert len(sent) == 2, sent
        assert [changes.job.id for changes in advanced.changes] == [job_id]
        assert await states(store, job_id) == [TaskState.COMPLETED, TaskState.DISPATCHED, TaskState.BLOCKED]
        sent.clear()
        await store.advance({job_id: ()}, complete(B), plan())
        assert len(sent) == 1, sent
        proxy.watch = None
        assert await states(store, job_id) == [TaskState.COMPLETED, TaskState.COMPLETED, TaskState.DISPATCHED]


async def _other_completes(store: Store, job_id: int) -> None:
    await store.advance({job_id: ()}, complete(B), plan())


async def _is_paused(store: Store, job_id: int) -> None:
    await store.decide([job_id], lambda snapshot: move_job(snapshot, JobState.PAUSED, updated_at=START + 9))


async def _something_waits(store: Store, job_id: int) -> None:
    del job_id
    await add_ready(store, priority=1)


async def _is_dispatched_again(store: Store, job_id: int) -> None:
    def again(snapshot: Snapshot) -> Changes:
        task = snapshot.tasks[B]
        task.token, task.attempt = "again", 2
        return Changes(
            snapshot.job, snapshot.job.state, job_changed=False, tasks={task.id or 0: (task, TaskState.DISPATCHED)}
        )

    await store.decide([job_id], again)


@pytest.mark.parametrize(
    ("overtaking", "left"),
    [
        (_other_completes, [TaskState.COMPLETED, TaskState.COMPLETED, TaskState.DISPATCHED]),
        (_is_paused, [TaskState.DISPATCHED, TaskState.DISPATCHED, TaskState.BLOCKED]),
        (_something_waits, [TaskState.COMPLETED, TaskState.DISPATCHED, TaskState.BLOCKED]),
        (_is_dispatched_again, [TaskState.COMPLETED, TaskState.DISPATCHED, TaskState.BLOCKED]),
    ],
)
async def test_who_is_overtaken_decides_again(
    engines: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch, overtaking: Overtaking, left: list[TaskState]
) -> None:
    """What another engine wrote after the job was read is seen by the decision that counts: a join is neither missed nor
    made twice, and nothing of a decision about what is no longer so is kept."""
    first, second = engines
    job_id = await add_join(first)
    write, others = AtOnce.many_apart, [overtaking]

    async def late(self: AtOnce, *values: Any) -> list[int]:
        if others:
            await others.pop()(second, job_id)
        return await write(self, *values)

    monkeypatch.setattr(AtOnce, "many_apart", late)
    seen: list[list[TaskState]] = []

    def decide(snapshot: Snapshot) -> Changes:
        seen.append([task.state for task in snapshot.tasks])
        return complete(A)(snapshot)

    advanced = await first.advance({job_id: ()}, decide, plan())
    assert len(seen) == 2, "it was to be overtaken"
    assert await states(first, job_id) == left
    freed = [one.task.step for one in advanced.dispatched if one.task.job_id == job_id]
    assert freed == (["c"] if left[C] is TaskState.DISPATCHED else [])


@pytest.mark.parametrize(
    ("overtaking", "left"),
    [
        (_other_completes, [TaskState.COMPLETED, TaskState.COMPLETED, TaskState.DISPATCHED]),
        (_is_paused, [TaskState.COMPLETED, TaskState.DISPATCHED, TaskState.BLOCKED]),
        (_is_dispatched_again, [TaskState.COMPLETED, TaskState.COMPLETED, TaskState.DISPATCHED]),
    ],
)
async def test_what_is_known_of_a_job_is_not_gone_by_once_another_engine_has_decided(
    engines: tuple[Store, Store], overtaking: Overtaking, left: list[TaskState]
) -> None:
    """However long ago: the decision that counts has what is so now."""
    first, second = engines
    job_id = await add_join(first)
    await first.advance({job_id: ()}, complete(A), plan())
    await overtaking(second, job_id)
    seen: list[Snapshot] = []

    def decide(snapshot: Snapshot) -> Changes:
        seen.append(Snapshot(snapshot.job, [copy(task) for task in snapshot.tasks]))
        return complete(B)(snapshot)

    await first.advance({job_id: ()}, decide, plan())
    assert len(seen) == 2, "it was to be overtaken"
    assert seen[0].tasks[B].token == f"b{job_id}"
    assert await states(first, job_id) == left


async def test_a_report_is_not_refused_by_what_is_known(engines: tuple[Store, Store]) -> None:
    """A refusal is not written, so nothing would judge it: who would be refused by what was so is heard out under the
    locks, and a valid attempt is not told to end."""
    first, second = engines
    job_id = await add_join(first)
    await first.advance({job_id: ()}, complete(A), plan())
    await _is_dispatched_again(second, job_id)

    def report(snapshot: Snapshot) -> Changes:
        task = snapshot.tasks[B]
        if task.token == "again":
            return complete(B)(snapshot)
        refused = [Cancel(task.id or 0, "again", None, "fenced")]
        return Changes(snapshot.job, snapshot.job.state, job_changed=False, cancels=refused)

    [changes] = (await first.advance({job_id: ()}, report, plan())).changes
    assert not changes.cancels
    assert await states(first, job_id) == [TaskState.COMPLETED, TaskState.COMPLETED, TaskState.DISPATCHED]


async def test_what_is_known_is_in_nobody_elses_hands(url: str) -> None:
    """What a decision was given, and what the store returned of it, may be changed without harm."""
    async with open_store(url, MovedClock()) as store:
        job_id = await add_join(store)
        [changes] = (await store.advance({job_id: ()}, complete(A), plan())).changes
        changes.job.seq = 99
        seen: list[Snapshot] = []

        def decide(snapshot: Snapshot) -> Changes:
            seen.append(snapshot)
            return complete(B)(snapshot)

        advanced = await store.advance({job_id: ()}, decide, plan())
        assert [snapshot.job.seq for snapshot in seen] == [0]
        assert [one.task.step for one in advanced.dispatched] == ["c"]


async def test_where_engines_take_turns_at_a_job_what_is_known_is_not_trusted_for_long(
    engines: tuple[Store, Store],
) -> None:
    """A decision that goes by what is not so any more is made twice: one in a hundred may be."""
    first, second = engines
    made: list[int] = []

    def counted(which: int) -> Callable[[Snapshot], Changes]:
        def decide(snapshot: Snapshot) -> Changes:
            made.append(which)
            return complete(which)(snapshot)

        return decide

    for _ in range(5):
        job_id = await add_join(first)
        await first.advance({job_id: ()}, counted(A), plan())
        await _is_paused(second, job_id)
        await first.advance({job_id: ()}, counted(B), plan())
    assert len(made) == 11, "only the first is overtaken"


@pytest.mark.parametrize("made", [True, False])
async def test_an_answer_that_was_lost_is_asked_after(url: str, monkeypatch: pytest.MonkeyPatch, *, made: bool) -> None:
    """Whether it was written or not: the decision takes effect once."""
    async with open_store(url, MovedClock()) as store:
        job_id = await add_join(store)
        fetchval, cuts = asyncpg.Connection.fetchval, [made]

        async def cut(self: Any, query: str, *values: Any, **options: Any) -> Any:
            if query.startswith("WITH check0") and cuts:
                if cuts.pop():
                    await fetchval(self, query, *values, **options)
                self.terminate()
                raise ConnectionResetError("cut")
            return await fetchval(self, query, *values, **options)

        monkeypatch.setattr(asyncpg.Connection, "fetchval", cut)
        [changes] = (await store.advance({job_id: ()}, complete(A), plan())).changes
        assert not cuts
        assert [task.state for task, _ in changes.tasks.values()] == [TaskState.COMPLETED]
        assert await states(store, job_id) == [TaskState.COMPLETED, TaskState.DISPATCHED, TaskState.BLOCKED]
        assert (await store.health()).queues["work"]["pending"] == 2  # the other job's second task is out too
