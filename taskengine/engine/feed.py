"""Events as they happen, for followers of this engine: stored ones in order and without gaps, progress, and logs.

One reading of the store serves all followers. A follower is given what is stored after the event that it names, then what
comes; one that is too slow is let go, and comes back with the last id that it has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from taskengine.domain.errors import StoreUnavailable
from taskengine.domain.status import JobState
from taskengine.engine.signals import Signal
from taskengine.ports import Clock, JobFilter, Store

_BATCH = 500
_WAITING = 2000  # happenings that a follower may be behind
_PROGRESS_S = 1.0
MAX_FOLLOWERS = 500
MAX_STARTED = 1000  # jobs whose progress is followed


@dataclass(frozen=True, slots=True)
class Scope:
    """What is followed: a job, or else a client's jobs, or else all."""

    client: str | None = None
    job_id: int | None = None

    def has(self, job_id: int, client: str) -> bool:
        """Whether it is followed."""
        return self.job_id == job_id if self.job_id is not None else self.client in {None, client}


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a follower has come: the last event, and the last entry of the job's log."""

    event: int = 0
    log: int = 0


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing to tell. `kind`: job, task, progress or log; `cursor`: where to go on after it."""

    kind: str
    job_id: int
    data: Mapping[str, Any]
    cursor: Cursor


class _Follower:
    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.events: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue(_WAITING)

    def offer(self, item: Mapping[str, Any]) -> None:
        """Hand it over; one that does not keep up gets its end instead."""
        if self.events.full():
            self.end()
        else:
            self.events.put_nowait(item)

    def end(self) -> None:
        while self.events.full():
            self.events.get_nowait()
        self.events.put_nowait(None)


class Feed:
    """The followers of one engine."""

    def __init__(self, store: Store, signal: Signal, clock: Clock, *, look_s: float) -> None:
        self._store, self._signal, self._clock = store, signal, clock
        self._look_s = min(look_s, _PROGRESS_S)
        self._followers: set[_Follower] = set()
        self._progress: dict[int, float] = {}
        self._closed = False
        self._tailing, self._after = False, 0  # whether events are read, and up to which they were handed over

    @property
    def followers(self) -> int:
        """How many there are."""
        return len(self._followers)

    def close(self) -> None:
        """Let all go: the engine ends."""
        self._closed = True
        for follower in self._followers:
            follower.end()

    async def run(self) -> None:
        """Hand what happens to whoever follows, for ever; while nobody does, nothing is read."""
        progress_at = 0
        while True:
            await self._signal.wait(self._clock, self._look_s if self._followers else None)
            if not self._followers:
                self._tailing = False
                continue
            await self._tail()
            if self._clock.now() - progress_at >= _PROGRESS_S * 1000:
                progress_at = self._clock.now()
                await self._look_at_progress()

    async def _tail(self) -> None:
        while rows := await self._store.events_after(self._after, limit=_BATCH):
            self._after = rows[-1]["id"]
            self._offer(rows)

    async def _look_at_progress(self) -> None:
        """Of the started jobs that somebody follows, told where it has changed."""
        scopes = {follower.scope for follower in self._followers}
        clients = {scope.client for scope in scopes if scope.job_id is None}
        ids = None if clients else sorted(scope.job_id for scope in scopes if scope.job_id is not None)
        client = next(iter(clients)) if len(clients) == 1 else None
        query = JobFilter(client=client if ids is None else None, job_ids=ids, states=[JobState.STARTED])
        query.limit = MAX_STARTED
        jobs = await self._store.jobs(query)
        fractions = await self._store.progress([job.id for job in jobs])
        rows = [
            {"kind": "progress", "job_id": job.id, "client": job.client, "body": {"progress": fractions[job.id]}}
            for job in jobs
            if job.id in fractions and self._progress.get(job.id) != fractions[job.id]
        ]
        self._progress = dict(fractions)
        self._offer(rows)

    def _offer(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            for follower in self._followers:
                if follower.scope.has(row["job_id"], row["client"]):
                    follower.offer(row)

    # -------------------------------------------------------------------------------------------------------- following

    async def follow(self, scope: Scope, since: Cursor | None, *, live: bool = True) -> AsyncGenerator[Happening, None]:
        """What happened after `since` (None: from now on) and, if `live`, what happens, until the engine ends or the
        follower is too slow. A live one begins with an `open`. Raises StoreUnavailable where that is away."""
        with self._joined(scope) as follower:
            newest = await self._store.last_event()
            if not self._tailing:
                self._tailing, self._after = True, newest
            self._signal.set()
            cursor = since or Cursor(newest)
            if live:
                yield Happening("open", scope.job_id or 0, {}, cursor)
            async for happening in self._stored(scope, cursor):
                cursor = happening.cursor
                yield happening
            while live and (row := await follower.events.get()) is not None:
                if row["kind"] != "progress" and row["id"] <= cursor.event:
                    continue
                for happening in await self._told(scope, row, cursor):
                    cursor = happening.cursor
                    yield happening

    @contextmanager
    def _joined(self, scope: Scope) -> Any:
        if self._closed or len(self._followers) >= MAX_FOLLOWERS:
            raise StoreUnavailable("no more followers are taken now")
        follower = _Follower(scope)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    async def _stored(self, scope: Scope, cursor: Cursor) -> AsyncIterator[Happening]:
        """What is stored after the cursor, page by page; of a job, its log beside."""
        for happening in await self._logged(scope, cursor):
            cursor = happening.cursor
            yield happening
        while rows := await self._store.events_after(
            cursor.event, limit=_BATCH, job_id=scope.job_id, client=scope.client
        ):
            for row in rows:
                cursor = Cursor(row["id"], cursor.log)
                yield _happening(row, cursor)

    async def _told(self, scope: Scope, row: Mapping[str, Any], cursor: Cursor) -> Sequence[Happening]:
        """What the job's log has by now, and the row that came."""
        logged = await self._logged(scope, cursor)
        cursor = logged[-1].cursor if logged else cursor
        return [*logged, _happening(row, cursor if row["kind"] == "progress" else Cursor(row["id"], cursor.log))]

    async def _logged(self, scope: Scope, cursor: Cursor) -> Sequence[Happening]:
        """New entries of the followed job's log."""
        found: list[Happening] = []
        while scope.job_id is not None:
            rows = await self._store.logs(scope.job_id, after_id=cursor.log, limit=_BATCH)
            for row in rows:
                cursor = Cursor(cursor.event, row["id"])
                found.append(Happening("log", scope.job_id, row, cursor))
            if len(rows) < _BATCH:
                break
        return found


def _happening(row: Mapping[str, Any], cursor: Cursor) -> Happening:
    if row["kind"] == "progress":
        return Happening("progress", row["job_id"], row["body"], cursor)
    names = ("job_id", "task_id", "client", "workflow", "task_name", "name", "seq", "at", "body")
    return Happening(row["kind"], row["job_id"], {name: row[name] for name in names}, cursor)
