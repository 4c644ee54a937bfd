"""The rules that a job's decisions go by: the definition it began with, its client's settings and configuration."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskengine.domain.errors import NotFound, TaskEngineError
from taskengine.domain.execution import Rules, Run
from taskengine.domain.job import Changes, Job, Snapshot
from taskengine.domain.retry import RetryDefaults
from taskengine.domain.workflow import Workflow
from taskengine.ports import Clock, Evaluator, JobStore, WorkflowCatalog


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What a client's settings and configuration say about its jobs."""

    public: Mapping[str, Any] = field(default_factory=dict)
    retry: RetryDefaults = RetryDefaults()
    callback_ids: str = "number"
    extra_fields: bool = True
    strict_parameters: bool = False


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
    ) -> None:
        self._store, self._catalog, self._evaluator = store, catalog, evaluator
        self._clients, self._clock, self._chance = clients, clock, chance
        self._installation = installation  # what expressions see of every client, unless it has its own
        self._definitions: dict[str, Workflow] = {}

    def remember(self, workflow: Workflow) -> None:
        """Keep a definition at hand."""
        self._definitions[workflow.digest] = workflow

    def rules(self, job: Job) -> Rules:
        """The rules of a job whose definition is at hand."""
        workflow = self._definitions.get(job.workflow_digest)
        if workflow is None:
            raise _DefinitionNeeded(job.workflow_digest)
        client = self._clients.rules_of(job.client)
        return Rules(
            workflow=workflow,
            evaluate=self._evaluator.evaluate,
            chance=self._chance,
            new_id=lambda: uuid.uuid4().hex,
            client={**self._installation, **client.public},
            retry=client.retry,
            callback_ids=client.callback_ids,
            extra_fields=client.extra_fields,
        )

    def run(self, snapshot: Snapshot) -> Run:
        """A decision about a job, now."""
        return Run(snapshot, self.rules(snapshot.job), self._clock.now())

    async def decide(self, job_ids: Sequence[int], apply: Callable[[Run], None]) -> list[Changes]:
        """Lock the jobs, let `apply` tell each run what happened, write what follows; the changes as written."""

        def decide(snapshot: Snapshot) -> Changes:
            run = self.run(snapshot)
            apply(run)
            return run.changes

        return await self.with_definitions(lambda: self._store.decide(job_ids, decide)) if job_ids else []

    async def with_definitions(self, call: Callable[[], Any]) -> list[Changes]:
        """Make a store call whose decisions may need definitions; load what is missing and call again."""
        while True:
            try:
                changes: list[Changes] = await call()
            except _DefinitionNeeded as needed:
                await self.load(needed.digest)
            else:
                return changes

    async def load(self, digest: str) -> Workflow:
        """A definition by its digest, from memory or from the store."""
        if digest not in self._definitions:
            kept = await self._store.definition(digest)
            if kept is None:
                raise NotFound(f"the definition {digest} is not in the store")
            self._definitions[digest] = self._catalog.compile(kept[1])
        return self._definitions[digest]
