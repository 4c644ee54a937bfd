"""The `CallbackStore` port in memory, for tests of what delivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from taskengine.domain.errors import StoreUnavailable
from taskengine.domain.job import LogEntry
from taskengine.ports import NONE_BUSY, Busy, DueCallback, Settlement

PATIENCE_MS = 300_000
Key = tuple[int, str, bool]  # job, endpoint, whether it is the line of job events


@dataclass
class Row:
    """One delivery."""

    id: int
    job_id: int
    client: str
    endpoint: str
    event: str
    body: str
    created_at: int
    state: str = "pending"
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    delivered_at: int | None = None

    @property
    def webhook_id(self) -> str:
        """Its id for the receiver."""
        return f"msg_{self.id}"


@dataclass
class Line:
    """The clock of a (job, endpoint)."""

    next_at: int
    failures: int = 0


@dataclass
class MemoryCallbackStore:
    """All deliveries of a test. `outages` is how many of the following calls raise StoreUnavailable."""

    rows: list[Row] = field(default_factory=list)
    lines: dict[Key, Line] = field(default_factory=dict)
    logs: list[tuple[int, LogEntry]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    outages: int = 0
    _ids: count[int] = field(default_factory=lambda: count(1))
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def add(
        self, endpoint: str, event: str = "start", *, job_id: int = 1, now: int, client: str = "demo", body: str = "{}"
    ) -> Row:
        """Make a delivery due."""
        row = Row(next(self._ids), job_id, client, endpoint, event, body, now)
        self.rows.append(row)
        behind = event == "job" and any(self._key(one)[:2] == (job_id, endpoint) for one in self._pending()[:-1])
        self.lines.setdefault(self._key(row), Line(now + PATIENCE_MS if behind else now))
        return row

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until `condition` holds; it is asked after each verdict."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition)

    def states(self) -> list[str]:
        """The states in order of creation."""
        return [row.state for row in self.rows]

    async def claim_callbacks(
        self, now: int, *, lease_until: int, limit: int, busy: Busy = NONE_BUSY
    ) -> Sequence[DueCallback]:
        """Claim due heads."""
        self._call("claim")
        due = sorted(
            (self.lines[key].next_at, head.id, key)
            for key, head in self._heads(busy).items()
            if self.lines[key].next_at <= now
        )
        claimed = []
        for _, row_id, key in due[:limit]:
            line = self.lines[key]
            line.next_at = lease_until
            claimed.append(self._due(self._row(row_id), line))
        return claimed

    async def settle_callbacks(self, settlements: Sequence[Settlement]) -> None:
        """Write verdicts."""
        for one in settlements:
            self._call(f"settle {one.state}")
        for one in settlements:
            await self._settle(one)
        await self._tell()

    async def _settle(self, one: Settlement) -> None:
        row = self._row(one.callback.id)
        row.state = one.state
        line = self.lines[self._key(row)]
        if one.tried:
            row.attempts += 1
            row.last_status, row.last_error = one.status, one.error
            line.failures = line.failures + 1 if one.state == "pending" else 0
        line.next_at = one.at if one.next_at is None else one.next_at
        row.delivered_at = one.at if one.state == "delivered" else None
        own = self.lines.get((row.job_id, row.endpoint, True))
        if own is not None and not any(self._key(other) == self._key(row) for other in self._pending()):
            own.next_at = min(own.next_at, one.at)  # it waits for nothing any more
        if one.rest is not None:
            await self._kill(row, one.rest, gone=one.gone)
        if one.log is not None:
            self.logs.append((row.job_id, one.log))

    async def kill_line(self, job_id: int, endpoint: str, reason: str, now: int) -> None:
        """Give all of a job and endpoint up."""
        for row in self._pending():
            if (row.job_id, row.endpoint) == (job_id, endpoint):
                await self._kill(row, reason, gone=True)
                break

    async def _kill(self, of: Row, reason: str, *, gone: bool) -> None:
        self._call("kill")
        for row in self._pending():
            if (row.job_id, row.endpoint) == (of.job_id, of.endpoint) and (gone or self._key(row) == self._key(of)):
                row.state, row.last_error = "dead", reason
        await self._tell()

    async def next_callback(self, *, busy: Busy = NONE_BUSY) -> int | None:
        """When the next line is due."""
        self._call("next")
        return min((self.lines[key].next_at for key in self._heads(busy)), default=None)

    async def callbacks(self, job_id: int) -> Sequence[Mapping[str, Any]]:
        """All of a job."""
        return [vars(row) for row in self.rows if row.job_id == job_id]

    async def dead_callbacks(
        self, *, client: str | None = None, since: int | None = None, after_id: int = 0, limit: int = 1000
    ) -> Sequence[Mapping[str, Any]]:
        """What was given up."""
        return [vars(row) for row in self.rows if row.state == "dead" and row.id > after_id][:limit]

    async def replay_callbacks(
        self, now: int, *, job_id: int | None = None, callback_id: int | None = None, since: int | None = None,
        client: str | None = None, after_id: int = 0, limit: int = 1000,
    ) -> Sequence[int]:  # fmt: skip
        """Make dead ones due again."""
        found = [row for row in self.rows if row.state == "dead" and callback_id in {None, row.id}]
        for row in found:
            row.state = "pending"
            self.lines[self._key(row)] = Line(now)
        return [row.id for row in found]

    async def callback_backlog(self) -> tuple[int, int | None]:
        """What is undelivered."""
        pending = self._pending()
        return len(pending), min((row.created_at for row in pending), default=None)

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable("the database is away")

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _pending(self) -> list[Row]:
        return [row for row in self.rows if row.state == "pending"]

    def _row(self, row_id: int) -> Row:
        return next(row for row in self.rows if row.id == row_id)

    def _heads(self, busy: Busy) -> dict[Key, Row]:
        heads: dict[Key, Row] = {}
        for row in self._pending():
            if row.endpoint not in busy.endpoints and not row.endpoint.startswith(tuple(busy.servers)):
                heads.setdefault(self._key(row), row)
        return heads

    def _key(self, row: Row) -> Key:
        return (row.job_id, row.endpoint, row.event == "job")

    def _due(self, row: Row, line: Line) -> DueCallback:
        oldest = min(one.created_at for one in self._pending() if self._key(one) == self._key(row))
        return DueCallback(
            row.id, row.job_id, row.client, row.endpoint, row.event, row.webhook_id, row.body, row.created_at,
            row.attempts, line.failures, oldest,
        )  # fmt: skip
