"""Units of work on SQLite: one thread that writes, a few that read, and their sessions.

Units that wait together are committed together (one sync of the disk for all), each behind a savepoint of its own, and
their callers go on when the commit is durable. A caller that is cancelled leaves its unit to run: a transaction is
written as a whole or not at all.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from taskengine.domain.errors import StoreUnavailable
from taskengine.stores.connect import connect, translate
from taskengine.stores.rows import Row, dump
from taskengine.stores.session import Overtaken, Parameters, Seen, Session, Turn, Work

T = TypeVar("T")

_MOST_UNITS = 256  # that share one commit
_READERS = 2


class SqliteSession:
    """`session.Session` on a connection; nothing in it ever waits."""

    def __init__(self, connection: sqlite3.Connection, statements: Mapping[str, str]) -> None:
        self._connection = connection
        self._statements = statements
        self._taken: dict[str, int] = {}

    async def all(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of a statement."""
        return self._connection.execute(self._statements[name], parameters).fetchall()

    async def one(self, name: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a statement."""
        row: Row | None = self._connection.execute(self._statements[name], parameters).fetchone()
        return row

    async def value(self, name: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row; None where there is none."""
        row = await self.one(name, parameters)
        return None if row is None else row[0]

    async def run(self, name: str, parameters: Parameters = ()) -> int:
        """Execute a statement; how many rows it changed."""
        return self._connection.execute(self._statements[name], parameters).rowcount

    async def many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Execute a statement for each of the rows; how many rows were changed."""
        return self._connection.executemany(self._statements[name], rows).rowcount

    async def returned(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Execute a statement for each of the rows; every row that it returns."""
        return [row for each in rows for row in await self.all(name, each)]

    async def many_apart(
        self, parts: Sequence[tuple[str, Sequence[Row]]], turn: Turn | None = None, seen: Seen | None = None
    ) -> list[int]:
        """Execute the statements, each for its rows; how many rows each changed. Overtaken where the turn is not free."""
        del seen  # it is so: nobody else writes
        if turn is not None:
            heads = await self.all("waiting_heads", turn.parameters)
            if (heads[0][0] or 0) > turn.under_way or any(id_ is not None for *_, id_ in heads):
                raise Overtaken
        return [await self.many(name, rows) for name, rows in parts]

    async def select(self, statement: str, parameters: Parameters) -> list[Row]:
        """Every row of a statement that was put together from named parts."""
        return self._connection.execute(statement, parameters).fetchall()

    def part(self, name: str) -> str:
        """A named part of a statement."""
        return self._statements[name]

    def array(self, values: Iterable[Any]) -> str:
        """Several values as one parameter: JSON, for `json_each`."""
        return dump(list(values))

    async def all_of(self, parts: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Row]]:
        """Every row of each of the statements."""
        return [await self.all(name, parameters) for name, parameters in parts]

    async def hold(self, job_ids: Iterable[int]) -> None:
        """The writer is alone: it holds every job."""

    async def lock(self, name: str) -> None:
        """The writer is alone: it holds every lock."""

    async def take(self, counts: Mapping[str, int]) -> Mapping[str, Sequence[int]]:
        """Ids that were never given before, also where this transaction does not come to be."""
        return {sequence: await self._take(sequence, count) for sequence, count in counts.items()}

    async def _take(self, sequence: str, count: int) -> range:
        if not count:
            return range(0)
        last = await self.value("take_ids", (self._taken.get(sequence, 0), count, sequence))
        self._taken[sequence] = last
        return range(last - count + 1, last + 1)


def _done(work: Work[T], session: Session) -> T:
    """Drive a unit of work to its end, here and now."""
    unit = work(session)
    try:
        unit.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    unit.close()
    raise RuntimeError("a unit of work waited for something else than its session")


@dataclass(slots=True)
class _Unit:
    work: Work[Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class _Lost(Exception):
    """SQLite gave the whole transaction up, with the units before this one; `error` says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class Writer:
    """The thread that writes."""

    path: Path
    connection: sqlite3.Connection
    session: Session
    loop: asyncio.AbstractEventLoop
    _queue: SimpleQueue[_Unit | None] = field(default_factory=SimpleQueue)
    _closed: bool = False

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work in a transaction; return when it is durable."""
        if self._closed:
            raise StoreUnavailable(f"the database {self.path} is closed")
        unit = _Unit(work, self.loop.create_future())
        self._queue.put(unit)
        result: T = await unit.future
        return result

    def close(self) -> None:
        """Take nothing more; the thread ends when what waits is written."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def serve(self) -> None:
        """The thread's whole life; its connection is closed at its end, when nobody else can be using it."""
        with closing(self.connection):
            self._serve()

    def _serve(self) -> None:
        goes_on = True
        while goes_on:
            batch = self._batch()
            units = [unit for unit in batch if unit]
            try:
                self._commit(units)
            except sqlite3.Error as error:  # not even a rollback went: the callers must hear of it all the same
                _fail(units, translate(error, self.path))
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self.loop.call_soon_threadsafe(_settle, units)
            goes_on = batch[-1] is not None

    def _batch(self) -> list[_Unit | None]:
        """Wait for one unit, then take those that are there; None, the sign of the end, comes last."""
        units = [self._queue.get()]
        while units[-1] is not None and len(units) < _MOST_UNITS:
            try:
                units.append(self._queue.get_nowait())
            except Empty:
                break
        return units

    def _commit(self, units: list[_Unit]) -> None:
        """Run the units in one transaction; where that fails as a whole, each in its own."""
        if not units:
            return
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            _fail(units, translate(error, self.path))
            return
        try:
            for unit in units:
                self._run(unit)
            self.connection.execute("COMMIT")
        except _Lost as lost:
            self._try_apart(units, lost.error)
        except sqlite3.Error as error:
            self._try_apart(units, error)

    def _try_apart(self, units: list[_Unit], error: Exception) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        if len(units) == 1:
            _fail(units, translate(error, self.path))
            return
        for unit in units:
            self._commit([unit])

    def _run(self, unit: _Unit) -> None:
        unit.result, unit.error = None, None
        self.connection.execute("SAVEPOINT unit")
        try:
            unit.result = _done(unit.work, self.session)
        except Exception as error:
            if not self.connection.in_transaction:
                raise _Lost(error) from error
            self.connection.execute("ROLLBACK TO unit")
            unit.error = translate(error, self.path)
        self.connection.execute("RELEASE unit")


def _fail(units: list[_Unit], error: Exception) -> None:
    for unit in units:
        unit.error = error


def _settle(units: list[_Unit]) -> None:
    """Tell the callers, in the event loop; those that were cancelled do not hear it."""
    for unit in units:
        if unit.future.done():
            continue
        if unit.error is None:
            unit.future.set_result(unit.result)
        elif isinstance(unit.error, StopIteration):  # a future does not take it
            unit.future.set_exception(RuntimeError("a unit of work raised StopIteration"))
        else:
            unit.future.set_exception(unit.error)


class Readers:
    """A few threads that read, each unit of work in one snapshot, never waiting for the writer."""

    def __init__(self, path: Path, statements: Mapping[str, str]) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(_READERS, "store-reader")
        self._free: SimpleQueue[tuple[sqlite3.Connection, Session]] = SimpleQueue()
        self._closed = False
        for _ in range(_READERS):
            connection = connect(path, read_only=True)
            self._free.put((connection, SqliteSession(connection, statements)))

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work that only reads."""
        if self._closed:
            raise StoreUnavailable(f"the database {self._path} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    def _read(self, work: Work[T]) -> T:
        connection, session = self._free.get()
        try:
            connection.execute("BEGIN")
            try:
                return _done(work, session)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        finally:
            self._free.put((connection, session))

    def close(self) -> None:
        """Wait for what is being read, then close the connections."""
        self._closed = True
        self._pool.shutdown(wait=True)
        for _ in range(_READERS):
            self._free.get_nowait()[0].close()


def start_writer(writer: Writer) -> threading.Thread:
    """Start the writer's thread. It is a daemon: a process that dies without closing loses nothing that was committed."""
    thread = threading.Thread(target=writer.serve, name="store-writer", daemon=True)
    thread.start()
    return thread
