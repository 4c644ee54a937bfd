"""Jobs and tasks as they are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskengine.domain.job import Changes, Job, Snapshot, Task
from taskengine.domain.messages import Running, WorkerInfo
from taskengine.domain.status import JobState


@dataclass(slots=True)
class Candidates:
    """What admission decides on, read under the admission lock."""

    started: Sequence[tuple[str, int, bool]]  # (client, priority, top_of_queue) of each job in a slot
    queued: Sequence[tuple[int, str, int, bool]]  # (id, client, priority, top_of_queue), per client in its order


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A task that was just given a token, with its job's fields that the message repeats."""

    task: Task
    client: str
    workflow: str
    workspace: int  # `Job.workspace`
    traceparent: str | None = None  # `Job.traceparent`


@dataclass(frozen=True, slots=True)
class DispatchPlan:
    """How tasks are handed out: how many of a queue may be on their way, when, and with what tokens."""

    window: Callable[[str], int]
    now: int
    token: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Advanced:
    """What `JobStore.advance` wrote. In the queues `passed_over`, tasks that were next are still to be dispatched: they
    were being decided on elsewhere."""

    changes: Sequence[Changes]
    dispatched: Sequence[Dispatched]
    passed_over: frozenset[str] = frozenset()


@dataclass(slots=True)
class JobFilter:
    """What `GET /jobs` can ask for. None: no condition. All conditions hold together."""

    client: str | None = None
    states: Sequence[JobState] | None = None
    failed: bool | None = None
    created_from: int | None = None
    created_to: int | None = None
    search: str | None = None  # in content id, workflow, parameters; without case
    job_ids: Sequence[int] | None = None
    persist: bool | None = None
    workflow: str | None = None
    priority: int | None = None
    tag: str | None = None
    after_id: int | None = None  # keyset cursor in the direction of the order
    order_by: str = "id"  # id, created_at, updated_at, run_at, priority, started_at, completed_at
    ascending: bool = False
    limit: int = 10


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to store: its changes (job, new_tasks, logs, events) and what makes it idempotent."""

    changes: Changes
    idempotency_key: str | None = None  # unique per client for 24 h
    fingerprint: str = ""  # digest of the body
    answer: Mapping[str, Any] = field(default_factory=dict)  # given again for the same key and body


@dataclass(frozen=True, slots=True)
class Known:
    """What an idempotency key already stands for."""

    job_id: int
    fingerprint: str
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task with the history of its attempts."""

    task: Task
    attempts: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Health:
    """Counters kept in the same transactions as the changes; reading them costs the same at any size."""

    jobs: Mapping[str, int]  # JobState value → count, and "failed" for the completed ones that failed
    tasks: Mapping[str, int]  # "processed", "failed", "pending"
    queues: Mapping[str, Mapping[str, int]]  # queue → {"workers", "slots", "working", "pending"}


Decide = Callable[[Snapshot], Changes | None]


class JobStore(Protocol):
    """The truth: jobs, tasks, leases, history. Every method is one transaction, durable when it returns.

    All raise StoreUnavailable where the database is away. Faults of one statement (serialization, dropped connection)
    are retried inside.
    """

    async def allocate(self, *, jobs: int = 0, tasks: int = 0) -> tuple[Sequence[int], Sequence[int]]:
        """Take ids from the sequences. Gaps are legal, an id never comes twice."""
        ...

    async def save_definition(self, digest: str, name: str, source: str) -> None:
        """Keep a workflow's definition by its digest (once)."""
        ...

    async def definition(self, digest: str) -> tuple[str, str] | None:
        """(name, source) of a definition that was kept."""
        ...

    async def known(self, client: str, key: str) -> Known | None:
        """What an idempotency key of a client stands for already."""
        ...

    async def submit(self, jobs: Sequence[NewJob], now: int) -> list[Known | None]:
        """Store all; for each, None where it was stored, or what its idempotency key already stands for."""
        ...

    async def decide(self, job_ids: Sequence[int], decide: Decide) -> list[Changes]:
        """Lock each job, read it with its tasks, call the pure `decide`, write what it returns, in one transaction.

        Jobs that do not exist are passed over. `decide` may be called again where the transaction is tried again: it
        must have no effects. Returns the non-empty changes as written (new tasks have their ids).
        """
        ...

    async def replace(self, job_id: int, decide: Decide, new: Changes) -> list[Changes]:
        """As `decide` for one job, and store a new job in the same transaction: both or neither."""
        ...

    async def advance(self, tasks: Mapping[int, Collection[int]], decide: Decide, plan: DispatchPlan) -> Advanced:
        """As `decide` about these tasks, by job. Of a job of many tasks, `decide` may be given these and the blocked ones
        alone (`Snapshot.rest`); where it raises WholeNeeded it is asked again with all of them. In the same
        transaction as `dispatch` in every queue in which the decisions freed a task or made room: in the order of dispatch over all that is ready, never beyond a window."""
        ...

    async def admit(self, now: int, choose: Callable[[Candidates], Sequence[int]], start: Decide) -> list[Changes]:
        """Under the admission lock: read the slots and the heads of the queue, `choose` the ids, `start` each of them."""
        ...

    async def dispatch(self, queue: str, *, window: int, now: int, tokens: Callable[[], str]) -> list[Dispatched]:
        """Move ready tasks (order: top_of_queue, priority, job, task) to dispatched until `window` of the queue are out.

        Each gets `attempt` + 1, a new token, `dispatched_at` and `published` false.
        """
        ...

    async def confirm_published(self, tokens: Sequence[str]) -> None:
        """The broker has these dispatches."""
        ...

    async def job_of(self, task_ids: Sequence[int]) -> Mapping[int, int]:
        """task id → job id, for those that exist."""
        ...

    async def heartbeat(self, worker: WorkerInfo, running: Sequence[Running], now: int) -> Sequence[Running]:
        """Note the worker's sign of life and renew the leases that it names; return those that it does not hold."""
        ...

    async def save_progress(self, rows: Sequence[tuple[int, str, float]], now: int) -> None:
        """Set (task id, token, progress) where the token is still out; the job's `updated_at` is left alone."""
        ...

    async def expired(self, *, seen_before: int, published_before: int, limit: int) -> Sequence[tuple[int, int, str]]:
        """(job id, task id, token) of running tasks whose lease was last renewed before `seen_before`, and of
        dispatched ones that were not confirmed and date from before `published_before`."""
        ...

    async def unstarted(self, *, before: int, limit: int) -> Sequence[tuple[int, int, str, str]]:
        """(job id, task id, token, queue) of tasks that were dispatched before `before`, have not started, and were named
        by no worker since."""
        ...

    async def held(self) -> Sequence[tuple[int, int, str]]:
        """(job id, task id, token) of every dispatched or running task."""
        ...

    async def due(self, now: int, limit: int, *, scheduled: bool = True) -> Sequence[int]:
        """Ids of jobs for which a timer is over: retry_wait's `ready_at`, `deadline_at` of started ones and, if
        `scheduled`, `run_at` of scheduled ones without a semaphore."""
        ...

    async def next_due(self, *, scheduled: bool = True) -> int | None:
        """When the next timer of `due` is over; None where there is none."""
        ...

    async def gated(self, now: int) -> Sequence[tuple[int, str, str]]:
        """(job id, client, semaphore_url) of scheduled jobs whose `run_at` has passed and that wait for a semaphore."""
        ...

    async def next_gated(self, now: int) -> int | None:
        """The first `run_at` after `now` of a scheduled job that waits for a semaphore; None where there is none."""
        ...

    async def ready_queues(self) -> Sequence[str]:
        """Queues that have ready tasks."""
        ...

    async def pending_after(self) -> Sequence[tuple[int, Sequence[int]]]:
        """(job id, ids it waits for) of pending jobs, of those whose awaited jobs have all ended or one has failed."""
        ...

    # ---- reading

    async def job(self, job_id: int) -> Job | None:
        """One job."""
        ...

    async def jobs(self, query: JobFilter) -> Sequence[Job]:
        """A page of jobs."""
        ...

    async def workspace_user(self, workspace: int) -> Job | None:
        """The job that a workspace is for now: the latest of those that work, or worked, in it."""
        ...

    async def tasks(self, job_id: int) -> Sequence[StoredTask]:
        """A job's tasks in id order, with their attempts."""
        ...

    async def task(self, task_id: int) -> StoredTask | None:
        """One task with its attempts."""
        ...

    async def progress(self, job_ids: Sequence[int]) -> Mapping[int, float]:
        """0–1 of each job: the mean over its tasks by weight, outside on_failure; completed ones count 1, skipped ones
        not, and what failed or was cancelled as far as it came."""
        ...

    async def scheduled(self, limit: int, client: str | None = None) -> Sequence[int]:
        """The scheduled jobs whose time comes first, of one client or of all: by time, priority and submission."""
        ...

    async def candidates(self, heads: int, client: str | None = None) -> Candidates:
        """What admission would decide on now, with at most so many of each client's queue (or of one client's alone)."""
        ...

    async def positions(self, job_ids: Sequence[int]) -> Mapping[int, int]:
        """1-based place among the queued jobs of those that are queued."""
        ...

    async def logs(
        self, job_id: int, *, show_all: bool = False, severity: int | None = None, task_id: int | None = None,
        after_id: int = 0, limit: int = 1000,
    ) -> Sequence[Mapping[str, Any]]:  # fmt: skip
        """Log rows (id, job_id, task_id, severity, progname, message, created_at, visible) in order."""
        ...

    async def health(self, client: str | None = None) -> Health:
        """Counters, at constant cost; `jobs` are those of one client where it is named."""
        ...

    async def workers(self) -> Sequence[Mapping[str, Any]]:
        """Every worker that was heard of lately: id, name, language, queues, seen_at, working, sandbox."""
        ...

    async def check(self) -> None:
        """Raise StoreUnavailable where the database is away or its schema is not current."""
        ...

    async def clean(self, *, ended_before: int, limit: int) -> Sequence[int]:
        """Delete ended jobs that are older and not `persist`, at most `limit`, with all their rows; their ids."""
        ...

    async def claim_duty(self, name: str, *, now: int, every_ms: int) -> bool:
        """Whether this caller may run the periodic duty `name` now (a guarded update of its next time)."""
        ...

    async def meta(self, name: str) -> str | None:
        """A value of the installation (e.g. when an engine last listened)."""
        ...

    async def set_meta(self, name: str, value: str) -> None:
        """Set it."""
        ...

    async def swap_meta(self, name: str, before: str | None, value: str) -> bool:
        """Set it where it is `before` now (None: not set yet); whether it was."""
        ...
