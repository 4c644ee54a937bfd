"""Clean-up: workspaces of ended jobs, and ended jobs beyond their retention."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from taskengine.domain.job import Changes, Job
from taskengine.engine.signals import Signal
from taskengine.ports import Clock, JobStore

log = structlog.get_logger(__name__)

ROUND_S = 3600.0
_DAY_MS = 86_400_000
_BATCH = 500


class Workspaces(Protocol):
    """The workspaces of all jobs."""

    async def job_ids(self) -> Sequence[int]:
        """The jobs that have one."""
        ...

    async def remove(self, job_id: int) -> None:
        """Remove a job's."""
        ...


class Janitor:
    """A workspace goes when its job has completed or is broken; a failed job's is kept for a while, for a look and a
    rerun. What a crash left behind is found by the hourly round."""

    def __init__(
        self,
        store: JobStore,
        workspaces: Workspaces,
        clock: Clock,
        *,
        keep_failed_s: float,
        retention_days: Callable[[], Awaitable[float]],
    ) -> None:
        self._store, self._workspaces, self._clock = store, workspaces, clock
        self._keep_failed_ms, self._retention_days = round(keep_failed_s * 1000), retention_days
        self._ended: set[int] = set()
        self._signal = Signal()

    def job_ended(self, changes: Changes) -> None:
        """A job reached its end: its workspace may go."""
        if self._may_go(changes.job):
            self._ended.add(changes.job.id)
            self._signal.set()

    async def workspaces(self) -> None:
        """Remove workspaces as their jobs end; all that are left over at the start and every hour."""
        while True:
            await self.round()
            next_round = self._clock.now() + round(ROUND_S * 1000)
            while (left := (next_round - self._clock.now()) / 1000) > 0:
                await self._signal.wait(self._clock, left)
                ended, self._ended = self._ended, set()
                for job_id in sorted(ended):
                    await self._workspaces.remove(job_id)

    async def round(self) -> None:
        """Look at every workspace there is."""
        for job_id in await self._workspaces.job_ids():
            job = await self._store.job(job_id)
            if job is None or self._may_go(job):
                await self._workspaces.remove(job_id)

    async def retention(self) -> None:
        """Delete ended jobs beyond the retention, in batches, every hour; one engine at a time."""
        while True:
            now = self._clock.now()
            if await self._store.claim_duty("clean_up", now=now, every_ms=round(ROUND_S * 1000)):
                before = now - round(await self._retention_days() * _DAY_MS)
                while deleted := await self._store.clean(ended_before=before, limit=_BATCH):
                    log.info("jobs_deleted", jobs=len(deleted))
            await self._clock.sleep(ROUND_S)

    def _may_go(self, job: Job) -> bool:
        if not job.ended:
            return False
        kept = job.failed and job.state == "completed" and not self._over(job)
        return not kept

    def _over(self, job: Job) -> bool:
        return job.completed_at is not None and self._clock.now() - job.completed_at >= self._keep_failed_ms
