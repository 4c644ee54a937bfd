"""The store on SQLite: nothing to install, one file, one process that writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

from taskengine.domain.errors import StoreUnavailable
from taskengine.ports import Clock, Store
from taskengine.stores import migrate, queries
from taskengine.stores.callbacks import CallbackUnits
from taskengine.stores.clients import ClientUnits
from taskengine.stores.connect import connect, sqlite_path, translated
from taskengine.stores.jobs import JobUnits
from taskengine.stores.reading import ReadingUnits
from taskengine.stores.recurring import RecurringUnits
from taskengine.stores.session import Work
from taskengine.stores.units import Readers, SqliteSession, Writer, start_writer

T = TypeVar("T")


class SqliteStore(JobUnits, ReadingUnits, ClientUnits, CallbackUnits, RecurringUnits):
    """`ports.Store` on SQLite: one hop to a thread for each unit of work, however many statements it has."""

    dialect = "sqlite"

    def __init__(self, path: Path, writer: Writer, readers: Readers, clock: Clock) -> None:
        super().__init__(clock)
        self._path = path
        self._writer = writer
        self._readers = readers

    async def _write(self, work: Work[T], jobs: Sequence[int] = ()) -> T:
        del jobs  # the writer is alone
        return await self._writer.run(work)

    async def _write_apart(self, work: Work[T]) -> T:
        return await self._writer.run(work)

    async def _read(self, work: Work[T]) -> T:
        return await self._readers.run(work)

    async def _read_whole(self, work: Work[T]) -> T:
        return await self._readers.run(work)

    async def check(self) -> None:
        """See `ports.JobStore.check`: the file may have been taken away from under its connections."""
        if not self._path.exists():
            raise StoreUnavailable(f"the database {self._path} is not there any more")
        await super().check()


@asynccontextmanager
async def open_sqlite(url: str, clock: Clock) -> AsyncIterator[Store]:
    """Open the database at `url`, bring its schema up to date, and close it when what was begun is written."""
    path = sqlite_path(url)
    statements = queries.load("sqlite")
    writer, readers = await asyncio.to_thread(_open, path, statements, asyncio.get_running_loop())
    thread = start_writer(writer)
    try:
        yield SqliteStore(path, writer, readers, clock)
    finally:
        try:
            await asyncio.to_thread(readers.close)
        finally:  # the writer's connection is the last one: it leaves the database as one whole file
            writer.close()
            await asyncio.to_thread(thread.join)


def _open(path: Path, statements: Mapping[str, str], loop: asyncio.AbstractEventLoop) -> tuple[Writer, Readers]:
    with translated(path), ExitStack() as opened:
        connection = opened.enter_context(closing(connect(path)))
        migrate.apply(connection, migrate.known("sqlite"))
        readers = Readers(path, statements)
        opened.pop_all()  # from here on they are closed by those who have them
    return Writer(path, connection, SqliteSession(connection, statements), loop), readers
