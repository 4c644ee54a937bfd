"""Jobs and their tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.faults import invalid
from taskengine.api.models import JobFields, PatchFields, SubmissionFields, judge, read, spelt, unknown_fields
from taskengine.api.queries import JobsQuery, read_jobs_query
from taskengine.api.views import job_object, job_without_parameters, task_detail, task_object
from taskengine.domain.errors import Fault, Forbidden
from taskengine.domain.masking import mask_tail
from taskengine.engine.jobs import JobView, Submission

_CLEARABLE = ("run_at", "semaphore_url")  # null takes them away
_LONGEST_KEY = 255


async def submit(call: Call) -> Answer:
    """Accept a job: it is durable when the answer comes."""
    body = call.fields
    fields, faults = _job_fields(body)
    parameters = body.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        faults.append(Fault("/parameters", "must be an object"))
        parameters = None
    key = call.request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key.strip()) <= _LONGEST_KEY and key.isascii()):
        faults.append(Fault("Idempotency-Key", f"must have 1 to {_LONGEST_KEY} ASCII characters"))
    job, job_faults = judge(JobFields, fields, "/job") if isinstance(body.get("job"), dict) else (None, [])
    unknown = unknown_fields(SubmissionFields, body, "") + unknown_fields(JobFields, fields, "/job")
    named = fields.get("workflow")
    workflow = named if isinstance(named, str) and not any(f.path == "/job/workflow" for f in job_faults) else ""
    _check_allowed(call, workflow)
    faults += job_faults
    if _strict(call, workflow):
        faults += unknown
    submission = _submission(call, workflow, parameters or {}, job, key)
    warnings = [f"{fault.path}: {fault.message}" for fault in unknown]
    return Answer(await call.services.jobs.submit(replace(submission, warnings=warnings), faults))


def _job_fields(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The fields of `job`; one that is null counts as not given."""
    job = body.get("job")
    if job is None:
        return {}, [Fault("/job", "is required")]
    if not isinstance(job, dict):
        return {}, [Fault("/job", "must be an object")]
    fields, faults = spelt(job, "/job")
    return {name: value for name, value in fields.items() if value is not None}, faults


def _strict(call: Call, workflow: str) -> bool:
    """Whether an unknown field is a fault: as for unknown parameters."""
    loaded = call.services.catalog.get(workflow, call.caller.client) if workflow else None
    return call.config.strict_parameters or (loaded is not None and not loaded.workflow.published)


def _check_allowed(call: Call, workflow: str) -> None:
    if workflow and call.config.workflows is not None and workflow not in call.config.workflows:
        raise Forbidden(f"The client may not submit the workflow {workflow[:100]!r}")


def _submission(
    call: Call, workflow: str, parameters: Mapping[str, Any], job: JobFields | None, key: str | None
) -> Submission:
    submission = Submission(
        client=call.caller.client,
        workflow=workflow,
        parameters=parameters,
        idempotency_key=key.strip() if key else None,
        fingerprint=_fingerprint(call.fields),
        origin=_origin(call),
    )
    if job is None:  # it has faults: only what the parameters' check needs
        return submission
    return replace(
        submission,
        priority=job.priority,
        top_of_queue=job.top_of_queue,
        run_at=job.run_at,
        semaphore_url=job.semaphore_url,
        after=tuple(dict.fromkeys(job.after)),
        persist=job.persist,
        max_retries=job.max_retries,
        timeout_s=job.timeout,
        tags=tuple(dict.fromkeys(job.tags)),
    )


def _fingerprint(body: Mapping[str, Any]) -> str:
    """The same for the same JSON, however it is spaced and ordered."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _origin(call: Call) -> dict[str, Any]:
    """Where the submission came from, for the log: secrets masked to their last four characters."""
    request = call.request
    headers = {name: value.encode("utf-8", "replace").decode() for name, value in request.headers.items()}
    return {"path": request.path, "remote_addr": request.remote or "", "headers": mask_tail(headers)}


async def list_jobs(call: Call) -> Answer:
    """A page of jobs, newest first by default."""
    query = read_jobs_query(call.request)
    views = await _page(call, query)
    shown = views[: query.filter.limit]
    headers = {}
    if len(views) > len(shown):
        after = str(shown[-1].job.id)
        headers["Link"] = f'<{_url(call, after)}>; rel="next"'
    show = job_without_parameters if call.anonymous else job_object
    return Answer([show(view) for view in shown], headers=headers)


async def _page(call: Call, query: JobsQuery) -> Sequence[JobView]:
    """The page, and one job more where there is a next one."""
    everyone = call.anonymous or call.caller.sees_all
    strange = not everyone and query.client not in {None, call.caller.client}
    if query.nothing or strange:
        return []
    client = query.client if everyone else call.caller.client
    return await call.services.jobs.list(replace(query.filter, client=client, limit=query.filter.limit + 1))


def _url(call: Call, after_id: str) -> str:
    """This page's URL with another cursor; relative where the request's own is not known well."""
    query = call.request.rel_url.update_query({"after_id": after_id})
    try:
        return str(call.request.url.join(query))
    except ValueError:  # the Host header is none
        return str(query)


async def view(call: Call) -> Answer:
    """One job."""
    return Answer(job_object(await call.services.jobs.view(call.caller, call.id("job"))))


async def tasks(call: Call) -> Answer:
    """A job's tasks with their attempts."""
    jobs, job_id = call.services.jobs, call.id("job")
    needs = await jobs.needs((await jobs.view(call.caller, job_id)).job)
    return Answer([
        task_object(stored, needs, jobs.live(stored)) for stored in await jobs.tasks(call.caller, job_id)
    ])  # fmt: skip


async def task(call: Call) -> Answer:
    """One task with its attempts and outputs."""
    jobs = call.services.jobs
    stored = await jobs.task(call.caller, call.id("task"))
    needs = await jobs.needs((await jobs.view(call.caller, stored.task.job_id)).job)
    return Answer(task_detail(stored, needs, jobs.live(stored)))


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
    job = (await call.services.jobs.view(call.caller, job_id)).job
    _check_allowed(call, job.workflow)
    return Answer(await call.services.jobs.rerun(call.caller, job_id, from_failed=start == "failed"))


async def remove(call: Call) -> Answer:
    """End a job as broken, stop its processes and free its workspace."""
    job_id = call.id("job")
    await call.services.jobs.remove(call.caller, job_id)
    return Answer({"id": job_id, "result": "broken"})
