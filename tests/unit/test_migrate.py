"""The runner of migrations."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from taskengine.domain.errors import InvalidRequest, SchemaMismatch, StoreUnavailable
from taskengine.stores.connect import connect
from taskengine.stores.migrate import Migration, Schema, apply, known, migrate, schema_of, statements

ONE = Migration(
    "0001_one", "CREATE TABLE meta (name, value);\nCREATE TABLE one (id INTEGER);\nINSERT INTO one VALUES (1);\n"
)
TWO = Migration("0002_two", "CREATE TABLE two (id INTEGER);")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """An empty database."""
    opened = connect(tmp_path / "x.db")
    yield opened
    opened.close()


def tables(connection: sqlite3.Connection) -> set[str]:
    """What the database has."""
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_each_migration_is_applied_once(connection: sqlite3.Connection) -> None:
    """In order, and noted with its checksum."""
    assert schema_of(connection) == Schema({})
    assert apply(connection, [ONE]) == ["0001_one"]
    assert apply(connection, [ONE, TWO]) == ["0002_two"]
    assert apply(connection, [ONE, TWO]) == []
    assert schema_of(connection) == Schema({"0001_one": ONE.checksum, "0002_two": TWO.checksum})
    assert connection.execute("SELECT count(*) FROM one").fetchone() == (1,)


def test_all_that_is_missing_is_applied_at_once(connection: sqlite3.Connection) -> None:
    """A new database is brought to the present schema by one call."""
    assert apply(connection, [ONE, TWO]) == ["0001_one", "0002_two"]


def test_a_migration_that_fails_leaves_nothing_of_itself(connection: sqlite3.Connection) -> None:
    """Those before it stay."""
    broken = Migration("0002_two", "CREATE TABLE two (id INTEGER);\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        apply(connection, [ONE, broken])
    assert tables(connection) == {"migrations", "meta", "one"}
    assert apply(connection, [ONE, TWO]) == ["0002_two"]


def test_a_migration_that_was_changed_is_refused(connection: sqlite3.Connection) -> None:
    """The database would not be what the files say."""
    apply(connection, [ONE])
    changed = Migration("0001_one", ONE.sql + "CREATE TABLE more (id INTEGER);")
    with pytest.raises(StoreUnavailable, match="0001_one was changed after it had been applied"):
        apply(connection, [changed, TWO])
    assert tables(connection) == {"migrations", "meta", "one"}


def test_an_older_engine_takes_a_newer_schema(connection: sqlite3.Connection) -> None:
    """It runs beside the new ones while they are put in its place, and may be gone back to."""
    apply(connection, [ONE, TWO])
    assert apply(connection, [ONE]) == []
    assert schema_of(connection).newer([ONE]) == ["0002_two"]


def test_a_migration_may_shut_older_engines_out(connection: sqlite3.Connection) -> None:
    """Those that do not know what it names: they would not understand the database any more."""
    three = Migration("0003_three", "INSERT INTO meta (name, value) VALUES ('least_schema', '0002_two');")
    apply(connection, [ONE, TWO, three])
    assert apply(connection, [ONE, TWO]) == []
    with pytest.raises(SchemaMismatch, match=r"newer than this version of the engine can use: it has 0002_two"):
        apply(connection, [ONE])


def test_a_script_is_taken_apart_at_the_ends_of_statements() -> None:
    """Semicolons in strings, comments and triggers are none."""
    script = (
        "-- A comment; with a semicolon.\nCREATE TABLE a (b TEXT DEFAULT ';');\n"
        "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\n  DELETE FROM a;\nEND;\n-- The end.\n"
    )
    first, second = statements(script)
    assert first.strip().endswith("(b TEXT DEFAULT ';');")
    assert second.startswith("CREATE TRIGGER")
    with pytest.raises(ValueError, match="a statement has no end: 'SELECT 1'"):
        list(statements("SELECT 1"))


async def test_migrating_by_url_tells_what_was_applied(tmp_path: Path) -> None:
    """As `taskengine migrate` does; the second time there is nothing to do."""
    url = f"sqlite:///{tmp_path}/data/x.db"
    assert await migrate(url) == [migration.name for migration in known("sqlite")]
    assert await migrate(url) == []


async def test_migrations_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    """Each is applied once, whoever comes first."""
    url = f"sqlite:///{tmp_path}/x.db"
    done = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sorted(name for names in done for name in names) == [one.name for one in known("sqlite")]


def test_a_database_that_another_process_writes_its_first_into_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses at once to turn it to the journal that is wanted."""
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.3, other.execute, ["COMMIT"])
    ends.start()
    with closing(connect(tmp_path / "x.db")) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ends.join()
    other.close()


async def test_databases_of_other_kinds_are_not_migrated() -> None:
    """And say so."""
    with pytest.raises(InvalidRequest, match="no migrations of 'mysql' databases"):
        await migrate("mysql://localhost/x")


def test_migrations_are_numbered_in_order() -> None:
    """0001, 0002, … without gaps."""
    numbers = [int(migration.name.split("_")[0]) for migration in known("sqlite")]
    assert numbers == list(range(1, len(numbers) + 1))
