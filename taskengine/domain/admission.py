"""Which queued jobs get a slot: budgets, priority, fair share."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace


@dataclass(frozen=True, slots=True)
class Budget:
    """Slots, over all or of one client. Of `max_jobs`, `priority_slots` are kept for jobs of a priority ≤ the threshold."""

    max_jobs: int
    priority_slots: int = 0
    priority_threshold: int = 5

    def allows(self, priority: int, started: int, ordinary: int) -> bool:
        """Whether one more job of this priority fits; `ordinary` of the `started` ones are beyond the threshold."""
        if started >= self.max_jobs:
            return False
        return priority <= self.priority_threshold or ordinary < self.max_jobs - self.priority_slots


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that waits for a slot."""

    id: int
    client: str
    priority: int
    top_of_queue: bool = False


@dataclass(frozen=True, slots=True)
class InSlot:
    """A started job."""

    client: str
    priority: int


class _Usage:
    """How full a budget is."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.started, self.ordinary = budget, 0, 0

    def add(self, priority: int) -> None:
        self.started += 1
        self.ordinary += priority > self.budget.priority_threshold

    def allows(self, priority: int) -> bool:
        return self.budget.allows(priority, self.started, self.ordinary)


def choose(
    started: Sequence[InSlot],
    queued: Sequence[Queued],
    overall: Budget,
    budgets: Mapping[str, Budget],
    weights: Mapping[str, float],
) -> list[int]:
    """The ids to start now, in the order of admission.

    Order: top_of_queue, then priority, then fair share (the client with the fewest started jobs for its weight), then
    submission. A client without a budget of its own has the overall one.
    """
    total = _Usage(overall)
    clients = {
        client: _Usage(budgets.get(client, overall))
        for client in {*(job.client for job in started), *(job.client for job in queued)}
    }
    share: Counter[str] = Counter()
    for running in started:
        total.add(running.priority)
        clients[running.client].add(running.priority)
        share[running.client] += 1
    waiting = list(queued)
    chosen: list[int] = []
    while waiting and total.started < overall.max_jobs:
        fits = [job for job in waiting if total.allows(job.priority) and clients[job.client].allows(job.priority)]
        if not fits:
            break
        best = min(fits, key=lambda job: _rank(job, share[job.client] / weights.get(job.client, 1.0)))
        total.add(best.priority)
        clients[best.client].add(best.priority)
        share[best.client] += 1
        chosen.append(best.id)
        waiting.remove(best)
    return chosen


def in_order(
    started: Sequence[InSlot], queued: Sequence[Queued], weights: Mapping[str, float], heads: int | None = None
) -> list[int]:
    """The ids in the order of admission, as if slots became free one after the other and no started job ended.

    `queued` has each client's jobs in their order. With `heads`, clients that have so many may have more: what comes after
    such a client's last one is left out, for nobody can tell what comes before it.
    """
    waiting: dict[str, deque[Queued]] = {}
    for job in queued:
        waiting.setdefault(job.client, deque()).append(job)
    share = Counter(running.client for running in started)
    cut = {client for client, jobs in waiting.items() if heads is not None and len(jobs) >= heads}

    def rank(client: str) -> tuple[tuple[bool, int, float, int], str]:
        return _rank(waiting[client][0], share[client] / weights.get(client, 1.0)), client

    first = [rank(client) for client in waiting]
    heapify(first)
    order: list[int] = []
    while first:
        _, client = first[0]
        order.append(waiting[client].popleft().id)
        share[client] += 1
        if waiting[client]:
            heapreplace(first, rank(client))
        elif client in cut:
            break
        else:
            heappop(first)
    return order


def _rank(job: Queued, share: float) -> tuple[bool, int, float, int]:
    return (not job.top_of_queue, job.priority, share, job.id)
