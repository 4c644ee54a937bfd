"""The API over a real store, catalog and use cases, without loops: nothing moves unless a test moves it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from taskengine.api import ApiRunner, HttpLimits, Schedule, Services, create_app
from taskengine.brokers import open_broker
from taskengine.domain.errors import BrokerUnavailable, StoreUnavailable
from taskengine.domain.execution import Run
from taskengine.engine.callback_desk import CallbackDesk
from taskengine.engine.directory import Directory
from taskengine.engine.duties import Duties
from taskengine.engine.effects import Effects
from taskengine.engine.job_views import JobViews
from taskengine.engine.jobs import Jobs
from taskengine.engine.judging import Offer
from taskengine.engine.progress import ProgressBook
from taskengine.engine.rates import Rates
from taskengine.engine.recurring import RecurringJobs
from taskengine.engine.rerunning import Kept, RerunFromFailed
from taskengine.engine.rules import Decisions
from taskengine.engine.settings_book import SettingsBook
from taskengine.engine.signals import Signals
from taskengine.engine.submissions import Submissions
from taskengine.engine.tenants import Tenants
from taskengine.engine.why import Why
from taskengine.handlers import HANDLERS
from taskengine.net import judge_url
from taskengine.ports import Broker, DueCallback, SendResult, Store
from taskengine.stores import open_store
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator
from tests.support.clock import MovedClock
from tests.support.engine import write_workflows
from tests.support.vault import VAULT

ADMIN, ADMIN_KEY = "demo", "admin-key-0123456789"
ADMIN_HEADERS = {"client": ADMIN, "api-key": ADMIN_KEY}


SEALED = """
name: sealed
parameters: {type: object, properties: {content_key: {type: string}, x: {type: integer}}}
steps: {a: {handler: debug.noop}}
"""


class Deaf:
    """A `CallbackSender` whose endpoints all answer 503."""

    async def send(self, callback: DueCallback) -> SendResult:
        """Nothing is sent."""
        return SendResult(503, f"answered 503 to {callback.event}")


@cache
def shared_catalog() -> Catalog:
    """The built-in workflows and those of tests, loaded once."""
    with TemporaryDirectory() as made:
        folder = write_workflows(Path(made))
        (folder / "sealed.yaml").write_text(SEALED)
        return Catalog(CelEvaluator(), HANDLERS, [folder])


class NoFiles:
    """Workspaces that nothing was ever put into."""

    async def missing(self, urls: Sequence[str]) -> Sequence[str]:
        """All of them."""
        return urls


def fail(run: Run) -> None:
    """A job is started and fails."""
    run.start()
    run.fail("it broke")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def faults(self) -> dict[str, str]:
        """path → message of the details."""
        return {detail["path"]: detail["message"] for detail in self.body.get("details", ())}


class Faulty:
    """A port whose calls fail while it is `away`."""

    def __init__(self, port: Any, fault: Callable[[str], Exception]) -> None:
        self.port, self.fault = port, fault
        self.away = False
        self.broken: set[str] = set()  # calls that fail as no adapter should

    def __getattr__(self, name: str) -> Any:
        if name in self.broken:
            raise RuntimeError("secret internals")
        if self.away:
            return self._fail
        return getattr(self.port, name)

    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise self.fault("it is away")


@dataclass(slots=True)
class World:
    """The API under test and what is behind it."""

    http: TestClient[web.Request, web.Application]
    services: Services
    decisions: Decisions
    clock: MovedClock
    store: Faulty
    broker: Faulty
    signals: Signals
    keys: dict[str, str] = field(default_factory=lambda: {ADMIN: ADMIN_KEY})

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: str | None = ADMIN,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One call by a client (None: by nobody)."""
        credentials = {"client": by, "api-key": self.keys[by]} if by else {}
        sent = data if body is None else json.dumps(body).encode()
        async with self.http.request(method, path, data=sent, headers={**credentials, **(headers or {})}) as response:
            text = await response.read()
            if method != "HEAD" and response.status != 204:
                assert response.headers["Content-Type"] == "application/json; charset=utf-8"
            return Reply(response.status, json.loads(text) if text else None, response.headers)

    async def submit(self, workflow: str = "chain", *, by: str = ADMIN, **job: Any) -> int:
        """A job's id."""
        body = {"job": {"workflow": workflow, **job}, "parameters": {"content_id": "c1"}}
        reply = await self.call("POST", "/job", body, by=by)
        assert reply.status == 200, reply.body
        return int(reply.body["id"])

    async def add_client(self, name: str, role: str = "submitter", **config: Any) -> str:
        """A further client; its name."""
        made = await self.services.tenants.add_client(name, role, config)
        self.keys[name] = made.api_key
        return name

    async def tell(self, job_id: int, happen: Callable[[Run], None]) -> None:
        """Let something happen to a job."""
        await self.decisions.decide([job_id], happen)


class ApiServer(TestServer):
    """The server as it is outside of tests."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        return ApiRunner(self.app, HttpLimits())


@asynccontextmanager
async def api_world(tmp_path: Path, *, workflows: Path | None = None, **changes: Any) -> AsyncIterator[World]:
    """The API, served, with the workflows of a folder of its own or of all tests; `changes` replace fields of its
    services."""
    clock, signals, evaluator = MovedClock(), Signals(), CelEvaluator()
    catalog = Catalog(CelEvaluator(), HANDLERS, [workflows]) if workflows else shared_catalog()
    async with (
        open_store(f"sqlite:///{tmp_path}/test.db", clock) as real_store,
        open_broker("memory://") as real_broker,
    ):
        store, broker = Faulty(real_store, StoreUnavailable), Faulty(real_broker, BrokerUnavailable)
        services, decisions = _services(store, broker, catalog, evaluator, clock, signals)
        await services.tenants.bootstrap(ADMIN, ADMIN_KEY)
        services = replace(services, **changes)
        async with TestClient(ApiServer(create_app(services))) as http:
            yield World(http, services, decisions, clock, store, broker, signals)


def _services(
    store: Any, broker: Any, catalog: Catalog, evaluator: CelEvaluator, clock: MovedClock, signals: Signals
) -> tuple[Services, Decisions]:
    typed_store: Store = store
    typed_broker: Broker = broker
    directory = Directory(typed_store, clock, VAULT)
    book = SettingsBook(typed_store, directory)
    decisions = Decisions(typed_store, catalog, evaluator, book, clock, {})
    effects = Effects(typed_broker, signals, lambda _: None, lambda: None)
    progress = ProgressBook(typed_store, clock)
    offer = Offer("local", {"local": ["output_root", "source_root"]}, lambda _: ["H264"])
    submissions = Submissions(
        typed_store, catalog, evaluator, decisions, book, clock, lambda _, url: judge_url(url), offer, VAULT
    )
    from_failed = RerunFromFailed(typed_store, decisions, evaluator, Kept(NoFiles(), 3600), clock)
    views = JobViews(typed_store, decisions, progress, book)
    jobs = Jobs(typed_store, submissions, views, decisions, effects, from_failed, clock, VAULT)
    directory.on_change(signals.admission.set)

    async def schedules() -> Sequence[Schedule]:
        return (Schedule("clean_up", "Janitor", 3600, "ended jobs"), Schedule("off", "None", 1, "", active=False))

    services = Services(
        duties=Duties(typed_store, directory, clock),
        recurring=RecurringJobs(typed_store, clock, VAULT),
        desk=CallbackDesk(typed_store, Deaf(), clock, lambda _, url: judge_url(url), lambda: None),
        why=Why(typed_store, book, clock, lambda _: None, lambda: True),
        rates=Rates(clock),
        jobs=jobs,
        views=views,
        tenants=Tenants(typed_store, clock, directory),
        settings=book,
        store=typed_store,
        broker=typed_broker,
        catalog=catalog,
        clock=clock,
        version="1.2.3",
        draining=lambda: False,
        queues=lambda: ["work", "transcode"],
        storages=lambda: ["local"],
        schedules=schedules,
    )
    return services, decisions
