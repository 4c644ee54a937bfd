"""Every message of the bus as a model, from which its JSON Schema is made. Readers ignore fields that are not here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from taskengine.domain.messages import MAX_TEXT, VERSION, ControlAction

Version = Annotated[Literal[1], Field(description="The contract's version.")]
Id = Annotated[int, Field(ge=1, lt=2**63)]
Token = Annotated[str, Field(min_length=1, description="Identifies this attempt: the fence.")]
Milliseconds = Annotated[
    int, Field(ge=0, lt=2**63, description="UTC milliseconds since 1970, by the clock of the worker.")
]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]

assert VERSION == 1  # noqa: S101 - a new version needs models of its own


class FileReference(BaseModel):
    """A file in the workspace of the job."""

    file: str = Field(alias="$file", pattern=r"^ws://")
    size: int = Field(ge=0, description="Bytes.")
    sha256: str | None = None


class Task(BaseModel):
    """One attempt at a task, on the queue `tasks.<queue>`. At most 256 KB."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["with"]}, {"required": ["with_ref"]}]})

    v: Version
    job_id: Id
    task_id: Id
    attempt: int = Field(ge=1)
    token: Token
    queue: str = Field(min_length=1)
    handler: str = Field(min_length=1, description="What is to be done.")
    client: str
    workflow: str
    task_name: str
    priority: int
    with_: Mapping[str, Any] = Field(
        {},
        alias="with",
        description='The handler\'s inputs, resolved. A secret in them is `{"$sealed": …}`: workers with the sealing key open it.',
    )
    with_ref: FileReference | None = Field(
        None, description="Instead of `with`, where that is too large for a message: a JSON document with the inputs."
    )
    workspace: str = Field(description="A logical prefix, never a path of some host.")
    storages: Mapping[str, Any] = Field(description="Names and roots that the job may use; no credentials.")
    outbound_allow: Sequence[str] = Field(description="Private networks that the attempt may reach.")
    timeout_s: Positive
    heartbeat_s: Positive = Field(description="The longest that the worker may be silent.")
    traceparent: str | None = None
    dispatch: int = Field(1, ge=1, description="How often this attempt was handed out.")


class Running(BaseModel):
    """An attempt that the worker is at: naming it is the heartbeat."""

    task_id: Id
    attempt: int = Field(ge=1, lt=2**63)
    token: Token


class _Report(Running):
    at: Milliseconds


class Started(_Report):
    """The attempt began."""

    event: Literal["started"]


class Progress(_Report):
    """How far it is."""

    event: Literal["progress"]
    progress: float = Field(ge=0, le=1)
    message: str | None = None
    speed: float | None = None
    eta_s: float | None = None


class Entry(BaseModel):
    """A line of the task's log."""

    severity: int = Field(1, ge=0, le=4, description="0 debug, 1 info, 2 warning, 3 error, 4 fatal.")
    message: Text
    at: Milliseconds | None = None
    visible: bool = Field(True, description="false: shown only to who asks for all entries.")


class Log(_Report):
    """Lines of the task's log."""

    event: Literal["log"]
    entries: Sequence[Entry]


class Completed(_Report):
    """The attempt has succeeded."""

    event: Literal["completed"]
    outputs: Mapping[str, Any] = Field({}, description="At most 64 KiB of JSON, nested in at most 64 levels.")
    process_s: float | None = Field(None, ge=0, description="Seconds that processes of the attempt ran.")


class Failure(BaseModel):
    """Why an attempt failed."""

    kind: Literal["input", "resource", "timeout", "internal"]
    message: Text
    exit_code: int | None = None
    stderr_tail: str | None = None


class Failed(_Report):
    """The attempt has failed."""

    event: Literal["failed"]
    error: Failure
    process_s: float | None = Field(None, ge=0, description="Seconds that processes of the attempt ran.")


class Released(_Report):
    """Given back, not counted as a try."""

    event: Literal["released"]
    reason: Literal["drain", "redelivered"]


class Worker(BaseModel):
    """Who sends."""

    id: str = Field(min_length=1, max_length=200, description="New at each start of the worker.")
    name: str
    language: str = ""
    queues: Mapping[str, Annotated[int, Field(ge=0)]] = Field(description="The slots of each queue.")
    sandbox: Mapping[str, str] = Field({}, description="What confines its subprocesses: `OK`, or what is missing.")


class Reports(BaseModel):
    """What a worker says, on the queue `reports`: its heartbeat, and any number of reports."""

    v: Version
    worker: Worker
    running: Sequence[Running] = ()
    reports: Sequence[
        Annotated[
            Started | Progress | Log | Completed | Failed | Released,
            Field(discriminator="event"),
        ]
    ] = ()


class Control(BaseModel):
    """To one worker (`worker.<id>`) or to `all`, on the exchange `control`."""

    v: Version
    action: ControlAction
    task_id: Id | None = None
    token: str | None = None
    reason: str = ""


class SubmissionReply(BaseModel):
    """The answer to a submission: what `POST /job` would give, plus its status."""

    status: int = Field(ge=200, le=599, description="As HTTP has it: 200, or why not.")
    id: Id | None = Field(None, description="The job.")
    error: str | None = Field(None, description="One sentence that says what is wrong and where.")


class Event(BaseModel):
    """What happened, on the exchange `events`: a CloudEvent 1.0 in structured JSON."""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, description="The same however often the event is sent.")
    source: str = Field(min_length=1, description="The installation.")
    type: str = Field(pattern=r"^taskengine\.(job|task)\.[a-z_]+$")
    subject: str = Field(pattern=r"^jobs/[0-9]+(/tasks/[0-9]+)?$")
    time: str = Field(json_schema_extra={"format": "date-time"})
    datacontenttype: Literal["application/json"]
    seq: int = Field(ge=1, description="Counts the events of one job from 1.")
    data: Mapping[str, Any] | None = Field(description="The body of the callback.")
