"""What a worker says: reports in batches, heartbeats, each message naming everything that the worker is at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import structlog

from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.messages import (
    MAX_MESSAGE_BYTES,
    MAX_TEXT,
    Report,
    ReportEvent,
    Running,
    TaskMessage,
    WorkerInfo,
    WorkerMessage,
)
from taskengine.engine.signals import Signal
from taskengine.ports import Address, Broker, Clock, Message, Outgoing

log = structlog.get_logger(__name__)

_MAX_BATCH = 100
_QUIET_S = 0.5  # how long progress and log entries may wait for company
_RETRY_S = 0.5
_LEAST_BEAT_S = 0.05  # between heartbeats, whatever a task asks for
_ENTRIES_CHARS = 32 * 1024  # of entries in one report: also escaped, it is smaller than a message may be
_MAX_LOG_ENTRIES = 2_000  # kept while the broker is away; the oldest of one task go first


class Reporter:
    """Collects what the tasks of one worker report and sends it, confirmed, in order."""

    def __init__(self, worker: WorkerInfo, broker: Broker, clock: Clock, heartbeat_s: float) -> None:
        self.worker = worker
        self._broker, self._clock, self._heartbeat_s = broker, clock, heartbeat_s
        self._quiet_s = min(_QUIET_S, heartbeat_s)
        self._running: dict[str, Running] = {}
        self._beats: dict[str, float] = {}  # seconds, of the attempts that ask for more heartbeats than our own setting
        self._urgent: list[tuple[Report, asyncio.Future[None]]] = []
        self._progress: dict[str, Report] = {}
        self._entries: dict[str, tuple[TaskMessage, list[Mapping[str, Any]]]] = {}
        self._signal = Signal()
        self._quiet_until = 0
        self._beat_now = False
        self._patient_until: int | None = None  # ms; None: for ever
        self._sending: asyncio.Timeout | None = None  # what is being sent now
        self.unreported = 0  # reports that were given up

    # -------------------------------------------------------------------------------------------------------- telling

    def begin(self, task: TaskMessage) -> None:
        """The worker is at this attempt from now on: every message names it."""
        self._running[task.token] = Running(task.task_id, task.attempt, task.token)
        if task.heartbeat_s < self._heartbeat_s:
            self._beats[task.token] = max(task.heartbeat_s, _LEAST_BEAT_S)
            self._signal.set()  # the next heartbeat may be due sooner than what is waited for

    def end(self, task: TaskMessage) -> None:
        """It is not any more."""
        self._running.pop(task.token, None)
        self._beats.pop(task.token, None)

    def beat(self) -> None:
        """Send a heartbeat at once."""
        self._beat_now = True
        self._signal.set()

    async def tell(self, task: TaskMessage, event: ReportEvent, details: Mapping[str, Any] | None = None) -> None:
        """Send a report with the next message; return when the broker has confirmed it."""
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flush_entries(task.token)
        self._progress.pop(task.token, None)
        self._urgent.append((self._report(task, event, details or {}), confirmed))
        self._signal.set()
        await confirmed

    def finish(self, seconds: float) -> None:
        """The worker ends: after `seconds` more, what a broker that is away does not take is given up."""
        self._patient_until = self._clock.now() + round(seconds * 1000)
        if self._sending is not None:
            self._sending.reschedule(asyncio.get_running_loop().time() + seconds)

    def progress(self, task: TaskMessage, details: Mapping[str, Any]) -> None:
        """The attempt's latest progress; only the last one before a message counts."""
        self._progress[task.token] = self._report(task, ReportEvent.PROGRESS, details)
        self._signal.set()

    def entry(self, task: TaskMessage, severity: int, message: str) -> None:
        """An entry for the task's log."""
        entries = self._entries.setdefault(task.token, (task, []))[1]
        entries.append({"severity": severity, "message": str(message)[:MAX_TEXT], "at": self._clock.now()})
        del entries[:-_MAX_LOG_ENTRIES]
        self._signal.set()

    def _report(self, task: TaskMessage, event: ReportEvent, details: Mapping[str, Any]) -> Report:
        return Report(task.task_id, task.attempt, task.token, event, self._clock.now(), details)

    # -------------------------------------------------------------------------------------------------------- sending

    async def run(self) -> None:
        """Send what there is at once where it is urgent, else with the next quiet moment; else the heartbeat."""
        beat = self._clock.now()
        await self._send([])
        while True:
            await self._signal.wait(self._clock, max(self._due_s(beat), 0.0))
            if not (self._urgent or self._beat_now) and (self._progress or self._entries):
                await self._linger()
            if not (self._urgent or self._progress or self._entries) and self._due_s(beat) > 0:
                continue
            beat = self._clock.now()  # before what the broker takes to confirm it, which is no part of the interval
            await self._send_all()

    def _due_s(self, beat: int) -> float:
        """Seconds until the next heartbeat: the shortest interval that our setting or a running attempt asks for."""
        if self._beat_now:
            return 0.0
        interval_s = min(self._heartbeat_s, *self._beats.values()) if self._beats else self._heartbeat_s
        return (beat + interval_s * 1000 - self._clock.now()) / 1000

    async def _linger(self) -> None:
        wait = (self._quiet_until - self._clock.now()) / 1000
        if wait > 0:
            await self._signal.wait(self._clock, wait)
            while not self._urgent and (wait := (self._quiet_until - self._clock.now()) / 1000) > 0:
                await self._signal.wait(self._clock, wait)
        self._quiet_until = self._clock.now() + round(self._quiet_s * 1000)

    async def _send_all(self) -> None:
        """At least one message (the heartbeat), as many as the reports need."""
        self._beat_now = False
        for token in list(self._entries):
            self._flush_entries(token)
        while True:
            urgent, self._urgent = self._urgent[:_MAX_BATCH], self._urgent[_MAX_BATCH:]
            progress, self._progress = list(self._progress.values()), {}
            given_up = await self._send([report for report, _ in urgent] + progress)
            for _, confirmed in urgent:
                if confirmed.done():
                    continue
                if given_up is None:
                    confirmed.set_result(None)
                else:
                    confirmed.set_exception(given_up)
                    confirmed.exception()  # entries have nobody who waits for them
            if given_up is not None:
                self.unreported += len(urgent)
            if not self._urgent:
                return

    async def _send(self, reports: list[Report]) -> BrokerUnavailable | None:
        """Publish until confirmed: a report is never dropped while the worker lives; the fault where it was given up."""
        told = ""
        while True:
            until, now = self._patient_until, self._clock.now()
            try:
                async with asyncio.timeout(None if until is None else max((until - now) / 1000, 0)) as limit:
                    self._sending = limit
                    try:
                        for part in _parts(self.worker, list(self._running.values()), reports):
                            await self._broker.publish([Outgoing(Address.REPORTS, Message(part))])
                    finally:
                        self._sending = None
            except (BrokerUnavailable, TimeoutError) as error:
                if self._patient_until is not None and self._clock.now() >= self._patient_until:
                    return BrokerUnavailable(str(error) or "the broker did not take the last reports in time")
                if str(error) != told:
                    told = str(error)
                    log.warning("reports_wait", error=told, reports=len(reports))
                await self._clock.sleep(_RETRY_S)
            else:
                return None

    def _flush_entries(self, token: str) -> None:
        """Entries become a report, ahead of whatever the same task reports next."""
        kept = self._entries.pop(token, None)
        if kept is not None:
            task, entries = kept
            for some in _portions(entries):
                report = self._report(task, ReportEvent.LOG, {"entries": some})
                self._urgent.append((report, asyncio.get_running_loop().create_future()))


def _portions(entries: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The entries in their order, so many at a time that a report of them is no larger than a message may be."""
    portion: list[Mapping[str, Any]] = []
    chars = 0
    for entry in entries:
        more = len(entry["message"]) + 64
        if portion and chars + more > _ENTRIES_CHARS:
            yield portion
            portion, chars = [], 0
        portion.append(entry)
        chars += more
    yield portion


def _parts(worker: WorkerInfo, running: list[Running], reports: list[Report]) -> list[bytes]:
    """One message, or several where it would be larger than the contract allows. A report that is no JSON is left out:
    it must not keep the others, nor the heartbeat, from being sent."""
    try:
        body = WorkerMessage(worker, running, reports).to_json()
    except (TypeError, ValueError, RecursionError):
        if len(reports) == 1:
            log.exception("report_left_out", task_id=reports[0].task_id, what=reports[0].event.value)
            return _parts(worker, running, [])
        body = None
    if body is not None and (len(body) <= MAX_MESSAGE_BYTES or len(reports) < 2):
        return [body]
    half = len(reports) // 2
    return _parts(worker, running, reports[:half]) + _parts(worker, running, reports[half:])
