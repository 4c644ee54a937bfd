"""An engine from its settings: adapters opened, use cases wired, loops running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from taskengine import __version__
from taskengine.api import HttpLimits, Intake, Services, create_app, submit_recurring
from taskengine.api.metrics import Metrics
from taskengine.api.services import Schedule
from taskengine.app.duties import schedules
from taskengine.app.folders import make_folders
from taskengine.app.http import listening
from taskengine.app.sealing import engine_sealer
from taskengine.app.starting import enter
from taskengine.app.storages import build_storages, build_uploads, build_workspace
from taskengine.app.traces import tracing
from taskengine.app.watching import FileWatch
from taskengine.app.workers import build_worker, worker_sandbox
from taskengine.brokers import open_broker
from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.semaphore import HttpSemaphoreProbe
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.clock import SystemClock
from taskengine.datadir import owned, write_key
from taskengine.domain.callback_config import rule_of
from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.messages import OWN_ROOTS
from taskengine.engine.callback_desk import CallbackDesk
from taskengine.engine.callback_policy import CallbackPolicy
from taskengine.engine.callbacks import CallbackDelivery
from taskengine.engine.coordinator import Coordinator
from taskengine.engine.directory import Directory
from taskengine.engine.dispatcher import Dispatcher, DispatchPolicy
from taskengine.engine.duties import Duties
from taskengine.engine.effects import Effects
from taskengine.engine.event_bus import EventBus, EventRetention, Pace
from taskengine.engine.feed import Feed
from taskengine.engine.janitor import Janitor, UploadJanitor
from taskengine.engine.jobs import Jobs
from taskengine.engine.judging import Offer
from taskengine.engine.others import Others
from taskengine.engine.progress import ProgressBook
from taskengine.engine.rates import Rates
from taskengine.engine.reaper import Hearing, Reaper
from taskengine.engine.recurring import RecurringJobs
from taskengine.engine.rerunning import Kept
from taskengine.engine.rules import Decisions
from taskengine.engine.scheduler import Scheduler
from taskengine.engine.semaphores import Semaphores
from taskengine.engine.settings_book import SettingsBook
from taskengine.engine.signals import SWEEP_S, Signals
from taskengine.engine.supervisor import supervise
from taskengine.engine.tenants import Tenants
from taskengine.engine.vault import OpeningProbe, OpeningSender, Vault
from taskengine.engine.why import Why
from taskengine.handlers import load_handlers
from taskengine.media.profile_book import Profiles
from taskengine.net import GuardedClients, Timeouts, networks
from taskengine.ports import Broker, Clock, Sealer, Store, Tracer
from taskengine.settings import Settings
from taskengine.storage.registry import settled
from taskengine.storage.scratch import remove_stale
from taskengine.storage.workspace import Workspaces
from taskengine.stores import Sharing, open_store
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator

log = structlog.get_logger(__name__)

_BEGINNERS = ("intake", "recurring", "admissions", "dispatcher")  # the loops that begin something new
_OTHERS_EVENTS_S = 0.5  # between looks for events that another engine has written
_PREPARE_S = 5.0  # for a broker to make its queues, before the engine is ready without

Loop = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine."""

    settings: Settings
    store: Store
    broker: Broker
    catalog: Catalog
    tenants: Tenants
    jobs: Jobs
    url: str | None  # of the API, where it is hosted


class _Parts:
    """The use cases of one engine, wired. Nothing runs yet."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        broker: Broker,
        clients: GuardedClients,
        catalog: Catalog,
        clock: Clock,
        tracer: Tracer,
        sealer: Sealer,
    ) -> None:
        vault = Vault(sealer)
        self.settings, self.store, self.broker, self.catalog, self.clock = settings, store, broker, catalog, clock
        self.tracer = tracer
        evaluator = CelEvaluator()
        self.directory = Directory(store, clock, vault)
        self.book = SettingsBook(store, self.directory, settings.engine.model_dump())
        self.tenants = Tenants(store, clock, self.directory, evaluator)
        self.signals = Signals()
        self.profiles = Profiles(settings.profiles_dirs)
        self.watch = FileWatch({"workflow": catalog, "profile": self.profiles}, clock)
        self.watch.tell()
        self.draining = asyncio.Event()  # nothing new is begun
        self.directory.on_change(self.signals.admission.set)
        self.directory.on_change(self.signals.semaphores.set)
        self.feed = Feed(store, self.signals.feed, clock, look_s=_OTHERS_EVENTS_S) if settings.bus.events else None
        self.duties = Duties(store, self.directory, clock)
        self.recurring = RecurringJobs(store, clock, vault)
        self.metrics = Metrics()
        sender = OpeningSender(self._sender(clients), vault)
        self.callbacks = CallbackDelivery(
            store,
            sender,
            clock,
            _callback_policy(settings),
            retry_limit=self._retry_limit,
            may=self.duties.gate("deliver_callbacks"),
            meter=self.metrics,
        )
        self.desk = CallbackDesk(store, sender, clock, self._judge(clients), self.callbacks.replayed)
        self.directory.on_change(self.signals.timers.set)
        self.directory.on_change(self.callbacks.wake)
        workspaces, keep_failed_s = Workspaces(build_workspace(settings)), settings.workspace_retention_h * 3600
        self.janitor = Janitor(
            store,
            workspaces,
            clock,
            keep_failed_s=keep_failed_s,
            retention_days=self.book.retention_days,
            may_delete=self.duties.gate("clean_up"),
            may_sweep=self.duties.gate("clean_workspaces"),
            clean_events=self._event_retention().clean,
        )
        self.upload_janitor = UploadJanitor(
            build_uploads(settings),
            clock,
            keep_s=settings.unfinished_uploads_h * 3600,
            may_sweep=self.duties.gate("clean_workspaces"),
        )
        self.others = Others(store, self.signals, self.callbacks.wake, clock)
        effects = Effects(broker, self.signals, self.janitor.job_ended, self.callbacks.wake)
        self.progress = ProgressBook(store, clock)
        installation = {
            "default_storage": settings.default_storage, "key_provider": settings.default_key_provider,
        }  # fmt: skip
        decisions = Decisions(
            store,
            catalog,
            evaluator,
            self.book,
            clock,
            installation,
            events=settings.bus.events,
            patience_ms=round(settings.callbacks.overtake_after_s * 1000),
        )
        probe = OpeningProbe(HttpSemaphoreProbe(clients, self._endpoint), vault)
        may_queue = self.duties.gate("queue_scheduled_jobs")
        self.scheduler = Scheduler(store, decisions, effects, self.signals, self.book, clock, may_queue)
        self.semaphores = Semaphores(store, decisions, effects, self.signals, self.book, probe, clock, may_queue)
        self.reaper = Reaper(
            store,
            broker,
            decisions,
            effects,
            clock,
            heartbeat_s=settings.heartbeat_s,
            missed=settings.lease_missed,
            hearing=lambda: Hearing(self.coordinator.listening, self.coordinator.caught_up_at),
            may_sweep=self.duties.gate("sweep_leases"),
        )
        policy = self._dispatch_policy(workspaces)
        self.dispatcher = Dispatcher(
            store,
            broker,
            self.signals,
            clock,
            policy,
            self.reaper.take_back,
            self.reaper.fail_dispatch,
            vault,
            self.queues,
        )
        self.coordinator = Coordinator(
            store, broker, decisions, effects, self.progress, self.dispatcher, clock, self.metrics
        )
        self.jobs = Jobs(
            store,
            catalog,
            evaluator,
            decisions,
            effects,
            self.progress,
            self.book,
            clock,
            self._judge(clients),
            self._offer(),
            Kept(workspaces, keep_failed_s),
            vault,
        )
        queueing = partial(self.duties.active, "queue_scheduled_jobs")
        self.why = Why(store, self.book, clock, self.semaphores.answer, queueing)

    def loops(self) -> Mapping[str, Loop]:
        """What runs while the engine does."""
        scheduler = self.scheduler
        events = {"events": self._event_bus().run} if self._publishes else {}
        others = {} if _within(self.settings) else {"others": self.others.run}
        return {
            **events,
            **others,
            **({"feed": self.feed.run} if self.feed else {}),
            "coordinator": self.coordinator.run,
            "dispatcher": self.dispatcher.run,
            "confirmations": self.dispatcher.confirmations,
            "admissions": scheduler.admissions,
            "timers": scheduler.timers,
            "semaphores": self.semaphores.run,
            "awaited": scheduler.awaited,
            "reaper": self.reaper.run,
            "queues": self.reaper.watch_queues,
            "progress": self.progress.run,
            "callbacks": self.callbacks.run,
            "directory": self.directory.watch,
            "workspaces": self.janitor.workspaces,
            "retention": self.janitor.retention,
            "uploads": self.upload_janitor.run,
            "workflows": self.watch.run,
        }

    @property
    def _publishes(self) -> bool:
        """Whether events leave this process: on a broker within it nobody could follow them."""
        return self.settings.bus.events and not _within(self.settings)

    def _event_bus(self) -> EventBus:
        settings = self.settings
        alone = str(settings.database_url).startswith("sqlite:")  # its directory has one owner
        pace = Pace(
            look_s=SWEEP_S if alone else _OTHERS_EVENTS_S,
            heartbeat_s=settings.heartbeat_s,
            lease_s=0 if alone else settings.heartbeat_s * settings.lease_missed,
        )
        return EventBus(self.store, self.broker, self.signals.events, self.clock, pace, source=settings.bus.source)

    def _event_retention(self) -> EventRetention:
        kept_s = self.settings.bus.events_retention_h * 3600
        return EventRetention(self.store, self.clock, kept_s=kept_s, published=self._publishes)

    async def schedules(self) -> Sequence[Schedule]:
        """The recurring duties, as `GET /schedules` shows them."""
        return schedules(await self.book.schedule_interval(), self.settings.heartbeat_s, self.duties)

    def queues(self) -> Sequence[str]:
        """Every queue that a workflow names."""
        named = {"transcode", "package", "work"}
        for name in self.catalog.names(""):
            loaded = self.catalog.get(name, "")
            if loaded is not None:
                steps = [*loaded.workflow.steps.values(), *loaded.workflow.on_failure.values()]
                named.update(step.queue for step in steps)
        return sorted(named)

    def _sender(self, clients: GuardedClients) -> HttpCallbackSender:
        policy = _callback_policy(self.settings)
        return HttpCallbackSender(
            clients,
            self._endpoint,
            self.clock,
            user_agent=f"task-engine/{__version__}",
            timeouts=Timeouts(policy.timeout_s, policy.connect_timeout_s),
            max_bytes=policy.max_answer_bytes,
            tracer=self.tracer,
        )

    async def _endpoint(self, client: str, url: str) -> EndpointConfig:
        """How one of a client's endpoints is called."""
        config = await self.tenants.config(client)
        rule = rule_of(config.callback_endpoints, url)
        verify_tls = config.callback_verify_tls if rule.verify_tls is None else rule.verify_tls
        return EndpointConfig(
            secrets=config.callback_secrets if rule.secrets is None else rule.secrets,
            headers={**config.callback_headers, **rule.headers},
            verify_tls=verify_tls and self.settings.callbacks.verify_tls,
            allow=networks(config.outbound_allow),
        )

    def _retry_limit(self, client: str) -> int:
        """Tries of a task callback that the client does not want, as the settings say now."""
        return self.book.rules_of(client).retry.limit

    def _dispatch_policy(self, workspaces: Workspaces) -> DispatchPolicy:
        storages = build_storages(self.settings)
        named = {
            name: {"kind": self.settings.storages[name].kind, "roots": list(storages.roots(name))}
            for name in storages.names()
        }
        allow = [str(network) for network in self.settings.outbound_allow]

        def storages_of(client: str) -> Mapping[str, Any]:
            config = self.directory.known.config(client)
            return {name: _described(named[name], config.roots.get(name)) for name in named if config.may_use(name)}

        def allowed(client: str) -> Sequence[str]:
            return [*allow, *self.directory.known.config(client).outbound_allow]

        return DispatchPolicy(self.settings.heartbeat_s, storages_of, allowed, workspaces.keep)

    def _offer(self) -> Offer:
        storages = build_storages(self.settings)
        roots = {name: storages.roots(name) for name in storages.names()}
        return Offer(self.settings.default_storage, roots, self.profiles.names)

    def _judge(self, clients: GuardedClients) -> Callable[[str, str], str | None]:
        def judge(client: str, url: str) -> str | None:
            own = self.directory.known.config(client).outbound_allow
            return clients.check_literal(url, networks(own))

        return judge


@asynccontextmanager
async def engine(settings: Settings, *, workers: bool = True, http: bool = True) -> AsyncIterator[Engine]:
    """Run an engine on its data directory until the block ends, then drain it.

    Raises Conflict where another process owns the directory, InvalidRequest where the configuration does not fit,
    StoreUnavailable where the database is away for `start_wait_s`. A broker that is away is none of the start's business:
    jobs are accepted, and go on when it comes.
    """
    clock = SystemClock()
    sharing = Sharing.ALONE if settings.broker_url.startswith("memory:") else Sharing.SHARED
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(settings.data_dir))
        stack.push_async_callback(settled)
        make_folders(settings)
        await remove_stale(settings.scratch)
        opening = partial(open_store, settings.database_url, clock, sharing)
        store = await enter(stack, "database", opening, settings.start_wait_s)
        broker = await stack.enter_async_context(open_broker(settings.broker_url))
        allow = networks([str(network) for network in settings.outbound_allow])
        clients = await stack.enter_async_context(GuardedClients(allow))
        tracer = await stack.enter_async_context(tracing())
        sealer = await engine_sealer(settings, store)
        parts = _Parts(settings, store, broker, clients, _catalog(settings), clock, tracer, sealer)
        await _bootstrap(parts)
        await _prepare(parts)
        services = _services(parts, workers=workers)
        intake = Intake(services, settings.bus.users)
        async with asyncio.TaskGroup() as group:
            running: dict[str, Loop] = {
                **parts.loops(),
                "intake": intake.run,
                "recurring": partial(parts.recurring.run, submit_recurring(services)),
            }
            loops = {name: group.create_task(supervise(name, loop, clock)) for name, loop in running.items()}
            try:
                async with _serving(services, settings, http=http) as url, _working(parts, workers=workers):
                    try:
                        yield Engine(settings, store, broker, parts.catalog, parts.tenants, parts.jobs, url)
                    finally:
                        parts.draining.set()
                        for name in _BEGINNERS:
                            loops[name].cancel()
                parts.coordinator.stop()
                await asyncio.wait([loops["coordinator"]], timeout=settings.drain_grace_s)
                await parts.progress.flush()
            finally:
                for loop in loops.values():
                    loop.cancel()


def _within(settings: Settings) -> bool:
    """Whether the broker is this process's own."""
    return str(settings.broker_url).startswith("memory:")


def _catalog(settings: Settings) -> Catalog:
    return Catalog(
        CelEvaluator(),
        load_handlers(shell=settings.debug_shell),
        settings.workflows_dirs,
        external_queues=settings.external_queues,
    )


async def _bootstrap(parts: _Parts) -> None:
    """The first client, where there is none; and what the process before this one left behind."""
    settings = parts.settings
    given = settings.bootstrap_api_key
    key = await parts.tenants.bootstrap(settings.bootstrap_client, given.get_secret_value() if given else None)
    if key is not None and given is None:
        write_key(settings.data_dir, key)
    if _within(settings):
        await parts.store.release_claims(parts.clock.now())
        voided = await parts.reaper.void_all()
        if voided:
            log.info("attempts_voided", tasks=voided)


async def _prepare(parts: _Parts) -> None:
    """Who is told that the engine is ready finds its queues; a broker that is away makes them when it is there again."""
    try:
        async with asyncio.timeout(_PREPARE_S):
            await parts.broker.prepare(parts.queues())
    except (BrokerUnavailable, TimeoutError) as error:
        log.warning("broker_away", error=str(error) or f"no answer within {_PREPARE_S:g} s")


@asynccontextmanager
async def _working(parts: _Parts, *, workers: bool) -> AsyncIterator[None]:
    """The embedded worker pools, drained at the end."""
    if not workers:
        yield
        return
    settings = parts.settings
    own = [queue for queue in parts.queues() if queue not in settings.external_queues]
    slots = {queue: count for queue in own if (count := settings.slots(queue)) > 0}
    async with GuardedClients() as clients, asyncio.TaskGroup() as group:
        worker = build_worker(settings, parts.broker, parts.clock, slots, clients, parts.tracer, embedded=True)
        running = group.create_task(worker.run())
        try:
            yield
        finally:
            worker.drain()
    if unreported := running.result():
        log.warning("reports_given_up", reports=unreported)


@asynccontextmanager
async def _serving(services: Services, settings: Settings, *, http: bool) -> AsyncIterator[str | None]:
    """The API, where it is wanted; it goes on answering while the workers drain, but is not ready any more."""
    if not http:
        yield None
        return
    async with listening(create_app(services), services.limits, settings.host, settings.port) as url:
        yield url


def _services(parts: _Parts, *, workers: bool) -> Services:
    settings = parts.settings
    return Services(
        jobs=parts.jobs,
        tenants=parts.tenants,
        settings=parts.book,
        store=parts.store,
        broker=parts.broker,
        catalog=parts.catalog,
        clock=parts.clock,
        version=__version__,
        draining=parts.draining.is_set,
        queues=parts.queues,
        storages=lambda: list(settings.storages),
        schedules=parts.schedules,
        duties=parts.duties,
        recurring=parts.recurring,
        why=parts.why,
        desk=parts.desk,
        feed=parts.feed,
        rates=Rates(parts.clock),
        wake_callbacks=parts.callbacks.replayed,
        database_name=str(settings.database_url).partition(":")[0],
        broker_name=str(settings.broker_url).partition(":")[0],
        health_aliases=settings.health.aliases,
        open_jobs_list=settings.open_jobs_list,
        metrics=parts.metrics if settings.http.metrics != "off" else None,
        metrics_public=settings.http.metrics == "public",
        access_log=settings.http.access_log,
        sandbox=worker_sandbox(settings).described() if workers else {},
        tracer=parts.tracer,
        limits=_limits(settings),
    )


def _described(storage: Mapping[str, Any], own: Mapping[str, str] | None) -> Mapping[str, Any]:
    """A storage as a task message has it, with a client's own roots."""
    return {**storage, "roots": sorted({*storage["roots"], *own}), OWN_ROOTS: dict(own)} if own else storage


def _limits(settings: Settings) -> HttpLimits:
    given = settings.http
    return HttpLimits(
        body_bytes=given.max_body_bytes,
        header_s=given.header_timeout_s,
        connections=given.max_connections,
        connections_per_address=given.max_connections_per_address,
    )


def _callback_policy(settings: Settings) -> CallbackPolicy:
    given = settings.callbacks
    return CallbackPolicy(
        timeout_s=given.timeout_s,
        connect_timeout_s=given.connect_timeout_s,
        delays_s=given.delays_s,
        give_up_after_s=given.give_up_after_h * 3600,
        retry_limit=settings.engine.retry_limit,
        concurrency=given.concurrency,
        per_endpoint_concurrency=given.per_endpoint_concurrency,
    )
