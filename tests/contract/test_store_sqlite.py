"""What the SQLite store promises beyond the contract: shared commits, plans without scans, faults that are told."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InvalidRequest, StoreUnavailable
from taskengine.ports import JobFilter
from taskengine.stores import migrate, open_store, queries
from taskengine.stores.connect import connect
from taskengine.stores.reading import page_of
from taskengine.stores.session import Session, Work
from taskengine.stores.units import Readers, SqliteSession, Writer, start_writer
from tests.support.clock import MovedClock
from tests.support.stores import add_jobs

STATEMENTS: Mapping[str, str] = {
    "create": "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
    "insert": "INSERT INTO things (name) VALUES (?)",
    "names": "SELECT name FROM things ORDER BY id",
}


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    """A writer on a database with one table."""
    path = tmp_path / "things.db"
    connection = connect(path)
    opened = Writer(path, connection, SqliteSession(connection, STATEMENTS), asyncio.get_running_loop())
    thread = start_writer(opened)
    await opened.run(lambda db: db.run("create"))
    yield opened
    opened.close()
    await asyncio.to_thread(thread.join)


def insert(name: str) -> Work[int]:
    """A unit of work that inserts a row."""
    return lambda db: db.run("insert", (name,))


async def names(writer: Writer) -> list[str]:
    """What was inserted."""
    return [row[0] for row in await writer.run(lambda db: db.all("names"))]


async def test_units_that_wait_together_share_one_commit(writer: Writer) -> None:
    """However many callers there are: the disk is synced once for all that came meanwhile."""
    commits: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    async def hold(db: Session) -> None:
        begun.set()
        go_on.wait(10)

    holder = asyncio.ensure_future(writer.run(hold))
    await asyncio.to_thread(begun.wait, 10)
    writer.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    waiting = [asyncio.ensure_future(writer.run(insert(f"n{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(holder, *waiting)
    assert len(commits) == 2
    assert len(await names(writer)) == 50


async def test_a_full_disk_is_told_and_passes(writer: Writer) -> None:
    """StoreUnavailable says why; what was committed is there, and writing goes on once there is room."""
    await writer.run(insert("before"))
    await writer.run(lambda db: db.select("PRAGMA max_page_count = 4", ()))
    big = "x" * 100_000
    outcomes = await asyncio.gather(
        writer.run(insert("small")),
        writer.run(insert(big)),
        writer.run(insert("small too")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], StoreUnavailable)
    assert "full" in str(outcomes[1])
    assert (outcomes[0], outcomes[2]) == (1, 1), "others of the same commit are written"
    await writer.run(lambda db: db.select("PRAGMA max_page_count = 100000", ()))
    await writer.run(insert("after"))
    assert await names(writer) == ["before", "small", "small too", "after"]


async def test_a_database_that_another_process_holds_is_told(writer: Writer) -> None:
    """The wait has an end, and the next call succeeds when the other has gone."""
    await writer.run(lambda db: db.select("PRAGMA busy_timeout = 1", ()))
    other = connect(writer.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await writer.run(insert("a"))
    other.execute("ROLLBACK")
    other.close()
    await writer.run(insert("b"))
    assert await names(writer) == ["b"]


async def test_a_unit_that_raises_anything_is_answered(writer: Writer) -> None:
    """Also what a future would not take, and defects of statements, which are not hidden as outages."""

    async def stop(db: Session) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await writer.run(stop)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await writer.run(lambda db: db.select("SELECT * FROM missing", ()))
    with pytest.raises(RecursionError):
        await writer.run(_endless)


async def _endless(db: Session) -> None:
    await _endless(db)


async def test_readers_do_not_wait_for_the_writer(writer: Writer) -> None:
    """A long write is not seen and not felt by those who read."""
    await writer.run(insert("old"))
    begun, go_on = threading.Event(), threading.Event()

    async def hold(db: Session) -> None:
        await db.run("insert", ("new",))
        begun.set()
        go_on.wait(10)

    holder = asyncio.ensure_future(writer.run(hold))
    await asyncio.to_thread(begun.wait, 10)
    readers = Readers(writer.path, STATEMENTS)
    assert await readers.run(lambda db: db.all("names")) == [("old",)]
    go_on.set()
    await holder
    assert await readers.run(lambda db: db.all("names")) == [("old",), ("new",)]
    with pytest.raises(StoreUnavailable, match="readonly"):
        await readers.run(lambda db: db.run("insert", ("x",)))
    readers.close()


@pytest.mark.parametrize(("url", "reason"), [
    ("mysql://localhost/x", "'mysql' is not a known kind"), ("sqlite://", "does not name a file"),
    ("sqlite:///", "does not name a file"), ("sqlite:///:memory:", "does not name a file"), ("x.db", "known are sqlite"),
])  # fmt: skip
async def test_a_url_that_names_no_store_is_refused(url: str, reason: str) -> None:
    """With what could be written instead."""
    with pytest.raises(InvalidRequest, match=reason):
        async with open_store(url, MovedClock()):
            pass


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    with pytest.raises(StoreUnavailable, match="file is not a database"):
        async with open_store(f"sqlite:///{path}", MovedClock()):
            pass
    assert path.read_text() == "not a database\n" * 100


async def test_a_path_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """A folder in the place of the file, a file in the place of a folder."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "x.db"):
        with pytest.raises(StoreUnavailable, match="cannot be"):
            async with open_store(f"sqlite:///{path}", MovedClock()):
                pass


async def test_odd_paths_are_taken_literally(tmp_path: Path) -> None:
    """Folders are made; spaces, percent signs, question and number marks are part of the name."""
    path = tmp_path / "a b" / "50%20 # ?x=1" / "jöbs.db"
    async with open_store(f"sqlite:///{path}", MovedClock()) as store:
        await add_jobs(store)
        await store.check()
    assert path.exists()
    assert path.stat().st_mode & 0o077 == 0, "for its owner alone"
    assert [file.name for file in path.parent.iterdir()] == ["jöbs.db"], "a closed database is one file"


async def test_an_error_of_the_callers_own_passes_through(tmp_path: Path) -> None:
    """What is raised beside an open store is not taken for a fault of the database."""
    with pytest.raises(FileNotFoundError):
        async with open_store(f"sqlite:///{tmp_path}/x.db", MovedClock()):
            (tmp_path / "nothing").read_text()


async def test_check_tells_a_database_that_was_taken_away(tmp_path: Path) -> None:
    """A file that is gone, and a schema that is not this code's."""
    path = tmp_path / "x.db"
    async with open_store(f"sqlite:///{path}", MovedClock()) as store:
        await store.check()
        other = connect(path)
        other.execute("INSERT INTO meta (name, value) VALUES ('least_schema', '9999_future')")
        other.close()
        with pytest.raises(StoreUnavailable, match="newer than this version"):
            await store.check()
        path.rename(tmp_path / "y.db")
        with pytest.raises(StoreUnavailable, match="not there any more"):
            await store.check()


HOT = [
    "snapshot_jobs", "snapshot_tasks", "jobs_in_slots", "waiting_heads", "take_ready", "confirm_published", "renew_lease", "held_of",
    "save_progress", "held", "due", "next_due", "gated", "expired", "due_lines", "line_heads", "next_callback", "callback_backlog",
    "callbacks", "tasks_of_job", "attempts_of_tasks", "progress", "positions", "scheduled", "logs",
    "events_after", "cleanable", "held_by_worker", "update_task", "update_job", "settle", "put_off_line",
    "close_empty_lines", "kill_callbacks", "heads_of_queue", "heads_of_client", "workspace_user", "next_gated", "jobs_of_tasks", "insert_key", "forget_keys",
]  # fmt: skip
GROWING = ("jobs", "tasks", "attempts", "logs", "events", "callbacks", "job_bodies", "queued", "head", "idempotency")


@pytest.mark.parametrize("name", HOT)
async def test_no_statement_of_the_hot_path_scans_a_table_that_grows(tmp_path: Path, name: str) -> None:
    """Its cost is that of what it finds, not of what there is."""
    url = f"sqlite:///{tmp_path}/x.db"
    await migrate.migrate(url)
    connection = connect(tmp_path / "x.db")
    statement = queries.load("sqlite")[name]
    plan = connection.execute(
        f"EXPLAIN QUERY PLAN {statement}",
        _Anything()
        if re.search(r":[a-z]", statement)
        else (None,) * (len(set(re.findall(r"\?\d", statement))) or statement.count("?")),
    )
    scans = [detail for *_, detail in plan if detail.startswith("SCAN") and detail.split()[1] in GROWING]
    connection.close()
    assert [scan for scan in scans if "INDEX" not in scan] == []


class _Anything(dict[str, None]):
    """A value for every parameter."""

    def __missing__(self, key: str) -> None:
        return None


@pytest.mark.parametrize("order_by", ["id", "created_at", "updated_at", "run_at", "priority"])
@pytest.mark.parametrize("condition", [{}, {"client": "demo"}, {"client": "demo", "after_id": 2}, {"after_id": 2}])
@pytest.mark.parametrize("ascending", [False, True])
async def test_a_page_is_read_from_an_index_in_its_order(
    tmp_path: Path, order_by: str, condition: dict[str, Any], *, ascending: bool
) -> None:
    """The first page and each one after it cost the same with ten jobs and with many."""
    await migrate.migrate(f"sqlite:///{tmp_path}/x.db")
    connection = connect(tmp_path / "x.db")
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    await page_of(
        SqliteSession(connection, queries.load("sqlite")),
        JobFilter(order_by=order_by, ascending=ascending, **condition),
    )
    connection.set_trace_callback(None)
    plan = " ".join(row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}"))
    connection.close()
    assert plan.count("TEMP B-TREE") == 1  # of the page itself, whose parameters are read when it is cut
