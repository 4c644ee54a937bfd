"""What workers have said and nobody has decided on yet: by job, each in one decider's hands at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskengine.domain.messages import Report
from taskengine.ports import Delivery


@dataclass(frozen=True, slots=True)
class Told:
    """One report, and whose it is."""

    worker_id: str
    worker: str  # its name
    report: Report


@dataclass(slots=True, eq=False)
class _Parcel:
    """A message, and how many of its reports are not decided on."""

    delivery: Delivery
    left: int
    at: int  # when it was put in, ms


@dataclass(slots=True)
class Inbox:
    """Keeps the order of what is said of one job, and lets different jobs be decided side by side. A message is
    acknowledged with the last of its reports."""

    _waiting: dict[int, list[tuple[Told, _Parcel]]] = field(default_factory=dict)
    _taken: dict[int, list[_Parcel]] = field(default_factory=dict)
    _parcels: dict[_Parcel, None] = field(default_factory=dict)  # what is not decided on, the oldest first
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    async def add(self, delivery: Delivery, told: Sequence[tuple[int, Told]], at: int) -> None:
        """Put in what a message says, each report with its job; `at`: now, ms."""
        if not told:
            await delivery.ack()
            return
        parcel = _Parcel(delivery, len(told), at)
        self._parcels[parcel] = None
        for job_id, one in told:
            self._waiting.setdefault(job_id, []).append((one, parcel))
        self._changed.set()

    async def some(self, limit: int) -> Mapping[int, Sequence[Told]]:
        """Wait until there is something, and take it: what was said of at most `limit` jobs, the longest waiting first.
        Empty once it is closed."""
        while True:
            ready = [job_id for job_id in self._waiting if job_id not in self._taken][:limit]
            if ready:
                return {job_id: self._take(job_id) for job_id in ready}
            if self._closed:
                return {}
            self._changed.clear()
            await self._changed.wait()

    async def done(self, job_ids: Sequence[int]) -> None:
        """What was taken of these jobs is durable: others may take what has come since."""
        parcels = [parcel for job_id in job_ids for parcel in self._taken.pop(job_id)]
        self._changed.set()
        for parcel in parcels:
            parcel.left -= 1
            if not parcel.left:
                del self._parcels[parcel]
                await parcel.delivery.ack()

    def __len__(self) -> int:
        """How many messages are not decided on."""
        return len(self._parcels)

    @property
    def oldest_at(self) -> int | None:
        """When the first of them was put in, ms."""
        return next(iter(self._parcels)).at if self._parcels else None

    @property
    def empty(self) -> bool:
        """Whether nothing waits and nothing is taken."""
        return not (self._waiting or self._taken)

    async def close(self) -> None:
        """Wait until it is empty: nobody gets anything more."""
        while not self.empty:
            self._changed.clear()
            await self._changed.wait()
        self._closed = True
        self._changed.set()

    def _take(self, job_id: int) -> Sequence[Told]:
        entries = self._waiting.pop(job_id)
        self._taken[job_id] = [parcel for _, parcel in entries]
        return [one for one, _ in entries]
