"""`ports.CallbackStore` on SQLite: who is next in each line, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from taskengine.ports import DueCallback
from taskengine.stores import changes, rows
from taskengine.stores.base import Units
from taskengine.stores.tally import Tally
from taskengine.stores.units import Session


class CallbackUnits(Units):
    """Keeps undelivered callbacks in lines."""

    async def claim_callbacks(
        self, now: int, *, lease_until: int, limit: int, busy: Sequence[str] = ()
    ) -> Sequence[DueCallback]:
        """See `ports.CallbackStore.claim_callbacks`."""
        values = {"now": now, "busy": rows.dump(list(busy)), "limit": limit}
        return await self._write(partial(_claim, values=values, lease_until=lease_until))

    async def settle_callback(
        self, callback: DueCallback, *, state: str, now: int, status: int | None, error: str | None, next_at: int | None
    ) -> None:
        """See `ports.CallbackStore.settle_callback`. What was settled before, or replayed since, is left alone."""
        values = {
            "state": state, "now": now, "status": status, "error": rows.plain(error), "id": callback.id,
            "job_id": callback.job_id, "endpoint": callback.endpoint, "lane": rows.lane_of(callback.event),
            "due_at": now if next_at is None else next_at, "attempts": callback.attempts,
            "tried": status is not None or error is not None,
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
        passed_over = rows.dump(list(busy))
        at: int | None = await self._read(lambda db: db.value("next_callback", (passed_over,)))
        return at

    async def release_claims(self, now: int) -> None:
        """See `ports.Store.release_claims`."""
        await self._write(partial(_release, now=now))

    async def callbacks(self, job_id: int) -> Sequence[Mapping[str, Any]]:
        """See `ports.CallbackStore.callbacks`: in order; `next_at` is when its line is due."""
        found = await self._read(lambda db: db.all("callbacks", (job_id,)))
        return [rows.record(rows.CALLBACK_FIELDS, row) for row in found]

    async def replay_callbacks(
        self, now: int, *, job_id: int | None = None, callback_id: int | None = None, since: int | None = None,
        client: str | None = None,
    ) -> int:  # fmt: skip
        """See `ports.CallbackStore.replay_callbacks`. Their 72 hours and their tries begin anew."""
        values = {"now": now, "job_id": job_id, "callback_id": callback_id, "since": since, "client": client}
        return await self._write(partial(_replay, values=values))

    async def callback_backlog(self) -> tuple[int, int | None]:
        """See `ports.CallbackStore.callback_backlog`."""
        return await self._read(
            lambda db: (db.value("counter", ("callbacks", "pending")) or 0, db.value("oldest_callback"))
        )


def _claim(db: Session, *, values: Mapping[str, Any], lease_until: int) -> list[DueCallback]:
    found = db.all("due_heads", values)
    db.many("claim_line", [(lease_until, row[0]) for row in found])
    return [DueCallback(*row[1:]) for row in found]


def _release(db: Session, *, now: int) -> None:
    db.run("release_claims", (now,))


def _put_off(db: Session, *, values: Mapping[str, Any]) -> None:
    if db.run("settle_try", values):
        db.run("put_off_line", values)


def _end(db: Session, *, values: Mapping[str, Any]) -> None:
    if not db.run("settle_end", values):
        return
    tally = Tally()
    tally.callbacks(-1)
    tally.write(db)
    db.run("advance_line", values)
    db.run("close_empty_lines", values)
    db.run("release_job_line", values)


def _kill(db: Session, *, values: Mapping[str, Any]) -> None:
    tally = Tally()
    tally.callbacks(-db.run("kill_callbacks", values))
    tally.write(db)
    db.run("close_empty_lines", values)


def _replay(db: Session, *, values: Mapping[str, Any]) -> int:
    again = db.all("replay_dead" if values["callback_id"] is None else "replay_one", values)
    now = values["now"]
    changes.open_lines(db, ((job_id, endpoint, lane, now) for job_id, endpoint, lane in again))
    db.many("restart_line", [(now, *line) for line in again])
    tally = Tally()
    tally.callbacks(len(again))
    tally.write(db)
    return len(again)
