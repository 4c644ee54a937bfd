"""The ports: what the engine needs of the world, and what a handler gets. Their docstrings are the contract.

Adapters conform without inheriting. Third-party exceptions are translated at the adapter into `domain.errors`.
Times are UTC milliseconds since the epoch (`Clock.now`), durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from taskengine.domain.errors import Fault
from taskengine.domain.job import Changes, Job, LogEntry, Snapshot, Task
from taskengine.domain.keys import KeyRequest, KeySet
from taskengine.domain.messages import Running, TaskMessage, WorkerInfo
from taskengine.domain.status import JobState
from taskengine.domain.tracing import SpanKind
from taskengine.domain.workflow import Workflow

# --------------------------------------------------------------------------------------------------------- time


class Clock(Protocol):
    """The engine's time, so that tests can move it."""

    def now(self) -> int:
        """UTC milliseconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a moved clock wakes whoever is due."""
        ...


# ------------------------------------------------------------------------------------------------------- secrets


class Sealer(Protocol):
    """Seals secrets with an installation's key, so that they may lie in its database and pass through its broker.

    The same secret of the same owner gives the same text, so that what is sealed can be compared.
    """

    def seal(self, secret: str, owner: str) -> str:
        """`<key id>.<text>`. Raises SecretUnavailable where there is no key."""
        ...

    def open(self, text: str, owner: str) -> str:
        """The secret that `seal` was given with this owner. Raises SecretUnavailable: its key is not here, it is
        damaged, or another owner's."""
        ...


# --------------------------------------------------------------------------------------------------- expressions


class Evaluator(Protocol):
    """Expressions in `${{ }}`: typed, sandboxed, bounded."""

    def evaluate(self, template: Any, scope: Mapping[str, Any]) -> Any:
        """Resolve every expression in `template` (nested lists and mappings too).

        A string that is one expression alone keeps the type of its value. Raises ExpressionError.
        """
        ...

    def check(self, template: Any) -> list[str]:
        """Every fault of the expressions in `template` that can be known without a scope (they do not parse, …)."""
        ...

    def references(self, template: Any) -> set[tuple[str, ...]]:
        """The dotted names that `template` uses, e.g. ("steps", "probe", "outputs", "path"), ("parameters", "source")."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """Parameters judged by a schema: `arguments` are typed and carry the static defaults."""

    arguments: dict[str, Any]
    faults: Sequence[Fault] = ()
    warnings: Sequence[str] = ()


class ParameterSchema(Protocol):
    """A compiled JSON Schema of a workflow's parameters."""

    def check(self, parameters: Mapping[str, Any], *, strict: bool) -> Checked:
        """Coerce, default and judge: all faults at once.

        `strict`: an unknown parameter is a fault, else a warning that names the nearest known one. A null counts as
        not given. Fault paths start with `/parameters`.
        """
        ...


# ------------------------------------------------------------------------------------------------------- broker


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker carries it."""

    body: bytes
    message_id: str | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0  # 0–9, greater first
    correlation_id: str | None = None
    reply_to: str | None = None
    content_type: str = "application/json"
    user_id: str | None = None  # who published it, where the broker vouches for that; never set by a publisher of ours


class Address(StrEnum):
    """Where messages go. TASKS, CONTROL and EVENTS take a `key` (queue name, routing key)."""

    JOBS = "jobs"
    TASKS = "tasks"
    REPORTS = "reports"
    CONTROL = "control"
    EVENTS = "events"
    DEAD = "dead"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and where it goes."""

    address: Address
    message: Message
    key: str = ""


class Delivery(Protocol):
    """One message in a consumer's hands; settled exactly once (a second settling is ignored)."""

    message: Message
    redelivered: bool

    async def ack(self) -> None:
        """Done with it."""
        ...

    async def requeue(self) -> None:
        """Give it back; it will be delivered again, marked redelivered."""
        ...

    async def reject(self, reason: str, letter: Message | None = None) -> None:
        """Send it to the dead-letter queue, with the reason; `letter` goes in its place where it has secrets."""
        ...


class Consumer(Protocol):
    """An open subscription. At most `prefetch` deliveries are unsettled at a time."""

    async def batch(self, limit: int) -> list[Delivery]:
        """Wait for one delivery, then take what is there already, at most `limit`. [] only when closed."""
        ...

    async def pause(self) -> None:
        """Take nothing more from the broker; what was buffered and not handed out goes back to the queue."""
        ...

    async def resume(self) -> None:
        """Take again."""
        ...

    async def set_prefetch(self, count: int) -> None:
        """From now on hold at most so many unsettled (0: as paused); what was buffered beyond goes back."""
        ...


class Broker(Protocol):
    """Carries hints, reports, control and events between processes. It is never the truth: the store is.

    Guarantees: at least once for JOBS, TASKS, REPORTS and DEAD; at most once for CONTROL and EVENTS (fan-out to whoever
    listens now). A message that is not settled when its consumer closes is delivered again, marked redelivered.
    """

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all, pipelined; return when every one is confirmed. Raises BrokerUnavailable (then some may be out)."""
        ...

    def consume(self, address: Address, key: str = "", *, prefetch: int = 1) -> AbstractAsyncContextManager[Consumer]:
        """Consume a queue (JOBS, TASKS with its queue name, REPORTS, DEAD)."""
        ...

    def subscribe(self, address: Address, keys: Sequence[str]) -> AbstractAsyncContextManager[Consumer]:
        """Listen to a topic exchange (CONTROL, EVENTS) with binding keys (`*` one word, `#` any number)."""
        ...

    async def prepare(self, queues: Sequence[str]) -> None:
        """Make these queues of tasks, and what every installation has, where they are not there: workers of others find
        them before there is a task. Raises BrokerUnavailable."""
        ...

    async def waiting(self, queue: str) -> int:
        """How many messages wait in a queue of tasks; what consumers hold is not counted. Raises BrokerUnavailable."""
        ...

    async def check(self) -> None:
        """Raise BrokerUnavailable where it cannot be reached now."""
        ...


# -------------------------------------------------------------------------------------------------------- store


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

    async def add_logs(self, job_id: int, entries: Sequence[tuple[int | None, LogEntry]]) -> None:
        """Append entries, each with its task id."""
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


@dataclass(frozen=True, slots=True)
class Client:
    """A tenant: `config` is its configuration as stored (see `domain.tenants`)."""

    name: str
    role: str  # admin, operator, submitter, viewer
    config: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a client. The key itself is never stored: `digest` is."""

    id: int
    client: str
    digest: str
    created_at: int
    revoked_at: int | None


class ClientStore(Protocol):
    """Tenants, their keys and settings."""

    async def clients(self) -> Sequence[Client]:
        """All of them."""
        ...

    async def client(self, name: str) -> Client | None:
        """One of them."""
        ...

    async def save_client(self, client: Client) -> None:
        """Insert or update."""
        ...

    async def delete_client(self, name: str) -> bool:
        """Remove it with its keys and settings; False where there was none."""
        ...

    async def add_key(self, client: str, digest: str, now: int) -> int:
        """Add a hashed key; its id."""
        ...

    async def revoke_key(self, client: str, key_id: int, now: int) -> bool:
        """Revoke it; False where there was none."""
        ...

    async def keys(self, client: str | None = None) -> Sequence[ApiKey]:
        """Keys of one client, or all."""
        ...

    async def settings(self) -> Mapping[tuple[str, str], str]:
        """(scope, name) → value; the scope is a client's name, or "" for the system."""
        ...

    async def save_setting(self, scope: str, name: str, value: str) -> bool:
        """Set it; True where it had no value yet."""
        ...


@dataclass(frozen=True, slots=True)
class DueCallback:
    """The head of one (job, endpoint)'s line, claimed for sending."""

    id: int
    job_id: int
    client: str
    endpoint: str
    event: str
    webhook_id: str
    body: str
    created_at: int
    attempts: int  # made before of this delivery
    failures: int  # in a row on this (job, endpoint)'s clock
    oldest_at: int  # creation of the oldest undelivered of this (job, endpoint)
    traceparent: str | None = None  # `Job.traceparent`
    headers: Mapping[str, str] = field(default_factory=dict)  # the workflow's


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of a claim: `delivered`, `dead`, or `pending` (again from `next_at`). Where it is pending with neither
    status nor error it was given back untried. Times in UTC milliseconds."""

    callback: DueCallback
    state: str
    at: int
    status: int | None = None
    error: str | None = None
    next_at: int | None = None
    rest: str | None = None  # why all that is left of the line is dead with it (410, 72 h over)
    log: LogEntry | None = None  # for the job's log

    @property
    def tried(self) -> bool:
        """Whether the endpoint was called."""
        return self.state != "pending" or self.status is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Busy:
    """What can take no callback now: endpoints, and all that begins as one of `servers` (`https://host/`)."""

    endpoints: Sequence[str] = ()
    servers: Sequence[str] = ()


NONE_BUSY = Busy()


class Span(Protocol):
    """A part of a trace, going on. `traceparent` hands it to whoever goes on with it; None where there is no trace."""

    traceparent: str | None

    def note(self, name: str, value: str | int) -> None:
        """Say something of it."""
        ...

    def fail(self, reason: str) -> None:
        """It did not do what it was for."""
        ...


class Tracer(Protocol):
    """Tells where the time goes, across processes."""

    def span(
        self, name: str, kind: SpanKind, parent: str | None, attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[Span]:
        """A part of the trace of `parent` (None: the beginning of one), over when the block ends; an exception that
        leaves the block fails it."""
        ...


class Meter(Protocol):
    """Counts what the engine's loops do. Cheap: it is told of every attempt and every try at a callback."""

    def attempt(self, handler: str, outcome: str, seconds: float) -> None:
        """An attempt ended."""
        ...

    def delivery(self, state: str, seconds: float) -> None:
        """A try at a callback came out: delivered, pending (it is tried again) or dead; `seconds` since its event."""
        ...


class CallbackStore(Protocol):
    """Undelivered callbacks: a line per (job, endpoint), each with one clock."""

    async def claim_callbacks(
        self, now: int, *, lease_until: int, limit: int, busy: Busy = NONE_BUSY
    ) -> Sequence[DueCallback]:
        """Claim the head of each line that is due, in order of due time; what is `busy` is passed over.

        A claim that is not settled by `lease_until` is due again. A job event whose line is waiting behind task
        events is the head of a line of its own, with a clock of its own, once it is 5 minutes old.
        """
        ...

    async def settle_callbacks(self, settlements: Sequence[Settlement]) -> None:
        """Write what came of claims, all or nothing. What was settled before, or replayed since, is left alone.

        After `delivered` and `dead` the next of the line is due, and failures start at 0 again; after `pending` the
        line's clock is set to `next_at`, and attempts and failures grow by one, unless it was given back untried.
        """
        ...

    async def kill_line(self, job_id: int, endpoint: str, reason: str, now: int) -> None:
        """All that is left of a line is dead."""
        ...

    async def next_callback(self, *, busy: Busy = NONE_BUSY) -> int | None:
        """When the next line is due (a claimed one when its lease is over), what is `busy` passed over; None where there
        is none."""
        ...

    async def callbacks(self, job_id: int) -> Sequence[Mapping[str, Any]]:
        """Every delivery of a job: id, endpoint, event, task_id, webhook_id, state, attempts, last_status, last_error,
        created_at, next_at, delivered_at."""
        ...

    async def dead_callbacks(
        self, *, client: str | None = None, since: int | None = None, after_id: int = 0, limit: int = 1000
    ) -> Sequence[Mapping[str, Any]]:
        """A page of what was given up, of one client or all, of events at or after `since`, in order of ids: as
        `callbacks`, with job_id."""
        ...

    async def replay_callbacks(
        self, now: int, *, job_id: int | None = None, callback_id: int | None = None, since: int | None = None,
        client: str | None = None, after_id: int = 0, limit: int = 1000,
    ) -> Sequence[int]:  # fmt: skip
        """Make dead (and, where one is named, delivered) callbacks due again, the first `limit` in order of ids; their
        ids."""
        ...

    async def callback_backlog(self) -> tuple[int, int | None]:
        """(undelivered, creation time of the oldest)."""
        ...


class EventStore(Protocol):
    """The outbox of events, which relays publish in order and followers resume from.

    Ids ascend in the order of the commits: who has read up to one has missed none before it.
    """

    async def events_after(
        self, event_id: int, *, limit: int, job_id: int | None = None, client: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Rows (id, job_id, task_id, client, workflow, task_name, kind, name, seq, at, body) with a greater id, in order;
        those of one job, or else of one client, where it is named."""
        ...

    async def last_event(self) -> int:
        """The id of the newest event; 0 where there is none."""
        ...

    async def clean_events(self, *, before: int, up_to: int, limit: int) -> int:
        """Of the oldest `limit` events with ids of at most `up_to`, delete those from before that time; how many."""
        ...


@dataclass(frozen=True, slots=True)
class Recurring:
    """A schedule that submits a job at each of its times: `body` is that of `POST /job`."""

    client: str
    name: str  # unique among the client's
    cron: str
    time_zone: str  # an IANA name
    body: Mapping[str, Any]
    active: bool
    next_at: int | None  # None: the pattern has no further time
    created_at: int
    last_at: int | None = None  # when it submitted last
    last_job_id: int | None = None
    last_error: str | None = None  # why the last job could not be submitted


class RecurringStore(Protocol):
    """The schedules of clients."""

    async def recurring(self) -> Sequence[Recurring]:
        """All of them, by client and name."""
        ...

    async def save_recurring(self, recurring: Recurring) -> bool:
        """Insert it, or change the one of that name (what is known of its past stays); True where it was new.

        NotFound where there is no such client.
        """
        ...

    async def switch_recurring(self, client: str, name: str, *, active: bool, next_at: int | None) -> bool:
        """Switch it on or off; False where there is none."""
        ...

    async def move_recurring(self, was: Recurring, now: Recurring) -> bool:
        """Write `next_at` and what is known of the last submission, unless it was moved, changed or switched since
        `was` was read; whether it was written."""
        ...

    async def delete_recurring(self, client: str, name: str) -> bool:
        """Remove it; False where there was none."""
        ...


class Store(JobStore, ClientStore, CallbackStore, EventStore, RecurringStore, Protocol):
    """All of it: one adapter per database."""

    async def release_claims(self, now: int) -> None:
        """Make every claimed line of callbacks due at once: whoever claimed them is known to be gone."""
        ...


# ---------------------------------------------------------------------------------------------------- callbacks


@dataclass(frozen=True, slots=True)
class SendResult:
    """What an endpoint answered: `status` None where there was no answer; `retry_after` in seconds."""

    status: int | None
    error: str | None = None
    retry_after: float | None = None


class CallbackSender(Protocol):
    """Makes one try at one delivery. It raises nothing: a fault is a result."""

    async def send(self, callback: DueCallback) -> SendResult:
        """POST the body, signed, with the same `webhook-id` on every try."""
        ...


class SemaphoreProbe(Protocol):
    """Asks a `semaphore_url` whether its job may be queued."""

    async def open(self, url: str, client: str) -> tuple[bool, str]:
        """(whether it answered 2xx or 3xx, what it answered)."""
        ...


# ------------------------------------------------------------------------------------------------------ storage


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a storage: `path` is logical, below the storage's root."""

    path: str
    size: int
    modified_at: int


Told = Callable[[int], None]
"""Is told of bytes that have been sent, as they are."""


class Storage(Protocol):
    """Where media lives: one root of one storage. Paths are logical (`domain.paths`), judged again by the adapter.

    Raises StorageError (`retryable` where the same call may succeed later) and NotFound for a missing file.
    Nothing is ever read, written or deleted outside the root; links are not followed.
    """

    kind: str  # local, s3, azure

    def full_path(self, path: str) -> str:
        """The storage's own name of it: an absolute path, `s3://bucket/key`, `azure://container/key`."""
        ...

    async def list(self, folder: str, *, recursive: bool = True) -> Sequence[StoredFile]:
        """Files below a folder, sorted by path; [] where there is none."""
        ...

    async def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders directly in a folder, sorted; [] where there are none."""
        ...

    async def stat(self, path: str) -> StoredFile | None:
        """One file; None where there is none."""
        ...

    async def fetch(self, path: str, target: Path) -> None:
        """Bring a file to a local path that does not exist yet: linked where it is on one disk, else copied."""
        ...

    async def store(self, source: Path, path: str, told: Told | None = None) -> None:
        """Put a local file, atomically: a reader sees the old file or the whole new one. The source stays."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Put a small file, atomically."""
        ...

    async def read(self, path: str, *, limit: int = 16 * 1024 * 1024) -> bytes:
        """A small file whole; StorageError where it is larger than `limit` bytes."""
        ...

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete files; missing ones are no fault."""
        ...

    async def delete_folder(self, folder: str) -> None:
        """Delete all below a folder and the folder; the root or an empty path is refused. `a` never touches `ab`."""
        ...


# ------------------------------------------------------------------------------------------------------ processes


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How a subprocess ended. `stderr_tail` holds the last lines."""

    argv: Sequence[str]
    exit_code: int
    seconds: float
    stdout: bytes
    stderr_tail: str


class ProcessRunner(Protocol):
    """Starts subprocesses: each in a process group of its own that dies with this process, is ended by TERM, TERM, KILL
    when the caller is cancelled, and sees an empty environment."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        on_line: Callable[[str], bool | None] | None = None,
        stall_s: float | None = None,
        max_stdout: int = 16 * 1024 * 1024,
    ) -> ProcessResult:
        """Run to the end, whatever the exit code; `on_line` gets stdout line by line instead of it being kept.

        Lines end at a line feed or a carriage return; empty ones are left out, overlong ones are cut. `on_line` returns
        False where a line was no progress; None and True count as progress. `stall_s`: where there was no progress for
        that long (without `on_line`: no output at all), the group is ended and TimeoutFault raised. More than
        `max_stdout` bytes to keep: the group is ended and InternalFault raised. What `on_line` raises ends the group
        and is raised here. Raises ResourceFault where the program cannot be started.
        """
        ...


# ------------------------------------------------------------------------------------------------------ workflows


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow with its compiled parameter schema."""

    workflow: Workflow
    parameters: ParameterSchema


class WorkflowCatalog(Protocol):
    """The workflows that can be submitted now; a faulty file never takes away its last good version."""

    def get(self, name: str, client: str) -> LoadedWorkflow | None:
        """The workflow as this client gets it (its own override first); None where there is none."""
        ...

    def compile(self, source: str) -> Workflow:
        """Rebuild a workflow from its stored `source` alone (cached by digest). Raises WorkflowError."""
        ...

    def names(self, client: str) -> Sequence[str]:
        """Every workflow that this client can name, sorted."""
        ...


# ------------------------------------------------------------------------------------------------------- handlers


class Workspace(Protocol):
    """The job's shared workspace: what passes between its tasks. File references are plain JSON in outputs and inputs:
    `{"$file": "ws://<workspace>/<task>/<attempt>-<token>/<name>", "size": bytes, "sha256": hex or null}`."""

    async def fetch(self, reference: Mapping[str, Any], name: str | None = None) -> Path:
        """Bring a file into the scratch directory under a plain ASCII name and return its path (linked if one disk)."""
        ...

    async def store(self, path: Path, name: str) -> dict[str, Any]:
        """Put a file of the scratch under this attempt's own path; its reference."""
        ...


class TaskLog(Protocol):
    """The log of the task as the job's owner sees it (severity by method)."""

    def debug(self, message: str) -> None:
        """Severity 0."""
        ...

    def info(self, message: str) -> None:
        """Severity 1."""
        ...

    def warning(self, message: str) -> None:
        """Severity 2."""
        ...

    def error(self, message: str) -> None:
        """Severity 3."""
        ...


@dataclass(frozen=True, slots=True)
class Document:
    """What a URL answered with a 2xx: `url` is the one that answered (relative references count from it)."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A body that lies in a file now: bytes, and the URL that it came from."""

    url: str
    size: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a body: bytes from `start` on; `length` None: to its end."""

    start: int = 0
    length: int | None = None


class Outbound(Protocol):
    """The guarded way to the URLs of a task: the addresses that its client may reach, and no others.

    Redirects of GET are followed, a few, each judged; headers given here go to the first server alone. Faults that may
    pass (no connection, silence, 408, 425, 429, 5xx) are tried again a few times, then InternalFault; InputFault where
    no try will do better: a refused address, another status, more than `max_bytes`. Messages hold no secrets of URLs.
    """

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        part: ByteRange | None = None,
        max_bytes: int = 4 * 1024 * 1024,
    ) -> Document:
        """A small document, gzip and deflate unpacked (`max_bytes` counts what is unpacked)."""
        ...

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] | None = None, max_bytes: int = 4 * 1024 * 1024
    ) -> Document:
        """As `get`, with a body, once: it is neither repeated nor redirected."""
        ...

    async def download(
        self,
        url: str,
        target: Path,
        *,
        headers: Mapping[str, str] | None = None,
        part: ByteRange | None = None,
        max_bytes: int,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Downloaded:
        """A large body into a new file. What breaks off goes on from there where the server lets it, else anew;
        `on_bytes` is told how many are there. The file is removed where it fails. ResourceFault where it cannot be
        written."""
        ...


class KeyProvider(Protocol):
    """Where the content keys of a client's protected assets come from."""

    name: str
    kind: str  # static, seed, cpix

    def tells(self, system: str) -> bool:
        """Whether it may know where players get the keys of a system (`aes`)."""
        ...

    async def keys(self, request: KeyRequest, outbound: Outbound) -> KeySet:
        """The keys of one set: the same ones for the same request, with the ids that it names where it names some.

        InputFault where the provider has none, ResourceFault or InternalFault where another try may get them. No message
        has a key.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the media binaries are on this machine."""

    ffmpeg: str
    ffprobe: str
    packager: str


class TaskContext(Protocol):
    """What a handler gets. Everything it makes lies in `scratch`, which is removed after it; what must stay goes to
    `workspace` or a storage. Cancellation arrives as asyncio.CancelledError: let it pass."""

    task: TaskMessage
    inputs: Mapping[str, Any]  # `with`, resolved, secrets opened
    deadline: int  # UTC ms
    log: TaskLog

    @property
    def profile_folders(self) -> Sequence[Path]:
        """The folders of encoding profiles beside the built-in ones; a later one overrides by name."""
        ...

    @property
    def scratch(self) -> Path:
        """The task's private directory, empty at first. ResourceFault where it cannot be made."""
        ...

    @property
    def workspace(self) -> Workspace:
        """The job's files."""
        ...

    @property
    def tools(self) -> Tools:
        """Where the media binaries are; ResourceFault where one is missing."""
        ...

    @property
    def outbound(self) -> Outbound:
        """The way to URLs of the job."""
        ...

    def key_provider(self, name: str) -> KeyProvider:
        """A key provider by name. InputFault where this worker does not know it."""
        ...

    def storage(self, name: str, root: str = "output_root") -> Storage:
        """A storage by name with one of its roots (`source_root`, or the name of an output root). InputFault where the
        job may not use it or this worker does not know it."""
        ...

    async def run(
        self, argv: Sequence[str], *, on_line: Callable[[str], bool | None] | None = None, stall_s: float | None = None
    ) -> ProcessResult:
        """Run a program in `scratch`; command line, exit status and the last lines of stderr go to the task's log, its
        wall time to the attempt's record."""
        ...

    def report_progress(
        self, fraction: float, *, message: str = "", speed: float | None = None, eta_s: float | None = None
    ) -> None:
        """0–1; cheap: it is sent at most once a second. `speed` in media seconds per second."""
        ...


class Handler(Protocol):
    """Executes one kind of task. Registered by name in `handlers.HANDLERS` (third parties: entry points
    `taskengine.handlers`). Policy (retry, timeout, queue) is data in the workflow."""

    name: str
    inputs: Mapping[str, Any]  # JSON Schema of `with`
    outputs: Mapping[str, Any]  # JSON Schema of what it returns; references to outputs are checked against it

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Do it; return the outputs (at most 64 KiB of JSON). Raises TaskFailed's leaves; anything else is internal."""
        ...
