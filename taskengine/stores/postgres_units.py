"""Units of work on PostgreSQL: each a transaction on a connection of a pool, tried again where that may help."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count, pairwise
from typing import Any, TypeVar

import asyncpg
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from taskengine.domain.errors import StoreUnavailable
from taskengine.stores.postgres_connect import escaped, is_gone, is_passing, options, prepare, translate, translated
from taskengine.stores.postgres_pulse import Pulse
from taskengine.stores.rows import Row
from taskengine.stores.session import Overtaken, Parameters, Turn, Work

T = TypeVar("T")

_MOST_CONNECTIONS = 10
_TRIES = 7
_CLOSE_TIMEOUT_S = 10
_ACQUIRE_S = 15  # for a connection that is free, or made
_NAMED = re.compile(r"(?<!:):([a-z_]+)")
_PLACE = re.compile(r"\$(\d+)")
# What is written here tells later whether the transaction was committed.
_PREPARED = """
PREPARE note_commit (text, bigint) AS
INSERT INTO commits (connection, number, begun_at) VALUES ($1, $2, now())
ON CONFLICT (connection) DO UPDATE SET number = excluded.number, begun_at = excluded.begun_at;
PREPARE hold_jobs (bigint[]) AS {hold_jobs}
"""
# One message for all that begins a transaction. What is planned for the values at hand is never better, where rows are found
# by their ids, and costs the server more than to execute it.
_BEGIN = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; EXECUTE note_commit('{connection}', {number})"
_HOLD = "EXECUTE hold_jobs('{{{job_ids}}}')"
# It waits for a transaction of that connection which is still under way.
_LAST_COMMIT = """
INSERT INTO commits (connection, number, begun_at) VALUES ($1, 0, now())
ON CONFLICT (connection) DO UPDATE SET number = commits.number
RETURNING number
"""
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@cache
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `$1` for the first of its `:named` parameters and so on, and their names in that order."""
    names = tuple(dict.fromkeys(_NAMED.findall(statement)))
    return _NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", statement), names


@cache
def in_one(parts: tuple[tuple[str, int], ...]) -> str:
    """Statements with `$1`, … (and how many of them each has) as one that tells how many rows each has changed."""
    written = ", ".join(f"part{place} AS ({statement} RETURNING 1)" for place, statement in enumerate(_shifted(parts)))
    counts = ", ".join(f"(SELECT count(*) FROM part{place})" for place in range(len(parts)))  # noqa: S608 - our own names
    return f"WITH {written} SELECT {counts}"


@cache
def in_turn(parts: tuple[tuple[str, int], ...]) -> str:
    """As `in_one`, after a queue's turn, whose lock comes before all that is written: an array of the numbers, NULL where
    the queue was not as the turn had it. Its parameters are the last three."""
    queue, most, under_way = (f"${sum(count for _, count in parts) + place}" for place in (1, 2, 3))
    written = "".join(f", part{place} AS ({statement} RETURNING 1)" for place, statement in enumerate(_shifted(parts)))
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
    written = ", ".join(f"part{place} AS ({statement})" for place, statement in enumerate(_shifted(parts)))
    marked = [f"(SELECT true AS at{place}, * FROM part{place}) AS rows{place}" for place in range(len(parts))]  # noqa: S608 - our own names
    joined = "".join(f" FULL JOIN {one} ON false" for one in marked[1:])
    return f"WITH {written} SELECT * FROM {marked[0]}{joined}"  # noqa: S608 - our own names


def _shifted(parts: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Statements that stand in one: each has its parameters behind those of the one before."""
    taken = 0
    for statement, parameters in parts:
        yield _PLACE.sub(lambda found, taken=taken: f"${int(found[1]) + taken}", statement)  # type: ignore[misc]
        taken += parameters


def _holding(job_ids: Iterable[int]) -> str:
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

    async def many_apart(self, parts: Sequence[tuple[str, Sequence[Row]]], turn: Turn | None = None) -> list[int]:
        """Execute the statements as one, each for its rows; how many rows each changed. Overtaken where the turn is not
        free."""
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
                raise Overtaken(turn.queue)
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
        await self._connection.execute(_holding(job_ids))

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


class Connection(asyncpg.Connection):  # type: ignore[misc]  # the library carries no types
    """A connection with a name under which it notes its transactions."""

    __slots__ = ("mark",)
    mark: str


@dataclass(slots=True)
class Transactions:
    """Runs units of work on a pool of connections."""

    name: str  # of the database, as messages have it
    pool: Any
    mark: str  # of this store's connections
    statements: Mapping[str, str]
    pulse: Pulse
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _running: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    async def write(self, work: Work[T], jobs: Sequence[int] = ()) -> T:
        """Run a unit of work in a transaction that holds these jobs; return when it is durable."""
        return await self._run(partial(self._write, work, jobs))

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work, each of its statements for itself: what is tried again may have been done before."""
        return await self._run(partial(self._apart, work))

    async def read_whole(self, work: Work[T]) -> T:
        """Run a unit of work that only reads, in one snapshot."""
        return await self._run(partial(self._read_whole, work))

    async def close(self) -> None:
        """Wait for what was begun, then close the connections."""
        self._closed = True
        while self._running:
            self._idle.clear()
            await self._idle.wait()
        if self.pulse.away is not None:
            self.pool.terminate()
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    await self.pool.execute("DELETE FROM commits WHERE starts_with(connection, $1)", self.mark)
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    async def _run(self, once: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise StoreUnavailable(f"the database {self.name} is closed")
        self._running += 1
        try:
            async with self.pulse.limited():
                return await self._tried(once)
        except Exception as error:
            told = translate(error, self.name)
            if told is error:
                raise
            raise told from error
        finally:
            self._running -= 1
            self._idle.set()

    async def _tried(self, once: Callable[[], Awaitable[T]]) -> T:
        """Serialization failures, deadlocks and lost connections pass; what is away for longer is told."""
        try:
            return await once()
        except Exception as error:
            if not is_passing(error):
                raise
        retrying = AsyncRetrying(
            retry=retry_if_exception(is_passing), stop=stop_after_attempt(_TRIES - 1), reraise=True,
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
        )  # fmt: skip
        return await retrying(once)

    async def _apart(self, work: Work[T]) -> T:
        async with self._acquired() as connection:
            return await work(PostgresSession(connection, self.statements))

    async def _read_whole(self, work: Work[T]) -> T:
        async with self._acquired() as connection, self._rolled_back(connection):
            await connection.execute(_BEGIN_READING)
            result = await work(PostgresSession(connection, self.statements))
            await connection.execute("COMMIT")
            return result

    async def _write(self, work: Work[T], jobs: Sequence[int]) -> T:
        async with self._acquired() as connection:
            mark, number = connection.mark, next(self._numbers)
            async with self._rolled_back(connection):
                begin = _BEGIN.format(connection=mark, number=number)
                await connection.execute(f"{begin}; {_holding(jobs)}" if jobs else begin)
                result = await work(PostgresSession(connection, self.statements))
            try:
                ended = await connection.execute("COMMIT")
            except Exception as error:
                if not is_gone(error):
                    raise
                with suppress(asyncpg.InterfaceError):  # where the pool knows it already
                    connection.terminate()
                lost = error
            else:
                if ended != "COMMIT":
                    raise RuntimeError("a unit of work went on after one of its statements had failed")
                return result
        if await self._was_committed(mark, number):
            return result
        raise ConnectionError("the connection was lost before the commit") from lost

    async def _was_committed(self, mark: str, number: int) -> bool:
        """Ask over another connection what became of a commit that was not answered."""
        try:
            return bool(await self._tried(partial(self._last_commit, mark)) == number)
        except Exception as error:
            raise StoreUnavailable(
                f"the database {self.name} went away before it answered a commit, which may have been made: {error}"
            ) from error

    async def _last_commit(self, mark: str) -> int:
        async with self._acquired() as connection:
            found: int = await connection.fetchval(_LAST_COMMIT, mark)
            return found

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        """A connection. Where the database went away meanwhile, nobody waits for what it says of the end."""
        async with self.pool.acquire(timeout=_ACQUIRE_S) as connection:
            try:
                yield connection
            except BaseException:
                if self.pulse.away is not None:
                    with suppress(asyncpg.InterfaceError):  # where the pool knows it already
                        connection.terminate()
                raise

    @asynccontextmanager
    async def _rolled_back(self, connection: Any) -> AsyncIterator[None]:
        """Where what is done inside fails, nothing of it stays."""
        try:
            yield
        except BaseException as error:
            try:
                if is_gone(error) or self.pulse.away is not None:  # the server rolls back for whom it loses
                    connection.terminate()
                else:
                    await connection.execute("ROLLBACK", timeout=_CLOSE_TIMEOUT_S)
            except Exception as fault:
                if not is_gone(fault):
                    raise
            raise


async def _nothing(connection: Any) -> None:
    """Connections keep no state between units: what `DISCARD` would cost a round trip for is not there."""


async def open_transactions(url: str, name: str, statements: Mapping[str, str], pulse: Pulse) -> Transactions:
    """Open a pool of connections to a database whose schema is current. What the pool has when the database goes away
    is not used again."""
    mark, numbers = secrets.token_hex(12), count(1)

    async def init(connection: Any) -> None:
        connection.mark = f"{mark}-{next(numbers)}"
        await prepare(connection)
        await connection.execute(_PREPARED.format(**statements))

    with translated(name):
        pool = await asyncpg.create_pool(
            url, min_size=0, max_size=_MOST_CONNECTIONS, init=init, reset=_nothing, connection_class=Connection,
            **options(),
        )  # fmt: skip
    pulse.on_away = pool.expire_connections
    return Transactions(name, pool, mark, statements, pulse)
