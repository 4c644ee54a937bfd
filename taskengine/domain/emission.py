"""What a decision tells the world: log entries, events, callbacks, all written with the change that they report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskengine.domain.callbacks import job_body, task_body
from taskengine.domain.composing import compose
from taskengine.domain.job import Attempt, Callback, Event, LogEntry, Task
from taskengine.domain.masking import mask_tail
from taskengine.domain.messages import MAX_TEXT
from taskengine.domain.scope import scope_of
from taskengine.domain.status import JobState
from taskengine.domain.times import format_utc as utc

if TYPE_CHECKING:
    from taskengine.domain.execution import Run

__all__ = ["attempt_ended", "job_ended", "job_event", "log", "submitted", "task_event", "utc", "worker_log"]

_SEVERITIES = range(5)


def submitted(origin: Mapping[str, Any], parameters: Mapping[str, Any], now: int) -> LogEntry:
    """The first entry of every job: its submission, its secrets masked to their last characters."""
    body = {
        "path": origin.get("path", "/job"),
        "remote_addr": origin.get("remote_addr", ""),
        "headers": origin.get("headers", {}),
        "parameters": mask_tail(parameters),
        "payload": "job_created",
    }
    return LogEntry(1, "api", json.dumps(body, ensure_ascii=False), now)


def log(run: Run, progname: str, message: str, task: Task | None = None, *, severity: int = 1) -> None:
    """One line of the job's log."""
    run.changes.logs.append(LogEntry(severity, progname, message[:MAX_TEXT], run.now, task))


def attempt_ended(run: Run, task: Task, attempt: Attempt, stderr_tail: str) -> None:
    """The attempt's one line. It is of the engine's inside (who had it, how it ended, how long it took), not of the job's
    course: whoever asks for all entries sees it."""
    seconds = (attempt.ended_at - (attempt.started_at or attempt.ended_at)) / 1000
    parts = [f"'{task.name}' attempt {attempt.attempt} {attempt.outcome} after {seconds:.3f} s"]
    parts += [f"worker {attempt.worker}"] if attempt.worker else []
    parts += [f"processes {attempt.process_s:.3f} s"] if attempt.process_s else []
    parts += [f"exit code {attempt.exit_code}"] if attempt.exit_code is not None else []
    text = ", ".join(parts) + (f": {attempt.error}" if attempt.error else "")
    text = f"{text}\n{stderr_tail}" if stderr_tail else text
    run.changes.logs.append(LogEntry(0, "controller", text[:MAX_TEXT], run.now, task, visible=False))


def worker_log(run: Run, task: Task, entries: Sequence[Any]) -> None:
    """What a worker has to say of its attempt; entries that are none are passed over."""
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        severity = entry.get("severity", 1)
        at = entry.get("at")
        run.changes.logs.append(
            LogEntry(
                severity=severity if severity in _SEVERITIES else 1,
                progname="worker",
                message=str(entry.get("message", ""))[:MAX_TEXT],
                created_at=at if isinstance(at, int) and 0 < at <= run.now else run.now,
                task=task,
                visible=bool(entry.get("visible", True)),
            )
        )


def task_event(run: Run, task: Task, event: str, message: str = "") -> None:
    """A task started, completed or was given up: an event for followers and, where the step reports, callbacks."""
    if task.id is None:  # it ended before it was ever stored: only its log entry tells
        return
    calls_back = bool(run.job.endpoints) and run.rules.workflow.step(task.step).callback
    if not (run.rules.events or calls_back):
        return
    body = task_body(run.job, task, event, message, run.now, run.rules.callbacks.ids)
    _tell(run, "task", event, body, task)
    if calls_back:
        _call_back(run, event, body, task)


def job_event(run: Run) -> None:
    """The job is in another state: an event for followers alone."""
    if run.rules.events:
        body = {**job_body(run.job, run.now, ids=run.rules.callbacks.ids), "status": run.job.state.value}
        _tell(run, "job", run.job.state.value, body)


def job_ended(run: Run) -> None:
    """The job's end: its callback, and the event."""
    rules = run.rules.callbacks
    body = job_body(run.job, run.now, extra_fields=rules.extra_fields, ids=rules.ids)
    name = "broken" if run.job.state is JobState.BROKEN else body["status"]
    _tell(run, "job", name, body)
    _call_back(run, "job", body, None)


def _call_back(run: Run, event: str, body: Mapping[str, Any], task: Task | None) -> None:
    """A delivery to each endpoint that wants to hear of it."""
    rules = run.rules.callbacks
    endpoints = [endpoint for endpoint in dict.fromkeys(run.job.endpoints) if rules.wants(endpoint, event)]
    if not endpoints:
        return
    kind = "job" if task is None else "task"
    composed = compose(rules, kind, body, lambda: _scope(run, task), run.rules.evaluate)
    for fault in composed.faults:
        log(run, "callback", f"callback '{event}': {fault}", task, severity=2)
    for endpoint in endpoints:
        run.changes.callbacks.append(
            Callback(
                endpoint, event, f"msg_{run.rules.new_id()}", composed.text, run.now, task,
                headers=composed.headers, patience_ms=rules.patience_ms,
            )
        )  # fmt: skip


def _scope(run: Run, task: Task | None) -> Mapping[str, Any]:
    """What templates of callbacks see."""
    scope = scope_of(run.job, run.rules.workflow, run.all_tasks, run.rules.client)
    if task is None:
        return scope
    return {**scope, "task": {"id": task.id, "name": task.name, "step": task.step, "handler": task.handler}}


def _tell(run: Run, kind: str, name: str, body: Mapping[str, Any], task: Task | None = None) -> None:
    """An event for followers, where there may be any; it counts within its job."""
    if run.rules.events:
        run.job.seq += 1
        run.changes.job_changed = True
        run.changes.events.append(Event(kind, name, run.now, run.job.seq, task, body))
