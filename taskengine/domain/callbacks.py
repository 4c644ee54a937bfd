"""The bodies of callbacks, field by field as they are published."""

from __future__ import annotations

from typing import Any

from taskengine.domain.job import Job, Task
from taskengine.domain.status import JobState
from taskengine.domain.times import format_utc

EXTRA_FIELDS = frozenset({"manifests", "storage"})  # ours, beyond the published ones


def task_body(job: Job, task: Task, event: str, message: str, at: int, ids: str = "number") -> dict[str, Any]:
    """The body of a task callback. `event`: start, complete, fail; `message`: the exception's on fail, else "".

    `ids`: `number`, `string` or `hidden`.
    """
    return {
        **_ids(ids, job_id=job.id, task_id=task.id),
        "task_name": task.name,
        "workflow": job.workflow,
        "event": event,
        "content_id": job.content_id,
        "message": message,
        "time": format_utc(at),
        "client": job.client,
    }


def job_body(job: Job, at: int, *, extra_fields: bool = True, ids: str = "number") -> dict[str, Any]:
    """The body of a job callback of a job that has ended: the common fields, then what its workflow defines.

    A failed (or broken) job has the common fields alone; its `message` is the job's error.
    """
    completed = job.state is JobState.COMPLETED and not job.failed
    result = dict(job.result or {}) if completed else {}
    body = {
        **_ids(ids, job_id=job.id),
        "status": "completed" if completed else "failed",
        "workflow": job.workflow,
        "content_id": job.content_id,
        "message": result.pop("message", "") if completed else job.error or "",
        "custom_data": job.custom_data,
        "time": format_utc(at),
        "client": job.client,
    }
    if job.workflow == "vodremix" and "files" in result:
        result.setdefault("output", result["files"])
    added = {name: value for name, value in result.items() if extra_fields or name not in EXTRA_FIELDS}
    return body | {name: value for name, value in added.items() if name not in body and name != "job_id"}


def _ids(kind: str, **values: int | None) -> dict[str, Any]:
    if kind == "hidden":
        return {}
    return {name: str(value) if kind == "string" else value for name, value in values.items()}
