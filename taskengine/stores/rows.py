"""Records of the domain as rows, and back: the columns stand in the order of the records' fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain.job import Attempt, Callback, Event, Job, LogEntry, Task
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import DueCallback

Row = tuple[Any, ...]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_JOB_STATES = {state.value: state for state in JobState}
_TASK_STATES = {state.value: state for state in TaskState}
_ON_COURSE = frozenset({TaskState.DISPATCHED, TaskState.COMPLETED})
_NOTHING = (None,) * 7

LANE_TASKS, LANE_JOB = 0, 1  # the two lines of a job's callbacks to one endpoint
ATTEMPT_FIELDS = (
    "attempt", "token", "worker", "started_at", "ended_at", "outcome", "error", "error_kind", "exit_code", "process_s",
)  # fmt: skip
LOG_FIELDS = ("id", "job_id", "task_id", "severity", "progname", "message", "created_at", "visible")
EVENT_FIELDS = (
    "id", "job_id", "task_id", "client", "workflow", "task_name", "kind", "name", "seq", "at", "body",
)  # fmt: skip
CALLBACK_FIELDS = (
    "id", "endpoint", "event", "task_id", "webhook_id", "state", "attempts", "last_status", "last_error",
    "created_at", "next_at", "delivered_at",
)  # fmt: skip


def dump(value: Any) -> str:
    """JSON text that gives the value back as it was, in letters that can be searched."""
    if value == {} and isinstance(value, dict):
        return "{}"
    text = _encode(value)
    return text if text.isascii() or _encodes(text) else json.dumps(value, separators=(",", ":"))


def load(text: str) -> Any:
    """The value of JSON text."""
    if text == "{}":
        return {}
    if text == "[]":
        return []
    return None if text == "null" else json.loads(text)


def plain(text: str | None) -> str | None:
    """Text as a database takes it: half a surrogate pair (a file name that is not UTF-8) becomes a question mark."""
    if text is None or text.isascii() or _encodes(text):
        return text
    return text.encode("utf-8", "replace").decode()


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def task_state(value: str) -> TaskState:
    """A state as it is stored."""
    return _TASK_STATES[value]


def lane_of(event: str) -> int:
    """Which of the two lines of an endpoint an event's callback stands in."""
    return LANE_JOB if event == "job" else LANE_TASKS


# --------------------------------------------------------------------------------------------------------- jobs


def job_from(row: Row) -> Job:
    """A job of a row of `{job_columns}`."""
    (
        id_, client, workflow, digest, state, created_at, updated_at, parameters, arguments, content_id, custom_data,
        endpoints, priority, top_of_queue, run_at, semaphore_url, awaited, persist, max_retries, timeout_s, tags,
        rerun_of, started_at, completed_at, deadline_at, failing, failed, error, result, seq, workspace_of,
        traceparent,
    ) = row  # fmt: skip
    return Job(
        id_, client, workflow, digest, _JOB_STATES[state], created_at, updated_at, load(parameters), load(arguments),
        content_id, load(custom_data), tuple(load(endpoints)), priority, bool(top_of_queue), run_at, semaphore_url,
        tuple(load(awaited)), bool(persist), max_retries, timeout_s, tuple(load(tags)), rerun_of, started_at,
        completed_at, deadline_at, bool(failing), bool(failed), error, None if result is None else load(result), seq,
        workspace_of, traceparent,
    )  # fmt: skip


def job_values(job: Job) -> Row:
    """The values of `insert_job`."""
    return (
        job.id, job.client, job.workflow, job.workflow_digest, job.state.value, job.created_at, job.updated_at,
        plain(job.content_id), dump(list(job.endpoints)), job.priority, job.top_of_queue, job.run_at,
        job.semaphore_url, dump(list(job.after)), job.persist, job.max_retries, job.timeout_s, dump(list(job.tags)),
        job.rerun_of, job.started_at, job.completed_at, job.deadline_at, job.failing, job.failed, plain(job.error),
        None if job.result is None else dump(job.result), job.seq, job.workspace_of,
        job.traceparent,
    )  # fmt: skip


def job_body(job: Job) -> Row:
    """The values of `insert_job_body`: what never changes."""
    return job.id, dump(job.parameters), dump(job.arguments), dump(job.custom_data)


def job_update(job: Job, before: JobState) -> Row:
    """The values of `update_job`: how far the job is."""
    return (
        job.state.value, job.updated_at, job.started_at, job.completed_at, job.deadline_at, job.failing, job.failed,
        plain(job.error), None if job.result is None else dump(job.result), job.seq, job.id, before.value,
    )  # fmt: skip


def wishes_of(job: Job) -> Row:
    """What may be changed of a job by hand, to be compared. All else of it never changes."""
    return tuple(job.endpoints), job.priority, job.top_of_queue, job.run_at, job.semaphore_url, job.persist


def job_wishes(job: Job) -> Row:
    """The values of `update_job_wishes`."""
    endpoints, *others = wishes_of(job)
    return dump(list(endpoints)), *others, job.id


# -------------------------------------------------------------------------------------------------------- tasks


def task_from(row: Row) -> Task:
    """A task of a row of `{task_columns}`."""
    (
        id_, job_id, step, index, handler, queue, state, created_at, on_failure, priority, top_of_queue, item, inputs,
        timeout_s, attempt, token, tries, timeouts, losses, ready_at, dispatched_at, published, worker_id, worker,
        seen_at, started_at, attempt_started_at, ended_at, progress, outputs, error, error_kind, exit_code,
        weight,
    ) = row  # fmt: skip
    return Task(
        id_, job_id, step, index, handler, queue, _TASK_STATES[state], created_at, bool(on_failure), priority,
        bool(top_of_queue), None if item is None else load(item), load(inputs), timeout_s, attempt, token, tries,
        timeouts, losses, ready_at, dispatched_at, bool(published), worker_id, worker, seen_at, started_at,
        attempt_started_at, ended_at, progress, load(outputs), error, error_kind, exit_code, weight,
    )  # fmt: skip


def task_values(task: Task) -> Row:
    """The values of `insert_task`."""
    return (
        task.id, task.job_id, task.step, task.index, task.handler, task.queue, task.state.value, task.created_at,
        task.on_failure, task.priority, task.top_of_queue, None if task.item is None else dump(task.item),
        dump(task.inputs), task.timeout_s, task.attempt, task.token, task.tries, task.timeouts, task.losses,
        task.ready_at, task.dispatched_at, task.published, task.worker_id, plain(task.worker), task.seen_at,
        task.started_at, task.attempt_started_at, task.ended_at, task.progress, dump(task.outputs), plain(task.error),
        task.error_kind, task.exit_code, task.weight,
    )  # fmt: skip


def task_update(task: Task, before: TaskState) -> Row:
    """The values of `update_task`: all but what never changes of a task (its job, step, handler and queue)."""
    return (
        task.state.value, task.index, None if task.item is None else dump(task.item), task.priority,
        task.top_of_queue, dump(task.inputs), task.timeout_s, task.attempt,
        task.token, task.tries, task.timeouts, task.losses, task.ready_at, task.dispatched_at, task.published,
        task.worker_id, plain(task.worker), task.seen_at, task.started_at, task.attempt_started_at, task.ended_at,
        task.progress, dump(task.outputs), plain(task.error), task.error_kind, task.exit_code, task.id, before.value,
    )  # fmt: skip


def takes_its_course(task: Task, before: TaskState) -> bool:
    """Whether it was handed out or has completed, without a fault so far: `move_task` writes all that this changes."""
    if task.state not in _ON_COURSE or before is TaskState.RETRY_WAIT:
        return False
    leaves = (
        task.ready_at,
        task.worker_id,
        task.seen_at,
        task.attempt_started_at,
        task.error,
        task.error_kind,
        task.exit_code,
    )
    return not (task.tries or task.timeouts or task.losses or task.published) and leaves == _NOTHING


def task_move(task: Task, before: TaskState) -> Row:
    """The values of `move_task`."""
    return (
        task.state.value, task.index, None if task.item is None else dump(task.item), dump(task.inputs), task.attempt,
        task.token, task.dispatched_at, plain(task.worker), task.started_at, task.ended_at, task.progress,
        dump(task.outputs), task.id, before.value,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- what follows


def attempt_values(attempt: Attempt) -> Row:
    """The values of `insert_attempt`."""
    return (
        attempt.task_id, attempt.attempt, attempt.token, plain(attempt.worker), attempt.started_at, attempt.ended_at,
        attempt.outcome, plain(attempt.error), attempt.error_kind, attempt.exit_code, attempt.process_s,
    )  # fmt: skip


def log_values(job_id: int, task_id: int | None, entry: LogEntry) -> Row:
    """The values of `insert_log`."""
    return job_id, task_id, entry.severity, entry.progname, plain(entry.message), entry.created_at, entry.visible


def event_values(job: Job, event: Event) -> Row:
    """The values of `insert_event`."""
    task = event.task
    task_id, task_name = (task.id, task.name) if task else (None, None)
    return (
        job.id, task_id, job.client, job.workflow, task_name, event.kind, event.name, event.seq, event.at,
        dump(event.body),
    )  # fmt: skip


def callback_values(job_id: int, callback: Callback) -> Row:
    """The values of `insert_callback`."""
    return (
        job_id, callback.endpoint, lane_of(callback.event), callback.event, callback.task.id if callback.task else None,
        callback.webhook_id, callback.body, callback.created_at, dump(callback.headers) if callback.headers else None,
    )  # fmt: skip


def due_callback(row: Row) -> DueCallback:
    """A delivery of a row of `line_heads`."""
    due = DueCallback(*row[:-1])
    return replace(due, headers=load(row[-1])) if row[-1] else due


def record(fields: Sequence[str], row: Row) -> dict[str, Any]:
    """A row as a mapping."""
    return dict(zip(fields, row, strict=True))


def log_record(row: Row) -> Mapping[str, Any]:
    """A log row as readers get it."""
    found = record(LOG_FIELDS, row)
    return found | {"visible": bool(found["visible"])}


def event_record(row: Row) -> Mapping[str, Any]:
    """An event row as readers get it."""
    found = record(EVENT_FIELDS, row)
    return found | {"body": load(found["body"])}
