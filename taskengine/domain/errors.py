"""Every error of the project: one root, leaves named for what happened, data in attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class TaskEngineError(Exception):
    """The root of all errors that the project raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an input: where it is (a JSON pointer, "" for the whole) and what is wrong."""

    path: str
    message: str


class InvalidRequest(TaskEngineError):
    """The caller's input is wrong; `faults` names every fault at once."""

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class Unauthorized(TaskEngineError):
    """Credentials are missing or wrong (the same for an unknown client as for a wrong key)."""


class Forbidden(TaskEngineError):
    """The caller is known and may not do this."""


class NotFound(TaskEngineError):
    """The thing named does not exist for this caller."""


class Conflict(TaskEngineError):
    """The thing exists and cannot do this in its present state; `job_id` where it is a job that the call did not name."""

    def __init__(self, message: str, *, job_id: int | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class UnknownState(TaskEngineError):
    """A transition that the table of `status` does not have was attempted: a defect of the engine."""


class StoreUnavailable(TaskEngineError):
    """The job store cannot be reached now; the same call may succeed later."""


class SchemaMismatch(StoreUnavailable):
    """The database's schema is not this version's, and no waiting makes it so."""


class BrokerUnavailable(TaskEngineError):
    """The broker cannot be reached, or did not confirm in time."""


class EngineUnreachable(TaskEngineError):
    """No engine answers at the URL, or not in time, or what it needs is away (said to a client of the API)."""


class AddressUnavailable(TaskEngineError):
    """The host and port to listen on cannot be taken."""


class StorageError(TaskEngineError):
    """A storage operation failed; `retryable` says whether the same call may succeed later."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class SecretUnavailable(TaskEngineError):
    """A secret cannot be sealed or opened here: its key is not configured, or what is sealed is damaged."""


class ExpressionError(TaskEngineError):
    """An expression does not parse, or its evaluation failed; the message says which and why."""


class WholeNeeded(TaskEngineError):
    """A decision needs tasks of its job that were not read: it is to be made again on all of them."""


class MessageError(TaskEngineError):
    """A message of the wire contract does not parse or has a version that is not known."""


class WorkflowError(InvalidRequest):
    """A workflow definition is wrong; each fault's path is `file:line`."""


class ErrorKind(StrEnum):
    """How a task failed, and so whether it is worth another try (`domain.retry` decides)."""

    INPUT = "input"  # what was asked for is wrong: never tried again
    RESOURCE = "resource"  # this worker lacks something (disk, memory, a storage that is away): elsewhere or later
    TIMEOUT = "timeout"  # the deadline passed, or nothing moved: once more
    INTERNAL = "internal"  # anything else: backoff with jitter
    LOST = "lost"  # the worker vanished; given by the engine alone, with a cap of its own


class TaskFailed(TaskEngineError):
    """A handler's task failed, with all that a report carries."""

    kind = ErrorKind.INTERNAL

    def __init__(self, message: str, *, exit_code: int | None = None, stderr_tail: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail


class InputFault(TaskFailed):
    """The task's input is wrong: no try will do better."""

    kind = ErrorKind.INPUT


class ResourceFault(TaskFailed):
    """This worker lacks a resource (disk space, memory, a reachable storage)."""

    kind = ErrorKind.RESOURCE


class TimeoutFault(TaskFailed):
    """The task's deadline passed, or its process made no progress."""

    kind = ErrorKind.TIMEOUT


class InternalFault(TaskFailed):
    """A subprocess or the handler failed in a way that another try may mend."""
