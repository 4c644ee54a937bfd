"""The shapes of answers that are put together where they are given: what the OpenAPI document says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from taskengine.api.views import JobWithoutParameters, SettingObject


class Alive(TypedDict):
    """A sign of life."""

    result: str


class QueueCounts(TypedDict):
    """How a queue is."""

    workers: int
    working: int
    pending: int


class TaskCounts(TypedDict):
    """Tasks since the beginning."""

    failed: int
    pending: int
    processed: int


class JobCounts(TypedDict):
    """The caller's jobs by state, and the slots."""

    completed: int
    failed: int
    pending: int
    broken: int
    queued: int
    started: int
    scheduled: int
    paused: int
    max_jobs: float
    priority_slots: float


class Health(TypedDict):
    """Components (`OK` or the fault), queues, tasks and jobs. `error` where a component is down (then with 500)."""

    version: str
    status: str
    databases: Mapping[str, str]
    brokers: Mapping[str, str]
    queues: Mapping[str, QueueCounts]
    tasks: TaskCounts
    jobs: JobCounts
    sandbox: NotRequired[Mapping[str, str]]  # what confines the subprocesses of the engine's own workers
    error: NotRequired[str]


class Totals(TypedDict):
    """How many jobs there are, whatever the lists were cut to."""

    started: int
    queued: int
    scheduled: int


class Dashboard(TypedDict):
    """What runs and what waits, each in the order in which it will run."""

    version: str
    max_jobs: float
    priority_slots: float
    started: Sequence[JobWithoutParameters]
    queued: Sequence[JobWithoutParameters]
    scheduled: Sequence[JobWithoutParameters]
    totals: Totals


class NamedTask(TypedDict):
    """A task that is known at submission."""

    id: int
    name: str


class Accepted(TypedDict):
    """A job was accepted: it is durable."""

    id: int
    job_id: int
    result: str
    tasks: Sequence[NamedTask]
    warnings: NotRequired[Sequence[str]]


class JobResult(TypedDict):
    """What was done with a job."""

    id: int
    result: str


class Why(TypedDict):
    """Why a job waits; each reason with a `kind`, a `message` and its numbers."""

    id: int
    queue_state: int
    waiting: bool
    reasons: Sequence[Mapping[str, Any]]


class Refused(TypedDict):
    """A job that an action could not be done to."""

    id: int
    error: str


class Rerun(TypedDict):
    """A job and the one that it is run again as."""

    id: int
    new_id: int


class ActionResult(TypedDict):
    """What an action did, or as a dry run would do."""

    result: str
    action: str
    dry_run: bool
    matched: int
    changed: int
    ids: Sequence[int]
    refused: Sequence[Refused]
    more: bool
    reruns: NotRequired[Sequence[Rerun]]


class SettingList(TypedDict):
    """The settings as they hold."""

    result: str
    settings: Sequence[SettingObject]


class Message(TypedDict):
    """What was done, in words."""

    result: str
    message: str


# `class` is no name for a field of a class.
ScheduleObject = TypedDict(
    "ScheduleObject",
    {
        "class": str, "every": Sequence[Any], "queue": str, "description": str, "active": bool, "last_run": str | None,
        "client": NotRequired[str], "cron": NotRequired[str], "time_zone": NotRequired[str],
        "next_run": NotRequired[str | None], "last_job_id": NotRequired[int | None],
        "last_error": NotRequired[str | None],
    },
)  # fmt: skip


class ScheduleList(TypedDict):
    """Schedules by name."""

    result: str
    schedules: Mapping[str, ScheduleObject]


class SavedSchedule(TypedDict):
    """A schedule that was made or replaced."""

    result: str
    name: str
    next_run: str | None


class ActiveSchedules(TypedDict):
    """The names of the active ones."""

    result: str
    schedules: Sequence[str]


class NamedResult(TypedDict):
    """What was done with a thing of that name."""

    result: str
    name: str
    role: NotRequired[str]
    key_id: NotRequired[int]
    api_key: NotRequired[str]
    callback_secret: NotRequired[str]


class Replayed(TypedDict):
    """How many deliveries are due again."""

    result: str
    replayed: int


class TestDelivery(TypedDict):
    """What an endpoint made of a test delivery; `result`: `delivered` or `failed`."""

    result: str
    status: int | None
    error: str | None
    seconds: float


class WorkerObject(TypedDict):
    """A worker that was heard of lately."""

    id: str
    name: str
    language: str
    queues: Mapping[str, int]
    seen_at: str | None
    working: int
    sandbox: Mapping[str, str]  # what confines its subprocesses; empty where it does not say


class WorkflowSummary(TypedDict):
    """A workflow in the list."""

    name: str
    version: str
    description: str
    digest: str
    published: bool


class StepObject(TypedDict):
    """A step of a workflow."""

    name: str
    handler: str
    queue: str
    needs: Sequence[str]
    timeout_s: float
    optional: bool
    conditional: bool
    foreach: bool
    on_failure: bool


class WorkflowDetail(WorkflowSummary):
    """A workflow with its definition, the JSON Schema of its parameters, its steps and its graph (Mermaid)."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Any]
    steps: Sequence[StepObject]
    graph: str
