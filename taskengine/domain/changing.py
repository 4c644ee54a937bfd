"""What a client may change of a job, and in which state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from taskengine.domain import emission
from taskengine.domain.capture import begin_of
from taskengine.domain.errors import Conflict, InvalidRequest
from taskengine.domain.execution import Run
from taskengine.domain.scope import job_scope
from taskengine.domain.status import JobState

J = JobState
_WAITING = frozenset({J.PENDING, J.SCHEDULED, J.QUEUED})


def change_job(run: Run, patch: Mapping[str, Any], by: str) -> None:
    """Apply every field of the patch or raise Conflict; the store writes all or nothing.

    Fields: queue_state, run_at (UTC ms or None), priority, semaphore_url (or None), persist, top_of_queue.
    """
    state, run_at = run.job.state, run.job.run_at
    for name in sorted(patch, key=lambda name: name == "queue_state"):  # the state last: it sees the new gates
        if name == "queue_state":
            _change_state(run, patch[name], by)
        else:
            _FIELDS[name](run, patch[name])
    if {"run_at", "semaphore_url"} & patch.keys():
        _regate(run)
        if state is run.job.state is J.SCHEDULED and run.job.run_at != run_at:
            run.tell_time()
    run.touch()


def _change_state(run: Run, state: str, by: str) -> None:
    job = run.job
    if state == "broken":
        if job.ended:
            raise Conflict(f"the job is {_word(run)}: it cannot be broken")
        run.break_off(f"broken by {by}")
    elif state == "paused":
        if job.state not in _WAITING | {J.STARTED}:
            raise Conflict(f"the job is {_word(run)}: it cannot be paused")
        run.pause()
        emission.log(run, "api", f"job is paused by {by}")
    elif state == "queued":
        if job.state is not J.PAUSED:
            raise Conflict(f"the job is {_word(run)}: it cannot be resumed")
        emission.log(run, "api", f"job is resumed by {by}")
        run.resume(pending=bool(job.after) and job.started_at is None)
    else:
        raise InvalidRequest(f"queue_state: {state!r} cannot be asked for")


def _regate(run: Run) -> None:
    """The time or the semaphore is another: a job in the queue may have to wait for it, one that waited may be free."""
    job = run.job
    if job.state is J.QUEUED and (job.semaphore_url or (job.run_at or 0) > run.now):
        run.schedule()
    elif job.state is J.SCHEDULED and not job.semaphore_url and (job.run_at or 0) <= run.now:
        run.enqueue()


def _run_at(run: Run, value: int | None) -> None:
    _must_not_have_begun(run, "run_at")
    rules = run.rules
    scope = {"parameters": run.job.arguments, "job": job_scope(run.job), "client": rules.client}
    run.job.run_at = begin_of(rules.workflow, value, run.now, rules.evaluate, scope)


def _semaphore_url(run: Run, value: str | None) -> None:
    _must_not_have_begun(run, "semaphore_url")
    run.job.semaphore_url = value


def _priority(run: Run, value: int) -> None:
    _must_not_have_ended(run, "priority")
    run.reprioritise(value, top_of_queue=run.job.top_of_queue)


def _top_of_queue(run: Run, value: bool) -> None:  # noqa: FBT001 - a field's value, called by table
    _must_not_have_ended(run, "top_of_queue")
    run.reprioritise(run.job.priority, top_of_queue=value)


def _persist(run: Run, value: bool) -> None:  # noqa: FBT001 - a field's value, called by table
    run.job.persist = value


_FIELDS: Mapping[str, Callable[[Run, Any], None]] = {
    "run_at": _run_at,
    "semaphore_url": _semaphore_url,
    "priority": _priority,
    "top_of_queue": _top_of_queue,
    "persist": _persist,
}


def _must_not_have_begun(run: Run, name: str) -> None:
    if run.job.started_at is not None or run.job.state not in _WAITING | {J.PAUSED}:
        raise Conflict(f"the job is {_word(run)} and has begun: {name} cannot change any more")


def _must_not_have_ended(run: Run, name: str) -> None:
    if run.job.ended:
        raise Conflict(f"the job is {_word(run)}: {name} cannot change any more")


def _word(run: Run) -> str:
    return run.job.state.value
