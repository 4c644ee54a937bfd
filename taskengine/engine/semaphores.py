"""Semaphores: a scheduled job whose time has come waits in the queue once its `semaphore_url` says so."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import structlog

from taskengine.domain.execution import Run
from taskengine.domain.status import JobState
from taskengine.domain.urls import origin
from taskengine.engine.duties import Gate, always
from taskengine.engine.effects import Effects
from taskengine.engine.rules import Decisions
from taskengine.engine.scheduler import Budgets
from taskengine.engine.signals import Signal, Signals
from taskengine.engine.why import SemaphoreAnswer
from taskengine.ports import Clock, JobStore, SemaphoreProbe

log = structlog.get_logger(__name__)

_AT_ONCE = 500  # being asked
_AT_ONCE_OF_ORIGIN = 50  # so that a server that hangs takes no more of them

_Gated = tuple[int, str, str]  # job, client, semaphore_url


class Semaphores:
    """Each is asked at once when its job's time has come, and every `schedule_interval` from then on. None waits for
    another's answer."""

    def __init__(
        self,
        store: JobStore,
        decisions: Decisions,
        effects: Effects,
        signals: Signals,
        budgets: Budgets,
        probe: SemaphoreProbe,
        clock: Clock,
        may_queue: Gate = always,
    ) -> None:
        self._store, self._decisions, self._effects, self._signals = store, decisions, effects, signals
        self._budgets, self._probe, self._clock = budgets, probe, clock
        self._may_queue = may_queue
        self._asked_at: dict[_Gated, int] = {}  # when each was asked last
        self._answers: dict[int, SemaphoreAnswer] = {}
        self._asking: set[_Gated] = set()
        self._of_origin: Counter[str] = Counter()  # of those being asked
        self._open: set[int] = set()  # jobs to be queued
        self._opened = Signal()

    def answer(self, job_id: int) -> SemaphoreAnswer | None:
        """What the job's semaphore said when this engine asked it last."""
        return self._answers.get(job_id)

    async def run(self) -> None:
        """For ever."""
        self._asking.clear()
        self._of_origin.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._queue_opened())
                while True:
                    interval = await self._budgets.schedule_interval()
                    await self._ask(group, interval)
                    await self._signals.semaphores.wait(self._clock, await self._pause(interval))
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from faults

    async def _pause(self, interval: float) -> float:
        """Until the next look: a new gate's time comes before the interval is over."""
        due = await self._store.next_gated(self._clock.now())
        return interval if due is None else max(min(interval, (due - self._clock.now()) / 1000), 0.0)

    async def _ask(self, group: asyncio.TaskGroup, interval: float) -> None:
        """Ask those that gate a job whose time has come and that were not asked for `interval` seconds."""
        now = self._clock.now()
        waiting = await self._store.gated(now) if self._may_queue() else ()
        before = now - round(interval * 1000)
        self._asked_at = {gate: self._asked_at.get(gate, before) for gate in waiting}
        jobs = {job_id for job_id, _, _ in waiting}
        self._answers = {job_id: said for job_id, said in self._answers.items() if job_id in jobs}
        by_origin: defaultdict[str, list[_Gated]] = defaultdict(list)
        for gate in waiting:
            if self._asked_at[gate] <= before and gate not in self._asking:
                by_origin[origin(gate[2])].append(gate)
        for where, gates in by_origin.items():
            for gate in gates[: max(_AT_ONCE_OF_ORIGIN - self._of_origin[where], 0)]:
                if len(self._asking) < _AT_ONCE:
                    self._asking.add(gate)
                    self._of_origin[where] += 1
                    self._asked_at[gate] = now
                    group.create_task(self._ask_one(gate, where))

    async def _ask_one(self, gate: _Gated, where: str) -> None:
        job_id, client, url = gate
        now = self._clock.now()
        try:
            is_open, answer = await self._probe.open(url, client)
        finally:
            full = len(self._asking) >= _AT_ONCE or self._of_origin[where] >= _AT_ONCE_OF_ORIGIN
            self._asking.discard(gate)
            self._of_origin[where] -= 1
            if full:  # others may have waited for this one's place
                self._signals.semaphores.set()
        log.debug("semaphore_asked", job_id=job_id, open=is_open, answer=answer)
        self._answers[job_id] = SemaphoreAnswer(now, answer)
        if is_open:
            self._open.add(job_id)
            self._opened.set()

    async def _queue_opened(self) -> None:
        """Those that have opened, together."""
        while True:
            await self._opened.wait(self._clock)
            opened, self._open = self._open, set()
            await self._effects.follow(await self._decisions.decide_each(sorted(opened), _enqueue))


def _enqueue(run: Run) -> None:
    """Into the queue, unless the job was changed meanwhile."""
    if run.job.state is JobState.SCHEDULED and (run.job.run_at or 0) <= run.now:
        run.enqueue()
