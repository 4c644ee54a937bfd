"""Connections to PostgreSQL: how they are opened, what text becomes, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from taskengine.domain.errors import InvalidRequest, StoreUnavailable, UnknownState

STATEMENT_TIMEOUT_S = 30
_OPTIONS: dict[str, Any] = {
    "timeout": 10,  # to connect
    "command_timeout": STATEMENT_TIMEOUT_S + 5,  # where the server does not even say that it gave up
    "statement_cache_size": 256,  # more than there are names
    "max_cached_statement_lifetime": 0,
    "server_settings": {
        "application_name": "taskengine",
        "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": "60s",  # an engine that hangs does not hold its locks for ever
        # Nor does one whose host is gone: the server notices within 25 s.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "jit": "off",  # no statement here is worth a compilation
        # Every statement has its index; tables that grow faster than they are analysed must not mislead the planner.
        "enable_seqscan": "off",
    },
}
_ESCAPE, _NUL, _ESCAPED_NUL, _ESCAPED_ESCAPE = "\x1a", "\x00", "\x1a0", "\x1a1"

_AGAIN = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
)
_AWAY = (
    *_AGAIN,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    TimeoutError,
)


def options() -> dict[str, Any]:
    """How every connection is opened."""
    return dict(_OPTIONS)


def check_url(url: str) -> None:
    """InvalidRequest where the URL does not parse: its text, without its secret, is in the message."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidRequest(f"database: the URL cannot be understood: {error}") from None
    if not parts.path.strip("/") and "dbname" not in parse_qs(parts.query):
        raise InvalidRequest(
            f"database: {name_of(url)} names no database: postgresql://user:password@host/name is wanted"
        )


def name_of(url: str) -> str:
    """The database as messages name it: without who connects, and with what secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", []))
    return f"postgresql://{host}{parts.path}"


def to_database(text: str) -> bytes:
    """Text as PostgreSQL takes it: it refuses NUL, which is escaped; half a surrogate pair becomes a question mark."""
    return escaped(text).encode("utf-8", "replace")


def escaped(text: str) -> str:
    """Text without NUL, of which `from_database` makes the same text again."""
    if _NUL in text or _ESCAPE in text:
        return text.replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_NUL, _ESCAPED_NUL)
    return text


def from_database(data: bytes) -> str:
    """The text that `to_database` was given."""
    text = data.decode()
    return text.replace(_ESCAPED_NUL, _NUL).replace(_ESCAPED_ESCAPE, _ESCAPE) if _ESCAPE in text else text


async def prepare(connection: Any) -> None:
    """Set a new connection up."""
    await connection.set_type_codec(
        "text", schema="pg_catalog", encoder=to_database, decoder=from_database, format="binary"
    )


def is_gone(error: BaseException) -> bool:
    """Whether the connection was lost, so that nobody heard what became of the statement."""
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError) and any(
            word in str(error) for word in ("closed", "closing", "released")
        )
    return isinstance(error, (*_AGAIN[2:], asyncpg.InternalClientError, TimeoutError))


def is_passing(error: BaseException) -> bool:
    """Whether the same transaction may well succeed when it is tried again at once."""
    return isinstance(error, _AGAIN) or (is_gone(error) and not isinstance(error, TimeoutError))


def translate(error: Exception, name: str) -> Exception:
    """What a caller gets for an error: PostgreSQL's own are told as the domain's, all others are left as they are."""
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return UnknownState(f"the store refused a row: {error}")
    if isinstance(error, _AWAY) or is_gone(error):
        reason = str(error) or "it did not answer in time"
        return StoreUnavailable(f"the database {name} cannot be used now: {reason}")
    return error


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise errors of PostgreSQL and the network as the domain's, while a connection is made."""
    try:
        yield
    except (asyncpg.exceptions.ClientConfigurationError, ValueError) as error:
        raise InvalidRequest(f"database: {name} cannot be understood: {error}") from error
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise translate(error, name) from error
