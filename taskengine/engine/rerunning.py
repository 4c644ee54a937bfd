"""Reruns from what failed: a new job that goes on in the workspace of the failed one, with what that had completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from taskengine.domain import emission
from taskengine.domain.capture import begin_of
from taskengine.domain.errors import Conflict, NotFound, WorkflowError
from taskengine.domain.execution import Rules, Run
from taskengine.domain.job import Changes, Job, LogEntry, Snapshot, Task
from taskengine.domain.planning import plan
from taskengine.domain.rerunning import check_failed, files_of, is_kept, replan
from taskengine.domain.scope import job_scope
from taskengine.domain.status import JobState
from taskengine.domain.workflow import Workflow
from taskengine.engine.rules import Decisions
from taskengine.ports import Clock, Evaluator, JobStore

_MARGIN_S = 60.0  # what is about to be removed is not counted on any more


class WorkspaceFiles(Protocol):
    """What is in the workspaces."""

    async def missing(self, urls: Sequence[str]) -> Sequence[str]:
        """Those of these references (`ws://…`) behind which there is no file."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the files of a failed job are, and for how long after its end."""

    files: WorkspaceFiles
    keep_s: float

    def over(self, job: Job, now: int) -> bool:
        """Whether a failed job's files may be removed at any moment."""
        margin_s = min(_MARGIN_S, self.keep_s / 10)
        return (now - (job.completed_at or 0)) / 1000 >= self.keep_s - margin_s


class RerunFromFailed:
    """Prepares the new job. It has the definition, the arguments and the endpoints that the old one had."""

    def __init__(self, store: JobStore, decisions: Decisions, evaluator: Evaluator, kept: Kept, clock: Clock) -> None:
        self._store, self._decisions, self._evaluator = store, decisions, evaluator
        self._kept, self._clock = kept, clock

    async def prepare(self, old: Job, origin: Mapping[str, Any]) -> tuple[Changes, Mapping[str, Any]]:
        """The new job to be stored, and the answer. Conflict where the old one has not failed, its definition is of no
        use any more, or the files that its completed tasks left are gone."""
        job, rules, tasks = await self._planned(old)
        [job.id], ids = await self._store.allocate(jobs=1, tasks=len(tasks))
        for task, task_id in zip(tasks, ids, strict=True):
            task.id, task.job_id = task_id, job.id
        changes = Run(Snapshot(job, tasks), rules, job.created_at).create(pending=False)
        changes.logs[:0] = _first_entries(old, changes, origin)
        return changes, {
            "id": job.id,
            "job_id": job.id,
            "result": "accepted",
            "tasks": [{"id": task.id, "name": task.name} for task in tasks],
        }

    async def check(self, old: Job) -> None:
        """Raise the Conflict that `prepare` would."""
        await self._planned(old)

    async def _planned(self, old: Job) -> tuple[Job, Rules, list[Task]]:
        check_failed(old)
        workflow = await self._definition(old)
        job = self._job(old)
        rules = self._decisions.rules(job)
        scope = {"parameters": job.arguments, "job": job_scope(job), "client": rules.client}
        job.run_at = begin_of(workflow, None, job.created_at, rules.evaluate, scope)
        planned = plan(job, workflow, self._evaluator.evaluate, self._evaluator.references, scope)
        former = [stored.task for stored in await self._store.tasks(old.id)]
        tasks = replan(job, workflow, planned, former)
        await self._check_files(old, files_of(tasks))
        return job, rules, tasks

    async def _definition(self, old: Job) -> Workflow:
        try:
            return await self._decisions.load(old.workflow_digest)
        except (NotFound, WorkflowError) as error:
            raise Conflict(
                f"the definition that the job began with cannot be used any more ({error}): rerun it from the start"
            ) from error

    async def _check_files(self, old: Job, urls: Sequence[str]) -> None:
        if not urls:
            return
        over = self._kept.over(old, self._clock.now())
        missing = urls if over else await self._kept.files.missing(urls)
        if missing:
            raise Conflict(
                f"the files that the completed tasks of job {old.id} left are not there any more ({len(missing)} of "
                f"{len(urls)}, {missing[0][:200]}): rerun it from the start"
            )

    def _job(self, old: Job) -> Job:
        now = self._clock.now()
        return Job(
            id=0,
            client=old.client,
            workflow=old.workflow,
            workflow_digest=old.workflow_digest,
            state=JobState.PENDING,
            created_at=now,
            updated_at=now,
            parameters=old.parameters,
            arguments=old.arguments,
            content_id=old.content_id,
            custom_data=old.custom_data,
            endpoints=tuple(old.endpoints),
            priority=old.priority,
            persist=old.persist,
            max_retries=old.max_retries,
            timeout_s=old.timeout_s,
            tags=tuple(old.tags),
            rerun_of=old.id,
            workspace_of=old.workspace,
        )


def _first_entries(old: Job, changes: Changes, origin: Mapping[str, Any]) -> list[LogEntry]:
    """Where the job comes from, and what it keeps."""
    now = changes.job.created_at
    kept = [task for task in changes.new_tasks if is_kept(task)]
    return [
        emission.submitted(origin, old.parameters, now),
        *(LogEntry(1, "api", f"'{task.name}' is kept: job {old.id} completed it", now, task) for task in kept),
    ]
