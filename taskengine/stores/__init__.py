"""Stores: the databases of jobs, one adapter each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from taskengine.domain.errors import InvalidRequest
from taskengine.ports import Clock, Store
from taskengine.stores.sqlite import open_sqlite

Opener = Callable[[str, Clock], AbstractAsyncContextManager[Store]]

STORES: Mapping[str, Opener] = {"sqlite": open_sqlite}
_NOT_YET = frozenset({"postgres", "postgresql"})


def open_store(url: str, clock: Clock) -> AbstractAsyncContextManager[Store]:
    """The store that a database URL names, its schema brought up to date; InvalidRequest where there is none such."""
    scheme = url.partition(":")[0]
    if scheme in _NOT_YET:
        raise InvalidRequest("database: PostgreSQL is not yet supported; use sqlite:///path")
    if scheme not in STORES:
        raise InvalidRequest(f"database: {scheme!r} is not a known kind of database; known are {', '.join(STORES)}")
    return STORES[scheme](url, clock)
