"""What the API is given of an engine."""

from __future__ import annotations

from taskengine import __version__
from taskengine.api import ChannelBook, HttpLimits, Services
from taskengine.app.channels import channel_reader
from taskengine.app.parts import Parts
from taskengine.app.workers import worker_sandbox
from taskengine.engine.rates import Rates
from taskengine.settings import Settings


def services_of(parts: Parts, *, workers: bool) -> Services:
    """All of it; `workers`: whether the engine has its own."""
    settings = parts.settings
    return Services(
        jobs=parts.jobs,
        views=parts.views,
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
        channels=ChannelBook(channel_reader(settings, parts.directory), parts.clock),
        rates=Rates(parts.clock),
        wake_callbacks=parts.callbacks.replayed,
        database_name=str(settings.database_url).partition(":")[0],
        broker_name=str(settings.broker_url).partition(":")[0],
        health_aliases=settings.health.aliases,
        open_jobs_list=settings.open_jobs_list,
        public_url=settings.public_url if "public_url" in settings.model_fields_set else None,
        metrics=parts.metrics if settings.http.metrics != "off" else None,
        metrics_public=settings.http.metrics == "public",
        access_log=settings.http.access_log,
        sandbox=worker_sandbox(settings).described() if workers else {},
        tracer=parts.tracer,
        limits=_limits(settings),
    )


def _limits(settings: Settings) -> HttpLimits:
    given = settings.http
    return HttpLimits(
        body_bytes=given.max_body_bytes,
        header_s=given.header_timeout_s,
        connections=given.max_connections,
        connections_per_address=given.max_connections_per_address,
    )
