"""An engine from its settings: adapters opened, use cases wired, loops running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from taskengine import __version__
from taskengine.api import HttpLimits, Services, create_app
from taskengine.api.services import Schedule
from taskengine.app.duties import duties
from taskengine.app.http import listening
from taskengine.app.watching import WorkflowWatch
from taskengine.app.workers import build_storages, build_worker
from taskengine.brokers import open_broker
from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.semaphore import HttpSemaphoreProbe
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.clock import SystemClock
from taskengine.datadir import owned, write_key
from taskengine.domain.errors import StoreUnavailable
from taskengine.engine.callback_policy import CallbackPolicy
from taskengine.engine.callbacks import CallbackDelivery
from taskengine.engine.coordinator import Coordinator
from taskengine.engine.directory import Directory
from taskengine.engine.dispatcher import Dispatcher, DispatchPolicy
from taskengine.engine.effects import Effects
from taskengine.engine.janitor import Janitor
from taskengine.engine.jobs import Jobs
from taskengine.engine.judging import Offer
from taskengine.engine.progress import ProgressBook
from taskengine.engine.reaper import Reaper
from taskengine.engine.rules import Decisions
from taskengine.engine.scheduler import Scheduler
from taskengine.engine.settings_book import SettingsBook
from taskengine.engine.signals import Signals
from taskengine.engine.supervisor import supervise
from taskengine.engine.tenants import Tenants
from taskengine.handlers import load_handlers
from taskengine.media.profiles import profile_names
from taskengine.net import GuardedClients, Timeouts, networks
from taskengine.ports import Broker, Clock, Store
from taskengine.settings import Settings
from taskengine.storage.scratch import remove_stale
from taskengine.storage.workspace import jobs_present, remove_job
from taskengine.stores import open_store
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator

log = structlog.get_logger(__name__)

_BEGINNERS = ("admissions", "dispatcher")  # the loops that begin something new

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


class LocalWorkspaces:
    """The workspaces below a directory, for the janitor."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def job_ids(self) -> Sequence[int]:
        """The jobs that have one."""
        return await jobs_present(self._root)

    async def remove(self, job_id: int) -> None:
        """Remove a job's."""
        await remove_job(self._root, job_id)


class _Parts:
    """The use cases of one engine, wired. Nothing runs yet."""

    def __init__(
        self, settings: Settings, store: Store, broker: Broker, clients: GuardedClients, catalog: Catalog, clock: Clock
    ) -> None:
        self.settings, self.store, self.broker, self.catalog, self.clock = settings, store, broker, catalog, clock
        evaluator = CelEvaluator()
        self.directory = Directory(store, clock)
        self.book = SettingsBook(store, self.directory, settings.engine.model_dump())
        self.tenants = Tenants(store, clock, self.directory)
        self.signals = Signals()
        self.watch = WorkflowWatch(catalog, clock)
        self.watch.tell()
        self.draining = asyncio.Event()  # nothing new is begun
        self.directory.on_change(self.signals.admission.set)
        self.directory.on_change(self.signals.semaphores.set)
        self.callbacks = CallbackDelivery(
            store, self._sender(clients), clock, _callback_policy(settings), retry_limit=self._retry_limit
        )
        self.janitor = Janitor(
            store,
            LocalWorkspaces(Path(settings.workspace)),
            clock,
            keep_failed_s=settings.workspace_retention_h * 3600,
            retention_days=self.book.retention_days,
        )
        effects = Effects(broker, self.signals, self.janitor.job_ended, self.callbacks.wake)
        self.progress = ProgressBook(store, clock)
        installation = {"default_storage": settings.default_storage}
        decisions = Decisions(store, catalog, evaluator, self.book, clock, installation)
        self.coordinator = Coordinator(store, broker, decisions, effects, self.progress, clock)
        self.dispatcher = Dispatcher(store, broker, self.signals, clock, self._dispatch_policy())
        probe = HttpSemaphoreProbe(clients, self._endpoint)
        self.scheduler = Scheduler(store, decisions, effects, self.signals, self.book, probe, clock)
        self.reaper = Reaper(
            store,
            broker,
            decisions,
            effects,
            clock,
            heartbeat_s=settings.heartbeat_s,
            missed=settings.lease_missed,
            listening=lambda: self.coordinator.listening,
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
        )

    def loops(self) -> Mapping[str, Loop]:
        """What runs while the engine does."""
        scheduler = self.scheduler
        return {
            "coordinator": self.coordinator.run,
            "dispatcher": self.dispatcher.run,
            "admissions": scheduler.admissions,
            "timers": scheduler.timers,
            "semaphores": scheduler.semaphores,
            "awaited": scheduler.awaited,
            "reaper": self.reaper.run,
            "progress": self.progress.run,
            "callbacks": self.callbacks.run,
            "directory": self.directory.watch,
            "workspaces": self.janitor.workspaces,
            "retention": self.janitor.retention,
            "workflows": self.watch.run,
        }

    async def schedules(self) -> Sequence[Schedule]:
        """The recurring duties, as `GET /schedules` shows them."""
        return duties(await self.book.schedule_interval(), self.settings.heartbeat_s)

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
        )

    async def _endpoint(self, client: str) -> EndpointConfig:
        """How a client's endpoints are called."""
        config = await self.tenants.config(client)
        return EndpointConfig(
            secrets=config.callback_secrets,
            headers=config.callback_headers,
            verify_tls=config.callback_verify_tls and self.settings.callbacks.verify_tls,
            allow=networks(config.outbound_allow),
        )

    def _retry_limit(self, client: str) -> int:
        """Tries of a task callback that the client does not want, as the settings say now."""
        return self.book.rules_of(client).retry.limit

    def _dispatch_policy(self) -> DispatchPolicy:
        storages = build_storages(self.settings)
        named = {
            name: {"kind": self.settings.storages[name].kind, "roots": list(storages.roots(name))}
            for name in storages.names()
        }
        allow = [str(network) for network in self.settings.outbound_allow]
        return DispatchPolicy(self.settings.heartbeat_s, lambda _client: named, lambda _client: allow)

    def _offer(self) -> Offer:
        storages = build_storages(self.settings)
        roots = {name: storages.roots(name) for name in storages.names()}
        return Offer(self.settings.default_storage, roots, profile_names())

    def _judge(self, clients: GuardedClients) -> Callable[[str, str], str | None]:
        def judge(client: str, url: str) -> str | None:
            own = self.directory.known.config(client).outbound_allow
            return clients.check_literal(url, networks(own))

        return judge


@asynccontextmanager
async def engine(settings: Settings, *, workers: bool = True, http: bool = True) -> AsyncIterator[Engine]:
    """Run an engine on its data directory until the block ends, then drain it.

    Raises Conflict where another process owns the directory, InvalidRequest where the configuration does not fit,
    StoreUnavailable where the database is away.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(settings.data_dir))
        await remove_stale(settings.scratch)
        store = await stack.enter_async_context(open_store(str(settings.database_url), clock))
        broker = await stack.enter_async_context(open_broker(str(settings.broker_url)))
        allow = networks([str(network) for network in settings.outbound_allow])
        clients = await stack.enter_async_context(GuardedClients(allow))
        parts = _Parts(settings, store, broker, clients, _catalog(settings), clock)
        await _bootstrap(parts)
        async with asyncio.TaskGroup() as group:
            loops = {name: group.create_task(supervise(name, loop, clock)) for name, loop in parts.loops().items()}
            try:
                async with _serving(parts, http=http) as url, _working(parts, workers=workers):
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


def _catalog(settings: Settings) -> Catalog:
    return Catalog(CelEvaluator(), load_handlers(shell=settings.debug_shell), settings.workflows_dirs)


async def _bootstrap(parts: _Parts) -> None:
    """The first client, where there is none; and what the process before this one left behind."""
    settings = parts.settings
    given = settings.bootstrap_api_key
    key = await parts.tenants.bootstrap(settings.bootstrap_client, given.get_secret_value() if given else None)
    if key is not None and given is None:
        write_key(settings.data_dir, key)
    if str(settings.broker_url).startswith("memory:"):
        await parts.store.release_claims(parts.clock.now())
        voided = await parts.reaper.void_all()
        if voided:
            log.info("attempts_voided", tasks=voided)


@asynccontextmanager
async def _working(parts: _Parts, *, workers: bool) -> AsyncIterator[None]:
    """The embedded worker pools, drained at the end."""
    if not workers:
        yield
        return
    slots = {queue: count for queue in parts.queues() if (count := parts.settings.slots(queue)) > 0}
    worker = build_worker(parts.settings, parts.broker, parts.clock, slots)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        try:
            yield
        finally:
            worker.drain()


@asynccontextmanager
async def _serving(parts: _Parts, *, http: bool) -> AsyncIterator[str | None]:
    """The API, where it is wanted; it goes on answering while the workers drain, but is not ready any more."""
    if not http:
        yield None
        return

    async def ready() -> None:
        if parts.draining.is_set():
            raise StoreUnavailable("the engine is draining")
        await parts.store.check()

    async with listening(create_app(_services(parts, ready)), parts.settings.host, parts.settings.port) as url:
        yield url


def _services(parts: _Parts, ready: Callable[[], Awaitable[None]]) -> Services:
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
        ready=ready,
        queues=parts.queues,
        schedules=parts.schedules,
        wake_callbacks=parts.callbacks.replayed,
        database_name=str(settings.database_url).partition(":")[0],
        broker_name=str(settings.broker_url).partition(":")[0],
        health_aliases=settings.health.aliases,
        open_jobs_list=settings.open_jobs_list,
        limits=HttpLimits(body_bytes=settings.http.max_body_bytes),
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
