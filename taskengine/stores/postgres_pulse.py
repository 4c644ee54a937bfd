"""The pulse of a PostgreSQL: one connection that asks every second whether the server answers, and takes changes.

Whoever waits for a server that is away would learn of it late: a refused connection is tried again for seconds, and one
that swallows what it is sent answers never. So what runs is ended, and what comes is refused at once, as soon as two
looks in a row have failed, until one succeeds. A server that has become a standby answers what is read, and is away as
well: each look connects anew then, and finds the one that took its place. The same connection holds the claim by which
engines share a database or do not: it is the server's, and goes with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import structlog

from taskengine.domain.errors import StoreUnavailable
from taskengine.stores.postgres_connect import options, translated
from taskengine.stores.sharing import Sharing

log = structlog.get_logger(__name__)

_EVERY_S = 1.0
_PATIENCE_S = 2.0  # with the answer to a look
_CONNECT_S = 4.0  # with a connection and its claim
_LOOK = """
DO $$ BEGIN
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION 'it takes no changes (a standby, or default_transaction_read_only)'
        USING ERRCODE = 'read_only_sql_transaction';
    END IF;
END $$
"""  # one message each way, which a statement that has to be prepared is not
_FAILURES = 2  # in a row, before the server counts as away: one may be a cut connection, or a stalled process
_CLAIMS = {
    Sharing.SHARED: "SELECT pg_try_advisory_lock_shared(hashtextextended('taskengine.engines', 0))",
    Sharing.ALONE: "SELECT pg_try_advisory_lock(hashtextextended('taskengine.engines', 0))",
}
_REFUSED = {
    Sharing.SHARED: "an engine whose broker is memory:// uses the database {name}: it can have no other engine beside "
    "it. Stop it, or give both the same --broker amqp://…",
    Sharing.ALONE: "another engine uses the database {name}, and with the broker memory:// this one would take its "
    "tasks away. Stop the other, or give both the same --broker amqp://…",
}


class Pulse:
    """Says whether the database is away, and ends what waits for it then."""

    def __init__(
        self, url: str, name: str, sharing: Sharing, on_away: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._url, self._name, self._sharing = url, name, sharing
        self.on_away = on_away
        self.away: str | None = None  # why it cannot be used now
        self._connection: Any = None
        self._limits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """What is done inside ends with StoreUnavailable as soon as the database is away."""
        if self.away is not None:
            raise self._unavailable()
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limits.add(limit)
                yield
        except TimeoutError:
            if limit.expired():
                raise self._unavailable() from None
            raise
        finally:
            self._limits.discard(limit)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Look once a second until the block ends. The first look is now: what it finds is raised."""
        try:
            with translated(self._name):
                await self._look()
        except BaseException:
            self._drop()
            raise
        task = asyncio.create_task(self._beat(), name="the database's pulse")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._drop()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        failures, since = 0, loop.time()
        while True:
            try:
                await self._look()
            except asyncpg.TooManyConnectionsError:
                self._drop()  # it answers, and others' connections are as good as they were
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may find the server
                self._drop()
                failures += 1
                if failures >= _FAILURES and self.away is None:
                    since = loop.time()
                    await self._gone(str(error) or "it did not answer in time")
                elif self.away is None:
                    continue
            else:
                failures = 0
                if self.away is not None:
                    self.away = None
                    log.info("database_back", database=self._name, away_s=round(loop.time() - since, 1))
            await asyncio.sleep(_EVERY_S)

    async def _look(self) -> None:
        if self._connection is None:
            async with asyncio.timeout(_CONNECT_S):
                await self._connect()
        async with asyncio.timeout(_PATIENCE_S):
            await self._connection.execute(_LOOK)

    async def _connect(self) -> None:
        self._connection = await asyncpg.connect(self._url, **options())
        claim = _CLAIMS.get(self._sharing)
        if claim and not await self._connection.fetchval(claim):
            self._drop()
            raise StoreUnavailable(_REFUSED[self._sharing].format(name=self._name))

    async def _gone(self, reason: str) -> None:
        self.away = reason
        log.error("database_away", database=self._name, reason=reason, calls_ended=len(self._limits))
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)
        if self.on_away is not None:
            await self.on_away()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def _unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(f"the database {self._name} cannot be used now: {self.away}")
