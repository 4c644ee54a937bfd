"""`ports.CallbackStore` in units of work: who is next in each line, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from taskengine.domain.job import PATIENCE_MS
from taskengine.ports import DueCallback
from taskengine.stores import changes, rows
from taskengine.stores.base import Units
from taskengine.stores.session import Session
from taskengine.stores.tally import Tally


class CallbackUnits(Units):
    """Keeps undelivered callbacks in lines."""

    async def claim_callbacks(
        self, now: int, *, lease_until: int, limit: int, busy: Sequence[str] = ()
    ) -> Sequence[DueCallback]:
        """See `ports.CallbackStore.claim_callbacks`."""
        values = {"now": now, "limit": limit}
        return await self._write(partial(_claim, values=values, busy=busy, lease_until=lease_until))

    async def settle_callback(
        self, callback: DueCallback, *, state: str, now: int, status: int | None, error: str | None,
        next_at: int | None, rest: str | None = None,
    ) -> None:  # fmt: skip
        """See `ports.CallbackStore.settle_callback`. What was settled before, or replayed since, is left alone."""
        values = {
            "state": state, "now": now, "status": status, "error": rows.plain(error), "id": callback.id,
            "job_id": callback.job_id, "endpoint": callback.endpoint, "lane": rows.lane_of(callback.event),
            "due_at": now if next_at is None else next_at, "attempts": callback.attempts,
            "tried": status is not None or error is not None, "reason": rows.plain(rest),
        }  # fmt: skip
        settle = _put_off if state == "pending" else _end
        await self._write(partial(settle, values=values))

    async def kill_line(self, job_id: int, endpoint: str, reason: str, now: int) -> None:
        """See `ports.CallbackStore.kill_line`: the job event, which may have overtaken, is dead too."""
        del now  # the dead have no time of their own
        values = {"job_id": job_id, "endpoint": endpoint, "reason": rows.plain(reason)}
        await self._write(partial(_kill, values=values))

    async def next_callback(self, *, busy: Sequence[str] = ()) -> int | None:
        """See `ports.CallbackStore.next_callback`."""
        at: int | None = await self._read(lambda db: db.value("next_callback", (db.array(busy),)))
        return at

    async def release_claims(self, now: int) -> None:
        """See `ports.Store.release_claims`."""
        await self._write(partial(_release, now=now))

    async def callbacks(self, job_id: int) -> Sequence[Mapping[str, Any]]:
        """See `ports.CallbackStore.callbacks`: in order; `next_at` is when its line is due."""
        found = await self._read(lambda db: db.all("callbacks", (job_id,)))
        return [rows.record(rows.CALLBACK_FIELDS, row) for row in found]

    async def dead_callbacks(
        self, *, client: str | None = None, since: int | None = None, after_id: int = 0, limit: int = 1000
    ) -> Sequence[Mapping[str, Any]]:
        """See `ports.CallbackStore.dead_callbacks`."""
        values = {"client": client, "since": since, "after_id": after_id, "limit": limit}
        found = await self._read(lambda db: db.all("dead_callbacks", values))
        return [rows.record((*rows.CALLBACK_FIELDS, "job_id"), row) for row in found]

    async def replay_callbacks(
        self, now: int, *, job_id: int | None = None, callback_id: int | None = None, since: int | None = None,
        client: str | None = None, after_id: int = 0, limit: int = 1000,
    ) -> Sequence[int]:  # fmt: skip
        """See `ports.CallbackStore.replay_callbacks`. Their 72 hours and their tries begin anew."""
        values = {
            "now": now, "job_id": job_id, "callback_id": callback_id, "since": since, "client": client,
            "after_id": after_id, "limit": limit,
        }  # fmt: skip
        return await self._write(partial(_replay, values=values))

    async def callback_backlog(self) -> tuple[int, int | None]:
        """See `ports.CallbackStore.callback_backlog`."""
        return await self._read_whole(_backlog)


async def _backlog(db: Session) -> tuple[int, int | None]:
    return await db.value("counter", ("callbacks", "pending")) or 0, await db.value("oldest_callback")


async def _claim(
    db: Session, *, values: Mapping[str, Any], busy: Sequence[str], lease_until: int
) -> list[DueCallback]:  # fmt: skip
    """The lines are claimed before their heads are read: what was settled meanwhile is nobody's head."""
    lines = [row[0] for row in await db.all("due_lines", {**values, "busy": db.array(busy)})]
    if not lines:
        return []
    found = await db.all("line_heads", (db.array(lines),))
    await db.many("claim_line", [(lease_until, line) for line in lines])
    return [rows.due_callback(row) for row in found]


async def _release(db: Session, *, now: int) -> None:
    await db.run("release_claims", (now,))


async def _put_off(db: Session, *, values: Mapping[str, Any]) -> None:
    if await db.run("settle_try", values):
        await db.run("put_off_line", values)


async def _end(db: Session, *, values: Mapping[str, Any]) -> None:
    if not await db.run("settle_end", values):
        return
    await db.run("advance_line", values)
    await db.run("close_empty_lines", values)
    await db.run("release_job_line", values)
    tally = Tally()
    tally.callbacks(-1)
    await tally.write(db)
    if values["reason"] is not None:
        await _kill(db, values=values)


async def _kill(db: Session, *, values: Mapping[str, Any]) -> None:
    tally = Tally()
    tally.callbacks(-await db.run("kill_callbacks", values))
    await db.run("close_empty_lines", values)
    await tally.write(db)


async def _replay(db: Session, *, values: Mapping[str, Any]) -> Sequence[int]:
    found = await db.all("replay_dead" if values["callback_id"] is None else "replay_one", values)
    again = [tuple(line) for _, *line in found]
    now = values["now"]
    await changes.open_lines(db, ((*line, now, PATIENCE_MS) for line in again))
    await db.many("restart_line", [(now, *line) for line in again])
    tally = Tally()
    tally.callbacks(len(again))
    await tally.write(db)
    return sorted(row[0] for row in found)
