"""The bodies that clients send, as models; reading one gives its faults with JSON pointers and the words of `fields`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taskengine.api.body import pointer
from taskengine.api.faults import invalid
from taskengine.api.fields import Flag, Id, Object, Priority, Seconds, Text, Time, Tries, Url
from taskengine.api.published import RESUMABLE, read_state
from taskengine.domain.errors import Fault
from taskengine.domain.words import nearest
from taskengine.engine.actions import Action

SEMAPHORE = "semaphore_url"
MISSPELT_SEMAPHORES = ("sempahore_url", "semaphor_url", "semephore_url", "semaphore")
_MAX_AFTER, _MAX_TAGS = 100, 50


class Fields(BaseModel):
    """Fields as a client gives them; unknown ones are judged by the reader."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class JobFields(Fields):
    """`job` of a submission."""

    workflow: Text = Field(description="The workflow's name.")
    priority: Priority = Field(5, description="1 is the top, 10 the least.")
    run_at: Time | None = Field(None, description="Not before that time; UTC where it has no zone.")
    semaphore_url: Url | None = Field(None, description="Not before this URL answers 2xx or 3xx to a GET.")
    after: Annotated[Sequence[Id], Field(max_length=_MAX_AFTER)] = Field(
        (), description="Jobs that must complete first."
    )
    persist: Flag = Field(False, description="Keep the job beyond the retention.")
    top_of_queue: Flag = Field(False, description="Before all priorities.")
    max_retries: Tries | None = Field(
        None, description="Further tries of each task; else the workflow's and settings'."
    )
    timeout: Seconds | None = Field(None, description="Of the whole job, from its start.")
    tags: Annotated[Sequence[Text], Field(max_length=_MAX_TAGS)] = Field((), description="For `GET /jobs?tag=`.")


class SubmissionFields(Fields):
    """The body of `POST /job`."""

    client: Text | None = Field(None, description="The client's name, where the header `client` is not given.")
    job: JobFields
    parameters: Object = Field({}, description="The workflow's parameters.")


def _asked_state(value: object) -> str:
    name = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    state = read_state(name)
    if state not in RESUMABLE:
        raise ValueError("must be paused, broken, or queued to resume")
    return state.value


class PatchFields(Fields):
    """The body of `PATCH /jobs/<id>`."""

    queue_state: Annotated[str, BeforeValidator(_asked_state), Field(json_schema_extra={"enum": [*RESUMABLE]})] = Field(
        "", description="`paused`, `broken`, or `queued` to resume."
    )
    run_at: Time | None = Field(None, description="null: as soon as it may.")
    priority: Priority = 5
    semaphore_url: Url | None = Field(None, description="null: none any more.")
    persist: Flag = False
    top_of_queue: Flag = False


def _action(value: object) -> str:
    if value not in list(Action):
        raise ValueError(f"must be one of {', '.join(Action)}")
    return str(value)


class SettingFields(Fields):
    """The body of `POST /settings`; value and scope are judged by the settings themselves."""

    name: Any = Field(description="The setting's name.")
    setting: Any = Field(description="Its value, as a number or a text.")
    client: Text | None = Field(
        None, description="For an admin: the other client whose setting it is; else the system's."
    )


class RecurringFields(Fields):
    """The body of `POST /schedules`."""

    name: Text = Field(description="Of the client's choice; a schedule of that name is replaced.")
    cron: Text = Field(description="Minute, hour, day of month, month, day of week.")
    time_zone: Text = Field("UTC", description="An IANA name, such as Europe/Berlin.")
    active: Flag = True
    job: Object = Field(description="As in `POST /job`, without `run_at`.")
    parameters: Object = Field({}, description="As in `POST /job`.")
    client: Text | None = Field(None, description="For an admin: whose schedule; else the caller's.")


class SwitchFields(Fields):
    """The body of `PUT /scheduler`."""

    schedule: Text = Field(description="A name of `GET /schedules`.")
    active: Flag
    client: Text | None = None


class ActionFields(Fields):
    """The body of `POST /jobs/actions`."""

    action: Annotated[str, BeforeValidator(_action), Field(json_schema_extra={"enum": [*Action]})]
    filter: Object = Field(description="The conditions of `GET /jobs`, at least one.")
    value: Any = Field(
        None,
        description="The priority; the time, or null: as soon as it may; `failed`: a rerun that keeps what was completed.",
    )
    dry_run: Flag = Field(False, description="Tell what would be done, and do nothing.")
    client: Text | None = None


class ReplayFields(Fields):
    """The body of `POST /callbacks/replay`."""

    since: Time = Field(description="Of events at or after this time; UTC where it has no zone.")
    client: Text | None = Field(None, description="For an admin or operator: of this client alone.")


class TestFields(Fields):
    """The body of `POST /callbacks/test`."""

    __test__ = False  # no test of pytest's

    url: Url = Field(description="The endpoint.")
    client: Text | None = Field(None, description="For an admin or operator: as for this client.")


class ClientFields(Fields):
    """The body of `POST /clients`."""

    name: Text
    role: Text | None = Field(None, description="admin, operator, submitter (the default) or viewer.")
    config: Object | None = Field(None, description="The client's configuration.")
    client: Text | None = None


Model = TypeVar("Model", bound=Fields)


def read(model: type[Model], body: Mapping[str, Any]) -> Model:
    """A body as its model; InvalidRequest with every fault, unknown fields too."""
    found, faults = judge(model, body, "")
    faults += unknown_fields(model, body, "")
    if faults or found is None:
        raise invalid(*faults)
    return found


def judge(model: type[Model], body: Mapping[str, Any], path: str) -> tuple[Model | None, list[Fault]]:
    """A part of a body as its model, or its faults."""
    try:
        return model.model_validate(dict(body)), []
    except ValidationError as error:
        return None, [
            _fault(path, found["loc"], found["type"], _message(found))
            for found in error.errors(include_url=False, include_input=False)
        ]


def unknown_fields(model: type[Fields], body: Mapping[str, Any], path: str) -> list[Fault]:
    """A fault for each field that the model does not have, with the nearest that it has."""
    known = list(model.model_fields)
    return [
        Fault(pointer(path, name), f"unknown field {name[:100]!r}{nearest(name[:100], known)}")
        for name in body
        if name not in known
    ]


def _fault(path: str, location: Sequence[str | int], kind: str, message: str) -> Fault:
    for part in location:
        path = pointer(path, part)
    return Fault(path, "is required" if kind == "missing" else message)


def _message(found: Mapping[str, Any]) -> str:
    """What is wrong, in our words where the fault is ours."""
    error = found.get("ctx", {}).get("error")
    if error is not None:
        return str(error)
    if found["type"] == "too_long":
        return f"must have at most {found['ctx']['max_length']} items"
    lists = found["type"].startswith(("sequence", "list")) or found.get("ctx", {}).get("class") == "Sequence"
    return "must be a list" if lists else str(found["msg"])


def spelt(body: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[Fault]]:
    """The fields with the semaphore's misspelt names put right; a fault where two names disagree."""
    fields, faults = dict(body), []
    for name in MISSPELT_SEMAPHORES:
        if name in fields:
            value = fields.pop(name)
            if SEMAPHORE in fields and fields[SEMAPHORE] != value:
                faults.append(Fault(pointer(path, name), f"contradicts {SEMAPHORE}"))
            fields.setdefault(SEMAPHORE, value)
    return fields, faults
