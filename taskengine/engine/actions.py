"""One action on all the jobs that a filter finds, as a dry run first where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from taskengine.domain.changing import change_job
from taskengine.domain.errors import Conflict, Forbidden, InvalidRequest, NotFound
from taskengine.domain.execution import Run
from taskengine.domain.tenants import Caller
from taskengine.engine.job_views import JobViews
from taskengine.engine.jobs import Jobs
from taskengine.ports import JobFilter

MAX_JOBS = 10_000  # that one call acts on
FROM_FAILED = "failed"  # the value of a rerun that keeps what was completed
_PAGE = 500


class Action(StrEnum):
    """What can be done to many jobs."""

    PAUSE = "pause"
    RESUME = "resume"
    BREAK = "break"
    RERUN = "rerun"
    PRIORITY = "priority"
    RUN_AT = "run_at"


_STATES = {Action.PAUSE: "paused", Action.RESUME: "queued", Action.BREAK: "broken"}


@dataclass(slots=True)
class Outcome:
    """`changed`: the jobs that it was done to (that it would be done to, in a dry run); `refused`: id → why not.

    `reruns`: id → the new job's. `more`: the filter finds more jobs than one call acts on.
    """

    changed: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    reruns: dict[int, int] = field(default_factory=dict)
    more: bool = False


class BulkActions:
    """Acts on pages of jobs, each in its own transactions: what was refused of one job changes nothing for the others."""

    def __init__(self, jobs: Jobs, views: JobViews) -> None:
        self._jobs, self._views = jobs, views

    async def act(
        self,
        caller: Caller,
        action: Action,
        query: JobFilter,
        value: Any = None,
        *,
        may_submit: Callable[[str], None],
        dry_run: bool = False,
    ) -> Outcome:
        """Do it to every job that `query` finds now, at most MAX_JOBS, in the order of their ids.

        `value`: the priority, or the time in UTC ms (None: at once), or "failed" for a rerun from what failed. `may_submit` raises Forbidden where the caller may
        not submit the workflow that it is given.
        """
        outcome, after, seen = Outcome(), 0, 0
        query = replace(query, order_by="id", ascending=True)
        while True:
            page = await self._views.find(replace(query, after_id=after, limit=min(_PAGE, MAX_JOBS - seen) + 1))
            taken = page[: min(_PAGE, MAX_JOBS - seen)]
            if taken and action is Action.RERUN:
                await self._rerun(caller, taken, value, outcome, may_submit, dry_run=dry_run)
            elif taken:
                await self._change(caller, taken, _patch(action, value), outcome, dry_run=dry_run)
            seen += len(taken)
            if len(page) == len(taken) or seen >= MAX_JOBS:
                outcome.more = len(page) > len(taken)
                return outcome
            after = taken[-1]

    async def _change(
        self, caller: Caller, ids: Sequence[int], patch: dict[str, Any], outcome: Outcome, *, dry_run: bool
    ) -> None:
        refused: dict[int, str] = {}
        done: set[int] = set()

        def apply(run: Run) -> None:
            refused.pop(run.job.id, None)
            done.discard(run.job.id)
            try:
                change_job(run, patch, caller.client)
            except Conflict as error:
                refused[run.job.id] = str(error)
            else:
                done.add(run.job.id)

        await self._jobs.change_all(ids, apply, dry_run=dry_run, ends=patch.get("queue_state") in {"broken", "paused"})
        outcome.changed += sorted(done)
        outcome.refused |= refused

    async def _rerun(
        self,
        caller: Caller,
        ids: Sequence[int],
        value: Any,
        outcome: Outcome,
        may_submit: Callable[[str], None],
        *,
        dry_run: bool,
    ) -> None:
        for job_id in ids:
            try:
                may_submit((await self._views.view(caller, job_id)).job.workflow)
                if dry_run:
                    await self._jobs.check_rerun(caller, job_id, from_failed=value == FROM_FAILED)
                else:
                    answer = await self._jobs.rerun(caller, job_id, from_failed=value == FROM_FAILED)
                    outcome.reruns[job_id] = int(answer["id"])
            except (Conflict, Forbidden, InvalidRequest, NotFound) as error:
                outcome.refused[job_id] = str(error)
            else:
                outcome.changed.append(job_id)


def _patch(action: Action, value: Any) -> dict[str, Any]:
    return {"queue_state": _STATES[action]} if action in _STATES else {action.value: value}
