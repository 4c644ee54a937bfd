"""How jobs, tasks, logs and the rest are shown. The types are what the OpenAPI document is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from taskengine.api.published import SEVERITIES, STATE_NUMBERS
from taskengine.domain.job import Task
from taskengine.domain.masking import MASK, mask, mask_text
from taskengine.domain.status import TaskState
from taskengine.domain.times import format_utc
from taskengine.engine.job_views import JobView
from taskengine.engine.progress import Progress
from taskengine.engine.settings_book import SettingView
from taskengine.engine.tenants import TenantView
from taskengine.ports import StoredTask

_UNMASKED = "custom_data"  # comes back exactly as it was


class _JobBase(TypedDict):
    id: int
    client: str
    workflow: str
    priority: int
    position: int
    top_of_queue: bool
    created_at: str
    updated_at: str
    run_at: str | None
    queue_state: int
    failed: bool


class _JobRest(TypedDict):
    started_at: str | None
    completed_at: str | None
    progress: float
    error: str | None
    persist: bool
    semaphore_url: str | None
    content_id: str | None
    workflow_version: str
    custom_data: Any
    rerun_of: int | None


class JobWithoutParameters(_JobBase, _JobRest):
    """A job as the dashboard lists it."""


class JobObject(_JobBase, _JobRest):
    """A job. `queue_state`: 0 queued, 1 started, 2 completed, 3 pending, 4 broken, 5 scheduled, 6 paused."""

    parameters: Mapping[str, Any]


class AttemptObject(TypedDict):
    """One try at a task; `ended_at` is null while it runs."""

    attempt: int
    worker: str | None
    started_at: str | None
    ended_at: str | None
    outcome: str | None
    error: str | None
    error_kind: str | None
    exit_code: int | None
    process_s: float | None


class TaskObject(TypedDict):
    """A task of a job."""

    id: int | None
    job_id: int
    name: str
    index: int | None
    handler: str
    queue: str
    state: str
    needs: Sequence[str]
    progress: float
    message: str
    speed: float | None
    eta_s: float | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    error: str | None
    error_kind: str | None
    exit_code: int | None
    attempts: Sequence[AttemptObject]


class TaskDetail(TaskObject):
    """A task with what it gave."""

    outputs: Mapping[str, Any]


class LogObject(TypedDict):
    """A line of a job's log."""

    id: int
    job_id: int
    task_id: int
    severity: int
    severity_description: str
    progname: str
    message: str
    created_at: str
    updated_at: str
    visible: bool


class CallbackObject(TypedDict):
    """A delivery of a callback."""

    id: int
    job_id: int
    task_id: int | None
    endpoint: str
    event: str
    webhook_id: str
    state: str
    attempts: int
    last_status: int | None
    last_error: str | None
    created_at: str | None
    next_at: str | None
    delivered_at: str | None


class SettingObject(TypedDict):
    """A setting as it holds; `source`: `client`, `system` or `default`."""

    name: str
    setting: float
    default: float
    source: str
    description: str


class KeyObject(TypedDict):
    """A key of a client, without the key."""

    id: int
    created_at: str
    revoked_at: str | None


class ClientObject(TypedDict):
    """A client."""

    name: str
    role: str
    config: Mapping[str, Any]
    created_at: str
    keys: Sequence[KeyObject]


def moment(at: int | None) -> str | None:
    """A time as it is shown."""
    return None if at is None else format_utc(at)


def shown_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as submitted, with secrets redacted; `custom_data` is the client's own."""
    kept = {_UNMASKED: parameters[_UNMASKED]} if _UNMASKED in parameters else {}
    masked: dict[str, Any] = mask({name: value for name, value in parameters.items() if name != _UNMASKED})
    return masked | kept


def job_object(view: JobView) -> JobObject:
    """A job with its parameters."""
    return {**job_without_parameters(view), "parameters": shown_parameters(view.job.parameters)}


def job_without_parameters(view: JobView) -> JobWithoutParameters:
    """A job for the dashboard and for the open list."""
    job = view.job
    return {
        "id": job.id,
        "client": job.client,
        "workflow": job.workflow,
        "priority": job.priority,
        "position": view.position,
        "top_of_queue": job.top_of_queue,
        "created_at": format_utc(job.created_at),
        "updated_at": format_utc(job.updated_at),
        "run_at": moment(job.run_at),
        "queue_state": STATE_NUMBERS[job.state],
        "failed": job.failed,
        "started_at": moment(job.started_at),
        "completed_at": moment(job.completed_at),
        "progress": round(view.progress, 4),
        "error": job.error,
        "persist": job.persist,
        "semaphore_url": None if job.semaphore_url is None else mask_text(job.semaphore_url),
        "content_id": job.content_id,
        "workflow_version": job.workflow_digest,
        "custom_data": job.custom_data,
        "rerun_of": job.rerun_of,
    }


def task_object(stored: StoredTask, needs: Mapping[str, Sequence[str]], live: Progress | None) -> TaskObject:
    """A task; `live` is what this engine last heard of its running attempt."""
    task = stored.task
    return {
        "id": task.id,
        "job_id": task.job_id,
        "name": task.name,
        "index": task.index,
        "handler": task.handler,
        "queue": task.queue,
        "state": task.state.value,
        "needs": list(needs.get(task.step, ())),
        "progress": _progress(task, live),
        "message": live.message if live else "",
        "speed": live.speed if live else None,
        "eta_s": live.eta_s if live else None,
        "created_at": format_utc(task.created_at),
        "started_at": moment(task.started_at),
        "ended_at": moment(task.ended_at),
        "error": task.error,
        "error_kind": task.error_kind,
        "exit_code": task.exit_code,
        "attempts": [*map(_past_attempt, stored.attempts), *_running_attempt(task)],
    }


def task_detail(stored: StoredTask, needs: Mapping[str, Sequence[str]], live: Progress | None) -> TaskDetail:
    """A task with its outputs."""
    return {**task_object(stored, needs, live), "outputs": mask(stored.task.outputs)}


def _progress(task: Task, live: Progress | None) -> float:
    if task.state is TaskState.COMPLETED:
        return 1.0
    return round(live.fraction if live else task.progress, 4)


def _past_attempt(row: Mapping[str, Any]) -> AttemptObject:
    return {
        "attempt": row["attempt"],
        "worker": row["worker"],
        "started_at": moment(row["started_at"]),
        "ended_at": moment(row["ended_at"]),
        "outcome": row["outcome"],
        "error": row["error"],
        "error_kind": row["error_kind"],
        "exit_code": row["exit_code"],
        "process_s": row["process_s"],
    }


def _running_attempt(task: Task) -> list[AttemptObject]:
    if task.state is not TaskState.RUNNING:
        return []
    return [
        {
            "attempt": task.attempt,
            "worker": task.worker,
            "started_at": moment(task.attempt_started_at),
            "ended_at": None,
            "outcome": None,
            "error": None,
            "error_kind": None,
            "exit_code": None,
            "process_s": None,
        }
    ]


def log_object(row: Mapping[str, Any]) -> LogObject:
    """A line of a log."""
    at = format_utc(row["created_at"])
    return {
        "id": row["id"],
        "job_id": row["job_id"],
        "task_id": row["task_id"] or 0,
        "severity": row["severity"],
        "severity_description": SEVERITIES[row["severity"]],
        "progname": row["progname"],
        "message": row["message"],
        "created_at": at,
        "updated_at": at,
        "visible": bool(row["visible"]),
    }


def callback_object(row: Mapping[str, Any], job_id: int) -> CallbackObject:
    """A delivery."""
    return {
        "id": row["id"],
        "job_id": job_id,
        "task_id": row["task_id"],
        "endpoint": mask_text(row["endpoint"]),
        "event": row["event"],
        "webhook_id": row["webhook_id"],
        "state": row["state"],
        "attempts": row["attempts"],
        "last_status": row["last_status"],
        "last_error": row["last_error"],
        "created_at": moment(row["created_at"]),
        "next_at": moment(row["next_at"]),
        "delivered_at": moment(row["delivered_at"]),
    }


def setting_object(view: SettingView) -> SettingObject:
    """A setting."""
    return {
        "name": view.setting.name,
        "setting": view.value,
        "default": view.default,
        "source": view.source,
        "description": view.setting.description,
    }


def client_object(view: TenantView) -> ClientObject:
    """A client; the values of its callback headers are secrets whatever their names."""
    client = view.client
    config = mask(client.config)
    rules = config.get("callback_endpoints") or {}
    for holder in (config, *(rule for rule in rules.values() if isinstance(rule, dict))):  # a sealed one is no secret
        for name in {"callback_headers", "headers"} & holder.keys():
            holder[name] = dict.fromkeys(holder[name], MASK) if isinstance(holder[name], dict) else MASK
    return {
        "name": client.name,
        "role": client.role,
        "config": config,
        "created_at": format_utc(client.created_at),
        "keys": [
            {"id": key.id, "created_at": format_utc(key.created_at), "revoked_at": moment(key.revoked_at)}
            for key in view.keys
        ],
    }
