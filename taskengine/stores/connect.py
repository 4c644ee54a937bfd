"""Connections to SQLite: how they are opened, and what their errors mean."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskengine.domain.errors import InvalidRequest, StoreUnavailable, UnknownState

_PREFIX = "sqlite:///"
_BUSY_TIMEOUT_S = 10.0
_AGAIN_S = 0.01
_STATEMENTS = 256  # kept prepared per connection: more than there are names


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///relative/path` or `sqlite:////absolute/path` URL."""
    name = url.removeprefix(_PREFIX)
    if name == url or not name or name == ":memory:":
        raise InvalidRequest(
            f"database: {url!r} does not name a file; write sqlite:///path or sqlite:////absolute/path"
        )
    return Path(name).absolute()


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection that any one thread at a time may use; the file is made, for this user alone, if need be."""
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False,
        cached_statements=_STATEMENTS,
    )  # fmt: skip
    try:
        _configure(connection, read_only=read_only)
    except BaseException:
        connection.close()
        raise
    return connection


def _configure(connection: sqlite3.Connection, *, read_only: bool) -> None:
    if not read_only:
        _write_ahead(connection)
        connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -8000")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have readers and a writer be at it together. To turn a new database to it takes a lock that SQLite waits for not at
    all, so that of several who open it at once some were refused."""
    until = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def translate(error: Exception, path: Path) -> Exception:
    """What a caller gets for an error: SQLite's own are told as the domain's, all others are left as they are."""
    if isinstance(error, sqlite3.IntegrityError):
        return UnknownState(f"the store refused a row: {error}")
    if type(error) in {sqlite3.OperationalError, sqlite3.DatabaseError} and not _is_defect(error):
        return StoreUnavailable(f"the database {path} cannot be used now: {error}")
    return error


def _is_defect(error: Exception) -> bool:
    """Whether the statement is wrong, not the database."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and the file system as the domain's."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error
    except sqlite3.Error as error:
        raise translate(error, path) from error
