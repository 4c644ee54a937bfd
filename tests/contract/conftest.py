"""The adapters that each contract is tried on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from taskengine.ports import Store
from taskengine.stores import open_store
from tests.support.clock import MovedClock
from tests.support.postgres import PostgresServer
from tests.support.stores import database, store

__all__ = ["database", "store"]


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    """A database of the test's own."""
    made = await postgres.new_database(await postgres.migrated())
    yield made
    await postgres.drop_database(made)


@pytest.fixture
async def engines(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores on one database."""
    async with AsyncExitStack() as opened:
        one = await opened.enter_async_context(open_store(url, MovedClock()))
        yield one, await opened.enter_async_context(open_store(url, MovedClock()))
