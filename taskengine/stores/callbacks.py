"""`ports.CallbackStore` in units of work: who is next in each line, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from taskengine.domain.job import PATIENCE_MS
from taskengine.ports import Clock, DueCallback
from taskengine.stores import changes, rows
from taskengine.stores.base import Units
from taskengine.stores.gathering import Gathered
from taskengine.stores.session import Session
from taskengine.stores.tally import Tally

_MOST = 200  # verdicts that share one transaction


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What became of a callback, as of `settle_callback`."""

    callback: DueCallback
    state: str
    now: int
    status: int | None
    error: str | None
    next_at: int | None
    rest: str | None

    @property
    def job_id(self) -> int:
        """Of the job that holds its lines."""
        return self.callback.job_id

    @property
    def lines(self) -> tuple[int, str]:
        """Whose lines it may change: job and endpoint."""
        return self.callback.job_id, self.callback.endpoint

    @property
    def line(self) -> tuple[int, str, int]:
        """The line that it was the head of."""
        return *self.lines, rows.lane_of(self.callback.event)

    @property
    def due_at(self) -> int:
        """When the line is due again."""
        return self.now if self.next_at is None else self.next_at

    @property
    def tried(self) -> bool:
        """False where it was given back untried."""
        return self.status is not None or self.error is not None


class CallbackUnits(Units):
    """Keeps undelivered callbacks in lines."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._ends = Gathered(self._end, most=_MOST)
        self._tries = Gathered(self._put_off, most=_MOST)

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
        verdict = _Verdict(callback, state, now, status, rows.plain(error), next_at, rows.plain(rest))
        await (self._tries if state == "pending" else self._ends)(verdict)

    async def _end(self, verdicts: Sequence[_Verdict]) -> Sequence[None]:
        return await self._write(partial(_end, verdicts=verdicts))

    async def _put_off(self, verdicts: Sequence[_Verdict]) -> Sequence[None]:
        return await self._write(partial(_put_off, verdicts=verdicts))

    async def kill_line(self, job_id: int, endpoint: str, reason: str, now: int) -> None:
        """See `ports.CallbackStore.kill_line`: the job event, which may have overtaken, is dead too."""
        del now  # the dead have no time of their own
        await self._write(partial(_kill, kills=[(rows.plain(reason), job_id, endpoint)]))

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


async def _put_off(db: Session, *, verdicts: Sequence[_Verdict]) -> Sequence[None]:
    tries = [
        (one.tried, one.status, one.error, one.callback.id, one.callback.attempts, one.job_id) for one in verdicts
    ]  # fmt: skip
    settled = {row[0] for row in await db.returned("settle_try", tries)}
    taken = [one for one in verdicts if one.callback.id in settled]
    await db.many("put_off_line", [(one.due_at, one.tried, *one.line) for one in taken])
    return [None] * len(verdicts)


async def _end(db: Session, *, verdicts: Sequence[_Verdict]) -> Sequence[None]:
    """All that is of one job is under its lock; the counter, which everybody waits for, comes last."""
    ends = [(one.state, one.status, one.error, one.now, one.callback.id, one.job_id) for one in verdicts]
    settled = {row[0] for row in await db.returned("settle_end", ends)}
    taken = [one for one in verdicts if one.callback.id in settled]
    kills = [(one.rest, *one.lines) for one in taken if one.rest is not None]
    killed = await db.many("kill_callbacks", kills)
    tally = Tally()
    tally.callbacks(-len(settled) - killed)
    parts: list[tuple[str, Sequence[rows.Row]]] = [
        ("advance_line", [(one.due_at, *one.line) for one in taken]),
        ("close_empty_lines", sorted({one.lines for one in taken})),
        ("release_job_line", sorted({(one.now, *one.lines) for one in taken})),
        *tally.parts(),
    ]
    await db.many_apart([(name, some) for name, some in parts if some])
    return [None] * len(verdicts)


async def _kill(db: Session, *, kills: Sequence[rows.Row]) -> None:
    tally = Tally()
    tally.callbacks(-await db.many("kill_callbacks", kills))
    lines = [tuple(line) for _, *line in kills]
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
