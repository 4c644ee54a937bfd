"""Takes what workers say, in batches, and lets the pure core decide what becomes of their jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import structlog

from taskengine.domain.errors import BrokerUnavailable, MessageError
from taskengine.domain.execution import Run
from taskengine.domain.job import Attempt, Cancel, Changes, Job, Task
from taskengine.domain.messages import ReportEvent, Running, WorkerMessage
from taskengine.domain.status import TaskState
from taskengine.engine.dispatcher import Dispatcher
from taskengine.engine.effects import Effects
from taskengine.engine.inbox import Inbox, Told
from taskengine.engine.log_caps import LogCaps
from taskengine.engine.meter import NoMeter
from taskengine.engine.progress import ProgressBook
from taskengine.engine.rules import Decisions
from taskengine.engine.signals import Signal
from taskengine.ports import Address, Advanced, Broker, Clock, Consumer, Delivery, Dispatched, JobStore, Meter

log = structlog.get_logger(__name__)

_BATCH = 200
_HELD = 2 * _BATCH  # messages that are not acknowledged
_JOBS = 50  # in one transaction
_DECIDERS = 3  # transactions at one time: while one waits for the disk, another is computed
_KNOWN_TASKS = 100_000
_LAST_LOOK_S = 0.05
_HEARTBEATS_S = 0.25  # between writes of what workers name: far less than any lease

Ended = tuple[int, str]  # (task id, token)


class Coordinator:
    """The consumer of reports. A message is acknowledged once everything that its reports mean is durable."""

    def __init__(
        self,
        store: JobStore,
        broker: Broker,
        decisions: Decisions,
        effects: Effects,
        progress: ProgressBook,
        dispatcher: Dispatcher,
        clock: Clock,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or NoMeter()
        self._store, self._broker, self._decisions = store, broker, decisions
        self._effects, self._progress, self._dispatcher, self._clock = effects, progress, dispatcher, clock
        self._log_caps = LogCaps()
        self._job_of: dict[int, int] = {}
        self._stopping = asyncio.Event()
        self._alive: dict[str, tuple[WorkerMessage, int]] = {}  # the last word of each worker, and when it came
        self._at: dict[str, set[Running]] = {}  # whose progress each worker told since the last heartbeats were written
        self._over: set[Ended] = set()  # what was told to have ended since the last heartbeats were written
        self._heard = Signal()
        self.listening = False  # whether workers can be heard now
        self._inbox = Inbox()
        self._reading: asyncio.Future[list[Delivery]] | None = None  # done where something is there to be taken
        self._read_at = self._caught_up_at = 0

    @property
    def caught_up_at(self) -> int:
        """Up to when all that workers had said by then is read and decided, as far as that is known here, ms; 0: not yet.
        While as much is held as the broker gives, older words may wait there."""
        if self._reading is not None and not self._reading.done():
            self._read_at = self._clock.now()
        if len(self._inbox) < _HELD:
            oldest = self._inbox.oldest_at
            decided = self._read_at if oldest is None else min(self._read_at, oldest)
            self._caught_up_at = max(self._caught_up_at, decided)
        return self._caught_up_at

    def stop(self) -> None:
        """`run` returns once everything that is there already was taken."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume for ever. What was not acknowledged when this raises is delivered again: so nothing is taken while the
        store is away, else a queue with a delivery limit would give up on it."""
        if self._stopping.is_set():  # and the broker was away: what it has is for the next engine
            return
        await self._store.check()
        async with self._broker.consume(Address.REPORTS, prefetch=_HELD) as consumer:
            self.listening = True
            try:
                await self._consume(consumer)
            except BaseExceptionGroup as group:
                raise _first(group) from group
            finally:
                self.listening = False
        if not self._stopping.is_set():
            raise BrokerUnavailable("the consumer of reports was closed")

    async def _consume(self, consumer: Consumer) -> None:
        inbox = self._inbox = Inbox()
        async with asyncio.TaskGroup() as group:
            for _ in range(_DECIDERS):
                group.create_task(self._decide(inbox))
            heartbeats = group.create_task(self._heartbeats())
            while deliveries := await self._next(consumer):
                now = self._clock.now()
                await self._take(deliveries, inbox, now)
                if len(deliveries) < _BATCH:  # these were all
                    self._read_at = now
            await inbox.close()
            heartbeats.cancel()
            await self._write_heartbeats()

    async def _next(self, consumer: Consumer) -> list[Delivery]:
        """The next batch; [] once stopping and nothing is there."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        batch = asyncio.ensure_future(consumer.batch(_BATCH))
        try:
            await asyncio.sleep(0)  # what is there already is taken by now
            self._reading = batch
            await asyncio.wait({stopping, batch}, return_when=asyncio.FIRST_COMPLETED)
            if not batch.done():
                await asyncio.wait({batch}, timeout=_LAST_LOOK_S)
            return await batch if batch.done() else []
        finally:
            self._reading = None
            stopping.cancel()
            batch.cancel()

    async def _take(self, deliveries: Sequence[Delivery], inbox: Inbox, now: int) -> None:
        """Hand what is said to the deciders, by job."""
        told: list[tuple[Delivery, list[Told]]] = []
        for delivery in deliveries:
            try:
                message = WorkerMessage.from_json(delivery.body)
            except MessageError as error:
                log.warning("report_rejected", error=str(error))
                await delivery.reject(str(error))
            else:
                told.append((delivery, self._note(message)))
        jobs = await self._jobs({one.report.task_id for _, some in told for one in some})
        for delivery, some in told:
            known = [(jobs[one.report.task_id], one) for one in some if one.report.task_id in jobs]
            await inbox.add(delivery, known, now)

    def _note(self, message: WorkerMessage) -> list[Told]:
        """Note what needs no decision; the rest."""
        self._alive[message.worker.id] = message, self._clock.now()
        self._heard.set()
        self._effects.farewells.note(message)
        told: list[Told] = []
        for report in message.reports:
            if report.event is ReportEvent.PROGRESS:
                self._progress.note(report)
                at = Running(report.task_id, report.attempt, report.token)
                self._at.setdefault(message.worker.id, set()).add(at)
                continue
            self._dispatcher.told(report.token)
            if report.event is ReportEvent.LOG:
                if (cut := self._log_caps.cut(report)) is not None:
                    told.append(Told(message.worker.id, message.worker.name, cut))
                continue
            told.append(Told(message.worker.id, message.worker.name, report))
            if report.event is not ReportEvent.STARTED:
                self._over.add((report.task_id, report.token))
        return told

    async def _jobs(self, task_ids: set[int]) -> dict[int, int]:
        """The job of each task that exists."""
        known = {task_id: self._dispatcher.job_of(task_id) or self._job_of.get(task_id) for task_id in task_ids}
        if unknown := sorted(task_id for task_id, job_id in known.items() if job_id is None):
            if len(self._job_of) > _KNOWN_TASKS:
                self._job_of.clear()
            found = await self._store.job_of(unknown)
            self._job_of.update(found)
            known.update(found)
            for task_id in set(unknown) - found.keys():
                log.warning("report_of_unknown_task", task_id=task_id)
        return {task_id: job_id for task_id, job_id in known.items() if job_id is not None}

    # ------------------------------------------------------------------------------------------------------ decisions

    async def _decide(self, inbox: Inbox) -> None:
        """One of the deciders: what is next, again and again. Others go on while it publishes."""
        while by_job := await inbox.some(_JOBS):
            advanced = await self._advanced(by_job)
            dispatched = [one for each in advanced for one in each.dispatched]
            async with asyncio.TaskGroup() as group:
                if dispatched:  # a worker waits for it: all else that follows waits until it is sent
                    group.create_task(self._publish(dispatched))
                    await _passed_on()
                await self._follow(by_job, advanced)
                await inbox.done(list(by_job))

    async def _advanced(self, by_job: Mapping[int, Sequence[Told]]) -> Sequence[Advanced]:
        """Decide and write."""

        def apply(run: Run) -> None:
            for told in by_job[run.job.id]:
                run.report(told.worker_id, told.worker, told.report)

        tasks = {job_id: {one.report.task_id for one in told} for job_id, told in by_job.items()}
        return await self._decisions.advance_each(tasks, apply, self._dispatcher.plan())

    async def _publish(self, dispatched: Sequence[Dispatched]) -> None:
        try:
            await self._dispatcher.publish(dispatched)
        except BrokerUnavailable as error:  # they are given back, and the dispatcher waits for the broker
            log.warning("dispatch_not_sent", error=str(error), tasks=len(dispatched))

    async def _follow(self, by_job: Mapping[int, Sequence[Told]], advanced: Sequence[Advanced]) -> None:
        self._effects.farewells.decided(told.report.token for some in by_job.values() for told in some)
        for each in advanced:
            self._log_attempts(each.changes)
            await self._effects.follow(each.changes, handed_out=True)
            self._effects.dispatch_later(each.passed_over)

    def _log_attempts(self, written: Sequence[Changes]) -> None:
        """The canonical line of each attempt."""
        told = logging.getLogger(__name__).isEnabledFor(logging.INFO)
        for changes in written:
            tasks = {task.id: task for task, _ in changes.tasks.values()}
            for attempt in changes.attempts:
                task = tasks.get(attempt.task_id)
                began = attempt.started_at or attempt.ended_at
                seconds = (attempt.ended_at - began) / 1000
                self._meter.attempt(task.handler if task else "unknown", attempt.outcome, seconds)
                if told:
                    _log_attempt(changes.job, task, attempt, seconds)
                if task is None or task.state is not TaskState.RUNNING:
                    self._progress.forget(attempt.task_id)

    # ------------------------------------------------------------------------------------------------------ heartbeats

    async def _heartbeats(self) -> None:
        """Write them now and then: who is alive, and what it is at."""
        while True:
            await self._heard.wait(self._clock)
            await self._write_heartbeats()
            await self._clock.sleep(_HEARTBEATS_S)

    async def _write_heartbeats(self) -> None:
        """The last word of each worker counts, and whose progress it told. What it names and does not hold is fenced, but
        for what it has told the end of meanwhile."""
        alive, self._alive = self._alive, {}
        at_work, self._at = self._at, {}
        over, self._over = self._over, set()
        await asyncio.gather(
            *(
                self._write_heartbeat(message, {*message.running, *at_work.get(worker, ())}, at, over)
                for worker, (message, at) in alive.items()
            )
        )

    async def _write_heartbeat(
        self, message: WorkerMessage, named: AbstractSet[Running], at: int, over: AbstractSet[Ended]
    ) -> None:
        running = [run for run in named if (run.task_id, run.token) not in over]
        unknown = await self._store.heartbeat(message.worker, running, at)
        fenced = [run for run in unknown if (run.task_id, run.token) not in self._over]
        if fenced:
            worker = message.worker.id
            await self._effects.tell([Cancel(run.task_id, run.token, worker, "fenced") for run in fenced])


async def _passed_on() -> None:
    """Let what was begun ask the broker, the broker hand the messages to the connection, and the connection write them."""
    for _ in range(3):
        await asyncio.sleep(0)


def _log_attempt(job: Job, task: Task | None, attempt: Attempt, seconds: float) -> None:
    log.info(
        "attempt_ended",
        job_id=job.id,
        client=job.client,
        workflow=job.workflow,
        task_id=attempt.task_id,
        task=task.name if task else None,
        handler=task.handler if task else None,
        attempt=attempt.attempt,
        worker=attempt.worker,
        outcome=attempt.outcome,
        seconds=seconds,
        process_s=attempt.process_s,
        error=attempt.error,
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Why all of them ended."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
