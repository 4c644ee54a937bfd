"""What clients do with jobs: submit, change, rerun, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskengine.domain.changing import change_job
from taskengine.domain.errors import Conflict, Fault, SecretUnavailable, StoreUnavailable
from taskengine.domain.execution import Run
from taskengine.domain.job import Cancel, Changes, Job
from taskengine.domain.rerunning import check_failed
from taskengine.domain.status import JobState
from taskengine.domain.tenants import Caller
from taskengine.engine.effects import Effects
from taskengine.engine.job_views import JobViews
from taskengine.engine.rerunning import RerunFromFailed
from taskengine.engine.rules import Decisions
from taskengine.engine.submissions import Submission, Submissions
from taskengine.engine.vault import Vault
from taskengine.ports import Clock, JobStore, Known, NewJob

_PATIENCE_S = 10.0  # with the store, of a submission
_ROUNDS = 10  # of calling off what a job is at


class Jobs:
    """The use cases. NotFound where the job is not the caller's to see."""

    def __init__(
        self,
        store: JobStore,
        submissions: Submissions,
        views: JobViews,
        decisions: Decisions,
        effects: Effects,
        from_failed: RerunFromFailed,
        clock: Clock,
        vault: Vault,
    ) -> None:
        self._store, self._submissions, self._views = store, submissions, views
        self._decisions, self._effects, self._from_failed = decisions, effects, from_failed
        self._clock, self._vault = clock, vault

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
        changes, answer = await self._submissions.prepare(submission, faults)
        new = NewJob(changes, submission.idempotency_key, submission.fingerprint, answer)
        [known] = await self._store.submit([new], self._clock.now())
        return (answer, [changes]) if known is None else (_known_answer(known, submission), ())

    async def check(self, submission: Submission, faults: Sequence[Fault] = ()) -> None:
        """Judge a job without storing it: raises what `submit` would."""
        await self._submissions.check(submission, faults)

    # --------------------------------------------------------------------------------------------------------- change

    async def update(self, caller: Caller, job_id: int, patch: Mapping[str, Any]) -> Sequence[str]:
        """Change queue_state ("paused", "broken", "queued"), run_at (UTC ms or None), priority, semaphore_url (or
        None), persist, top_of_queue: all or none. The names of what was changed; Conflict where one cannot change in
        the job's state."""
        job = await self._views.job(caller, job_id)
        if url := patch.get("semaphore_url"):
            patch = {**patch, "semaphore_url": self._submissions.semaphore(job.client, url)}

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
        old = await self._views.job(caller, job_id)
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
        job = await self._views.job(caller, job_id)
        if from_failed:
            await self._from_failed.check(job)

    async def _same_again(self, old: Job, origin: Mapping[str, Any]) -> tuple[Changes, Mapping[str, Any]]:
        try:
            parameters = self._vault.submitted(old.client, old.parameters)
        except SecretUnavailable as error:
            raise Conflict(f"the job cannot be rerun: {error}") from error
        return await self._submissions.prepare(
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


def _known_answer(known: Known, submission: Submission) -> Mapping[str, Any]:
    if known.fingerprint != submission.fingerprint:
        text = f"the Idempotency-Key {submission.idempotency_key!r} was used with another body"
        raise Conflict(text, job_id=known.answer["id"])
    return known.answer
