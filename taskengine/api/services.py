"""What the API needs of the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from taskengine.api.channel_book import ChannelBook
from taskengine.api.metrics import Metrics
from taskengine.domain.tracing import Untraced
from taskengine.engine.callback_desk import CallbackDesk
from taskengine.engine.duties import Duties
from taskengine.engine.feed import Feed
from taskengine.engine.job_views import JobViews
from taskengine.engine.jobs import Jobs
from taskengine.engine.rates import Rates
from taskengine.engine.recurring import RecurringJobs
from taskengine.engine.settings_book import SettingsBook
from taskengine.engine.tenants import Tenants
from taskengine.engine.why import Why
from taskengine.ports import Broker, Clock, Store, Tracer, WorkflowCatalog


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of a request."""

    body_bytes: int = 1024 * 1024  # after decompression
    body_s: float = 30.0  # for the whole body to arrive
    depth: int = 64  # of nested objects and arrays
    check_s: float = 4.0  # that `/health` waits for a component: who asks waits 5 s at most, as a rule
    header_s: float = 10.0  # for the first call of a connection to be there
    connections: int = 4096  # at one time
    connections_per_address: int = 1024


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring duty of the engine, as `GET /schedules` shows it."""

    name: str
    kind: str  # what runs it
    every_s: float
    description: str
    first_in_s: float = 0.0
    queue: str = "scheduler"
    active: bool = True
    last_run: int | None = None


async def no_schedules() -> Sequence[Schedule]:
    """For an engine without recurring duties."""
    return ()


def nothing() -> None:
    """For a wake-up that nobody waits for."""


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases, ports and settings that handlers use.

    `draining`: whether the engine ends, and should get no requests any more; `queues` names every queue that a
    workflow names, `storages` those of the installation; `feed` gives events to followers, where they are kept, `channels` what players are shown; `wake_callbacks` is called when callbacks became due by hand; `health_aliases` maps further names to
    those of a component or a queue (`database` and `broker` stand for theirs).
    """

    jobs: Jobs
    views: JobViews
    tenants: Tenants
    settings: SettingsBook
    store: Store
    broker: Broker
    catalog: WorkflowCatalog
    clock: Clock
    version: str
    draining: Callable[[], bool]
    queues: Callable[[], Sequence[str]]
    storages: Callable[[], Sequence[str]]
    duties: Duties
    recurring: RecurringJobs
    why: Why
    desk: CallbackDesk
    rates: Rates
    schedules: Callable[[], Awaitable[Sequence[Schedule]]] = no_schedules
    feed: Feed | None = None
    channels: ChannelBook | None = None
    wake_callbacks: Callable[[], None] = nothing
    database_name: str = "sqlite"
    broker_name: str = "memory"
    health_aliases: Mapping[str, str] = field(default_factory=dict)
    open_jobs_list: bool = False
    public_url: str | None = None  # where clients reach this API, where an operator has said so
    metrics: Metrics | None = None
    metrics_public: bool = False
    access_log: bool = True
    sandbox: Mapping[str, str] = field(default_factory=dict)  # what confines the subprocesses of its own workers
    tracer: Tracer = field(default_factory=Untraced)
    limits: HttpLimits = HttpLimits()
