"""The store on PostgreSQL: any number of engines on one database.

The row of a job is the lock of all that belongs to it. Locks are taken in one order by everybody: a named lock (the
admission's, a queue's), jobs by id, their tasks by id, counters by name, the turn to write events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from taskengine.ports import Clock, Store
from taskengine.stores import queries
from taskengine.stores.callbacks import CallbackUnits
from taskengine.stores.clients import ClientUnits
from taskengine.stores.jobs import JobUnits
from taskengine.stores.postgres_connect import name_of
from taskengine.stores.postgres_migrate import migrate_postgres
from taskengine.stores.postgres_pulse import Pulse
from taskengine.stores.postgres_units import Transactions, open_transactions
from taskengine.stores.reading import ReadingUnits
from taskengine.stores.recurring import RecurringUnits
from taskengine.stores.session import Work
from taskengine.stores.sharing import Sharing

T = TypeVar("T")


class PostgresStore(JobUnits, ReadingUnits, ClientUnits, CallbackUnits, RecurringUnits):
    """`ports.Store` on PostgreSQL; each method is one transaction."""

    dialect = "postgres"
    most_known = 32

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        super().__init__(clock)
        self._transactions = transactions

    async def _write(self, work: Work[T], jobs: Sequence[int] = ()) -> T:
        self._recent.forget(jobs)
        return await self._transactions.write(work, jobs)

    async def _write_at_once(self, work: Work[T], jobs: Sequence[int]) -> T:
        del jobs  # none is held
        return await self._transactions.at_once(work)

    async def _write_apart(self, work: Work[T]) -> T:
        return await self._transactions.run(work)

    async def _read(self, work: Work[T]) -> T:
        return await self._transactions.run(work)

    async def _read_whole(self, work: Work[T]) -> T:
        return await self._transactions.read_whole(work)


@asynccontextmanager
async def open_postgres(url: str, clock: Clock, sharing: Sharing = Sharing.NONE) -> AsyncIterator[Store]:
    """Bring the schema of the database at `url` up to date, open it, and close it when what was begun is written."""
    pulse = Pulse(url, name_of(url), sharing)
    await migrate_postgres(url)
    async with pulse.beating():
        transactions = await open_transactions(url, name_of(url), queries.load("postgres"), pulse)
        try:
            yield PostgresStore(transactions, clock)
        finally:
            await transactions.close()
