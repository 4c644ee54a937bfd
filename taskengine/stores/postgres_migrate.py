"""Migrations of PostgreSQL: each in one transaction, under a lock, so that engines which start together do not meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from taskengine.stores.migrate import Migration, Schema, known, missing
from taskengine.stores.postgres_connect import name_of, options, translated
from taskengine.stores.queries import load

_TABLE = "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, checksum text NOT NULL)"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('migrations', 0))"
# An engine that died in the middle is waited for no longer than its server waits for it.
_PATIENCE = "SET LOCAL statement_timeout = '10min'"


async def schema_of(connection: Any) -> Schema:
    """What a database has."""
    if await connection.fetchval("SELECT to_regclass('migrations')") is None:
        return Schema({})
    return Schema.of(await connection.fetch(load("postgres")["schema"]))


async def apply(connection: Any, migrations: Sequence[Migration]) -> list[str]:
    """Bring a database to the state of `migrations`; the names of those that were applied now."""
    names: list[str] = []
    if not missing(migrations, await schema_of(connection)):
        return names
    while True:
        async with connection.transaction():
            await connection.execute(_PATIENCE)
            await connection.execute(_LOCK, timeout=600)
            todo = missing(migrations, await schema_of(connection))
            if todo:
                await connection.execute(_TABLE)
                await connection.execute(todo[0].sql, timeout=600)
                await connection.execute(
                    "INSERT INTO migrations (name, checksum) VALUES ($1, $2)", todo[0].name, todo[0].checksum
                )
                names.append(todo[0].name)
        if len(todo) <= 1:
            return names


async def migrate_postgres(url: str) -> list[str]:
    """Bring the database at `url` to this version's schema; the names of the migrations that were applied now."""
    with translated(name_of(url)):
        connection = await asyncpg.connect(url, **options())
        try:
            return await apply(connection, known("postgres"))
        finally:
            await connection.close(timeout=10)
