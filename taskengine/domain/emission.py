"""What a decision tells the world: log entries, events, callbacks, all written with the change that they report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskengine.domain.callbacks import job_body, task_body
from taskengine.domain.job import Callback, Event, LogEntry, Task
from taskengine.domain.messages import MAX_TEXT
from taskengine.domain.status import JobState
from taskengine.domain.times import format_utc as utc

if TYPE_CHECKING:
    from taskengine.domain.execution import Run

__all__ = ["job_ended", "job_event", "log", "task_event", "utc", "worker_log"]

_SEVERITIES = range(5)


def log(run: Run, progname: str, message: str, task: Task | None = None, *, severity: int = 1) -> None:
    """One line of the job's log."""
    run.changes.logs.append(LogEntry(severity, progname, message[:MAX_TEXT], run.now, task))


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
    body = task_body(run.job, task, event, message, run.now, run.rules.callback_ids)
    run.changes.events.append(Event("task", event, run.now, _next_seq(run), task, body))
    if run.rules.workflow.step(task.step).callback:
        _call_back(run, event, body, task)


def job_event(run: Run) -> None:
    """The job is in another state: an event for followers alone."""
    body = {**job_body(run.job, run.now, ids=run.rules.callback_ids), "status": run.job.state.value}
    run.changes.events.append(Event("job", run.job.state.value, run.now, _next_seq(run), None, body))


def job_ended(run: Run) -> None:
    """The job's end: its callback, and the event."""
    body = job_body(run.job, run.now, extra_fields=run.rules.extra_fields, ids=run.rules.callback_ids)
    name = "broken" if run.job.state is JobState.BROKEN else body["status"]
    run.changes.events.append(Event("job", name, run.now, _next_seq(run), None, body))
    _call_back(run, "job", body, None)


def _call_back(run: Run, event: str, body: Mapping[str, Any], task: Task | None) -> None:
    if not run.job.endpoints:
        return
    text = json.dumps(body, separators=(",", ":"))  # ASCII: a lone surrogate has no UTF-8
    for endpoint in dict.fromkeys(run.job.endpoints):
        run.changes.callbacks.append(Callback(endpoint, event, f"msg_{run.rules.new_id()}", text, run.now, task))


def _next_seq(run: Run) -> int:
    run.job.seq += 1
    run.changes.job_changed = True
    return run.job.seq
