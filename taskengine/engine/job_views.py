"""What clients see of jobs and their tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskengine.domain.errors import NotFound
from taskengine.domain.job import Job
from taskengine.domain.status import JobState
from taskengine.domain.tenants import Caller
from taskengine.engine.progress import Progress, ProgressBook
from taskengine.engine.queue_order import QueueOrder
from taskengine.engine.rules import ClientRulesBook, Decisions
from taskengine.ports import JobFilter, JobStore, StoredTask


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what is computed for its reader."""

    job: Job
    progress: float
    position: int


class JobViews:
    """Looks. NotFound where the job is not the caller's to see."""

    def __init__(self, store: JobStore, decisions: Decisions, progress: ProgressBook, clients: ClientRulesBook) -> None:
        self._store, self._decisions, self._progress = store, decisions, progress
        self._order = QueueOrder(store, lambda client: clients.rules_of(client).config.weight)

    async def view(self, caller: Caller, job_id: int) -> JobView:
        """One job."""
        [view] = await self._views([await self.job(caller, job_id)])
        return view

    async def list(self, query: JobFilter) -> Sequence[JobView]:
        """A page of jobs (the caller's rights are in the filter already)."""
        return await self._views(await self._store.jobs(query))

    async def find(self, query: JobFilter) -> Sequence[int]:
        """The ids of a page of jobs (the caller's rights are in the filter already)."""
        return [job.id for job in await self._store.jobs(query)]

    async def queue(self, client: str | None, limit: int) -> Sequence[JobView]:
        """The queued jobs that will start first, of one client or of all, in that order."""
        return await self._in_order(await self._order.first(limit, client), JobState.QUEUED)

    async def scheduled(self, client: str | None, limit: int) -> Sequence[JobView]:
        """The scheduled jobs whose time comes first, of one client or of all, in that order."""
        return await self._in_order(await self._store.scheduled(limit, client), JobState.SCHEDULED)

    async def _in_order(self, ids: Sequence[int], state: JobState) -> Sequence[JobView]:
        """These jobs, but for those that have left the state meanwhile."""
        jobs = {job.id: job for job in await self._store.jobs(JobFilter(job_ids=ids, limit=len(ids)))} if ids else {}
        found = (jobs[job_id] for job_id in ids if job_id in jobs)
        return await self._views([job for job in found if job.state is state])

    async def tasks(self, caller: Caller, job_id: int) -> Sequence[StoredTask]:
        """A job's tasks."""
        await self.job(caller, job_id)
        return await self._store.tasks(job_id)

    async def needs(self, job: Job) -> Mapping[str, Sequence[str]]:
        """step name → the names of the steps that it needs, by the definition the job began with."""
        workflow = await self._decisions.load(job.workflow_digest)
        steps = {**workflow.steps, **workflow.on_failure}
        return {name: tuple(step.needs) for name, step in steps.items()}

    async def task(self, caller: Caller, task_id: int) -> StoredTask:
        """One task."""
        stored = await self._store.task(task_id)
        if stored is None:
            raise NotFound(f"there is no task {task_id}")
        try:
            await self.job(caller, stored.task.job_id)
        except NotFound:
            raise NotFound(f"there is no task {task_id}") from None
        return stored

    def live(self, stored: StoredTask) -> Progress | None:
        """What this engine last heard of the task's running attempt: message, speed, time left."""
        return self._progress.live(stored.task.id or 0, stored.task.token)

    async def job(self, caller: Caller, job_id: int) -> Job:
        """The record of one job."""
        job = await self._store.job(job_id)
        if job is None or not (caller.sees_all or job.client == caller.client):
            raise NotFound(f"there is no job {job_id}")
        return job

    async def _views(self, jobs: Sequence[Job]) -> Sequence[JobView]:
        progress = await self._store.progress([job.id for job in jobs])
        queued = [job for job in jobs if job.state is JobState.QUEUED]
        positions = await self._order.positions(queued) if queued else {}
        return [JobView(job, progress.get(job.id, 0.0), positions.get(job.id, 1)) for job in jobs]
