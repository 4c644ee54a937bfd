"""Callbacks: as they are kept, and how one is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskengine.domain.job import LogEntry


@dataclass(frozen=True, slots=True)
class DueCallback:
    """The head of one (job, endpoint)'s line, claimed for sending."""

    id: int
    job_id: int
    client: str
    endpoint: str
    event: str
    webhook_id: str
    body: str
    created_at: int
    attempts: int  # made before of this delivery
    failures: int  # in a row on this (job, endpoint)'s clock
    oldest_at: int  # creation of the oldest undelivered of its line
    traceparent: str | None = None  # `Job.traceparent`
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # the workflow's


@dataclass(frozen=True, slots=True)
class Settlement:
    """What came of a claim: `delivered`, `dead`, or `pending` (again from `next_at`). Where it is pending with neither
    status nor error it was given back untried. Times in UTC milliseconds."""

    callback: DueCallback
    state: str
    at: int
    status: int | None = None
    error: str | None = None
    next_at: int | None = None
    rest: str | None = None  # why all that is left of the line is dead with it (72 h over)
    gone: bool = False  # with `rest`: not of the line alone, but of all that the job has for the endpoint (410)
    log: LogEntry | None = None  # for the job's log

    @property
    def tried(self) -> bool:
        """Whether the endpoint was called."""
        return self.state != "pending" or self.status is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Busy:
    """What can take no callback now: endpoints, and all that begins as one of `servers` (`https://host/`)."""

    endpoints: Sequence[str] = ()
    servers: Sequence[str] = ()


NONE_BUSY = Busy()


class CallbackStore(Protocol):
    """Undelivered callbacks: a line per (job, endpoint), each with one clock."""

    async def claim_callbacks(
        self, now: int, *, lease_until: int, limit: int, busy: Busy = NONE_BUSY
    ) -> Sequence[DueCallback]:
        """Claim the head of each line that is due, in order of due time; what is `busy` is passed over.

        A claim that is not settled by `lease_until` is due again. A job event whose line is waiting behind task
        events is the head of a line of its own, with a clock of its own, once it is 5 minutes old.
        """
        ...

    async def settle_callbacks(self, settlements: Sequence[Settlement]) -> None:
        """Write what came of claims, all or nothing. What was settled before, or replayed since, is left alone.

        After `delivered` and `dead` the next of the line is due, and failures start at 0 again; after `pending` the
        line's clock is set to `next_at`, and attempts and failures grow by one, unless it was given back untried.
        """
        ...

    async def kill_line(self, job_id: int, endpoint: str, reason: str, now: int) -> None:
        """All that is left for an endpoint of a job is dead, its job event too."""
        ...

    async def next_callback(self, *, busy: Busy = NONE_BUSY) -> int | None:
        """When the next line is due (a claimed one when its lease is over), what is `busy` passed over; None where there
        is none."""
        ...

    async def callbacks(self, job_id: int) -> Sequence[Mapping[str, Any]]:
        """Every delivery of a job: id, endpoint, event, task_id, webhook_id, state, attempts, last_status, last_error,
        created_at, next_at, delivered_at."""
        ...

    async def dead_callbacks(
        self, *, client: str | None = None, since: int | None = None, after_id: int = 0, limit: int = 1000
    ) -> Sequence[Mapping[str, Any]]:
        """A page of what was given up, of one client or all, of events at or after `since`, in order of ids: as
        `callbacks`, with job_id."""
        ...

    async def replay_callbacks(
        self, now: int, *, job_id: int | None = None, callback_id: int | None = None, since: int | None = None,
        client: str | None = None, after_id: int = 0, limit: int = 1000,
    ) -> Sequence[int]:  # fmt: skip
        """Make dead (and, where one is named, delivered) callbacks due again, the first `limit` in order of ids; their
        ids."""
        ...

    async def callback_backlog(self) -> tuple[int, int | None]:
        """(undelivered, creation time of the oldest)."""
        ...


@dataclass(frozen=True, slots=True)
class SendResult:
    """What an endpoint answered: `status` None where there was no answer; `retry_after` in seconds."""

    status: int | None
    error: str | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint took it."""
        return self.status is not None and 200 <= self.status < 300


class CallbackSender(Protocol):
    """Makes one try at one delivery. It raises nothing: a fault is a result."""

    async def send(self, callback: DueCallback) -> SendResult:
        """POST the body, signed, with the same `webhook-id` on every try."""
        ...


class SemaphoreProbe(Protocol):
    """Asks a `semaphore_url` whether its job may be queued."""

    async def open(self, url: str, client: str) -> tuple[bool, str]:
        """(whether it answered 2xx or 3xx, what it answered)."""
        ...
