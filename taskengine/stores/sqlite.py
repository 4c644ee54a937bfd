"""The store on SQLite: nothing to install, one file, one process that writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path

from taskengine.ports import Clock, Store
from taskengine.stores import migrate, queries
from taskengine.stores.connect import connect, sqlite_path, translated
from taskengine.stores.sqlite_callbacks import CallbackUnits
from taskengine.stores.sqlite_clients import ClientUnits
from taskengine.stores.sqlite_jobs import JobUnits
from taskengine.stores.sqlite_reading import ReadingUnits
from taskengine.stores.units import Readers, Session, Writer, start_writer


class SqliteStore(JobUnits, ReadingUnits, ClientUnits, CallbackUnits):
    """`ports.Store` on SQLite; each method is one unit of work."""


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
    return Writer(path, connection, Session(connection, statements), loop), readers
