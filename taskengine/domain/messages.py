"""The wire contract between engine and workers, version 1 (`messaging.md`): values and their JSON."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from taskengine.domain.errors import ErrorKind, MessageError

VERSION = 1
READABLE_VERSIONS = tuple(version for version in (VERSION - 1, VERSION) if version > 0)  # so that upgrades may overlap
MAX_MESSAGE_BYTES = 256 * 1024
MAX_OUTPUT_BYTES = 64 * 1024
_MAX_LEVELS = 64  # of objects and arrays in outputs, as in a body of the API: what reads them goes down level by level
MAX_INPUT_BYTES = 8 * 1024 * 1024  # of `with`: what a message has no room for is in the workspace
MAX_TEXT = 16 * 1024  # characters of one log entry or error message
_MAX_SLOTS = 100_000
_MAX_NUMBER = 2**63 - 1  # of a task, an attempt or a time: what a store can hold
_MAX_WORKER_ID = 200  # bytes: it is a part of a routing key
_MAX_SANDBOX = 8  # parts of a sandbox
_MAX_NOTE = 200  # characters of what a worker says of itself for people
OWN_ROOTS = "own_roots"  # of a storage of a task message: root → its folder, where the client has its own


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One attempt at a task, as a worker gets it. `inputs` is `with` on the wire; where they are too large for a message
    there are none, and `inputs_ref` (`with_ref`) is the reference of a JSON document in the workspace."""

    job_id: int
    task_id: int
    attempt: int
    token: str
    queue: str
    handler: str
    client: str
    workflow: str
    task_name: str
    priority: int
    inputs: Mapping[str, Any]
    workspace: str
    storages: Mapping[str, Any]
    outbound_allow: Sequence[str]
    timeout_s: float
    heartbeat_s: float
    traceparent: str | None = None
    dispatch: int = 1
    inputs_ref: Mapping[str, Any] | None = None

    @property
    def message_id(self) -> str:
        """`<task>:<attempt>:<dispatch>`."""
        return f"{self.task_id}:{self.attempt}:{self.dispatch}"

    @property
    def workspace_id(self) -> int:
        """Which workspace the task works in: the job's own, or the one of the job that it was rerun from."""
        found = _WORKSPACE.match(self.workspace)
        return int(found[1]) if found else self.job_id

    def to_json(self) -> bytes:
        """The wire form."""
        body = {name: getattr(self, name) for name in _TASK_FIELDS}
        if self.inputs_ref is None:
            body["with"] = self.inputs
        else:
            body["with_ref"] = self.inputs_ref
        return encode(body | {"v": VERSION})

    @classmethod
    def from_json(cls, data: bytes) -> TaskMessage:
        """Parse the wire form; raise MessageError. Unknown fields are ignored."""
        body = decode(data)
        try:
            if not math.isfinite(body["heartbeat_s"]):
                raise ValueError("heartbeat_s is not a finite number")
            reference = body.get("with_ref")
            inputs = body["with"] if reference is None else {}
            fields = {name: body[name] for name in _TASK_FIELDS if name in body}
            return cls(inputs=dict(inputs), inputs_ref=None if reference is None else dict(reference), **fields)
        except (KeyError, TypeError, ValueError) as error:
            raise MessageError(f"not a task message: {error!r}") from error


_WORKSPACE = re.compile(r"ws://([1-9][0-9]{0,18})/")
_TASK_FIELDS = (
    "job_id", "task_id", "attempt", "token", "queue", "handler", "client", "workflow", "task_name", "priority",
    "workspace", "storages", "outbound_allow", "timeout_s", "heartbeat_s", "traceparent", "dispatch",
)  # fmt: skip


class ReportEvent(StrEnum):
    """What a worker says of one attempt."""

    STARTED = "started"
    PROGRESS = "progress"
    LOG = "log"
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"  # given back, not counted as a try


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one attempt; `at` is the worker's clock in UTC milliseconds.

    `details` is the rest of the wire form, by event: `progress` {progress 0–1, message, speed, eta_s}; `log` {entries:
    [{severity, message, at, visible}]}; `completed` {outputs, process_s}; `failed` {error: {kind, message, exit_code, stderr_tail},
    process_s}; `released` {reason}.
    """

    task_id: int
    attempt: int
    token: str
    event: ReportEvent
    at: int
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The wire form as a mapping."""
        return {
            **self.details,
            "task_id": self.task_id, "attempt": self.attempt, "token": self.token,
            "event": self.event.value, "at": self.at,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Report:
        """Parse one report; raise MessageError."""
        try:
            known = {"task_id", "attempt", "token", "event", "at"}
            event = ReportEvent(body["event"])
            details = {name: value for name, value in body.items() if name not in known}
            _check_details(event, details)
            at = _integer(body.get("at") or 0)
            return cls(_integer(body["task_id"]), _integer(body["attempt"]), _text(body["token"]), event, at, details)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise MessageError(f"not a report: {error!r}") from error


def _within_limits(report: Report) -> Report:
    """The report; where its outputs are larger or deeper than they may be, that the attempt failed of it."""
    outputs = report.details.get("outputs") if report.event is ReportEvent.COMPLETED else None
    if not outputs:
        return report
    if _deeper(outputs, _MAX_LEVELS):
        message = f"the outputs are nested deeper than {_MAX_LEVELS} levels"
    elif (size := len(encode(outputs))) > MAX_OUTPUT_BYTES:
        message = f"the outputs are {size} bytes of JSON; at most {MAX_OUTPUT_BYTES} are allowed"
    else:
        return report
    details = {"error": {"kind": ErrorKind.INTERNAL.value, "message": message}}
    return replace(report, event=ReportEvent.FAILED, details=details)


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays are nested in more levels."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in inner)


def _check_details(event: ReportEvent, details: Mapping[str, Any]) -> None:
    """What a store could not take, or a decision not read, is refused here: it would stop every report beside it."""
    if event is ReportEvent.COMPLETED:
        outputs = details.get("outputs") or {}
        if not isinstance(outputs, dict):
            raise TypeError("outputs is not an object")
    elif event is ReportEvent.FAILED:
        error = details["error"]
        if ErrorKind(error["kind"]) is ErrorKind.LOST:  # it would be tried beyond any limit of retries
            raise ValueError("that a worker is lost is not its own to say")
        str(error["message"])
        exit_code = error.get("exit_code")
        if exit_code is not None and not (isinstance(exit_code, int) and abs(exit_code) <= _MAX_NUMBER):
            raise TypeError("exit_code is not an integer")
    elif event is ReportEvent.PROGRESS and not math.isfinite(float(details["progress"])):
        raise ValueError("progress is not a finite number")
    elif event is ReportEvent.LOG and not isinstance(details["entries"], list):
        raise TypeError("entries is not a list")
    process_s = details.get("process_s")
    if process_s is not None and not (isinstance(process_s, int | float) and math.isfinite(process_s)):
        raise TypeError("process_s is not a finite number")


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that a worker is at: naming it is the heartbeat."""

    task_id: int
    attempt: int
    token: str


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who a worker is: `id` is new per start; `queues` maps queue to slots; `sandbox` is what confines its subprocesses."""

    id: str
    name: str
    language: str = "python"
    queues: Mapping[str, int] = field(default_factory=dict)
    sandbox: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The wire form as a mapping."""
        body = {"id": self.id, "name": self.name, "language": self.language, "queues": dict(self.queues)}
        return body | ({"sandbox": dict(self.sandbox)} if self.sandbox else {})

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> WorkerInfo:
        """Parse the wire form; raise KeyError, TypeError, ValueError or AttributeError."""
        queues = {
            str(queue): min(max(int(slots), 0), _MAX_SLOTS) for queue, slots in (body.get("queues") or {}).items()
        }
        sandbox = {_kept(name): _kept(text) for name, text in islice((body.get("sandbox") or {}).items(), _MAX_SANDBOX)}
        worker_id = _text(body["id"])
        if not worker_id.isprintable() or not 0 < len(worker_id.encode()) <= _MAX_WORKER_ID:
            raise ValueError(f"the worker's id is not of 1 to {_MAX_WORKER_ID} printable bytes")
        return cls(worker_id, _kept(body.get("name") or worker_id), _kept(body.get("language", "")), queues, sandbox)


def _kept(text: object) -> str:
    """What a worker says for people, as far as it is kept."""
    return str(text)[:_MAX_NOTE].replace("\0", "").encode("utf-8", "replace").decode()


def _integer(value: Any) -> int:
    """A number that a store can hold; ValueError or TypeError."""
    number = int(value)
    if abs(number) > _MAX_NUMBER:
        raise ValueError(f"{str(number)[:40]} has more than 64 bits")
    return number


def _text(value: Any) -> str:
    """A text that a store can hold; ValueError."""
    text = str(value)
    text.encode()  # half a surrogate pair is none
    if "\0" in text:
        raise ValueError("a NUL character")
    return text


@dataclass(frozen=True, slots=True)
class WorkerMessage:
    """What a worker sends: heartbeat (`running` names all it is at) and reports, in one."""

    worker: WorkerInfo
    running: Sequence[Running] = ()
    reports: Sequence[Report] = ()

    def to_json(self) -> bytes:
        """The wire form."""
        return encode({
            "v": VERSION,
            "worker": self.worker.to_dict(),
            "running": [{"task_id": r.task_id, "attempt": r.attempt, "token": r.token} for r in self.running],
            "reports": [report.to_dict() for report in self.reports],
        })  # fmt: skip

    @classmethod
    def from_json(cls, data: bytes) -> WorkerMessage:
        """Parse the wire form; raise MessageError. Unknown fields are ignored."""
        body = decode(data)
        try:
            worker = WorkerInfo.from_dict(body["worker"])
            running = [
                Running(_integer(r["task_id"]), _integer(r["attempt"]), _text(r["token"]))
                for r in body.get("running") or ()
            ]
            reports = [Report.from_dict(report) for report in body.get("reports") or ()]
            levels = data.count(b"[") + data.count(b"{")  # at most
            if len(data) > MAX_OUTPUT_BYTES or levels > _MAX_LEVELS:  # else none of them can be beyond the limits
                reports = [_within_limits(report) for report in reports]
            return cls(worker, running, reports)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise MessageError(f"not a worker message: {error!r}") from error


class ControlAction(StrEnum):
    """What an engine tells workers."""

    CANCEL = "cancel"
    DRAIN = "drain"
    FENCED = "fenced"


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """To one worker (or all): end an attempt (`cancel`, `fenced`) or drain."""

    action: ControlAction
    task_id: int | None = None
    token: str | None = None
    reason: str = ""

    def to_json(self) -> bytes:
        """The wire form."""
        body = {"v": VERSION, "action": self.action.value, "task_id": self.task_id, "token": self.token}
        return encode(body | {"reason": self.reason})

    @classmethod
    def from_json(cls, data: bytes) -> ControlMessage:
        """Parse the wire form; raise MessageError."""
        body = decode(data)
        try:
            return cls(
                ControlAction(body["action"]), body.get("task_id"), body.get("token"), str(body.get("reason", ""))
            )
        except (KeyError, ValueError) as error:
            raise MessageError(f"not a control message: {error!r}") from error


def encode(body: Mapping[str, Any]) -> bytes:
    """JSON as it goes over the wire: UTF-8, compact. ValueError or TypeError for what JSON does not know."""
    text = _encode(body)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair (a file name that is not UTF-8) goes as an escape
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def decode(data: bytes) -> dict[str, Any]:
    """Parse an object of the known version; raise MessageError."""
    try:
        body = _decode(data.removeprefix(codecs.BOM_UTF8).decode())
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from error
    if not isinstance(body, dict):
        raise MessageError("not a JSON object")
    check_version(body.get("v"))
    return body


def check_version(version: object) -> None:
    """MessageError for a version that this reader does not know: it knows the current one and the one before."""
    if isinstance(version, bool) or version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise MessageError(f"version {repr(version)[:40]} is not known; this reader knows {known}")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = json.JSONDecoder(parse_constant=_no_number).decode
