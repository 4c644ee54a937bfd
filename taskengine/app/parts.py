"""The parts of an engine, wired: adapters and use cases. Nothing runs yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from taskengine import __version__
from taskengine.api.metrics import Metrics
from taskengine.api.services import Schedule
from taskengine.app.duties import schedules
from taskengine.app.policies import callback_policy, dispatch_policy, offer
from taskengine.app.storages import build_uploads, build_workspace
from taskengine.app.watching import FileWatch
from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.semaphore import HttpSemaphoreProbe
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.domain.callback_config import rule_of
from taskengine.engine.callback_desk import CallbackDesk
from taskengine.engine.callbacks import CallbackDelivery
from taskengine.engine.coordinator import Coordinator
from taskengine.engine.directory import Directory
from taskengine.engine.dispatcher import Dispatcher
from taskengine.engine.duties import Duties
from taskengine.engine.effects import Effects
from taskengine.engine.event_bus import EventBus, EventRetention, Pace
from taskengine.engine.feed import Feed
from taskengine.engine.janitor import Janitor, UploadJanitor
from taskengine.engine.job_views import JobViews
from taskengine.engine.jobs import Jobs
from taskengine.engine.others import Others
from taskengine.engine.progress import ProgressBook
from taskengine.engine.reaper import Hearing, Reaper
from taskengine.engine.recurring import RecurringJobs
from taskengine.engine.rerunning import Kept, RerunFromFailed
from taskengine.engine.rules import Decisions
from taskengine.engine.scheduler import Scheduler
from taskengine.engine.semaphores import Semaphores
from taskengine.engine.settings_book import SettingsBook
from taskengine.engine.signals import SWEEP_S, Signals
from taskengine.engine.submissions import Submissions
from taskengine.engine.tenants import Tenants
from taskengine.engine.vault import OpeningProbe, OpeningSender, Vault
from taskengine.engine.why import Why
from taskengine.media.profile_book import Profiles
from taskengine.net import GuardedClients, Timeouts, networks
from taskengine.ports import Broker, Clock, Sealer, Store, Tracer
from taskengine.settings import Settings
from taskengine.storage.workspace import Workspaces
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator

_OTHERS_EVENTS_S = 0.5  # between looks for events that another engine has written

Loop = Callable[[], Awaitable[None]]


class Parts:
    """The use cases of one engine."""

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
            callback_policy(settings),
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
        self.installation = {
            "default_storage": settings.default_storage, "key_provider": settings.default_key_provider,
            "public_url": settings.public_url,
        }  # fmt: skip
        decisions = Decisions(
            store,
            catalog,
            evaluator,
            self.book,
            clock,
            self.installation,
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
        policy = dispatch_policy(settings, self.directory, workspaces)
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
        submissions = Submissions(
            store, catalog, evaluator, decisions, self.book, clock, self._judge(clients),
            offer(settings, self.profiles.names), vault,
        )  # fmt: skip
        from_failed = RerunFromFailed(store, decisions, evaluator, Kept(workspaces, keep_failed_s), clock)
        self.views = JobViews(store, decisions, self.progress, self.book)
        self.jobs = Jobs(store, submissions, self.views, decisions, effects, from_failed, clock, vault)
        queueing = partial(self.duties.active, "queue_scheduled_jobs")
        self.why = Why(store, self.book, clock, self.semaphores.answer, queueing)

    def loops(self) -> Mapping[str, Loop]:
        """What runs while the engine does."""
        scheduler = self.scheduler
        events = {"events": self._event_bus().run} if self._publishes else {}
        others = {} if within(self.settings) else {"others": self.others.run}
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
        return self.settings.bus.events and not within(self.settings)

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
        policy = callback_policy(self.settings)
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

    def _judge(self, clients: GuardedClients) -> Callable[[str, str], str | None]:
        def judge(client: str, url: str) -> str | None:
            own = self.directory.known.config(client).outbound_allow
            return clients.check_literal(url, networks(own))

        return judge


def within(settings: Settings) -> bool:
    """Whether the broker is this process's own."""
    return str(settings.broker_url).startswith("memory:")
