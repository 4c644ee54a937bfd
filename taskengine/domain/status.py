"""The states of tasks and jobs and the one table of their transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from taskengine.domain.errors import UnknownState


class TaskState(StrEnum):
    """Where a task is between its creation and its end."""

    BLOCKED = "blocked"  # waits for its needs, or for its job to be started
    READY = "ready"  # may be dispatched
    DISPATCHED = "dispatched"  # a hint with a token is on its way to a worker
    RUNNING = "running"  # a worker holds the lease
    RETRY_WAIT = "retry_wait"  # failed or lost; becomes ready at `ready_at`
    COMPLETED = "completed"
    FAILED = "failed"  # given up
    SKIPPED = "skipped"  # its `if` was false
    CANCELLED = "cancelled"


class JobState(StrEnum):
    """Where a job is; the published numbers are given by the API alone."""

    PENDING = "pending"  # waits for other jobs
    SCHEDULED = "scheduled"  # waits for its time or its semaphore
    QUEUED = "queued"  # waits for a slot
    STARTED = "started"
    COMPLETED = "completed"  # ended; `failed` says how
    BROKEN = "broken"  # taken out by hand or by a rerun
    PAUSED = "paused"


T, J = TaskState, JobState

TASK_TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    T.BLOCKED: frozenset({T.READY, T.SKIPPED, T.FAILED, T.CANCELLED}),
    T.READY: frozenset({T.DISPATCHED, T.BLOCKED, T.CANCELLED}),
    T.DISPATCHED: frozenset({T.RUNNING, T.READY, T.RETRY_WAIT, T.FAILED, T.BLOCKED, T.CANCELLED}),
    T.RUNNING: frozenset({T.COMPLETED, T.FAILED, T.RETRY_WAIT, T.READY, T.BLOCKED, T.CANCELLED}),
    T.RETRY_WAIT: frozenset({T.READY, T.BLOCKED, T.CANCELLED}),
    T.COMPLETED: frozenset(),
    T.FAILED: frozenset(),
    T.SKIPPED: frozenset(),
    T.CANCELLED: frozenset(),
}

JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    J.PENDING: frozenset({J.SCHEDULED, J.QUEUED, J.PAUSED, J.BROKEN, J.COMPLETED}),
    J.SCHEDULED: frozenset({J.QUEUED, J.PAUSED, J.BROKEN}),
    J.QUEUED: frozenset({J.STARTED, J.SCHEDULED, J.PAUSED, J.BROKEN}),
    J.STARTED: frozenset({J.COMPLETED, J.PAUSED, J.BROKEN}),
    J.PAUSED: frozenset({J.PENDING, J.SCHEDULED, J.QUEUED, J.BROKEN}),
    J.COMPLETED: frozenset({J.BROKEN}),
    J.BROKEN: frozenset(),
}

TASK_ENDED = frozenset(state for state, following in TASK_TRANSITIONS.items() if not following)
JOB_ENDED = frozenset({J.COMPLETED, J.BROKEN})
TASK_HELD = frozenset({T.DISPATCHED, T.RUNNING})  # a token is out


def check_task(before: TaskState, after: TaskState) -> None:
    """Raise UnknownState where the table has no such transition of a task."""
    if after not in TASK_TRANSITIONS[before]:
        raise UnknownState(f"a task cannot go from {before} to {after}")


def check_job(before: JobState, after: JobState) -> None:
    """Raise UnknownState where the table has no such transition of a job."""
    if after not in JOB_TRANSITIONS[before]:
        raise UnknownState(f"a job cannot go from {before} to {after}")
