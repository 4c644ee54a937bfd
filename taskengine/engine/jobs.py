"""What clients do with jobs: submit, look, change, rerun, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain import emission
from taskengine.domain.capture import begin_of
from taskengine.domain.changing import change_job
from taskengine.domain.errors import (
    Conflict,
    ExpressionError,
    Fault,
    InvalidRequest,
    NotFound,
    SecretUnavailable,
    StoreUnavailable,
)
from taskengine.domain.execution import Rules, Run
from taskengine.domain.job import Cancel, Changes, Job, LogEntry, Snapshot
from taskengine.domain.masking import tail
from taskengine.domain.planning import plan
from taskengine.domain.rerunning import check_failed
from taskengine.domain.schema_urls import urls_of
from taskengine.domain.scope import job_scope
from taskengine.domain.secrets import hide_secrets
from taskengine.domain.status import JobState
from taskengine.domain.tenants import Caller, ClientConfig
from taskengine.domain.words import nearest
from taskengine.domain.workflow import Workflow
from taskengine.engine.effects import Effects
from taskengine.engine.judging import Offer, judge_names
from taskengine.engine.progress import Progress, ProgressBook
from taskengine.engine.queue_order import QueueOrder
from taskengine.engine.rerunning import Kept, RerunFromFailed
from taskengine.engine.rules import ClientRulesBook, Decisions
from taskengine.engine.vault import Vault, forged
from taskengine.ports import (
    Clock,
    Evaluator,
    JobFilter,
    JobStore,
    Known,
    LoadedWorkflow,
    NewJob,
    StoredTask,
    WorkflowCatalog,
)


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


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what is computed for its reader."""

    job: Job
    progress: float
    position: int


_PATIENCE_S = 10.0  # with the store, of a submission
_ROUNDS = 10  # of calling off what a job is at

UrlJudge = Callable[[str, str], str | None]  # (client, url) → why its literal address may not be called


class Jobs:
    """The use cases. NotFound where the job is not the caller's to see."""

    def __init__(
        self,
        store: JobStore,
        catalog: WorkflowCatalog,
        evaluator: Evaluator,
        decisions: Decisions,
        effects: Effects,
        progress: ProgressBook,
        clients: ClientRulesBook,
        clock: Clock,
        judge_url: UrlJudge,
        offer: Offer,
        kept: Kept,
        vault: Vault,
    ) -> None:
        self._vault = vault
        self._store, self._catalog, self._evaluator = store, catalog, evaluator
        self._decisions, self._effects, self._progress = decisions, effects, progress
        self._clients, self._clock, self._judge_url, self._offer = clients, clock, judge_url, offer
        self._order = QueueOrder(store, lambda client: clients.rules_of(client).config.weight)
        self._from_failed = RerunFromFailed(store, decisions, evaluator, kept, clock)
        self._stored: set[str] = set()  # digests of the definitions that are in the store

    # --------------------------------------------------------------------------------------------------------- submit

    async def submit(self, submission: Submission, faults: Sequence[Fault] = ()) -> Mapping[str, Any]:
        """Store the job; the answer {id, job_id, result, tasks, warnings?}.

        `faults` are those of the envelope, found before: InvalidRequest names them and those of the parameters
        together. Conflict for an idempotency key that stands for another body, whatever that one's faults are.
        StoreUnavailable where the store is too slow: nobody waits longer than clients do.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answer, written = await self._submit(submission, faults)
        except TimeoutError:
            raise StoreUnavailable(
                f"the store did not keep the job within {_PATIENCE_S:g} s; whether it does yet, the same idempotency key tells"
            ) from None
        await self._effects.follow(written)
        return answer

    async def _submit(
        self, submission: Submission, faults: Sequence[Fault]
    ) -> tuple[Mapping[str, Any], Sequence[Changes]]:
        """The answer, and what was written."""
        key = submission.idempotency_key
        known = await self._store.known(submission.client, key) if key else None
        if known is not None:
            return _known_answer(known, submission), ()
        changes, answer = await self._prepare(submission, faults)
        new = NewJob(changes, submission.idempotency_key, submission.fingerprint, answer)
        [known] = await self._store.submit([new], self._clock.now())
        return (answer, [changes]) if known is None else (_known_answer(known, submission), ())

    async def _prepare(self, submission: Submission, faults: Sequence[Fault] = ()) -> tuple[Changes, Mapping[str, Any]]:
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
            if not loaded.workflow.supported:
                text = f"not yet supported: the workflow {loaded.workflow.name}"
                faults.append(Fault("/job/workflow", text))
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
            raise InvalidRequest(_sentence(faults), faults)
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

    # ----------------------------------------------------------------------------------------------------------- look

    async def view(self, caller: Caller, job_id: int) -> JobView:
        """One job."""
        [view] = await self._views([await self._job(caller, job_id)])
        return view

    async def list(self, query: JobFilter) -> Sequence[JobView]:
        """A page of jobs (the caller's rights are in the filter already)."""
        return await self._views(await self._store.jobs(query))

    async def queue(self, client: str | None, limit: int) -> Sequence[JobView]:
        """The queued jobs that will start first, of one client or of all, in that order."""
        return await self._in_order(await self._order.first(limit, client), JobState.QUEUED)

    async def scheduled(self, client: str | None, limit: int) -> Sequence[JobView]:
        """The scheduled jobs whose time comes first, of one client or of all, in that order."""
        return await self._in_order(await self._store.scheduled(limit, client), JobState.SCHEDULED)

    async def _in_order(self, ids: Sequence[int], state: JobState) -> Sequence[JobView]:
        """These jobs, but for those that have left the state meanwhile."""
        jobs = {job.id: job for job in await self._store.jobs(JobFilter(job_ids=ids, limit=len(ids)))} if ids else {}
        found = (jobs[job_id] for job_id in ids if job_id in jobs)
        return await self._views([job for job in found if job.state is state])

    async def tasks(self, caller: Caller, job_id: int) -> Sequence[StoredTask]:
        """A job's tasks."""
        await self._job(caller, job_id)
        return await self._store.tasks(job_id)

    async def needs(self, job: Job) -> Mapping[str, Sequence[str]]:
        """step name → the names of the steps that it needs, by the definition the job began with."""
        workflow = await self._decisions.load(job.workflow_digest)
        steps = {**workflow.steps, **workflow.on_failure}
        return {name: tuple(step.needs) for name, step in steps.items()}

    async def task(self, caller: Caller, task_id: int) -> StoredTask:
        """One task."""
        stored = await self._store.task(task_id)
        if stored is None:
            raise NotFound(f"there is no task {task_id}")
        try:
            await self._job(caller, stored.task.job_id)
        except NotFound:
            raise NotFound(f"there is no task {task_id}") from None
        return stored

    def live(self, stored: StoredTask) -> Progress | None:
        """What this engine last heard of the task's running attempt: message, speed, time left."""
        return self._progress.live(stored.task.id or 0, stored.task.token)

    async def _job(self, caller: Caller, job_id: int) -> Job:
        job = await self._store.job(job_id)
        if job is None or not (caller.sees_all or job.client == caller.client):
            raise NotFound(f"there is no job {job_id}")
        return job

    async def _views(self, jobs: Sequence[Job]) -> Sequence[JobView]:
        progress = await self._store.progress([job.id for job in jobs])
        queued = [job for job in jobs if job.state is JobState.QUEUED]
        positions = await self._order.positions(queued) if queued else {}
        return [JobView(job, progress.get(job.id, 0.0), positions.get(job.id, 1)) for job in jobs]

    # --------------------------------------------------------------------------------------------------------- change

    async def update(self, caller: Caller, job_id: int, patch: Mapping[str, Any]) -> Sequence[str]:
        """Change queue_state ("paused", "broken", "queued"), run_at (UTC ms or None), priority, semaphore_url (or
        None), persist, top_of_queue: all or none. The names of what was changed; Conflict where one cannot change in
        the job's state."""
        job = await self._job(caller, job_id)
        url = patch.get("semaphore_url")
        if url and (reason := self._judge_url(job.client, url)):
            raise InvalidRequest(f"semaphore_url: {reason}", [Fault("/semaphore_url", reason)])
        if url:
            if faults := forged({}, {"/semaphore_url": url}):
                raise InvalidRequest(_sentence(faults), faults)
            patch = {**patch, "semaphore_url": self._vault.url(job.client, url)}

        def apply(run: Run) -> None:
            change_job(run, patch, caller.client)

        if patch.get("queue_state") in {"broken", "paused"}:
            await self._call_off([job_id], apply)
        await self._change(job_id, apply)
        return list(patch)

    async def rerun(
        self,
        caller: Caller,
        job_id: int,
        *,
        from_failed: bool = False,
        origin: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> Mapping[str, Any]:
        """A new job with the same parameters; the old one becomes broken with the same write, so that there is never
        one without the other. The answer as of `submit`.

        `from_failed`: with what the old one's completed tasks gave. Conflict where it has not failed, or their files are
        gone. `origin` and `traceparent` are those of a `Submission`.
        """
        old = await self._job(caller, job_id)
        origin = origin or {"path": f"/jobs/{old.id}/rerun"}
        changes, answer = await (
            self._from_failed.prepare(old, origin) if from_failed else self._same_again(old, origin)
        )
        changes.job.traceparent = traceparent

        def break_off(run: Run) -> None:
            if from_failed:  # only one rerun can have the files
                check_failed(run.job)
            if run.job.state is not JobState.BROKEN:
                run.break_off(f"broken by {caller.client}")

        await self._call_off([job_id], break_off)
        await self._effects.follow(await self._decisions.replace(job_id, break_off, changes))
        return answer

    async def check_rerun(self, caller: Caller, job_id: int, *, from_failed: bool) -> None:
        """Conflict where a rerun from what failed would be one now."""
        job = await self._job(caller, job_id)
        if from_failed:
            await self._from_failed.check(job)

    async def _same_again(self, old: Job, origin: Mapping[str, Any]) -> tuple[Changes, Mapping[str, Any]]:
        try:
            parameters = self._vault.submitted(old.client, old.parameters)
        except SecretUnavailable as error:
            raise Conflict(f"the job cannot be rerun: {error}") from error
        return await self._prepare(
            Submission(
                client=old.client,
                workflow=old.workflow,
                parameters=parameters,
                priority=old.priority,
                persist=old.persist,
                max_retries=old.max_retries,
                timeout_s=old.timeout_s,
                tags=old.tags,
                rerun_of=old.id,
                origin=origin,
            )
        )

    async def remove(self, caller: Caller, job_id: int) -> None:
        """End the job as broken. Conflict where it has ended."""
        await self.update(caller, job_id, {"queue_state": "broken"})

    async def find(self, query: JobFilter) -> Sequence[int]:
        """The ids of a page of jobs (the caller's rights are in the filter already)."""
        return [job.id for job in await self._store.jobs(query)]

    async def change_all(
        self, job_ids: Sequence[int], apply: Callable[[Run], None], *, dry_run: bool, ends: bool
    ) -> None:
        """Change jobs, each whatever becomes of the others; in a dry run `apply` sees them, and nothing is written.
        `ends`: what runs of them is stopped."""
        if dry_run:
            await self._decisions.rehearse(job_ids, apply)
        else:
            if ends:
                await self._call_off(job_ids, apply)
            await self._effects.follow(await self._decisions.decide_each(job_ids, apply))

    async def _call_off(self, job_ids: Sequence[int], apply: Callable[[Run], None]) -> None:
        """Before jobs are broken or paused: have the attempts ended that `apply` would end, and hear out those that were at
        their end. So what has published in this moment is told before the decision, which it then wins: no job is broken
        whose output is there. Raises what `apply` does."""
        cancels: dict[int, Sequence[Cancel]] = {}
        told: set[str] = set()

        def note(run: Run) -> None:
            apply(run)
            cancels[run.job.id] = run.changes.cancels

        for _ in range(_ROUNDS):  # what has completed meanwhile may have begun another task
            await self._decisions.rehearse(job_ids, note)
            fresh = [cancel for some in cancels.values() for cancel in some if cancel.token not in told]
            if not fresh:
                return
            told |= {cancel.token for cancel in fresh}
            await self._effects.call_off(fresh, self._clock)

    async def _change(self, job_id: int, apply: Callable[[Run], None]) -> None:
        await self._effects.follow(await self._decisions.decide([job_id], apply))


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


def _known_answer(known: Known, submission: Submission) -> Mapping[str, Any]:
    if known.fingerprint != submission.fingerprint:
        text = f"the Idempotency-Key {submission.idempotency_key!r} was used with another body"
        raise Conflict(text, job_id=known.answer["id"])
    return known.answer


def _add(faults: list[Fault], more: Sequence[Fault]) -> None:
    """One fault of each place is enough."""
    named = {fault.path for fault in faults}
    faults.extend(fault for fault in more if fault.path not in named)


def _sentence(faults: Sequence[Fault]) -> str:
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
