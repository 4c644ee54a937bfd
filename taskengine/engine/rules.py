"""The rules that a job's decisions go by: the definition it began with, its client's settings and configuration."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog

from taskengine.domain.callback_config import KINDS, rule_of
from taskengine.domain.composing import CallbackRules
from taskengine.domain.errors import (
    ExpressionError,
    NotFound,
    StoreUnavailable,
    TaskEngineError,
    WholeNeeded,
    WorkflowError,
)
from taskengine.domain.execution import Rules, Run
from taskengine.domain.job import PATIENCE_MS, Changes, Job, Snapshot
from taskengine.domain.retry import RetryDefaults
from taskengine.domain.tenants import ClientConfig
from taskengine.domain.workflow import Step, Workflow
from taskengine.ports import Advanced, Clock, DispatchPlan, Evaluator, JobStore, WorkflowCatalog

T = TypeVar("T")

log = structlog.get_logger(__name__)

_KNOWN_RULES = 1_000


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What a client's settings and configuration say about its jobs."""

    public: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryDefaults = RetryDefaults()
    strict_parameters: bool = False
    config: ClientConfig = field(default_factory=ClientConfig)


class ClientRulesBook(Protocol):
    """Knows the rules of every client, from memory: it is asked inside transactions."""

    def rules_of(self, client: str) -> ClientRules:
        """The client's rules; the defaults for one that is not known."""
        ...


class _DefinitionNeeded(TaskEngineError):
    """A decision met a job whose definition is not in memory."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"definition {digest} is not loaded")
        self.digest = digest


class Decisions:
    """Runs pure decisions inside the store's transactions, with the rules of each job at hand."""

    def __init__(
        self,
        store: JobStore,
        catalog: WorkflowCatalog,
        evaluator: Evaluator,
        clients: ClientRulesBook,
        clock: Clock,
        installation: Mapping[str, Any],
        chance: Callable[[], float] = random.random,
        *,
        events: bool = True,
        patience_ms: int = PATIENCE_MS,
    ) -> None:
        self._store, self._catalog, self._evaluator = store, catalog, evaluator
        self._clients, self._clock, self._chance = clients, clock, chance
        self._installation = installation  # what expressions see of every client, unless it has its own
        self._events = events  # whether they are written
        self._patience_ms = patience_ms  # of job callbacks
        self._definitions: dict[str, Workflow] = {}
        self._made: dict[tuple[str, str], tuple[Workflow, ClientRules, Rules]] = {}  # by client and digest
        self._unusable: dict[str, str] = {}  # digest → why it cannot be gone by

    def remember(self, workflow: Workflow) -> None:
        """Keep a definition at hand."""
        self._definitions[workflow.digest] = workflow

    def rules(self, job: Job) -> Rules:
        """The rules of a job whose definition is at hand."""
        workflow = self._definitions.get(job.workflow_digest)
        if workflow is None:
            raise _DefinitionNeeded(job.workflow_digest)
        client = self._clients.rules_of(job.client)
        made = self._made.get((job.client, job.workflow_digest))
        if made is None or made[0] is not workflow or made[1] is not client:
            made = workflow, client, self._rules(client, workflow)
            if len(self._made) >= _KNOWN_RULES:
                self._made.clear()
            self._made[job.client, job.workflow_digest] = made
        return made[2]

    def _rules(self, client: ClientRules, workflow: Workflow, unusable: str | None = None) -> Rules:
        return Rules(
            workflow=workflow,
            evaluate=self._evaluate,
            chance=self._chance,
            new_id=_new_id,
            client={
                **self._installation,
                "default_storage": client.config.storage_by_default(str(self._installation.get("default_storage", ""))),
                "key_provider": client.config.key_provider or self._installation.get("key_provider"),
                **client.public,
            },
            retry=client.retry,
            callbacks=callback_rules(workflow, client.config, self._patience_ms),
            events=self._events,
            unusable=unusable,
        )

    def _evaluate(self, template: Any, scope: Mapping[str, Any]) -> Any:
        """Whatever an expression raises is a fault of the expression."""
        try:
            return self._evaluator.evaluate(template, scope)
        except ExpressionError:
            raise
        except Exception as error:
            raise ExpressionError(f"an expression cannot be evaluated: {type(error).__name__}: {error}") from error

    def run(self, snapshot: Snapshot) -> Run:
        """A decision about a job, now."""
        reason = self._unusable.get(snapshot.job.workflow_digest)
        return self._left(snapshot, reason) if reason else Run(snapshot, self.rules(snapshot.job), self._clock.now())

    def _left(self, snapshot: Snapshot, reason: str) -> Run:
        """A decision about a job that has no definition to go by: what its tasks tell is all of it."""
        if snapshot.rest:
            raise WholeNeeded("of a job without a definition all tasks are needed")
        client = self._clients.rules_of(snapshot.job.client)
        return Run(snapshot, self._rules(client, _remains(snapshot), reason), self._clock.now())

    async def decide_each(self, job_ids: Sequence[int], apply: Callable[[Run], None]) -> list[Changes]:
        """As `decide`, where a job that cannot be decided must not keep the others from it: that job is ended."""
        decided = await self._each(job_ids, lambda ids: self.decide(ids, apply), lambda changes: changes)
        return [changes for some in decided for changes in some]

    async def advance_each(
        self, tasks: Mapping[int, Collection[int]], apply: Callable[[Run], None], plan: DispatchPlan
    ) -> list[Advanced]:
        """As `decide_each` about these tasks, by job, handing out what becomes ready (`JobStore.advance`)."""

        def told(snapshot: Snapshot) -> Changes:
            return self._told(snapshot, apply)

        async def advance(ids: Sequence[int]) -> Advanced:
            about = {job_id: tasks[job_id] for job_id in ids}
            return await self.with_definitions(lambda: self._store.advance(about, told, plan))

        return await self._each(sorted(tasks), advance, lambda changes: Advanced(changes, ()))

    async def _each(
        self,
        job_ids: Sequence[int],
        decide: Callable[[Sequence[int]], Awaitable[T]],
        left: Callable[[list[Changes]], T],
    ) -> list[T]:
        """All together; where that fails, each alone, and what fails then is given up."""
        try:
            return [await decide(job_ids)] if job_ids else []
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(job_ids) == 1:
                log.exception("decision_failed", job_id=job_ids[0])
                return [left(await self.abandon(job_ids, f"the engine failed: {type(error).__name__}: {error}"))]
        return [done for job_id in job_ids for done in await self._each([job_id], decide, left)]

    async def abandon(self, job_ids: Sequence[int], reason: str) -> list[Changes]:
        """End jobs about which no decision can be made."""

        def leave(snapshot: Snapshot) -> Changes:
            run = self._left(snapshot, reason)
            run.abandon(reason)
            return run.changes

        return await self._store.decide(job_ids, leave)

    async def decide(self, job_ids: Sequence[int], apply: Callable[[Run], None]) -> list[Changes]:
        """Lock the jobs, let `apply` tell each run what happened, write what follows; the changes as written."""

        def told(snapshot: Snapshot) -> Changes:
            return self._told(snapshot, apply)

        return await self.with_definitions(lambda: self._store.decide(job_ids, told)) if job_ids else []

    async def replace(self, job_id: int, apply: Callable[[Run], None], new: Changes) -> list[Changes]:
        """As `decide` for one job, and store a new one with it: both or neither."""

        def told(snapshot: Snapshot) -> Changes:
            return self._told(snapshot, apply)

        return await self.with_definitions(lambda: self._store.replace(job_id, told, new))

    def _told(self, snapshot: Snapshot, apply: Callable[[Run], None]) -> Changes:
        run = self.run(snapshot)
        apply(run)
        return run.changes

    async def rehearse(self, job_ids: Sequence[int], apply: Callable[[Run], None]) -> None:
        """As `decide`, and nothing is written."""

        def decide(snapshot: Snapshot) -> None:
            apply(self.run(snapshot))

        if job_ids:
            await self.with_definitions(lambda: self._store.decide(job_ids, decide))

    async def with_definitions(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a store call whose decisions may need definitions; load what is missing and call again."""
        while True:
            try:
                return await call()
            except _DefinitionNeeded as needed:
                await self._make_usable(needed.digest)

    async def _make_usable(self, digest: str) -> None:
        """Load a definition; where that cannot be, its jobs are told why."""
        try:
            await self.load(digest)
        except (NotFound, WorkflowError) as error:
            log.error("definition_unusable", digest=digest, error=str(error))  # noqa: TRY400 - it says enough
            self._unusable[digest] = f"the workflow's definition cannot be used any more: {error}"

    async def load(self, digest: str) -> Workflow:
        """A definition by its digest, from memory or from the store."""
        if digest not in self._definitions:
            kept = await self._store.definition(digest)
            if kept is None:
                raise NotFound(f"the definition {digest} is not in the store")
            self._definitions[digest] = self._catalog.compile(kept[1])
        return self._definitions[digest]


def _new_id() -> str:
    return secrets.token_hex(16)


def _remains(snapshot: Snapshot) -> Workflow:
    """What is known of a definition by a job's tasks alone: their names."""
    steps = {task.step: Step(task.step, task.handler, task.queue) for task in snapshot.tasks}
    job = snapshot.job
    return Workflow(
        name=job.workflow, version="", description="", digest=job.workflow_digest, source="",
        schema={}, steps=steps, on_failure={}, job_callback={},
    )  # fmt: skip


def callback_rules(workflow: Workflow, config: ClientConfig, patience_ms: int = PATIENCE_MS) -> CallbackRules:
    """How callbacks of a workflow look for a client, whose wishes come before the file's."""
    file = workflow.callbacks
    bodies = {kind: file[f"{kind}_body"] for kind in KINDS if f"{kind}_body" in file}
    fields = {"task": file.get("task_fields") or {}, "job": {}}

    def wants(endpoint: str, event: str) -> bool:
        events = rule_of(config.callback_endpoints, endpoint).events
        return event in (config.callback_events if events is None else events)

    return CallbackRules(
        ids=config.callback_ids,
        extra_fields=config.callback_extra_fields,
        fields={kind: {**fields[kind], **config.callback_fields.get(kind, {})} for kind in KINDS},
        templates={**bodies, **config.callback_template},
        headers=file.get("headers") or {},
        wants=wants,
        patience_ms=patience_ms,
    )
