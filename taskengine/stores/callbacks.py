"""`ports.CallbackStore` in units of work: who is next in each line, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from taskengine.domain.job import PATIENCE_MS
from taskengine.ports import NONE_BUSY, Busy, DueCallback, Settlement
from taskengine.stores import changes, rows
from taskengine.stores.base import Units
from taskengine.stores.session import Session
from taskengine.stores.tally import Tally


class CallbackUnits(Units):
    """Keeps undelivered callbacks in lines."""

    async def claim_callbacks(
        self, now: int, *, lease_until: int, limit: int, busy: Busy = NONE_BUSY
    ) -> Sequence[DueCallback]:
        """See `ports.CallbackStore.claim_callbacks`."""
        return await self._write(partial(_claim, now=now, limit=limit, busy=busy, lease_until=lease_until))

    async def settle_callbacks(self, settlements: Sequence[Settlement]) -> None:
        """See `ports.CallbackStore.settle_callbacks`."""
        if settlements:
            await self._write(partial(_settle, settlements=settlements))

    async def kill_line(self, job_id: int, endpoint: str, reason: str, now: int) -> None:
        """See `ports.CallbackStore.kill_line`: the job event, which may have overtaken, is dead too."""
        del now  # the dead have no time of their own
        await self._write(partial(_kill, kills=[(rows.plain(reason), job_id, endpoint, None)]))

    async def next_callback(self, *, busy: Busy = NONE_BUSY) -> int | None:
        """See `ports.CallbackStore.next_callback`."""
        at: int | None = await self._read(
            lambda db: db.value("next_callback", (db.array(busy.endpoints), db.array(busy.servers)))
        )
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
        [(undelivered, oldest_at)] = await self._read(lambda db: db.all("callback_backlog"))
        return undelivered, oldest_at


async def _claim(db: Session, *, now: int, limit: int, busy: Busy, lease_until: int) -> list[DueCallback]:
    """The lines are claimed before their heads are read: what was settled meanwhile is nobody's head."""
    values = {
        "now": now, "limit": limit, "endpoints": db.array(busy.endpoints), "servers": db.array(busy.servers),
    }  # fmt: skip
    lines = [row[0] for row in await db.all("due_lines", values)]
    if not lines:
        return []
    found = await db.all("line_heads", (db.array(lines),))
    await db.many("claim_line", [(lease_until, line) for line in lines])
    return [rows.due_callback(row) for row in found]


async def _release(db: Session, *, now: int) -> None:
    await db.run("release_claims", (now,))


async def _settle(db: Session, *, settlements: Sequence[Settlement]) -> None:
    """All that is of one job is under its lock; the counter, which everybody waits for, comes last."""
    moved = {row[0] for row in await db.returned("settle", [_row(one) for one in settlements])}
    settled = [one for one in settlements if one.callback.id in moved]
    put_off = [one for one in settled if one.state == "pending"]
    ended = [one for one in settled if one.state != "pending"]
    killed = await db.many(
        "kill_callbacks",
        [
            (rows.plain(one.rest), *_lines(one), None if one.gone else _lane(one))
            for one in ended
            if one.rest is not None
        ],
    )
    tally = Tally()
    tally.callbacks(-len(ended) - killed)
    parts: list[tuple[str, Sequence[rows.Row]]] = [
        ("put_off_line", [(_due_at(one), one.tried, *_line(one)) for one in put_off]),
        ("advance_line", [(_due_at(one), *_line(one)) for one in ended]),
        ("close_empty_lines", sorted({_lines(one) for one in ended})),
        ("release_job_line", sorted({(one.at, *_lines(one)) for one in ended})),
        ("insert_log", [rows.log_values(one.callback.job_id, None, one.log) for one in settled if one.log]),
        *tally.parts(),
    ]
    await db.many_apart([(name, some) for name, some in parts if some])


def _row(one: Settlement) -> rows.Row:
    """The values of `settle`."""
    callback = one.callback
    return (
        callback.id, callback.job_id, one.state, one.tried, one.status, rows.plain(one.error), callback.attempts, one.at,
    )  # fmt: skip


def _lines(one: Settlement) -> tuple[int, str]:
    """Whose lines it may change: job and endpoint."""
    return one.callback.job_id, one.callback.endpoint


def _line(one: Settlement) -> tuple[int, str, int]:
    """The line that it was the head of."""
    return *_lines(one), _lane(one)


def _lane(one: Settlement) -> int:
    return rows.lane_of(one.callback.event)


def _due_at(one: Settlement) -> int:
    """When the line is due again."""
    return one.at if one.next_at is None else one.next_at


async def _kill(db: Session, *, kills: Sequence[rows.Row]) -> None:
    tally = Tally()
    tally.callbacks(-await db.many("kill_callbacks", kills))
    lines = [(job_id, endpoint) for _, job_id, endpoint, _ in kills]
    await db.many_apart([("close_empty_lines", lines), *tally.parts()])


async def _replay(db: Session, *, values: Mapping[str, Any]) -> Sequence[int]:
    found = await db.all("replay_dead" if values["callback_id"] is None else "replay_one", values)
    again = [tuple(line) for _, *line in found]
    now = values["now"]
    await db.many("open_line", changes.first_lines((*line, now, PATIENCE_MS) for line in again))
    await db.many("restart_line", [(now, *line) for line in again])
    tally = Tally()
    tally.callbacks(len(again))
    await tally.write(db)
    return sorted(row[0] for row in found)
