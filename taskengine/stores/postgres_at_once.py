"""Decisions that hold nothing while they are made: what they saw is held and judged by the statement that writes them.

A transaction that holds its jobs from the beginning takes four round trips. Where nobody else decides about a job, which is
nearly always, two do: one that reads, one that holds what was read, judges whether it is still so, and writes. Where it is
not, nothing is written, and the decision is made again under its locks. What this engine left of a job lately (`recent`) is
judged in the same way, and not read: one round trip.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import asyncpg

from taskengine.stores.postgres_connect import is_gone
from taskengine.stores.postgres_session import PostgresSession, shifted
from taskengine.stores.rows import Row
from taskengine.stores.session import Overtaken, Seen, SeenJob, SeenTask, Turn

_REFUSED = "TE001"  # raised by the function `overtaken` of the database
_NOTED = (
    "INSERT INTO commits (connection, number, begun_at) VALUES ($1, $2, now()) "
    "ON CONFLICT (connection) DO UPDATE SET number = excluded.number, begun_at = excluded.begun_at RETURNING true AS so"
)
_FREE = "SELECT count(id) = 0 AND coalesce(max(under_way), 0) <= $3::bigint AS so FROM queue_turn($1, $2)"
_Shape = tuple[str, int]  # a statement with `$1`, … and how many of them it has


@cache
def _judged(checks: tuple[_Shape, ...], parts: tuple[_Shape, ...]) -> str:
    """The checks, one after the other, each of which tells by one row whether it is `so`; then the parts, where all are: how
    many rows each of them has changed."""
    texts = [*shifted((*checks, *parts))]
    judging = [f"check{place} AS ({text})" for place, text in enumerate(texts[: len(checks)])]
    writing = [f"part{place} AS ({text} RETURNING 1)" for place, text in enumerate(texts[len(checks) :])]
    counts = ", ".join(f"(SELECT count(*) FROM part{place})" for place in range(len(parts)))  # noqa: S608 - our own names
    result = f"ARRAY[{counts}]::bigint[]"
    for place in reversed(range(len(checks))):  # of a CASE nothing is evaluated before its condition
        result = f"CASE WHEN (SELECT so FROM check{place}) THEN {result} ELSE overtaken() END"  # noqa: S608 - our own names
    return f"WITH {', '.join([*judging, *writing])} SELECT {result}"


def _all_held(statement: str) -> str:
    """A check that as many rows are held as there must be, by a statement with four parameters that holds them."""
    return f"SELECT count(*) = $5::bigint AS so FROM ({statement}) AS held"  # noqa: S608 - our own names


class AtOnce(PostgresSession):
    """A session that reads what a decision is made of, takes ids, and writes once; anything else needs the locks."""

    def __init__(
        self,
        connection: Any,
        statements: Mapping[str, str],
        mark: tuple[str, int],
        was_committed: Callable[[], Awaitable[bool]],
    ) -> None:
        """`mark`: the connection's, and the number of this transaction."""
        super().__init__(connection, {**statements, "snapshot_tasks": statements["seen_tasks"]})
        self._mark, self._was_committed = mark, was_committed

    async def many_apart(
        self, parts: Sequence[tuple[str, Sequence[Row]]], turn: Turn | None = None, seen: Seen | None = None
    ) -> list[int]:
        """Execute the statements as one, in a transaction of its own, where all is as it was seen; else Overtaken."""
        if seen is None:
            raise Overtaken
        if not parts:
            return []
        jobs, tasks = self._statements["jobs_as_seen"], self._statements["tasks_as_seen"]
        checks = [(_NOTED, 2), (_all_held(jobs), 5), (_all_held(tasks), 5), *([(_FREE, 3)] if turn else [])]
        values = [*self._mark, *_columns(seen.jobs), len(seen.jobs), *_columns(seen.tasks), len(seen.tasks)]
        values += [turn.queue, turn.most, turn.under_way] if turn else []
        columns = [self._columns(rows) for _, rows in parts]
        shapes = tuple((self._statements[name], len(some)) for (name, _), some in zip(parts, columns, strict=True))
        values += [column for some in columns for column in some]
        try:
            return list(await self._connection.fetchval(_judged(tuple(checks), shapes), *values))
        except Exception as error:
            if isinstance(error, asyncpg.PostgresError) and error.sqlstate == _REFUSED:
                raise Overtaken from None
            if not is_gone(error):
                raise
            with suppress(asyncpg.InterfaceError):  # where the pool knows it already
                self._connection.terminate()
            if await self._was_committed():  # as it was judged: each row was found
                return [len(rows) for _, rows in parts]
            raise ConnectionError("the connection was lost before the commit") from error

    async def take(self, counts: Mapping[str, int]) -> Mapping[str, Sequence[int]]:
        """Ids of sequences: they do not go back, whatever becomes of the decision."""
        return await PostgresSession(self._connection, self._statements).take(counts)

    async def _refused(self, *_values: Any, **_named: Any) -> Any:
        raise Overtaken

    select = run = hold = _refused  # they lock, or write apart from the rest


def _columns(rows: Sequence[SeenJob | SeenTask]) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(4)]
