"""How the engine is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from aiohttp import web

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.faults import RETRY_AFTER_S
from taskengine.api.metrics import engine_metrics, shared_metrics
from taskengine.api.queries import read_page
from taskengine.api.services import Services
from taskengine.api.views import job_without_parameters, moment
from taskengine.domain.errors import NotFound, StoreUnavailable, TaskEngineError
from taskengine.domain.status import JobState
from taskengine.engine.job_views import JobView
from taskengine.engine.settings_book import SYSTEM
from taskengine.ports import Health, JobFilter

_OK = "OK"
Backlog = tuple[int, int | None]  # (undelivered callbacks, creation of the oldest)
_NO_COUNTS = Health(
    {state.value: 0 for state in JobState} | {"failed": 0}, {"failed": 0, "pending": 0, "processed": 0}, {}
)
_JOB_COUNTS = ("completed", "failed", "pending", "broken", "queued", "started", "scheduled", "paused")
_TASK_COUNTS = ("failed", "pending", "processed")
_QUEUE_COUNTS = ("workers", "working", "pending")


async def alive(_: Call) -> Answer:
    """The published sign of life."""
    return Answer({"result": "alive"})


async def ready(call: Call) -> Answer:
    """Whether the engine should get requests: the store is reachable and its schema current."""
    services = call.services
    if services.draining():
        return _not_ready("the engine is draining")
    if (
        await _checked(services.store.check(), services.limits.check_s) != _OK
    ):  # anybody asks: where it is, `/health` tells
        return _not_ready("the database is away, or its schema is not current")
    return Answer({"result": "ready"})


def _not_ready(reason: str) -> Answer:
    return Answer({"error": reason}, 503, {"Retry-After": str(RETRY_AFTER_S)})


async def health(call: Call) -> Answer:
    """The components, queues, tasks and jobs: counters that are kept, at constant cost."""
    services = call.services
    database, broker = await _components(services)
    counts, (backlog, _) = (await _counts(call) if database == _OK else None) or (_NO_COUNTS, (0, None))
    body: dict[str, Any] = {
        "version": services.version,
        "status": "ok" if database == broker == _OK else "degraded" if database == _OK else "down",
        "databases": {services.database_name: database},
        "brokers": {services.broker_name: broker},
        **({"sandbox": services.sandbox} if services.sandbox else {}),
        "queues": _queues(call, counts, backlog),
        "tasks": {name: counts.tasks.get(name, 0) for name in _TASK_COUNTS},
        "jobs": {name: counts.jobs.get(name, 0) for name in _JOB_COUNTS} | await _slots(call),
    }
    _add_aliases(body, services.health_aliases, {"database": services.database_name, "broker": services.broker_name})
    faults = [f"{name}: {state}" for name, state in (("database", database), ("broker", broker)) if state != _OK]
    return Answer(body | {"error": "; ".join(faults)}, 500) if faults else Answer(body)


async def _checked(check: Awaitable[None], seconds: float) -> str:
    """What `/health` says of a component: OK, or the fault."""
    try:
        async with asyncio.timeout(seconds):
            await check
    except TaskEngineError as error:
        return str(error)
    except TimeoutError:
        return f"did not answer within {seconds:g} seconds"
    return _OK


async def _components(services: Services) -> tuple[str, str]:
    """(database, broker): OK, or the fault."""
    return await asyncio.gather(
        _checked(services.store.check(), services.limits.check_s),
        _checked(services.broker.check(), services.limits.check_s),
    )


async def metrics(call: Call) -> web.StreamResponse:
    """The engine in Prometheus' text format: what this process counts, and the counters that all engines share. These are
    left out while the database is away: a counter that fell to nothing would seem to begin anew, and all that it ever
    counted to have happened in the moment in which it comes back."""
    services = call.services
    if services.metrics is None:
        raise NotFound("the metrics are off (http.metrics)")
    database, broker = await _components(services)
    up = [(("database", services.database_name), database == _OK), (("broker", services.broker_name), broker == _OK)]
    told = [*engine_metrics(services.version, up)]
    if database == _OK and (found := await _counts(call, everyone=True)):
        counts, (pending, oldest_at) = found
        oldest_s = (services.clock.now() - oldest_at) / 1000 if oldest_at is not None else None
        queues = _queues(call, counts, pending)
        told += shared_metrics(jobs=counts.jobs, tasks=counts.tasks, queues=queues, callbacks=(pending, oldest_s))
    return services.metrics.answer(told)


async def _counts(call: Call, *, everyone: bool = False) -> tuple[Health, Backlog] | None:
    """(the caller's counters or everyone's, undelivered callbacks); None where the store is away."""
    try:
        counts = await call.services.store.health(None if everyone else call.scope())
        backlog = await call.services.store.callback_backlog()
    except StoreUnavailable:  # it went away in between
        return None
    return counts, backlog


async def _slots(call: Call) -> dict[str, Any]:
    scope = call.scope() or SYSTEM
    return {name: await call.services.settings.get(scope, name) for name in ("max_jobs", "priority_slots")}


def _queues(call: Call, counts: Health, backlog: int) -> dict[str, dict[str, int]]:
    """Every queue that a workflow names or a worker serves, and the engine's own."""
    names = {**dict.fromkeys(call.services.queues()), **dict.fromkeys(counts.queues)}
    queues = {
        name: {count: counts.queues.get(name, {}).get(count, 0) for count in _QUEUE_COUNTS} for name in sorted(names)
    }
    waiting = counts.jobs.get("scheduled", 0) + counts.jobs.get("pending", 0)
    own = {"scheduler": waiting, "controller": 0, "callback": backlog}
    return {name: {"workers": 1, "working": 0, "pending": pending} for name, pending in own.items()} | queues


def _add_aliases(body: dict[str, Any], aliases: Mapping[str, str], generic: Mapping[str, str]) -> None:
    """Further names, each beside the one that it stands for."""
    for alias, name in aliases.items():
        real = generic.get(name, name)
        for group in ("databases", "brokers", "queues"):
            if real in body[group]:
                body[group].setdefault(alias, body[group][real])
                break


async def dashboard(call: Call) -> Answer:
    """What runs, what waits for a slot and what waits for its time, each in the order in which it will run."""
    limit, client = read_page(call.request), call.scope()
    started = await _in_state(call, JobState.STARTED, "started_at", limit)
    queued = await call.services.views.queue(client, limit)
    scheduled = await call.services.views.scheduled(client, limit)
    counts = await call.services.store.health(client)
    lists = {"started": started, "queued": queued, "scheduled": scheduled}
    return Answer(
        {"version": call.services.version}
        | await _slots(call)
        | {name: [job_without_parameters(view) for view in views] for name, views in lists.items()}
        | {"totals": {name: counts.jobs.get(name, 0) for name in lists}}
    )


async def _in_state(call: Call, state: JobState, order_by: str, limit: int) -> Sequence[JobView]:
    query = JobFilter(client=call.scope(), states=[state], order_by=order_by, ascending=True, limit=limit)
    return await call.services.views.list(query)


async def workers(call: Call) -> Answer:
    """Every worker that was heard of lately."""
    rows = await call.services.store.workers()
    return Answer([{**row, "seen_at": moment(row["seen_at"])} for row in rows])
