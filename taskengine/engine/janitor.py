"""Clean-up: workspaces of ended jobs, and ended jobs beyond their retention."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from taskengine.domain.errors import StorageError
from taskengine.domain.job import Changes, Job
from taskengine.domain.status import JobState
from taskengine.engine.duties import Gate, always
from taskengine.engine.signals import Signal
from taskengine.ports import Clock, JobStore

log = structlog.get_logger(__name__)

ROUND_S = 3600.0
_DAY_MS = 86_400_000
_BATCH = 500


class Workspaces(Protocol):
    """The workspaces of all jobs, each by the id of the job that had it first."""

    async def job_ids(self) -> Sequence[int]:
        """Those that there are."""
        ...

    async def remove(self, job_id: int) -> None:
        """Remove one."""
        ...


class Janitor:
    """A workspace goes when its job has completed or is broken; a failed job's is kept for a while, for a look and a
    rerun that goes on in it. What a crash left behind is found by the hourly round."""

    def __init__(
        self,
        store: JobStore,
        workspaces: Workspaces,
        clock: Clock,
        *,
        keep_failed_s: float,
        retention_days: Callable[[], Awaitable[float]],
        clean_events: Callable[[], Awaitable[int]],
        may_delete: Gate = always,
        may_sweep: Gate = always,
    ) -> None:
        self._store, self._workspaces, self._clock = store, workspaces, clock
        self._keep_failed_ms, self._retention_days = round(keep_failed_s * 1000), retention_days
        self._clean_events = clean_events
        self._may_delete, self._may_sweep = may_delete, may_sweep
        self._ended: set[int] = set()  # workspaces
        self._doubtful: set[int] = set()  # of those, the ones that another job may have taken over
        self._signal = Signal()

    def job_ended(self, changes: Changes) -> None:
        """A job reached its end: its workspace may go."""
        job = changes.job
        if self._may_go(job):
            self._ended.add(job.workspace)
            if job.state is JobState.BROKEN:  # by a rerun, perhaps, that goes on in it
                self._doubtful.add(job.workspace)
            self._signal.set()

    async def workspaces(self) -> None:
        """Remove workspaces as their jobs end; all that are left over at the start and every hour."""
        while True:
            await self.round()
            next_round = self._clock.now() + round(ROUND_S * 1000)
            while (left := (next_round - self._clock.now()) / 1000) > 0:
                await self._signal.wait(self._clock, left)
                if not self._may_sweep():
                    continue  # the round finds them
                ended, self._ended = self._ended, set()
                doubtful, self._doubtful = self._doubtful, set()
                for workspace in sorted(ended):
                    if workspace not in doubtful or await self._unused(workspace):
                        await self._workspaces.remove(workspace)

    async def round(self) -> None:
        """Look at every workspace there is, unless that is switched off."""
        if not self._may_sweep():
            return
        for workspace in await self._workspaces.job_ids():
            if await self._unused(workspace):
                await self._workspaces.remove(workspace)

    async def _unused(self, workspace: int) -> bool:
        job = await self._store.workspace_user(workspace)
        return job is None or self._may_go(job)

    async def retention(self) -> None:
        """Delete events and ended jobs beyond their retention, in batches, every hour; one engine at a time."""
        while True:
            now = self._clock.now()
            if self._may_delete() and await self._store.claim_duty("clean_up", now=now, every_ms=round(ROUND_S * 1000)):
                before = now - round(await self._retention_days() * _DAY_MS)
                while deleted := await self._store.clean(ended_before=before, limit=_BATCH):
                    log.info("jobs_deleted", jobs=len(deleted))
                if events := await self._clean_events():
                    log.info("events_deleted", events=events)
            await self._clock.sleep(ROUND_S)

    def _may_go(self, job: Job) -> bool:
        if not job.ended:
            return False
        kept = job.failed and job.state == "completed" and not self._over(job)
        return not kept

    def _over(self, job: Job) -> bool:
        return job.completed_at is not None and self._clock.now() - job.completed_at >= self._keep_failed_ms


class Uploads(Protocol):
    """The unfinished uploads of a bucket."""

    async def sweep(self, before: int) -> int:
        """End those that began before a time (milliseconds); how many. Raises StorageError."""
        ...


class UploadJanitor:
    """Ends uploads whose worker is gone: their parts cost, and nobody sees them."""

    def __init__(self, buckets: Sequence[Uploads], clock: Clock, *, keep_s: float, may_sweep: Gate = always) -> None:
        self._buckets, self._clock, self._keep_ms, self._may_sweep = buckets, clock, round(keep_s * 1000), may_sweep

    async def run(self) -> None:
        """Look at the start and every hour."""
        while True:
            if self._may_sweep():
                await self.round()
            await self._clock.sleep(ROUND_S)

    async def round(self) -> None:
        """Look at every bucket; one that is away is looked at next time."""
        for bucket in self._buckets:
            try:
                if ended := await bucket.sweep(self._clock.now() - self._keep_ms):
                    log.info("uploads_ended", uploads=ended)
            except StorageError as error:
                log.warning("uploads_not_looked_at", error=str(error))
