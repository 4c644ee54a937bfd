"""What clients do with jobs: submit, look, change, rerun, remove."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain.changing import change_job
from taskengine.domain.errors import Conflict, Fault, InvalidRequest, NotFound
from taskengine.domain.execution import Run
from taskengine.domain.job import Changes, Job, LogEntry, Snapshot
from taskengine.domain.masking import mask_tail
from taskengine.domain.planning import plan
from taskengine.domain.scope import job_scope
from taskengine.domain.status import JobState
from taskengine.domain.tenants import Caller
from taskengine.domain.words import nearest
from taskengine.engine.effects import Effects
from taskengine.engine.judging import Offer, judge_names
from taskengine.engine.progress import Progress, ProgressBook
from taskengine.engine.rules import ClientRulesBook, Decisions
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


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what is computed for its reader."""

    job: Job
    progress: float
    position: int


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
    ) -> None:
        self._store, self._catalog, self._evaluator = store, catalog, evaluator
        self._decisions, self._effects, self._progress = decisions, effects, progress
        self._clients, self._clock, self._judge_url, self._offer = clients, clock, judge_url, offer
        self._kept: set[str] = set()  # digests of the definitions that are in the store

    # --------------------------------------------------------------------------------------------------------- submit

    async def submit(self, submission: Submission, faults: Sequence[Fault] = ()) -> Mapping[str, Any]:
        """Store the job; the answer {id, job_id, result, tasks, warnings?}.

        `faults` are those of the envelope, found before: InvalidRequest names them and those of the parameters
        together. Conflict for an idempotency key that stands for another body.
        """
        loaded, arguments, warnings = await self._check(submission, list(faults))
        workflow = loaded.workflow
        if workflow.digest not in self._kept:
            await self._store.save_definition(workflow.digest, workflow.name, workflow.source)
            self._kept.add(workflow.digest)
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
        new = NewJob(changes, submission.idempotency_key, submission.fingerprint, answer)
        [known] = await self._store.submit([new], self._clock.now())
        if known is not None:
            return _known_answer(known, submission)
        await self._effects.follow([changes])
        return answer

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
            checked = loaded.parameters.check(submission.parameters, strict=strict)
            faults.extend(checked.faults)
            arguments, warnings = checked.arguments, [*checked.warnings, *submission.warnings]
            faults.extend(judge_names(loaded.workflow, arguments, self._offer))
        named = {fault.path for fault in faults}  # one fault per place is enough
        faults.extend(fault for fault in self._url_faults(submission, arguments) if fault.path not in named)
        faults.extend([fault async for fault in self._after_faults(submission)])
        if faults or loaded is None:
            raise InvalidRequest(_sentence(faults), faults)
        return loaded, arguments, warnings

    def _url_faults(self, submission: Submission, arguments: Mapping[str, Any]) -> list[Fault]:
        endpoints = arguments.get("rest_endpoints")
        endpoints = endpoints if isinstance(endpoints, list) else []
        urls = [(f"/parameters/rest_endpoints/{index}", url) for index, url in enumerate(endpoints)]
        if submission.semaphore_url:
            urls.append(("/job/semaphore_url", submission.semaphore_url))
        judged = ((path, self._judge_url(submission.client, url)) for path, url in urls if isinstance(url, str))
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
        """The job and its tasks, with their ids, waiting at the first gate."""
        now = self._clock.now()
        workflow = loaded.workflow
        job = Job(
            id=0,
            client=submission.client,
            workflow=workflow.name,
            workflow_digest=workflow.digest,
            state=JobState.PENDING,
            created_at=now,
            updated_at=now,
            parameters=submission.parameters,
            arguments=arguments,
            content_id=arguments.get("content_id"),
            custom_data=submission.parameters.get("custom_data"),
            endpoints=tuple(arguments.get("rest_endpoints") or ()),
            priority=submission.priority,
            top_of_queue=submission.top_of_queue,
            run_at=submission.run_at,
            semaphore_url=submission.semaphore_url,
            after=tuple(submission.after),
            persist=submission.persist,
            max_retries=submission.max_retries,
            timeout_s=submission.timeout_s,
            tags=tuple(submission.tags),
            rerun_of=submission.rerun_of,
        )
        rules = self._decisions.rules(job)
        scope = {"parameters": arguments, "job": job_scope(job), "client": rules.client}
        tasks = plan(job, workflow, self._evaluator.evaluate, self._evaluator.references, scope)
        [job.id], ids = await self._store.allocate(jobs=1, tasks=len(tasks))
        for task, task_id in zip(tasks, ids, strict=True):
            task.id, task.job_id = task_id, job.id
        changes = Run(Snapshot(job, tasks), rules, now).create(pending=bool(job.after))
        changes.logs[:0] = _first_entries(submission, warnings, now)
        return changes

    # ----------------------------------------------------------------------------------------------------------- look

    async def view(self, caller: Caller, job_id: int) -> JobView:
        """One job."""
        [view] = await self._views([await self._job(caller, job_id)])
        return view

    async def list(self, query: JobFilter) -> Sequence[JobView]:
        """A page of jobs (the caller's rights are in the filter already)."""
        return await self._views(await self._store.jobs(query))

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
        queued = [job.id for job in jobs if job.state is JobState.QUEUED]
        positions = await self._store.positions(queued) if queued else {}
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
        await self._change(job_id, lambda run: change_job(run, patch, caller.client))
        return list(patch)

    async def rerun(self, caller: Caller, job_id: int, *, from_failed: bool = False) -> Mapping[str, Any]:
        """A new job with the same parameters; the old one becomes broken. The answer as of `submit`."""
        if from_failed:
            raise InvalidRequest("not yet supported: from=failed", [Fault("/from", "not yet supported: failed")])
        old = await self._job(caller, job_id)
        answer = await self.submit(
            Submission(
                client=old.client,
                workflow=old.workflow,
                parameters=old.parameters,
                priority=old.priority,
                persist=old.persist,
                max_retries=old.max_retries,
                timeout_s=old.timeout_s,
                tags=old.tags,
                rerun_of=old.id,
                origin={"path": f"/jobs/{old.id}/rerun"},
            )
        )

        def break_off(run: Run) -> None:
            if run.job.state is not JobState.BROKEN:
                run.break_off(f"broken by {caller.client}")

        await self._change(job_id, break_off)
        return answer

    async def remove(self, caller: Caller, job_id: int) -> None:
        """End the job as broken. Conflict where it has ended."""
        await self._job(caller, job_id)
        await self._change(job_id, lambda run: change_job(run, {"queue_state": "broken"}, caller.client))

    async def _change(self, job_id: int, apply: Callable[[Run], None]) -> None:
        await self._effects.follow(await self._decisions.decide([job_id], apply))


def _known_answer(known: Known, submission: Submission) -> Mapping[str, Any]:
    if known.fingerprint != submission.fingerprint:
        raise Conflict(f"the Idempotency-Key {submission.idempotency_key!r} was used with another body")
    return known.answer


def _sentence(faults: Sequence[Fault]) -> str:
    """One sentence that says what is wrong and where."""
    first = f"{faults[0].path}: {faults[0].message}" if faults[0].path else faults[0].message
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{first}{more}"


def _first_entries(submission: Submission, warnings: Sequence[str], now: int) -> list[LogEntry]:
    """The submission itself, masked, and what was odd about it."""
    body = {
        "path": submission.origin.get("path", "/job"),
        "remote_addr": submission.origin.get("remote_addr", ""),
        "headers": submission.origin.get("headers", {}),
        "parameters": mask_tail(submission.parameters),
        "payload": "job_created",
    }
    entries = [LogEntry(1, "api", json.dumps(body, ensure_ascii=False), now)]
    entries.extend(LogEntry(2, "api", warning, now) for warning in warnings)
    return entries
