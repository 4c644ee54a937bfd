"""Stores: the databases of jobs, one adapter each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from taskengine.domain.errors import InvalidRequest
from taskengine.ports import Clock, Store
from taskengine.stores.connect import sqlite_path
from taskengine.stores.sharing import Sharing
from taskengine.stores.sqlite import open_sqlite

Opener = Callable[[str, Clock, Sharing], AbstractAsyncContextManager[Store]]


def _open_postgres(url: str, clock: Clock, sharing: Sharing) -> AbstractAsyncContextManager[Store]:
    """Whoever uses SQLite does not wait for the driver of PostgreSQL to be imported."""
    from taskengine.stores.postgres import open_postgres

    return open_postgres(url, clock, sharing)


def _open_sqlite(url: str, clock: Clock, _: Sharing) -> AbstractAsyncContextManager[Store]:
    """The file has one engine at a time, which owns its data directory."""
    return open_sqlite(url, clock)


STORES: Mapping[str, Opener] = {"sqlite": _open_sqlite, "postgresql": _open_postgres, "postgres": _open_postgres}


def open_store(url: str, clock: Clock, sharing: Sharing = Sharing.NONE) -> AbstractAsyncContextManager[Store]:
    """The store that a database URL names, its schema brought up to date; InvalidRequest where there is none such.

    `sharing`: what is claimed of a database on a server while it is open; StoreUnavailable where others' claims are
    against it.
    """
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        raise InvalidRequest(f"database: {scheme!r} is not a known kind of database; known are {', '.join(STORES)}")
    return STORES[scheme](url, clock, sharing)


def check_url(url: str) -> None:
    """InvalidRequest where a store cannot read its URL; nothing is connected to."""
    if url.startswith("postgres"):
        from taskengine.stores.postgres_connect import check_url as check

        check(url)
    else:
        sqlite_path(url)


__all__ = ["STORES", "Sharing", "check_url", "open_store"]
