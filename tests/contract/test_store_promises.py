"""The contract of stores: nothing committed is lost by a kill, and counters are what counting would give."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter

import pytest

from taskengine.domain.job import Changes, Job, Snapshot, Task
from taskengine.domain.status import (
    JOB_ENDED,
    JOB_TRANSITIONS,
    TASK_ENDED,
    TASK_TRANSITIONS,
    JobState,
    TaskState,
)
from taskengine.ports import JobFilter, Store
from tests.support.clock import START
from tests.support.stores import Database, a_job, a_task, submit, token_maker

ALL = 100_000


@pytest.mark.parametrize("commits", [1, 40, 250])
async def test_a_kill_in_the_middle_of_writes_loses_nothing_that_was_committed(
    database: Database, commits: int
) -> None:
    """Every commit that was told of is there after the restart, and no job is there by half."""
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.store_victim", database.url, stdout=asyncio.subprocess.PIPE
    )
    assert victim.stdout is not None
    told = [await victim.stdout.readline() for _ in range(commits)]
    victim.kill()
    rest = await victim.stdout.read()
    await victim.wait()
    lines = [*told, *(line for line in rest.splitlines(keepends=True) if line.endswith(b"\n"))]
    last: dict[int, int] = {}
    for line in lines:
        told_id, told_seq = map(int, line.split())
        last[told_id] = told_seq
    async with database.open() as store:
        await store.check()
        jobs = {job.id: job for job in await store.jobs(JobFilter(limit=ALL))}
        for job_id, least in last.items():
            assert jobs[job_id].seq >= least
        seqs = Counter(event["job_id"] for event in await store.events_after(0, limit=ALL))
        for job in jobs.values():
            assert seqs[job.id] == job.seq
            assert [entry["message"] for entry in await store.logs(job.id)] == [str(n) for n in range(job.seq + 1)]
            assert len(await store.tasks(job.id)) == 2
        await check_counters(store, Counter())
        [fresh], _ = await store.allocate(jobs=1)
        assert fresh > max(jobs)


async def check_counters(store: Store, processed: Counter[str]) -> None:
    """Hold every counter against the rows."""
    jobs = await store.jobs(JobFilter(limit=ALL))
    tasks = [stored.task for job in jobs for stored in await store.tasks(job.id)]
    clients = sorted({job.client for job in jobs})
    for client in (None, *clients):
        own = [job for job in jobs if client in {None, job.client}]
        counted = Counter(job.state.value for job in own)
        counted["failed"] = sum(job.failed and job.state is JobState.COMPLETED for job in own)
        found = (await store.health(client)).jobs
        assert {name: value for name, value in found.items() if value} == dict(+counted)
    health = await store.health()
    for queue in {task.queue for task in tasks}:
        states = Counter(task.state for task in tasks if task.queue == queue)
        numbers = health.queues.get(queue, {"working": 0, "pending": 0})
        assert numbers["working"] == states[TaskState.RUNNING]
        assert numbers["pending"] == states[TaskState.READY] + states[TaskState.DISPATCHED]
    ready = {task.queue for task in tasks if task.state is TaskState.READY}
    assert list(await store.ready_queues()) == sorted(ready)
    assert (health.tasks["processed"], health.tasks["failed"]) == (processed["processed"], processed["failed"])
    queued = sorted(
        (job for job in jobs if job.state is JobState.QUEUED),
        key=lambda job: (not job.top_of_queue, job.priority, job.id),
    )
    places = await store.positions([job.id for job in jobs])
    assert places == {job.id: place for place, job in enumerate(queued, 1)}


class Walk:
    """Random legal changes of jobs and tasks, seeded."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.processed: Counter[str] = Counter()
        self.tokens = token_maker()

    async def step(self) -> None:
        """One change of some kind."""
        kind = self.chance.choice([self.submit, *[self.decide] * 8, self.dispatch, self.dispatch, self.clean])
        await kind()

    async def submit(self) -> None:
        """Some jobs in any state that a job may begin in."""
        ids, _ = await self.store.allocate(jobs=self.chance.randint(1, 3))
        await submit(self.store, *(Changes(self.job(i), new_tasks=self.tasks(i)) for i in ids))

    def job(self, job_id: int) -> Job:
        """A new job of anyone."""
        return a_job(
            job_id, client=self.chance.choice(["a", "b"]), priority=self.chance.randint(1, 3),
            top_of_queue=self.chance.random() < 0.2,
            state=self.chance.choice([JobState.PENDING, JobState.SCHEDULED, JobState.QUEUED]),
        )  # fmt: skip

    def tasks(self, job_id: int) -> list[Task]:
        """Some new tasks."""
        return [
            a_task(job_id, f"s{number}", state=self.chance.choice([TaskState.BLOCKED, TaskState.READY]),
                   queue=self.chance.choice(["work", "package"]))
            for number in range(self.chance.randint(0, 3))
        ]  # fmt: skip

    async def decide(self) -> None:
        """Some decisions in one call; at times it fails and nothing of it may count."""
        jobs = await self.store.jobs(JobFilter(limit=ALL))
        chosen = [job.id for job in self.chance.sample(jobs, min(len(jobs), 4))]
        before, fails = Counter(self.processed), self.chance.random() < 0.2
        try:
            await self.store.decide(
                chosen, lambda snapshot: self.change(snapshot, fail=fails and snapshot.job.id == chosen[-1])
            )
        except ZeroDivisionError:
            self.processed = before

    def change(self, snapshot: Snapshot, *, fail: bool) -> Changes:
        """Move the job and some of its tasks along the table."""
        if fail:
            raise ZeroDivisionError
        job = snapshot.job
        changes = Changes(job, job.state)
        if following := sorted(JOB_TRANSITIONS[job.state]):
            job.move(self.chance.choice(following))
            job.failed = self.chance.random() < 0.5
            job.completed_at = START if job.state in JOB_ENDED else None
        job.priority = self.chance.randint(1, 3)
        for task in snapshot.tasks:
            if (states := sorted(TASK_TRANSITIONS[task.state])) and self.chance.random() < 0.7:
                assert task.id is not None
                changes.tasks[task.id] = (task, task.state)
                task.move(self.chance.choice(states))
                task.ended_at = START if task.state in TASK_ENDED else None
                task.token, task.ready_at = self.tokens(), START
                self.processed["processed"] += task.state in {TaskState.COMPLETED, TaskState.FAILED}
                self.processed["failed"] += task.state is TaskState.FAILED
        changes.new_tasks = self.tasks(job.id) if self.chance.random() < 0.2 else []
        return changes

    async def dispatch(self) -> None:
        """A queue's window is filled."""
        queue = self.chance.choice(["work", "package", "none"])
        await self.store.dispatch(queue, window=self.chance.randint(0, 6), now=START, tokens=self.tokens)

    async def clean(self) -> None:
        """Some ended jobs go."""
        await self.store.clean(ended_before=START + 1, limit=self.chance.randint(1, 2))


@pytest.mark.parametrize("seed", range(5))
async def test_counters_equal_counts_after_any_walk(store: Store, seed: int) -> None:
    """Whatever happened, failed decisions among it."""
    walk = Walk(store, seed)
    for _ in range(200):
        await walk.step()
    await check_counters(store, walk.processed)
