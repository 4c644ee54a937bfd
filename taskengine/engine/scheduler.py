"""Gates, timers and slots: when a job may wait in the queue, and when it is admitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from taskengine.domain.admission import Budget, InSlot, Queued, choose
from taskengine.domain.execution import Run
from taskengine.domain.job import Changes, Snapshot
from taskengine.domain.status import JobState
from taskengine.engine.duties import Gate, always
from taskengine.engine.effects import Effects
from taskengine.engine.rules import Decisions
from taskengine.engine.signals import SWEEP_S, Signals
from taskengine.ports import Candidates, Clock, JobStore

log = structlog.get_logger(__name__)

_BATCH = 200
_STUCK_S = 1.0  # a timer that is over and moved nothing (the clock was set back) is not rung again at once


class Budgets(Protocol):
    """The budgets as the settings say now."""

    async def budgets(self) -> tuple[Budget, Mapping[str, Budget]]:
        """Over all, and per client."""
        ...

    def weight(self, client: str) -> float:
        """The client's weight in the fair share."""
        ...

    async def schedule_interval(self) -> float:
        """Seconds between the looks at semaphores."""
        ...


class Scheduler:
    """Three loops that are awake only when there is something to do: admission, timers, awaited jobs."""

    def __init__(
        self,
        store: JobStore,
        decisions: Decisions,
        effects: Effects,
        signals: Signals,
        budgets: Budgets,
        clock: Clock,
        may_queue: Gate = always,
    ) -> None:
        self._store, self._decisions, self._effects, self._signals = store, decisions, effects, signals
        self._budgets, self._clock = budgets, clock
        self._may_queue = may_queue

    # ------------------------------------------------------------------------------------------------------ admission

    async def admissions(self) -> None:
        """Give slots whenever one may be free."""
        while True:
            await self.admit()
            await self._signals.admission.wait(self._clock, SWEEP_S)

    async def admit(self) -> None:
        """Start the jobs that fit now."""
        overall, budgets = await self._budgets.budgets()
        failed: dict[int, str] = {}
        shown = 0  # queued jobs

        def pick(candidates: Candidates) -> list[int]:
            nonlocal shown
            failed.clear()
            shown = len(candidates.queued)
            queued = [Queued(*row) for row in candidates.queued]
            weights = {job.client: self._budgets.weight(job.client) for job in queued}
            started = [InSlot(client, priority) for client, priority, _ in candidates.started]
            return choose(started, queued, overall, budgets, weights)

        def start(snapshot: Snapshot) -> Changes | None:
            run = self._decisions.run(snapshot)
            try:
                run.start()
            except Exception as error:  # noqa: BLE001 - one that cannot be started must not hold up all others
                failed[snapshot.job.id] = f"the engine failed: {type(error).__name__}: {error}"
                return None
            return run.changes

        written = await self._decisions.with_definitions(lambda: self._store.admit(self._clock.now(), pick, start))
        for job_id, reason in failed.items():
            log.error("start_failed", job_id=job_id, error=reason)
            written += await self._decisions.abandon([job_id], reason)
        await self._effects.follow(written)
        if written and shown > 1:  # there may be more than one look shows
            self._signals.admission.set()

    # --------------------------------------------------------------------------------------------------------- timers

    async def timers(self) -> None:
        """Sleep until the next timer is over; a new one wakes the loop."""
        while True:
            least = 0.0 if await self.ring() else _STUCK_S
            due = await self._store.next_due(scheduled=self._may_queue())
            wait = SWEEP_S if due is None else min((due - self._clock.now()) / 1000, SWEEP_S)
            await self._signals.timers.wait(self._clock, max(wait, least))

    async def ring(self) -> bool:
        """Act on every timer that is over; whether none is left of those."""
        while job_ids := await self._store.due(self._clock.now(), _BATCH, scheduled=self._may_queue()):
            written = await self._decisions.decide_each(job_ids, Run.timers)
            await self._effects.follow(written)
            if not written:  # someone else was faster
                return False
        return True

    # --------------------------------------------------------------------------------------------------- awaited jobs

    async def awaited(self) -> None:
        """Look after each job that ended whether others have waited for it."""
        while True:
            await self.release_awaiting()
            await self._signals.awaited.wait(self._clock, SWEEP_S)

    async def release_awaiting(self) -> None:
        """Open the gate of jobs whose awaited jobs have completed; fail those that wait for one that did not."""
        for job_id, awaited in await self._store.pending_after():
            jobs = [await self._store.job(other) for other in awaited]
            bad = [
                other
                for other, job in zip(awaited, jobs, strict=True)
                if job is None or job.failed or job.state is JobState.BROKEN
            ]

            def apply(run: Run, bad: Sequence[int] = tuple(bad)) -> None:
                if run.job.state is not JobState.PENDING:
                    return
                if bad:
                    run.fail(f"job {bad[0]}, which this job waits for, failed")
                else:
                    run.open_gate()

            await self._effects.follow(await self._decisions.decide_each([job_id], apply))
