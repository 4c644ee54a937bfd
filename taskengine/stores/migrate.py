"""The runner of migrations: numbered plain SQL files, each applied once, in one transaction, and never changed after."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from taskengine.domain.errors import InvalidRequest, SchemaMismatch
from taskengine.stores.connect import connect, sqlite_path, translated
from taskengine.stores.queries import load, sql_files, sql_folder

_LEAST = "least_schema"
_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    name TEXT PRIMARY KEY,
    checksum TEXT NOT NULL
) STRICT, WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: its file's name without the suffix, and its SQL."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells whether the file was changed after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database has: its migrations (name → checksum), and the one that an engine must at least know to use it. A
    migration that older engines cannot live with writes that into `meta` as `least_schema`."""

    applied: Mapping[str, str]
    least: str | None = None

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str]]) -> Schema:
        """What the statement `schema` finds."""
        found = dict(rows)
        least = found.pop(_LEAST, None)
        return cls(found, least)

    def newer(self, migrations: Sequence[Migration]) -> list[str]:
        """The migrations that it has beyond these."""
        return sorted(self.applied.keys() - {migration.name for migration in migrations})


def known(dialect: str) -> list[Migration]:
    """The migrations that this version of the code has, in order."""
    folder = sql_folder(dialect) / "migrations"
    return [Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in sql_files(folder)]


def missing(migrations: Sequence[Migration], schema: Schema) -> list[Migration]:
    """What is to be applied; SchemaMismatch where the database does not fit this code. One that a newer engine has migrated
    fits, unless it says otherwise: the engines of the version before go on beside the new ones, and may be gone back to."""
    if schema.least is not None and schema.least not in {migration.name for migration in migrations}:
        raise SchemaMismatch(
            f"the database's schema is newer than this version of the engine can use: it has {schema.least}; "
            "upgrade the engine"
        )
    for migration in migrations:
        if schema.applied.get(migration.name, migration.checksum) != migration.checksum:
            raise SchemaMismatch(
                f"the migration {migration.name} was changed after it had been applied to this database"
            )
    return [migration for migration in migrations if migration.name not in schema.applied]


def statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in statement.splitlines()):
        raise ValueError(f"a statement has no end: {statement.strip()[:60]!r}")


def schema_of(connection: sqlite3.Connection) -> Schema:
    """What a database has."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'").fetchone():
        return Schema({})
    return Schema.of(connection.execute(load("sqlite")["schema"]))


def apply(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """Bring a database to the state of `migrations`; the names of those that were applied now."""
    names = []
    while True:
        connection.execute("BEGIN IMMEDIATE")  # another process may be at it: what is missing is known under the lock
        try:
            todo = missing(migrations, schema_of(connection))
            if todo:
                _apply(connection, todo[0])
                names.append(todo[0].name)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if len(todo) <= 1:
            return names


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    connection.execute(_TABLE)
    for statement in statements(migration.sql):
        connection.execute(statement)
    connection.execute("INSERT INTO migrations (name, checksum) VALUES (?, ?)", (migration.name, migration.checksum))


async def migrate(url: str) -> list[str]:
    """Bring the database at `url` to this version's schema; the names of the migrations that were applied now."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return await asyncio.to_thread(_migrate_sqlite, url)
    if scheme in {"postgres", "postgresql"}:
        from taskengine.stores.postgres_migrate import migrate_postgres

        return await migrate_postgres(url)
    raise InvalidRequest(f"database: there are no migrations of {scheme!r} databases")


def _migrate_sqlite(url: str) -> list[str]:
    path = sqlite_path(url)
    with translated(path), closing(connect(path)) as connection:
        return apply(connection, known("sqlite"))
