"""Looking at a database from outside, without changing it: what it is, and whether an engine could use it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

from taskengine.domain.errors import StoreUnavailable
from taskengine.stores.connect import connect, sqlite_path, translated
from taskengine.stores.migrate import known, missing, schema_of

OLDEST_POSTGRES = 12  # `WITH … AS MATERIALIZED`


@dataclass(frozen=True, slots=True)
class Look:
    """What was found. `missing`: names of migrations that are to be applied; `newer`: of those that this version does not
    know, and can live with."""

    version: str
    missing: tuple[str, ...]
    newer: tuple[str, ...]


async def look(url: str) -> Look:
    """Look at the database at `url`.

    Raises InvalidRequest for a URL that is none, StoreUnavailable where it cannot be reached, is too old, lets this user
    not do what an engine does, or has a schema that does not fit this version (SchemaMismatch).
    """
    if url.startswith("sqlite:"):
        return _look_at_sqlite(url)
    return await _look_at_postgres(url)


def _look_at_sqlite(url: str) -> Look:
    import sqlite3

    path = sqlite_path(url)
    with translated(path), closing(connect(path, read_only=True)) as connection:
        schema = schema_of(connection)
    todo, newer = missing(known("sqlite"), schema), schema.newer(known("sqlite"))
    return Look(f"SQLite {sqlite3.sqlite_version}", tuple(one.name for one in todo), tuple(newer))


async def _look_at_postgres(url: str) -> Look:
    import asyncpg

    from taskengine.stores import postgres_migrate
    from taskengine.stores.postgres_connect import name_of, options
    from taskengine.stores.postgres_connect import translated as told

    name = name_of(url)
    with told(name):
        connection: Any = await asyncpg.connect(url, **options())
        try:
            version = connection.get_server_version()
            schema = await postgres_migrate.schema_of(connection)
            todo = missing(known("postgres"), schema)
            lacks = await connection.fetchval(_LACKS_CREATE if todo else _LACKS_WRITE)
        finally:
            await connection.close(timeout=10)
    if version.major < OLDEST_POSTGRES:
        raise StoreUnavailable(
            f"the database {name} is PostgreSQL {version.major}; at least {OLDEST_POSTGRES} is needed"
        )
    if lacks:
        raise StoreUnavailable(f"the database {name} does not let this user {lacks}")
    newer = schema.newer(known("postgres"))
    return Look(f"PostgreSQL {version.major}.{version.minor}", tuple(one.name for one in todo), tuple(newer))


# A schema that is to be made or changed needs the right to do so (a table's owner has it); one that is current does not.
_LACKS_CREATE = """
SELECT CASE WHEN current_schema() IS NULL THEN 'use any schema of its search path'
    WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN 'make tables in the schema ' || current_schema()
    END
"""
_LACKS_WRITE = """
SELECT 'write the table ' || min(c.relname) FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace(current_schema()::text) AND EXISTS (
    SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS needed(privilege)
    WHERE c.relname <> 'migrations' AND NOT has_table_privilege(c.oid, needed.privilege)
)
"""
