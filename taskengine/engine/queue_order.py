"""The order in which queued jobs will start: what `position` counts, and the dashboard lists."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Mapping, Sequence

from taskengine.domain.admission import InSlot, Queued, in_order
from taskengine.domain.job import Job
from taskengine.ports import Candidates, JobStore

_HEADS = 100  # of each client's queue: as far as the fair share between clients is worked out for one job's position


class QueueOrder:
    """Reads the heads of the queue alone, however long it is."""

    def __init__(self, store: JobStore, weight: Callable[[str], float]) -> None:
        self._store, self._weight = store, weight

    async def first(self, limit: int, client: str | None = None) -> Sequence[int]:
        """The ids of the jobs that will start first, of one client or of all."""
        return self._order(await self._store.candidates(limit, client), limit)[:limit]

    async def positions(self, jobs: Sequence[Job]) -> Mapping[int, int]:
        """job id → place among the queued jobs, 1-based, for those that are queued. Far behind, where the fair share
        between clients cannot be told, the order is that of priority and submission."""
        heads = max(_HEADS, len(jobs))
        candidates = await self._store.candidates(heads)
        if len({client for _, client, _, _ in candidates.queued}) <= 1:
            return await self._store.positions([job.id for job in jobs])
        order = self._order(candidates, heads)
        known = {job_id: place for place, job_id in enumerate(order, 1)}
        ahead = sorted(_place(id_, priority, top) for id_, _, priority, top in candidates.queued if id_ in known)
        others = [job.id for job in jobs if job.id not in known]
        behind = await self._store.positions(others) if others else {}
        return {job.id: known[job.id] for job in jobs if job.id in known} | {
            job.id: behind[job.id] + len(ahead) - bisect(ahead, _place(job.id, job.priority, job.top_of_queue))
            for job in jobs
            if job.id in behind
        }

    def _order(self, candidates: Candidates, heads: int) -> list[int]:
        queued = [Queued(*row) for row in candidates.queued]
        weights = {job.client: self._weight(job.client) for job in queued}
        return in_order(
            [InSlot(client, priority) for client, priority, _ in candidates.started], queued, weights, heads
        )


def _place(job_id: int, priority: int, top_of_queue: bool) -> tuple[bool, int, int]:  # noqa: FBT001 - a row's column
    return not top_of_queue, priority, job_id
