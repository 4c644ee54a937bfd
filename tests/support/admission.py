"""The order in which jobs are started, through a real store, beside a plain model of the rules."""

from __future__ import annotations

import random
import tempfile
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskengine.domain.admission import Budget, InSlot, Queued, choose
from taskengine.domain.job import Changes, Snapshot
from taskengine.domain.status import JobState
from taskengine.ports import Candidates, Store
from taskengine.stores import open_store
from tests.support.clock import START, MovedClock
from tests.support.stores import a_job, submit

_BATCH = 500
CLIENTS = [f"client{n}" for n in range(10)]


def many(amount: int, seed: int) -> Case:
    """So many jobs of ten clients, some with budgets and weights of their own."""
    chance = random.Random(seed)
    jobs = [(chance.choice(CLIENTS), chance.randint(1, 10), chance.random() < 0.01) for _ in range(amount)]
    budgets = {"client3": Budget(5), "client7": Budget(40, 10)}
    return Case(jobs, Budget(100, 20), budgets, {"client1": 3.0, "client2": 0.5}, seed)


@dataclass(frozen=True, slots=True)
class Case:
    """Who queues what, and what the settings say."""

    jobs: Sequence[tuple[str, int, bool]]  # client, priority, top of queue; submitted in this order
    overall: Budget
    budgets: dict[str, Budget]
    weights: dict[str, float]
    seed: int  # which jobs end, and how many at a time


@dataclass(slots=True)
class Model:
    """The rules as the contract words them: of all jobs that fit, the first by top of queue, priority, the client with the
    fewest started jobs for its weight, and submission; one after another."""

    case: Case
    queued: dict[str, list[tuple[bool, int, int]]] = field(default_factory=lambda: defaultdict(list))
    started: dict[int, tuple[str, int]] = field(default_factory=dict)

    def submit(self, job_id: int, client: str, priority: int, top: bool) -> None:  # noqa: FBT001 - a row of the case
        """The job waits."""
        insort(self.queued[client], (not top, priority, job_id))

    def admit(self) -> list[int]:
        """The ids that start now, in order."""
        begun = []
        while found := self._next():
            client, row = found
            self.queued[client].remove(row)
            self.started[row[2]] = (client, row[1])
            begun.append(row[2])
        return begun

    def _next(self) -> tuple[str, tuple[bool, int, int]] | None:
        running = Counter(client for client, _ in self.started.values())
        best = []
        for client, rows in self.queued.items():
            fits = self._fitting(client)
            row = next((row for row in rows if row[1] in fits), None)
            if row is not None:
                share = running[client] / self.case.weights.get(client, 1.0)
                best.append((row[0], row[1], share, row[2], client))
        if not best:
            return None
        top, priority, _, job_id, client = min(best)
        return client, (top, priority, job_id)

    def _fitting(self, client: str) -> set[int]:
        """The priorities of which the client may have one more job started."""
        every = Counter(priority for _, priority in self.started.values())
        own = Counter(priority for other, priority in self.started.values() if other == client)
        budgets = ((self.case.overall, every), (self.case.budgets.get(client), own))
        return {
            priority
            for priority in range(1, 11)
            if all(budget is None or _room(budget, priority, running) for budget, running in budgets)
        }


def _room(budget: Budget, priority: int, running: Counter[int]) -> bool:
    if running.total() >= budget.max_jobs:
        return False
    ordinary = sum(count for other, count in running.items() if other > budget.priority_threshold)
    return priority <= budget.priority_threshold or ordinary < budget.max_jobs - budget.priority_slots


def _start(snapshot: Snapshot) -> Changes:
    changes = Changes(snapshot.job, snapshot.job.state, job_changed=True)
    snapshot.job.move(JobState.STARTED)
    snapshot.job.started_at = START
    return changes


def _complete(snapshot: Snapshot) -> Changes:
    changes = Changes(snapshot.job, snapshot.job.state, job_changed=True)
    snapshot.job.move(JobState.COMPLETED)
    snapshot.job.completed_at = START
    return changes


async def _admit(store: Store, case: Case) -> list[int]:
    """The ids that the store starts now, in order."""
    chosen: list[int] = []

    def pick(candidates: Candidates) -> list[int]:
        queued = [Queued(*row) for row in candidates.queued]
        started = [InSlot(client, priority) for client, priority, _ in candidates.started]
        chosen[:] = choose(started, queued, case.overall, case.budgets, case.weights)
        return chosen

    begun: list[int] = []
    while True:
        chosen.clear()  # the store asks for no choice where nothing is queued
        await store.admit(START, pick, _start)
        if not chosen:
            return begun
        begun += chosen


async def beside_the_model(case: Case, database: str | None = None) -> None:
    """Submit all, then let jobs end in random order until nothing is left. AssertionError where the store starts others
    than the model, or in another order. `database`: an empty one; else a file."""
    chance, model = random.Random(case.seed), Model(case)
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(database or f"sqlite:///{folder}/jobs.db", MovedClock()) as store:
            ids, _ = await store.allocate(jobs=len(case.jobs))
            rows = list(zip(ids, case.jobs, strict=True))
            for begin in range(0, len(rows), _BATCH):
                await submit(store, *(
                    Changes(a_job(job_id, client=client, priority=priority, top_of_queue=top))
                    for job_id, (client, priority, top) in rows[begin : begin + _BATCH]
                ))  # fmt: skip
            for job_id, row in rows:
                model.submit(job_id, *row)
            left = len(rows)
            while left:
                begun = await _admit(store, case)
                assert begun == model.admit()
                assert model.started, "nothing runs, and nothing is admitted"
                ended = chance.sample(sorted(model.started), chance.randint(1, len(model.started)))
                await store.decide(ended, _complete)
                for job_id in ended:
                    del model.started[job_id]
                left -= len(ended)
