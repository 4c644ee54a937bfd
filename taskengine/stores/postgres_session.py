"""Statements on a connection to PostgreSQL, several of which may go as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from taskengine.stores.postgres_connect import escaped
from taskengine.stores.rows import Row
from taskengine.stores.session import Overtaken, Parameters, Seen, Turn

_NAMED = re.compile(r"(?<!:):([a-z_]+)")
_PLACE = re.compile(r"\$(\d+)")
_HOLD = "EXECUTE hold_jobs('{{{job_ids}}}')"  # prepared on every connection


@cache
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `$1` for the first of its `:named` parameters and so on, and their names in that order."""
    names = tuple(dict.fromkeys(_NAMED.findall(statement)))
    return _NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", statement), names


@cache
def in_one(parts: tuple[tuple[str, int], ...]) -> str:
    """Statements with `$1`, … (and how many of them each has) as one that tells how many rows each has changed."""
    written = ", ".join(f"part{place} AS ({statement} RETURNING 1)" for place, statement in enumerate(shifted(parts)))
    counts = ", ".join(f"(SELECT count(*) FROM part{place})" for place in range(len(parts)))  # noqa: S608 - our own names
    return f"WITH {written} SELECT {counts}"


@cache
def in_turn(parts: tuple[tuple[str, int], ...]) -> str:
    """As `in_one`, after a queue's turn, whose lock comes before all that is written: an array of the numbers, NULL where
    the queue was not as the turn had it. Its parameters are the last three."""
    queue, most, under_way = (f"${sum(count for _, count in parts) + place}" for place in (1, 2, 3))
    written = "".join(f", part{place} AS ({statement} RETURNING 1)" for place, statement in enumerate(shifted(parts)))
    counts = ", ".join(f"(SELECT count(*) FROM part{place})" for place in range(len(parts)))  # noqa: S608 - our own names
    return (
        f"WITH turn AS MATERIALIZED (SELECT * FROM queue_turn({queue}, {most})){written} "  # noqa: S608 - our own names
        f"SELECT CASE WHEN (SELECT count(id) = 0 AND coalesce(max(under_way), 0) <= {under_way} FROM turn) "
        f"THEN ARRAY[{counts}]::bigint[] END"
    )


@cache
def read_in_one(parts: tuple[tuple[str, int], ...]) -> str:
    """Statements that read, with `$1`, … (and how many of them each has), as one: the rows of all, each in the columns of
    its statement, which stand behind a mark `at0`, … that is NULL in the rows of others. As arrays of rows they would cost
    both sides three times as much: a row in an array names the type of each of its values."""
    written = ", ".join(f"part{place} AS ({statement})" for place, statement in enumerate(shifted(parts)))
    marked = [f"(SELECT true AS at{place}, * FROM part{place}) AS rows{place}" for place in range(len(parts))]  # noqa: S608 - our own names
    joined = "".join(f" FULL JOIN {one} ON false" for one in marked[1:])
    return f"WITH {written} SELECT * FROM {marked[0]}{joined}"  # noqa: S608 - our own names


def shifted(parts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Statements that stand in one: each has its parameters behind those of the one before."""
    taken = 0
    for statement, parameters in parts:
        yield _PLACE.sub(lambda found, taken=taken: f"${int(found[1]) + taken}", statement)  # type: ignore[misc]
        taken += parameters


def holding(job_ids: Iterable[int]) -> str:
    """Holds these jobs to the end of the transaction, as a text."""
    return _HOLD.format(job_ids=",".join(map(str, job_ids)))


class PostgresSession:
    """`session.Session` on a connection."""

    def __init__(self, connection: Any, statements: Mapping[str, str]) -> None:
        self._connection = connection
        self._statements = statements

    async def all(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of a statement."""
        return await self.select(self._statements[name], parameters)

    async def one(self, name: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a statement."""
        found = await self.all(name, parameters)
        return found[0] if found else None

    async def value(self, name: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row; None where there is none."""
        row = await self.one(name, parameters)
        return None if row is None else row[0]

    async def run(self, name: str, parameters: Parameters = ()) -> int:
        """Execute a statement; how many rows it changed."""
        statement, values = _bound(self._statements[name], parameters)
        status: str = await self._connection.execute(statement, *values)
        return int(status.rpartition(" ")[2])

    async def many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Execute a statement once for all of the rows, a column an array; how many rows were changed."""
        columns = self._columns(rows)
        return await self.run(name, columns) if columns else 0

    def _columns(self, rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
        return [self.array(column) for column in zip(*rows, strict=True)]

    async def returned(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Execute a statement once for all of the rows, a column an array; every row that it returns."""
        return await self.all(name, self._columns(rows)) if rows else []

    async def many_apart(
        self, parts: Sequence[tuple[str, Sequence[Row]]], turn: Turn | None = None, seen: Seen | None = None
    ) -> list[int]:
        """Execute the statements as one, each for its rows; how many rows each changed. Overtaken where the turn is not
        free."""
        del seen  # it is held
        if not parts:
            return []
        if len(parts) == 1 and turn is None:
            return [await self.many(*parts[0])]
        columns = [self._columns(rows) for _, rows in parts]
        shapes = tuple((self._statements[name], len(some)) for (name, _), some in zip(parts, columns, strict=True))
        values = [column for some in columns for column in some]
        if turn is not None:
            counts = await self._connection.fetchval(in_turn(shapes), *values, turn.queue, turn.most, turn.under_way)
            if counts is None:
                raise Overtaken
            return list(counts)
        [counts] = await self._connection.fetch(in_one(shapes), *values)
        return list(counts)

    async def all_of(self, parts: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Row]]:
        """Every row of each of the statements, which go as one."""
        together = read_in_one(tuple((self._statements[name], len(values)) for name, values in parts))
        records = await self._connection.fetch(together, *(value for _, values in parts for value in values))
        if not records:
            return [[] for _ in parts]
        names = [*records[0].keys()]
        marks = [names.index(f"at{place}") for place in range(len(parts))]
        spans = [(mark, slice(mark + 1, end)) for mark, end in pairwise([*marks, len(names)])]
        return [[record[columns] for record in records if record[mark]] for mark, columns in spans]

    async def select(self, statement: str, parameters: Parameters) -> list[Row]:
        """Every row of a statement that was put together from named parts."""
        statement, values = _bound(statement, parameters)
        return [tuple(record) for record in await self._connection.fetch(statement, *values)]

    def part(self, name: str) -> str:
        """A named part of a statement."""
        return self._statements[name]

    def array(self, values: Iterable[Any]) -> list[Any]:
        """Several values as one parameter: an array. The driver's own codec encodes its texts, which takes no NUL."""
        return [escaped(value) if type(value) is str else value for value in values]

    async def hold(self, job_ids: Iterable[int]) -> None:
        """Hold these jobs to the end of the transaction: nobody else writes anything that belongs to them."""
        await self._connection.execute(holding(job_ids))

    async def lock(self, name: str) -> None:
        """Hold this lock, whoever else has a session on this database, to the end of the transaction."""
        await self.all("lock", (name,))

    async def take(self, counts: Mapping[str, int]) -> Mapping[str, Sequence[int]]:
        """Ids of sequences: they do not go back, whatever becomes of the transaction."""
        taken: dict[str, list[int]] = {sequence: [] for sequence in counts}
        if any(counts.values()):
            for sequence, id_ in await self.all("take_ids", (self.array(counts), self.array(counts.values()))):
                taken[sequence].append(id_)
        return taken


def _bound(statement: str, parameters: Parameters) -> tuple[str, Sequence[Any]]:
    if not isinstance(parameters, Mapping):
        return statement, parameters
    text, names = numbered(statement)
    return text, [parameters[name] for name in names]
