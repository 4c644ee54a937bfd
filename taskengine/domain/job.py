"""The records of a job, its tasks and what follows from their changes, as stores keep them.

Times are UTC milliseconds since the epoch. Records are mutable inside a store's transaction alone; everybody else
treats what a store returns as a copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain.status import JOB_ENDED, TASK_ENDED, JobState, TaskState, check_job, check_task

PATIENCE_MS = 5 * 60 * 1000  # how long a job callback waits for undelivered task callbacks of its endpoint


@dataclass(slots=True)
class Job:
    """One run of a workflow."""

    id: int
    client: str
    workflow: str
    workflow_digest: str  # of the definition it began with
    state: JobState
    created_at: int
    updated_at: int
    parameters: Mapping[str, Any]  # as submitted, secrets masked where shown
    arguments: Mapping[str, Any]  # typed, with defaults: what the tasks see
    content_id: str | None = None
    custom_data: Any = None
    endpoints: Sequence[str] = ()  # `rest_endpoints`
    priority: int = 5
    top_of_queue: bool = False
    run_at: int | None = None
    semaphore_url: str | None = None
    after: Sequence[int] = ()
    persist: bool = False
    max_retries: int | None = None
    timeout_s: float | None = None
    tags: Sequence[str] = ()
    rerun_of: int | None = None
    started_at: int | None = None  # first admission
    completed_at: int | None = None  # when it ended, broken ones too
    deadline_at: int | None = None  # started_at + timeout
    failing: bool = False  # a task was given up: on_failure steps run, then the job ends failed
    failed: bool = False
    error: str | None = None
    result: Mapping[str, Any] | None = None  # the job_callback fields, at its end
    seq: int = 0  # of its last event
    workspace_of: int | None = None  # the job whose workspace it goes on in; None: it has its own
    traceparent: str | None = None  # of the call that it was submitted by (W3C Trace Context)

    def move(self, state: JobState) -> None:
        """Assign the state: nothing else does."""
        check_job(self.state, state)
        self.state = state

    @property
    def ended(self) -> bool:
        """Whether it never runs again."""
        return self.state in JOB_ENDED

    @property
    def workspace(self) -> int:
        """Which workspace its tasks work in, by the id of the job that had it first."""
        return self.id if self.workspace_of is None else self.workspace_of


@dataclass(slots=True)
class Task:
    """One step of a job (one item of it, where the step is a foreach)."""

    id: int | None  # None: the store gives it at insertion
    job_id: int
    step: str
    index: int | None  # of the foreach item
    handler: str
    queue: str
    state: TaskState
    created_at: int
    on_failure: bool = False
    priority: int = 5  # the job's, repeated for the order of dispatch
    top_of_queue: bool = False
    item: Any = None  # the foreach item
    inputs: Mapping[str, Any] = field(default_factory=dict)  # `with`, resolved when it became ready
    timeout_s: float = 3600.0
    attempt: int = 0  # of the last dispatch
    token: str | None = None  # the fence of the attempt that is out
    tries: int = 0  # failures that count against the retry limit
    timeouts: int = 0
    losses: int = 0
    ready_at: int | None = None  # when retry_wait ends
    dispatched_at: int | None = None
    published: bool = False  # the broker has confirmed the dispatch
    worker_id: str | None = None
    worker: str | None = None  # its name
    seen_at: int | None = None  # when its worker last named it: the lease
    started_at: int | None = None  # of the first attempt
    attempt_started_at: int | None = None
    ended_at: int | None = None
    progress: float = 0.0
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    weight: float = 1.0  # its share of the job's progress

    @property
    def name(self) -> str:
        """The published `task_name`."""
        return self.step

    @property
    def ended(self) -> bool:
        """Whether it never runs again."""
        return self.state in TASK_ENDED

    def move(self, state: TaskState) -> None:
        """Assign the state: nothing else does."""
        check_task(self.state, state)
        self.state = state


@dataclass(slots=True)
class Attempt:
    """The history of one try, written when it ends."""

    task_id: int
    attempt: int
    token: str
    worker: str | None
    started_at: int | None
    ended_at: int
    outcome: str  # completed, failed, lost, released, interrupted, cancelled
    error: str | None = None
    error_kind: str | None = None
    exit_code: int | None = None
    process_s: float | None = None  # wall seconds inside subprocesses, as the worker reports


@dataclass(slots=True)
class LogEntry:
    """One line of a job's log."""

    severity: int  # 0 debug, 1 info, 2 warn, 3 error, 4 fatal
    progname: str  # api, scheduler, controller, worker, callback
    message: str
    created_at: int
    task: Task | None = None  # the task it belongs to (its id may not be known yet)
    visible: bool = True


@dataclass(slots=True)
class Event:
    """Something that happened, for followers: `kind` is `job` or `task`; `name` its state or event."""

    kind: str
    name: str
    at: int
    seq: int
    task: Task | None
    body: Mapping[str, Any]  # the callback's body


@dataclass(slots=True)
class Callback:
    """One delivery that is due to one endpoint. Order: by id within (job, endpoint)."""

    endpoint: str
    event: str  # start, complete, fail, job
    webhook_id: str
    body: str  # JSON, exactly as it is sent and signed
    created_at: int
    task: Task | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # the workflow's
    patience_ms: int = PATIENCE_MS  # of a job callback: how long it waits for its task callbacks


@dataclass(frozen=True, slots=True)
class Cancel:
    """A running or dispatched attempt that must end: told to its worker after the commit."""

    task_id: int
    token: str
    worker_id: str | None
    action: str = "cancel"  # or fenced


@dataclass(slots=True)
class Changes:
    """All that one decision writes about one job, in one transaction."""

    job: Job
    job_before: JobState | None = None  # None: the job is new
    job_changed: bool = True
    tasks: dict[int, tuple[Task, TaskState]] = field(default_factory=dict)  # id → (task, the state it is guarded by)
    new_tasks: list[Task] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    logs: list[LogEntry] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    callbacks: list[Callback] = field(default_factory=list)
    cancels: list[Cancel] = field(default_factory=list)

    @property
    def tells_only(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self.job_changed
            or self.tasks
            or self.new_tasks
            or self.attempts
            or self.logs
            or self.events
            or self.callbacks
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write and nobody to tell."""
        return self.tells_only and not self.cancels


@dataclass(slots=True)
class Snapshot:
    """A job and its tasks (in id order), read under the job's lock. Of a job of many tasks some may be read alone: `rest`
    counts the others by step and state; none of them is blocked."""

    job: Job
    tasks: list[Task]
    rest: Mapping[tuple[str, TaskState], int] = field(default_factory=dict)
