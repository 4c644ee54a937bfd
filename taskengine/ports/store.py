"""The store: all that is kept, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from taskengine.ports.callbacks import CallbackStore
from taskengine.ports.clients import ClientStore
from taskengine.ports.jobs import JobStore


class EventStore(Protocol):
    """The outbox of events, which relays publish in order and followers resume from.

    Ids ascend in the order of the commits: who has read up to one has missed none before it.
    """

    async def events_after(
        self, event_id: int, *, limit: int, job_id: int | None = None, client: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """Rows (id, job_id, task_id, client, workflow, task_name, kind, name, seq, at, body) with a greater id, in order;
        those of one job, or else of one client, where it is named."""
        ...

    async def last_event(self) -> int:
        """The id of the newest event; 0 where there is none."""
        ...

    async def clean_events(self, *, before: int, up_to: int, limit: int) -> int:
        """Of the oldest `limit` events with ids of at most `up_to`, delete those from before that time; how many."""
        ...


@dataclass(frozen=True, slots=True)
class Recurring:
    """A schedule that submits a job at each of its times: `body` is that of `POST /job`."""

    client: str
    name: str  # unique among the client's
    cron: str
    time_zone: str  # an IANA name
    body: Mapping[str, Any]
    active: bool
    next_at: int | None  # None: the pattern has no further time
    created_at: int
    last_at: int | None = None  # when it submitted last
    last_job_id: int | None = None
    last_error: str | None = None  # why the last job could not be submitted


class RecurringStore(Protocol):
    """The schedules of clients."""

    async def recurring(self) -> Sequence[Recurring]:
        """All of them, by client and name."""
        ...

    async def save_recurring(self, recurring: Recurring) -> bool:
        """Insert it, or change the one of that name (what is known of its past stays); True where it was new.

        NotFound where there is no such client.
        """
        ...

    async def switch_recurring(self, client: str, name: str, *, active: bool, next_at: int | None) -> bool:
        """Switch it on or off; False where there is none."""
        ...

    async def move_recurring(self, was: Recurring, now: Recurring) -> bool:
        """Write `next_at` and what is known of the last submission, unless it was moved, changed or switched since
        `was` was read; whether it was written."""
        ...

    async def delete_recurring(self, client: str, name: str) -> bool:
        """Remove it; False where there was none."""
        ...


class Store(JobStore, ClientStore, CallbackStore, EventStore, RecurringStore, Protocol):
    """All of it: one adapter per database."""

    async def release_claims(self, now: int) -> None:
        """Make every claimed line of callbacks due at once: whoever claimed them is known to be gone."""
        ...
