"""Refusals that only HTTP knows, and the one table from errors to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import (
    BrokerUnavailable,
    Conflict,
    Fault,
    Forbidden,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
    TaskEngineError,
    Unauthorized,
)

RETRY_AFTER_S = 5
_SHOWN = 3  # faults that the sentence names; `details` has all


class BodyTooLarge(TaskEngineError):
    """The body is larger than the configuration allows."""


class BodyTooSlow(TaskEngineError):
    """The body did not arrive in time."""


class UnsupportedEncoding(TaskEngineError):
    """The Content-Encoding is none that is known."""


class TooManyCalls(TaskEngineError):
    """The client calls more often than it may; `retry_after` in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many calls: try again in {retry_after} s")
        self.retry_after = retry_after


_STATUSES: Mapping[type[TaskEngineError], int] = {
    InvalidRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    BodyTooSlow: 408,
    Conflict: 409,
    BodyTooLarge: 413,
    UnsupportedEncoding: 415,
    TooManyCalls: 429,
    StoreUnavailable: 503,
    BrokerUnavailable: 503,
}


def status_of(error: TaskEngineError) -> int:
    """The HTTP status of an error; 500 for one that a client should never see."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)


def retry_headers(error: TaskEngineError, status: int) -> dict[str, str]:
    """When to try again, where that is worth it."""
    if isinstance(error, TooManyCalls):
        return {"Retry-After": str(error.retry_after)}
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}


def error_body(error: TaskEngineError, status: int) -> dict[str, Any]:
    """The answer's body."""
    if status == 503:
        return {"error": "The engine cannot reach a component that this needs; try again later"}
    if isinstance(error, InvalidRequest) and error.faults:
        details = [{"path": fault.path, "message": fault.message} for fault in error.faults]
        return {"error": sentence(error.faults), "details": details}
    told: dict[str, Any] = {"error": str(error)}
    if isinstance(error, Conflict) and error.job_id is not None:
        told["id"] = error.job_id
    return told


def sentence(faults: Sequence[Fault]) -> str:
    """One sentence that says what is wrong and where."""
    text = "; ".join(f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in faults[:_SHOWN])
    more = len(faults) - _SHOWN
    return f"{text} (and {more} more)" if more > 0 else text


def invalid(*faults: Fault) -> InvalidRequest:
    """The error of these faults."""
    return InvalidRequest(sentence(faults), faults)
