"""Units of work on PostgreSQL: each a transaction on a connection of a pool, tried again where that may help."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

import asyncpg
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from taskengine.domain.errors import StoreUnavailable
from taskengine.stores.postgres_at_once import AtOnce
from taskengine.stores.postgres_connect import is_gone, is_passing, options, prepare, translate, translated
from taskengine.stores.postgres_pulse import Pulse
from taskengine.stores.postgres_session import PostgresSession, holding
from taskengine.stores.session import Work

T = TypeVar("T")

_MOST_CONNECTIONS = 10
_MOST_AT_ONCE = 3  # connections beside them, for decisions that hold nothing
_TRIES = 7
_CLOSE_TIMEOUT_S = 10
_ACQUIRE_S = 15  # for a connection that is free, or made
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
# It waits for a transaction of that connection which is still under way.
_LAST_COMMIT = """
INSERT INTO commits (connection, number, begun_at) VALUES ($1, 0, now())
ON CONFLICT (connection) DO UPDATE SET number = commits.number
RETURNING number
"""
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Connection(asyncpg.Connection):  # type: ignore[misc]  # the library carries no types
    """A connection with a name under which it notes its transactions."""

    __slots__ = ("mark",)
    mark: str


@dataclass(slots=True)
class Transactions:
    """Runs units of work on a pool of connections."""

    name: str  # of the database, as messages have it
    pool: Any
    quick: Any  # a pool whose statements are planned once, as those of transactions are: what is written at once
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

    async def at_once(self, work: Work[T]) -> T:
        """Run a unit of work that reads and then writes by one statement, holding nothing (`AtOnce`); return when it is
        durable. Raises Overtaken."""
        return await self._run(partial(self._at_once, work))

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
            self._terminate()
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                    await self.pool.execute("DELETE FROM commits WHERE starts_with(connection, $1)", self.mark)
                await asyncio.gather(self.pool.close(), self.quick.close())
        except TimeoutError:
            self._terminate()

    def _terminate(self) -> None:
        for pool in (self.pool, self.quick):
            pool.terminate()

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

    async def _at_once(self, work: Work[T]) -> T:
        async with self._acquired(self.quick) as connection:
            mark, number = connection.mark, next(self._numbers)
            committed = partial(self._was_committed, mark, number)
            return await work(AtOnce(connection, self.statements, (mark, number), committed))

    async def _write(self, work: Work[T], jobs: Sequence[int]) -> T:
        async with self._acquired() as connection:
            mark, number = connection.mark, next(self._numbers)
            async with self._rolled_back(connection):
                begin = _BEGIN.format(connection=mark, number=number)
                await connection.execute(f"{begin}; {holding(jobs)}" if jobs else begin)
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
    async def _acquired(self, pool: Any = None) -> AsyncIterator[Any]:
        """A connection. Where the database went away meanwhile, nobody waits for what it says of the end."""
        async with (pool or self.pool).acquire(timeout=_ACQUIRE_S) as connection:
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

    def pool(size: int, **settings: str) -> Any:
        kept = options()
        return asyncpg.create_pool(
            url, min_size=0, max_size=size, init=init, reset=_nothing, connection_class=Connection,
            **{**kept, "server_settings": {**kept["server_settings"], **settings}},
        )  # fmt: skip

    with translated(name):
        pools = await pool(_MOST_CONNECTIONS), await pool(_MOST_AT_ONCE, plan_cache_mode="force_generic_plan")

    async def forget() -> None:
        await asyncio.gather(*(one.expire_connections() for one in pools))

    pulse.on_away = forget
    return Transactions(name, *pools, mark, statements, pulse)
