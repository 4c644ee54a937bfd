"""Why a job is not further: what it waits for, in words and in numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskengine.domain.admission import Budget
from taskengine.domain.job import Job, Task
from taskengine.domain.status import JobState, TaskState
from taskengine.domain.times import format_utc
from taskengine.domain.urls import redacted_url
from taskengine.engine.job_views import JobView
from taskengine.ports import Clock, Health, JobFilter, JobStore


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that a job waits for. `details` are for programs."""

    kind: str  # dependency, time, semaphore, schedule, slot, reserved, order, pause, worker, window, retry, needs
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SemaphoreAnswer:
    """What a semaphore said when this engine asked it last, at UTC ms."""

    at: int
    answer: str


class Budgets(Protocol):
    """The budgets as the settings say now."""

    async def budgets(self) -> tuple[Budget, Mapping[str, Budget]]:
        """Over all, and per client."""
        ...


class Why:
    """Asks the store and the parts that know."""

    def __init__(
        self,
        store: JobStore,
        budgets: Budgets,
        clock: Clock,
        asked: Callable[[int], SemaphoreAnswer | None],
        queueing: Callable[[], bool],
    ) -> None:
        self._store, self._budgets, self._clock = store, budgets, clock
        self._asked, self._queueing = asked, queueing

    async def reasons(self, view: JobView) -> Sequence[Reason]:
        """Everything that keeps the job from going on; none where it goes on or has ended."""
        job = view.job
        if job.state is JobState.PENDING:
            return [reason async for reason in self._dependencies(job)]
        if job.state is JobState.SCHEDULED:
            return list(self._gates(job))
        if job.state is JobState.QUEUED:
            return [reason async for reason in self._slots(view)]
        if job.state is JobState.PAUSED:
            return [Reason("pause", "the job was paused by hand; queue_state: queued resumes it")]
        if job.state is JobState.STARTED:
            return await self._tasks(job)
        return []

    async def _dependencies(self, job: Job) -> Any:
        for other in job.after:
            found = await self._store.job(other)
            if found is not None and not found.ended:
                details = {"job_id": other, "state": found.state.value}
                yield Reason("dependency", f"job {other}, which must complete first, is {found.state.value}", details)

    def _gates(self, job: Job) -> Iterator[Reason]:
        if job.run_at is not None and job.run_at > self._clock.now():
            at = format_utc(job.run_at)
            yield Reason("time", f"the job runs at {at}", {"run_at": at})
        elif job.semaphore_url:
            url, asked = redacted_url(job.semaphore_url), self._asked(job.id)
            said = f"{asked.answer} at {format_utc(asked.at)}" if asked else "was not asked by this engine yet"
            details = {"semaphore_url": url, "answer": asked.answer if asked else None}
            yield Reason("semaphore", f"the semaphore {url} {said}", details)
        if not self._queueing():
            yield Reason("schedule", "the schedule queue_scheduled_jobs is switched off")

    async def _slots(self, view: JobView) -> Any:
        job = view.job
        overall, budgets = await self._budgets.budgets()
        started = await self._store.jobs(JobFilter(states=[JobState.STARTED], limit=overall.max_jobs))
        own = [other for other in started if other.client == job.client]
        for scope, budget, running in (("all", overall, started), ("client", budgets.get(job.client), own)):
            if budget is not None and (reason := _full(job, scope, budget, running)) is not None:
                yield reason
        if view.position > 1:
            before = view.position - 1
            some = "one job is" if before == 1 else f"{before} jobs are"
            yield Reason("order", f"{some} before it in the queue", {"position": view.position})

    async def _tasks(self, job: Job) -> Sequence[Reason]:
        stored = await self._store.tasks(job.id)
        tasks = [one.task for one in stored if not one.task.ended]
        waiting = [task for task in tasks if task.state not in {TaskState.RUNNING, TaskState.BLOCKED}]
        if not waiting:
            return []
        health = await self._store.health()
        return [reason for task in waiting if (reason := _task(task, health)) is not None]


def _full(job: Job, scope: str, budget: Budget, running: Sequence[Job]) -> Reason | None:
    """Why a budget has no room for the job."""
    ordinary = sum(other.priority > budget.priority_threshold for other in running)
    if budget.allows(job.priority, len(running), ordinary):
        return None
    of = "the client's" if scope == "client" else "all"
    details = {
        "scope": scope,
        "started": len(running),
        "max_jobs": budget.max_jobs,
        "priority_slots": budget.priority_slots,
    }
    if len(running) >= budget.max_jobs:
        return Reason("slot", f"{len(running)} of {of} {budget.max_jobs} slots are taken", details)
    text = (
        f"of {of} {budget.max_jobs} slots, {budget.priority_slots} are kept for jobs of priority"
        f" {budget.priority_threshold} or better, and the others are taken"
    )
    return Reason("reserved", text, details | {"priority_threshold": budget.priority_threshold})


def _task(task: Task, health: Health) -> Reason | None:
    """What a task that could run waits for."""
    details = {"task_id": task.id, "task_name": task.name, "queue": task.queue}
    if task.state is TaskState.RETRY_WAIT:
        at = format_utc(task.ready_at or 0)
        text = f"the task {task.name} is tried again at {at}, after: {task.error or 'a worker was lost'}"
        return Reason("retry", text, details | {"ready_at": at})
    queue = health.queues.get(task.queue, {})
    workers, slots, working = (queue.get(name, 0) for name in ("workers", "slots", "working"))
    if workers == 0:
        text = f"the task {task.name} waits for a worker of the queue {task.queue}: none was heard of lately"
        return Reason("worker", text, details | {"workers": 0})
    if working >= slots:
        text = f"the task {task.name} waits: the {slots} slots of the queue {task.queue} are taken"
        return Reason("window", text, details | {"workers": workers, "slots": slots, "working": working})
    return None
