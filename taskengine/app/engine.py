"""An engine from its settings: adapters opened, use cases wired, loops running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from taskengine.api import Intake, Services, create_app, submit_recurring
from taskengine.app.folders import make_folders, prepare_scratch
from taskengine.app.http import listening
from taskengine.app.parts import Loop, Parts, within
from taskengine.app.sealing import engine_sealer
from taskengine.app.services import services_of
from taskengine.app.starting import enter
from taskengine.app.traces import tracing
from taskengine.app.workers import build_worker
from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.datadir import owned, write_key
from taskengine.domain.errors import BrokerUnavailable
from taskengine.engine.job_views import JobViews
from taskengine.engine.jobs import Jobs
from taskengine.engine.supervisor import supervise
from taskengine.engine.tenants import Tenants
from taskengine.handlers import load_handlers
from taskengine.net import GuardedClients, networks
from taskengine.ports import Broker, Store
from taskengine.settings import Settings
from taskengine.storage.registry import settled
from taskengine.stores import Sharing, open_store
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator

log = structlog.get_logger(__name__)

_BEGINNERS = ("intake", "recurring", "admissions", "dispatcher")  # the loops that begin something new
_PREPARE_S = 5.0  # for a broker to make its queues, before the engine is ready without


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine."""

    settings: Settings
    store: Store
    broker: Broker
    catalog: Catalog
    tenants: Tenants
    jobs: Jobs
    views: JobViews
    url: str | None  # of the API, where it is hosted


@asynccontextmanager
async def engine(settings: Settings, *, workers: bool = True, http: bool = True) -> AsyncIterator[Engine]:
    """Run an engine on its data directory until the block ends, then drain it.

    Raises Conflict where another process owns the directory, InvalidRequest where the configuration does not fit,
    StoreUnavailable where the database is away for `start_wait_s`. A broker that is away is none of the start's business:
    jobs are accepted, and go on when it comes.
    """
    clock = SystemClock()
    sharing = Sharing.ALONE if within(settings) else Sharing.SHARED
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(settings.data_dir))
        stack.push_async_callback(settled)
        make_folders(settings)
        await prepare_scratch(settings.scratch)
        opening = partial(open_store, settings.database_url, clock, sharing)
        store = await enter(stack, "database", opening, settings.start_wait_s)
        broker = await stack.enter_async_context(open_broker(settings.broker_url))
        allow = networks([str(network) for network in settings.outbound_allow])
        clients = await stack.enter_async_context(GuardedClients(allow))
        tracer = await stack.enter_async_context(tracing())
        sealer = await engine_sealer(settings, store)
        parts = Parts(settings, store, broker, clients, _catalog(settings), clock, tracer, sealer)
        await _bootstrap(parts)
        await _prepare(parts)
        services = services_of(parts, workers=workers)
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
                    if url and settings.port == 0 and "public_url" not in settings.model_fields_set:
                        parts.installation["public_url"] = url  # the port is known now
                    try:
                        yield Engine(
                            settings, store, broker, parts.catalog, parts.tenants, parts.jobs, parts.views, url
                        )
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
    return Catalog(
        CelEvaluator(),
        load_handlers(shell=settings.debug_shell),
        settings.workflows_dirs,
        external_queues=settings.external_queues,
    )


async def _bootstrap(parts: Parts) -> None:
    """The first client, where there is none; and what the process before this one left behind."""
    settings = parts.settings
    given = settings.bootstrap_api_key
    key = await parts.tenants.bootstrap(settings.bootstrap_client, given.get_secret_value() if given else None)
    if key is not None and given is None:
        write_key(settings.data_dir, key)
    if within(settings):
        await parts.store.release_claims(parts.clock.now())
        voided = await parts.reaper.void_all()
        if voided:
            log.info("attempts_voided", tasks=voided)


async def _prepare(parts: Parts) -> None:
    """Who is told that the engine is ready finds its queues; a broker that is away makes them when it is there again."""
    try:
        async with asyncio.timeout(_PREPARE_S):
            await parts.broker.prepare(parts.queues())
    except (BrokerUnavailable, TimeoutError) as error:
        log.warning("broker_away", error=str(error) or f"no answer within {_PREPARE_S:g} s")


@asynccontextmanager
async def _working(parts: Parts, *, workers: bool) -> AsyncIterator[None]:
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
