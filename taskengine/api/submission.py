"""A job submitted: the one way to do it, whatever carries the body and the credentials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from taskengine.api.admission import Admitted, Credentials, check_client, identify, must_act, refusal
from taskengine.api.answers import Answer
from taskengine.api.models import JobFields, SubmissionFields, judge, spelt, unknown_fields
from taskengine.api.services import Services
from taskengine.domain.errors import Fault, Forbidden, TaskEngineError
from taskengine.domain.masking import mask_tail
from taskengine.domain.tenants import Caller, ClientConfig
from taskengine.domain.tracing import TRACEPARENT, read_traceparent
from taskengine.engine.submissions import Submission

log = structlog.get_logger(__name__)

JOB_NOT_MADE = "Unable to create job request"
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a submission came from, for the job's log; secrets of the headers are masked there."""

    path: str
    remote: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None

    @property
    def told(self) -> Mapping[str, Any]:
        """As the job's log has it."""
        return {"path": self.path, "remote_addr": self.remote, "headers": mask_tail(self.headers)}


@dataclass(frozen=True, slots=True)
class Asked:
    """A submission of a caller who may submit; `fields` is the body, as parsed by `body.parse_object`."""

    caller: Caller
    config: ClientConfig
    fields: Mapping[str, Any]
    key: str | None  # for idempotency
    origin: Origin


async def accept(services: Services, asked: Asked) -> Mapping[str, Any]:
    """Store the job; the body of the answer. InvalidRequest with every fault, Forbidden, Conflict, StoreUnavailable."""
    submission, faults = _judged(services, asked)
    return await services.jobs.submit(submission, faults)


async def check(services: Services, asked: Asked, faults: Sequence[Fault] = ()) -> None:
    """Judge a submission without storing a job: raises what `accept` would, `faults` with it."""
    submission, found = _judged(services, asked)
    await services.jobs.check(submission, [*faults, *found])


def _judged(services: Services, asked: Asked) -> tuple[Submission, list[Fault]]:
    """The submission and the faults of its envelope; Forbidden where the client may not submit the workflow."""
    body = asked.fields
    fields, faults = _job_fields(body)
    parameters = body.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        faults.append(Fault("/parameters", "must be an object"))
        parameters = None
    key = asked.key
    if key is not None and not (0 < len(key.strip()) <= _LONGEST_KEY and key.isascii()):
        faults.append(Fault("Idempotency-Key", f"must have 1 to {_LONGEST_KEY} ASCII characters"))
    job, job_faults = judge(JobFields, fields, "/job") if isinstance(body.get("job"), dict) else (None, [])
    unknown = unknown_fields(SubmissionFields, body, "") + unknown_fields(JobFields, fields, "/job")
    named = fields.get("workflow")
    workflow = named if isinstance(named, str) and not any(f.path == "/job/workflow" for f in job_faults) else ""
    check_allowed(asked.config, workflow)
    faults += job_faults
    if _strict(services, asked, workflow):
        faults += unknown
    submission = _submission(asked, workflow, parameters or {}, job)
    warnings = [f"{fault.path}: {fault.message}" for fault in unknown]
    return replace(submission, warnings=warnings), faults


async def answer(
    services: Services, who: Credentials | str, fields: Mapping[str, Any], key: str | None, origin: Origin
) -> Answer:
    """The answer of `POST /job` to a body that came by another way: whatever happens, there is one.

    `who`: credentials, or the name of a client that was recognised already.
    """
    parent = read_traceparent(origin.headers.get(TRACEPARENT))
    with services.tracer.span(f"submit {origin.path}", "consumer", parent, {}) as span:
        given = await _answered(services, who, fields, key, replace(origin, traceparent=span.traceparent))
        if given.status >= 500:
            span.fail(str(given.body["error"]))
        return given


async def _answered(
    services: Services, who: Credentials | str, fields: Mapping[str, Any], key: str | None, origin: Origin
) -> Answer:
    admitted = Admitted()
    try:
        admitted = await _admitted(services, who, fields)
        must_act(admitted.caller)
        check_client(admitted.caller, fields)
        return Answer(await accept(services, Asked(admitted.caller, admitted.config, fields, key, origin)))
    except TaskEngineError as error:
        return refusal(services, admitted.config, error, published=True, call=origin.path)
    except Exception:
        log.exception("request_failed", call=origin.path)
        return Answer({"error": JOB_NOT_MADE}, 500)


async def _admitted(services: Services, who: Credentials | str, fields: Mapping[str, Any]) -> Admitted:
    if isinstance(who, str):
        caller = await services.tenants.known(who)
        return Admitted(caller, await services.tenants.config(who))

    async def claimed() -> Mapping[str, Any]:
        return fields

    return await identify(services, who, claimed)


def _job_fields(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The fields of `job`; one that is null counts as not given."""
    job = body.get("job")
    if job is None:
        return {}, [Fault("/job", "is required")]
    if not isinstance(job, dict):
        return {}, [Fault("/job", "must be an object")]
    fields, faults = spelt(job, "/job")
    return {name: value for name, value in fields.items() if value is not None}, faults


def _strict(services: Services, asked: Asked, workflow: str) -> bool:
    """Whether an unknown field is a fault: as for unknown parameters."""
    loaded = services.catalog.get(workflow, asked.caller.client) if workflow else None
    return asked.config.strict_parameters or (loaded is not None and not loaded.workflow.published)


def check_allowed(config: ClientConfig, workflow: str) -> None:
    """Forbidden where the client may not submit the workflow."""
    if workflow and config.workflows is not None and workflow not in config.workflows:
        raise Forbidden(f"The client may not submit the workflow {workflow[:100]!r}")


def _submission(asked: Asked, workflow: str, parameters: Mapping[str, Any], job: JobFields | None) -> Submission:
    origin = asked.origin
    submission = Submission(
        client=asked.caller.client,
        workflow=workflow,
        parameters=parameters,
        idempotency_key=asked.key.strip() if asked.key else None,
        fingerprint=_fingerprint(asked.fields),
        origin=origin.told,
        traceparent=origin.traceparent,
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
