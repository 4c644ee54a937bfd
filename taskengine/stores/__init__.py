"""Stores: the databases of jobs, one adapter each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from taskengine.domain.errors import InvalidRequest
from taskengine.ports import Clock, Store
from taskengine.stores.sqlite import open_sqlite

Opener = Callable[[str, Clock], AbstractAsyncContextManager[Store]]


def _open_postgres(url: str, clock: Clock) -> AbstractAsyncContextManager[Store]:
    """Whoever uses SQLite does not wait for the driver of PostgreSQL to be imported."""
    from taskengine.stores.postgres import open_postgres

    return open_postgres(url, clock)


STORES: Mapping[str, Opener] = {"sqlite": open_sqlite, "postgresql": _open_postgres, "postgres": _open_postgres}


def open_store(url: str, clock: Clock) -> AbstractAsyncContextManager[Store]:
    """The store that a database URL names, its schema brought up to date; InvalidRequest where there is none such."""
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        raise InvalidRequest(f"database: {scheme!r} is not a known kind of database; known are {', '.join(STORES)}")
    return STORES[scheme](url, clock)
