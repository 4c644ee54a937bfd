"""Jobs and their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.faults import invalid
from taskengine.api.models import ActionFields, PatchFields, judge, read, spelt
from taskengine.api.published import STATE_NUMBERS
from taskengine.api.queries import JobsQuery, read_filter, read_jobs_query
from taskengine.api.submission import Asked, Origin, accept, check_allowed
from taskengine.api.views import job_object, job_without_parameters, task_detail, task_object
from taskengine.domain.errors import Fault
from taskengine.engine.actions import FROM_FAILED, Action, BulkActions, Outcome
from taskengine.engine.job_views import JobView
from taskengine.ports import JobFilter

_CLEARABLE = ("run_at", "semaphore_url")  # null takes them away


async def submit(call: Call) -> Answer:
    """Accept a job: it is durable when the answer comes."""
    asked = Asked(call.caller, call.config, call.fields, call.request.headers.get("Idempotency-Key"), _origin(call))
    return Answer(await accept(call.services, asked))


def _origin(call: Call) -> Origin:
    request = call.request
    headers = {name: value.encode("utf-8", "replace").decode() for name, value in request.headers.items()}
    return Origin(request.path, request.remote or "", headers, call.traceparent)


async def list_jobs(call: Call) -> Answer:
    """A page of jobs, newest first by default."""
    query = read_jobs_query(call.request)
    views = await _page(call, query)
    shown = views[: query.filter.limit]
    headers = call.next_page(shown[-1].job.id) if len(views) > len(shown) else {}
    show = job_without_parameters if call.anonymous else job_object
    return Answer([show(view) for view in shown], headers=headers)


async def _page(call: Call, query: JobsQuery) -> Sequence[JobView]:
    """The page, and one job more where there is a next one."""
    found = _permitted(call, query)
    return await call.services.views.list(replace(found, limit=found.limit + 1)) if found else []


def _permitted(call: Call, query: JobsQuery) -> JobFilter | None:
    """The filter with the caller's rights in it; None where no job can be the answer."""
    everyone = call.anonymous or call.caller.sees_all
    strange = not everyone and query.client not in {None, call.caller.client}
    if query.nothing or strange:
        return None
    return replace(query.filter, client=query.client if everyone else call.caller.client)


async def act(call: Call) -> Answer:
    """Do one thing to all the jobs that a filter finds; a dry run tells which those are."""
    asked = read(ActionFields, call.fields)
    action = Action(asked.action)
    query, value = read_filter(asked.filter), _action_value(action, asked.value)
    found = _permitted(call, query)
    outcome = Outcome()
    if found is not None:
        may_submit = partial(check_allowed, call.config)
        outcome = await BulkActions(call.services.jobs, call.services.views).act(
            call.caller, action, found, value, may_submit=may_submit, dry_run=asked.dry_run
        )
    body: dict[str, Any] = {
        "result": "ok",
        "action": action.value,
        "dry_run": asked.dry_run,
        "matched": len(outcome.changed) + len(outcome.refused),
        "changed": len(outcome.changed),
        "ids": outcome.changed,
        "refused": [{"id": job_id, "error": reason} for job_id, reason in outcome.refused.items()],
        "more": outcome.more,
    }
    if outcome.reruns:
        body["reruns"] = [{"id": old, "new_id": new} for old, new in outcome.reruns.items()]
    return Answer(body)


def _action_value(action: Action, value: Any) -> int | str | None:
    """The value as a change has it; InvalidRequest where it is none, or has no place."""
    if action.value in PatchFields.model_fields:
        found, faults = judge(PatchFields, {action.value: value}, "")
        if found is None:
            raise invalid(*(Fault("/value", fault.message) for fault in faults))
        changed: int | None = getattr(found, action.value)
        return changed
    if action is Action.RERUN and value == FROM_FAILED:
        return FROM_FAILED
    if action is Action.RERUN and value is not None:
        raise invalid(Fault("/value", f"must be {FROM_FAILED}, or not given"))
    if value is not None:
        raise invalid(Fault("/value", f"has no place: {action} takes none"))
    return None


async def why(call: Call) -> Answer:
    """Why a job waits, or what it is at: each reason with its numbers."""
    job_id = call.id("job")
    view = await call.services.views.view(call.caller, job_id)
    reasons = await call.services.why.reasons(view)
    return Answer({
        "id": job_id,
        "queue_state": STATE_NUMBERS[view.job.state],
        "waiting": bool(reasons),
        "reasons": [{"kind": reason.kind, "message": reason.message, **reason.details} for reason in reasons],
    })  # fmt: skip


async def view(call: Call) -> Answer:
    """One job."""
    return Answer(job_object(await call.services.views.view(call.caller, call.id("job"))))


async def tasks(call: Call) -> Answer:
    """A job's tasks with their attempts."""
    views, job_id = call.services.views, call.id("job")
    needs = await views.needs((await views.view(call.caller, job_id)).job)
    return Answer([
        task_object(stored, needs, views.live(stored)) for stored in await views.tasks(call.caller, job_id)
    ])  # fmt: skip


async def task(call: Call) -> Answer:
    """One task with its attempts and outputs."""
    views = call.services.views
    stored = await views.task(call.caller, call.id("task"))
    needs = await views.needs((await views.view(call.caller, stored.task.job_id)).job)
    return Answer(task_detail(stored, needs, views.live(stored)))


async def update(call: Call) -> Answer:
    """Change a job, all fields or none: pause, resume, break, another time, priority or semaphore."""
    job_id = call.id("job")
    fields, faults = spelt({name: value for name, value in call.fields.items() if name != "client"}, "")
    faults += [
        Fault(f"/{name}", "must not be null")
        for name, value in fields.items()
        if value is None and name in PatchFields.model_fields and name not in _CLEARABLE
    ]
    if faults:
        raise invalid(*faults)
    patch = read(PatchFields, fields).model_dump(include=set(fields))
    if not patch:
        raise invalid(Fault("", f"Nothing to change: give one of {', '.join(PatchFields.model_fields)}"))
    ordered = {name: patch[name] for name in fields}
    changed = await call.services.jobs.update(call.caller, job_id, ordered)
    return Answer({"id": job_id, "result": f"Performed updates: {', '.join(changed)}"})


async def rerun(call: Call) -> Answer:
    """Run a job again as a new one; the old one becomes broken."""
    job_id, start = call.id("job"), call.request.query.get("from")
    if start not in {None, "failed"}:
        raise invalid(Fault("?from", "must be failed"))
    job = (await call.services.views.view(call.caller, job_id)).job
    check_allowed(call.config, job.workflow)
    answer = await call.services.jobs.rerun(
        call.caller,
        job_id,
        from_failed=start == "failed",
        origin=_origin(call).told,
        traceparent=call.traceparent,
    )
    return Answer(answer)


async def remove(call: Call) -> Answer:
    """End a job as broken, stop its processes and free its workspace."""
    job_id = call.id("job")
    await call.services.jobs.remove(call.caller, job_id)
    return Answer({"id": job_id, "result": "broken"})
