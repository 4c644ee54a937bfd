"""What a run must not leave behind: processes, scratch, workspaces, half uploads, connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg

from tests.support.files import paths_below

PARTIAL = ".partial-"


def processes_of(mark: str) -> list[str]:
    """`pid: command` of every process of this machine that has `mark` in its environment, command or folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
            place = str((folder / "cwd").readlink())  # what workers start gets no environment
            ended = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # it has ended meanwhile
            continue
        if not ended and (mark in place or mark.encode() in environment or mark.encode() in command):
            found.append(f"{folder.name}: {command.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def left_behind(*, mark: str | None, empty: Sequence[Path] = (), storages: Sequence[Path] = ()) -> Iterator[str]:
    """After every process was ended: those that live on, what is in folders that should be `empty`, half uploads."""
    yield from (f"a process lives on: {process}" for process in (processes_of(mark) if mark else ()))
    for folder in empty:
        if folder.exists():
            yield from (f"left behind: {path}" for path in folder.iterdir())
    for folder in storages:
        yield from (f"a half upload was left: {path}" for path in paths_below(folder) if PARTIAL in path.name)


async def connections(database_url: str) -> list[str]:
    """The connections to a database of PostgreSQL, but for the one that asks."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    return [f"a connection is open: {row['pid']} {row['state']} {row['query']}" for row in rows]
