"""What clients ask for becomes a job: judged with every fault at once, planned, its secrets sealed; not stored yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain import emission
from taskengine.domain.capture import begin_of
from taskengine.domain.errors import ExpressionError, Fault, InvalidRequest
from taskengine.domain.execution import Rules, Run
from taskengine.domain.job import Changes, Job, LogEntry, Snapshot
from taskengine.domain.masking import tail
from taskengine.domain.planning import plan
from taskengine.domain.schema_urls import urls_of
from taskengine.domain.scope import job_scope
from taskengine.domain.secrets import hide_secrets
from taskengine.domain.status import JobState
from taskengine.domain.tenants import ClientConfig
from taskengine.domain.words import nearest
from taskengine.domain.workflow import Workflow
from taskengine.engine.judging import Offer, judge_names
from taskengine.engine.rules import ClientRulesBook, Decisions
from taskengine.engine.vault import Vault, forged
from taskengine.ports import Clock, Evaluator, JobStore, LoadedWorkflow, WorkflowCatalog

UrlJudge = Callable[[str, str], str | None]  # (client, url) → why its literal address may not be called


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as a client asks for it; the envelope is parsed, the parameters are as given."""

    client: str
    workflow: str
    parameters: Mapping[str, Any]
    priority: int = 5
    top_of_queue: bool = False
    run_at: int | None = None
    semaphore_url: str | None = None
    after: Sequence[int] = ()
    persist: bool = False
    max_retries: int | None = None
    timeout_s: float | None = None
    tags: Sequence[str] = ()
    idempotency_key: str | None = None
    fingerprint: str = ""  # digest of the body, for the idempotency key
    origin: Mapping[str, Any] = field(default_factory=dict)  # path, remote_addr, headers: for the first log entry
    rerun_of: int | None = None
    warnings: Sequence[str] = ()  # what was odd about the envelope: for the answer and the log
    traceparent: str | None = None  # the trace that it is a part of


class Submissions:
    """Judges submissions and makes jobs of them."""

    def __init__(
        self,
        store: JobStore,
        catalog: WorkflowCatalog,
        evaluator: Evaluator,
        decisions: Decisions,
        clients: ClientRulesBook,
        clock: Clock,
        judge_url: UrlJudge,
        offer: Offer,
        vault: Vault,
    ) -> None:
        self._store, self._catalog, self._evaluator, self._decisions = store, catalog, evaluator, decisions
        self._clients, self._clock, self._judge_url, self._offer, self._vault = clients, clock, judge_url, offer, vault
        self._stored: set[str] = set()  # digests of the definitions that are in the store

    async def prepare(self, submission: Submission, faults: Sequence[Fault] = ()) -> tuple[Changes, Mapping[str, Any]]:
        """The job, judged and planned, to be stored; and the answer."""
        loaded, arguments, warnings = await self._check(submission, list(faults))
        workflow = loaded.workflow
        if workflow.digest not in self._stored:
            await self._store.save_definition(workflow.digest, workflow.name, workflow.source)
            self._stored.add(workflow.digest)
            self._decisions.remember(workflow)
        changes = await self._plan(submission, loaded, arguments, warnings)
        answer: dict[str, Any] = {
            "id": changes.job.id,
            "job_id": changes.job.id,
            "result": "accepted",
            "tasks": [{"id": task.id, "name": task.name} for task in changes.new_tasks],
        }
        if warnings:
            answer["warnings"] = list(warnings)
        return changes, answer

    def semaphore(self, client: str, url: str) -> str:
        """The URL of a semaphore, judged and sealed. InvalidRequest where it may not be asked."""
        reason = self._judge_url(client, url)
        faults = [Fault("/semaphore_url", reason)] if reason else forged({}, {"/semaphore_url": url})
        if faults:
            raise InvalidRequest(sentence(faults), faults)
        return self._vault.url(client, url)

    async def check(self, submission: Submission, faults: Sequence[Fault] = ()) -> None:
        """Judge a job without storing it: raises what `submit` would."""
        await self._check(submission, list(faults))

    async def _check(
        self, submission: Submission, faults: list[Fault]
    ) -> tuple[LoadedWorkflow, Mapping[str, Any], Sequence[str]]:
        """Judge everything at once; InvalidRequest with every fault."""
        arguments: Mapping[str, Any] = {}
        warnings: Sequence[str] = ()
        loaded = self._catalog.get(submission.workflow, submission.client) if submission.workflow else None
        if loaded is None:
            if submission.workflow:
                names = self._catalog.names(submission.client)
                hint = nearest(submission.workflow, names)
                faults.append(Fault("/job/workflow", f"unknown workflow {submission.workflow!r}{hint}"))
        else:
            rules = self._clients.rules_of(submission.client)
            strict = rules.strict_parameters or not loaded.workflow.published
            parameters = _with_defaults(submission.parameters, loaded, rules.config)
            checked = loaded.parameters.check(parameters, strict=strict)
            faults.extend(checked.faults)
            arguments, warnings = checked.arguments, [*checked.warnings, *submission.warnings]
            _add(faults, judge_names(loaded.workflow, arguments, self._offer.of(submission.client, rules.config)))
        faults.extend(forged(submission.parameters, {"/job/semaphore_url": submission.semaphore_url or ""}))
        schema = loaded.workflow.schema if loaded else {}
        _add(faults, self._url_faults(submission, schema, arguments))
        faults.extend([fault async for fault in self._after_faults(submission)])
        if faults or loaded is None:
            raise InvalidRequest(sentence(faults), faults)
        return loaded, arguments, warnings

    def _url_faults(
        self, submission: Submission, schema: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> list[Fault]:
        urls = [(f"/parameters{pointer}", url) for pointer, url in urls_of(arguments, schema)]
        if submission.semaphore_url:
            urls.append(("/job/semaphore_url", submission.semaphore_url))
        judged = ((path, self._judge_url(submission.client, url)) for path, url in urls)
        return [Fault(path, reason) for path, reason in judged if reason]

    async def _after_faults(self, submission: Submission) -> Any:
        for index, job_id in enumerate(submission.after):
            other = await self._store.job(job_id)
            if other is None or other.client != submission.client:
                yield Fault(f"/job/after/{index}", f"there is no job {job_id}")

    async def _plan(
        self,
        submission: Submission,
        loaded: LoadedWorkflow,
        arguments: Mapping[str, Any],
        warnings: Sequence[str],
    ) -> Changes:
        """The job and its tasks, with their ids, waiting at the first gate; from here on its secrets are sealed."""
        now = self._clock.now()
        workflow = loaded.workflow
        arguments = self._vault.parameters(submission.client, workflow.schema, arguments)
        url = submission.semaphore_url
        job = Job(
            id=0,
            client=submission.client,
            workflow=workflow.name,
            workflow_digest=workflow.digest,
            state=JobState.PENDING,
            created_at=now,
            updated_at=now,
            parameters=self._vault.parameters(submission.client, workflow.schema, submission.parameters),
            arguments=arguments,
            content_id=arguments.get("content_id"),
            custom_data=submission.parameters.get("custom_data"),
            endpoints=tuple(arguments.get("rest_endpoints") or ()),
            priority=submission.priority,
            top_of_queue=submission.top_of_queue,
            run_at=submission.run_at,
            semaphore_url=None if url is None else self._vault.url(submission.client, url),
            after=tuple(submission.after),
            persist=submission.persist,
            max_retries=submission.max_retries,
            timeout_s=submission.timeout_s,
            tags=tuple(submission.tags),
            rerun_of=submission.rerun_of,
            traceparent=submission.traceparent,
        )
        rules = self._decisions.rules(job)
        scope = {"parameters": arguments, "job": job_scope(job), "client": rules.client}
        job.run_at = _begin(workflow, job.run_at, now, rules, scope)
        tasks = plan(job, workflow, self._evaluator.evaluate, self._evaluator.references, scope)
        [job.id], ids = await self._store.allocate(jobs=1, tasks=len(tasks))
        for task, task_id in zip(tasks, ids, strict=True):
            task.id, task.job_id = task_id, job.id
        changes = Run(Snapshot(job, tasks), rules, now).create(pending=bool(job.after))
        changes.logs[:0] = _first_entries(submission, workflow.schema, warnings, now)
        return changes


def _begin(workflow: Workflow, run_at: int | None, now: int, rules: Rules, scope: Mapping[str, Any]) -> int | None:
    try:
        return begin_of(workflow, run_at, now, rules.evaluate, scope)
    except ExpressionError as error:
        raise InvalidRequest(f"capture: {error}", [Fault("/parameters", f"capture: {error}")]) from error


def _with_defaults(parameters: Mapping[str, Any], loaded: LoadedWorkflow, config: ClientConfig) -> Mapping[str, Any]:
    """The parameters, and the client's own for those of the workflow that were not given."""
    known = loaded.workflow.schema.get("properties", {})
    own = config.defaults_of(loaded.workflow.name)
    missing = {name: value for name, value in own.items() if name in known and parameters.get(name) is None}
    return {**parameters, **missing} if missing else parameters


def _add(faults: list[Fault], more: Sequence[Fault]) -> None:
    """One fault of each place is enough."""
    named = {fault.path for fault in faults}
    faults.extend(fault for fault in more if fault.path not in named)


def sentence(faults: Sequence[Fault]) -> str:
    """One sentence that says what is wrong and where."""
    first = f"{faults[0].path}: {faults[0].message}" if faults[0].path else faults[0].message
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{first}{more}"


def _first_entries(
    submission: Submission, schema: Mapping[str, Any], warnings: Sequence[str], now: int
) -> list[LogEntry]:
    """The submission itself, masked, and what was odd about it."""
    masked = hide_secrets(submission.parameters, schema, tail)
    entries = [emission.submitted(submission.origin, masked, now)]
    entries.extend(LogEntry(2, "api", warning, now) for warning in warnings)
    return entries
