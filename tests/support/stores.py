"""What the contract of stores is tried on: each kind of database, and jobs made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import StoreUnavailable
from taskengine.domain.job import Callback, Changes, Event, Job, LogEntry, Snapshot, Task
from taskengine.domain.status import TASK_ENDED, JobState, TaskState
from taskengine.ports import Clock, Known, NewJob, Store
from taskengine.stores import open_store
from tests.support.clock import START, MovedClock
from tests.support.postgres import PostgresServer

DATABASES = ("sqlite", "postgres")  # every adapter runs the whole contract


@dataclass
class Database:
    """An empty database that a test has for itself."""

    url: str
    clock: MovedClock

    def open(self, clock: Clock | None = None) -> AbstractAsyncContextManager[Store]:
        """Open a store on it; it may be opened again after it was closed."""
        return open_store(self.url, clock or self.clock)


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield Database(f"sqlite:///{tmp_path}/data/jobs.db", MovedClock())
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = await server.new_database(await server.migrated())
    yield Database(url, MovedClock())
    await server.drop_database(url)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """An open store on an empty database."""
    async with database.open() as opened:
        yield opened


def a_job(job_id: int, *, state: JobState = JobState.QUEUED, now: int = START, **fields: Any) -> Job:
    """A job with plain values."""
    given = {"parameters": {"content_id": "film"}, "arguments": {"content_id": "film"}, **fields}
    return Job(
        id=job_id, client=given.pop("client", "demo"), workflow=given.pop("workflow", "test"), workflow_digest="d",
        state=state, created_at=given.pop("created_at", now), updated_at=now, **given,
    )  # fmt: skip


def a_task(job_id: int, step: str = "work", *, state: TaskState = TaskState.BLOCKED, **fields: Any) -> Task:
    """A task with plain values; what its state asks for is filled in."""
    given = {"id": None, "index": None, "handler": "sleep", "queue": "work", "created_at": START, **fields}
    if state in {TaskState.DISPATCHED, TaskState.RUNNING}:
        given.setdefault("token", f"token-{job_id}-{step}")
    if state in TASK_ENDED:
        given.setdefault("ended_at", START)
    if state is TaskState.RETRY_WAIT:
        given.setdefault("ready_at", START)
    return Task(job_id=job_id, step=step, state=state, **given)


def an_event(task: Task | None = None, name: str = "queued", *, seq: int = 1) -> Event:
    """An event."""
    return Event("task" if task else "job", name, START, seq, task, {"name": name, "seq": seq})


def a_callback(
    endpoint: str = "http://one/", event: str = "start", *, task: Task | None = None, at: int = START, mark: str = ""
) -> Callback:
    """A callback; `mark` is found again in its body."""
    return Callback(endpoint, event, f"msg_{mark or event}", mark or event, at, task)


async def submit(store: Store, *jobs: Changes, now: int = START) -> list[Known | None]:
    """Store new jobs."""
    return await store.submit([NewJob(changes) for changes in jobs], now)


async def add_jobs(
    store: Store,
    amount: int = 1,
    *,
    state: JobState = JobState.QUEUED,
    tasks: Sequence[Callable[[int], Task]] = (),
    **fields: Any,
) -> list[int]:
    """Store so many alike jobs with tasks of these kinds; their ids."""
    ids, _ = await store.allocate(jobs=amount)
    await submit(
        store,
        *(Changes(a_job(i, state=state, **fields), new_tasks=[make(i) for make in tasks]) for i in ids),
    )
    return list(ids)


async def add_ready(store: Store, amount: int = 1, *, tasks: int = 1, **fields: Any) -> list[int]:
    """Store started jobs, each with ready tasks."""
    kinds = [lambda job_id, n=n: a_task(job_id, f"step{n}", state=TaskState.READY, **fields) for n in range(tasks)]
    return await add_jobs(store, amount, state=JobState.STARTED, started_at=START, tasks=kinds)


def token_maker() -> Callable[[], str]:
    """Tokens that differ."""
    numbers = count(1)
    return lambda: f"token{next(numbers)}"


def log(message: str, *, task: Task | None = None, severity: int = 1, visible: bool = True) -> LogEntry:
    """A log entry."""
    return LogEntry(severity, "controller", message, START, task, visible)


def count_up(snapshot: Snapshot) -> Changes:
    """One more event of the job."""
    snapshot.job.seq += 1
    seq = snapshot.job.seq
    return Changes(snapshot.job, snapshot.job.state, events=[an_event(seq=seq)], logs=[log(str(seq))])


def say(snapshot: Snapshot, *entries: LogEntry) -> Changes:
    """A decision that writes to the job's log alone."""
    return Changes(snapshot.job, snapshot.job.state, job_changed=False, logs=list(entries))


def move_task(snapshot: Snapshot, which: int, state: TaskState, /, **fields: Any) -> Changes:
    """A decision that moves one task of the job."""
    task = snapshot.tasks[which]
    assert task.id is not None
    before = task.state
    task.move(state)
    if state in TASK_ENDED:
        fields.setdefault("ended_at", START)
    if state is TaskState.RETRY_WAIT:
        fields.setdefault("ready_at", START)
    for name, value in fields.items():
        setattr(task, name, value)
    return Changes(snapshot.job, snapshot.job.state, job_changed=False, tasks={task.id: (task, before)})


def move_job(snapshot: Snapshot, state: JobState, /, **fields: Any) -> Changes:
    """A decision that moves the job."""
    before = snapshot.job.state
    snapshot.job.move(state)
    if state in {JobState.COMPLETED, JobState.BROKEN}:
        fields.setdefault("completed_at", START)
    for name, value in fields.items():
        setattr(snapshot.job, name, value)
    return Changes(snapshot.job, before)


def states(tasks: Iterable[Task]) -> list[str]:
    """Their states in order."""
    return [task.state.value for task in tasks]


async def until_back(store: Store) -> None:
    """Wait until calls are answered."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.check()
            except StoreUnavailable:
                await asyncio.sleep(0.1)
