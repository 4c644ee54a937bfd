"""Takes what workers say, in batches, and lets the pure core decide what becomes of their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from taskengine.domain.errors import BrokerUnavailable, MessageError
from taskengine.domain.execution import Run
from taskengine.domain.job import Cancel, Changes
from taskengine.domain.messages import Report, ReportEvent, WorkerMessage
from taskengine.domain.status import TaskState
from taskengine.engine.effects import Effects
from taskengine.engine.progress import ProgressBook
from taskengine.engine.rules import Decisions
from taskengine.ports import Address, Broker, Clock, Consumer, Delivery, JobStore

log = structlog.get_logger(__name__)

_BATCH = 200
_KNOWN_TASKS = 100_000
_LAST_LOOK_S = 0.05

type_of_report = tuple[str, str, Report]


class Coordinator:
    """The consumer of reports. A batch is acknowledged once everything that it means is durable."""

    def __init__(
        self,
        store: JobStore,
        broker: Broker,
        decisions: Decisions,
        effects: Effects,
        progress: ProgressBook,
        clock: Clock,
    ) -> None:
        self._store, self._broker, self._decisions = store, broker, decisions
        self._effects, self._progress, self._clock = effects, progress, clock
        self._job_of: dict[int, int] = {}
        self._stopping = asyncio.Event()
        self.listening = False  # whether workers can be heard now

    def stop(self) -> None:
        """`run` returns once everything that is there already was taken."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume for ever. What was not acknowledged when this raises is delivered again."""
        async with self._broker.consume(Address.REPORTS, prefetch=_BATCH * 2) as consumer:
            self.listening = True
            try:
                while deliveries := await self._next(consumer):
                    await self.take(deliveries)
            finally:
                self.listening = False
        if not self._stopping.is_set():
            raise BrokerUnavailable("the consumer of reports was closed")

    async def _next(self, consumer: Consumer) -> list[Delivery]:
        """The next batch; [] once stopping and nothing is there."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        batch = asyncio.ensure_future(consumer.batch(_BATCH))
        try:
            await asyncio.wait({stopping, batch}, return_when=asyncio.FIRST_COMPLETED)
            if not batch.done():
                await asyncio.wait({batch}, timeout=_LAST_LOOK_S)
            return await batch if batch.done() else []
        finally:
            stopping.cancel()
            batch.cancel()

    async def take(self, deliveries: Sequence[Delivery]) -> None:
        """Handle one batch."""
        messages: list[WorkerMessage] = []
        good: list[Delivery] = []
        for delivery in deliveries:
            try:
                messages.append(WorkerMessage.from_json(delivery.message.body))
                good.append(delivery)
            except MessageError as error:
                log.warning("report_rejected", error=str(error))
                await delivery.reject(str(error))
        await self._reports(messages)
        await self._heartbeats(messages)
        for delivery in good:
            await delivery.ack()

    async def _heartbeats(self, messages: Sequence[WorkerMessage]) -> None:
        """The last word of each worker counts. What it names and does not hold is fenced."""
        latest = {message.worker.id: message for message in messages}
        for message in latest.values():
            unknown = await self._store.heartbeat(message.worker, message.running, self._clock.now())
            if unknown:
                worker = message.worker.id
                await self._effects.tell([Cancel(run.task_id, run.token, worker, "fenced") for run in unknown])

    async def _reports(self, messages: Sequence[WorkerMessage]) -> None:
        reports: list[type_of_report] = []
        for message in messages:
            for report in message.reports:
                if report.event is ReportEvent.PROGRESS:
                    self._progress.note(report)
                else:
                    reports.append((message.worker.id, message.worker.name, report))
        if not reports:
            return
        by_job = await self._by_job(reports)

        def apply(run: Run) -> None:
            for worker_id, worker, report in by_job[run.job.id]:
                run.report(worker_id, worker, report)

        written = await self._decisions.decide_each(sorted(by_job), apply)
        self._log_attempts(written)
        await self._effects.follow(written)

    async def _by_job(self, reports: Sequence[type_of_report]) -> dict[int, list[type_of_report]]:
        unknown = {report.task_id for _, _, report in reports} - self._job_of.keys()
        if unknown:
            if len(self._job_of) > _KNOWN_TASKS:
                self._job_of.clear()
                unknown = {report.task_id for _, _, report in reports}
            self._job_of.update(await self._store.job_of(sorted(unknown)))
        by_job: dict[int, list[type_of_report]] = {}
        for entry in reports:
            job_id = self._job_of.get(entry[2].task_id)
            if job_id is None:
                log.warning("report_of_unknown_task", task_id=entry[2].task_id, worker=entry[1])
            else:
                by_job.setdefault(job_id, []).append(entry)
        return by_job

    def _log_attempts(self, written: Sequence[Changes]) -> None:
        """The canonical line of each attempt."""
        for changes in written:
            tasks = {task.id: task for task, _ in changes.tasks.values()}
            for attempt in changes.attempts:
                task = tasks.get(attempt.task_id)
                began = attempt.started_at or attempt.ended_at
                log.info(
                    "attempt_ended",
                    job_id=changes.job.id,
                    client=changes.job.client,
                    workflow=changes.job.workflow,
                    task_id=attempt.task_id,
                    task=task.name if task else None,
                    handler=task.handler if task else None,
                    attempt=attempt.attempt,
                    worker=attempt.worker,
                    outcome=attempt.outcome,
                    seconds=(attempt.ended_at - began) / 1000,
                    process_s=attempt.process_s,
                    error=attempt.error,
                )
                if task is None or task.state is not TaskState.RUNNING:
                    self._progress.forget(attempt.task_id)
