"""What the oracle judges: the rows of the store as plain SQL gives them, and what was received."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.support.receiver import Received

Row = Mapping[str, Any]

_TABLES = {
    "jobs": "SELECT id, client, state, failed, workflow_digest, endpoints, rerun_of, created_at, completed_at, seq, workspace_of FROM jobs",
    "tasks": "SELECT id, job_id, step, queue, state, attempt, started_at, ended_at FROM tasks",
    "attempts": "SELECT task_id, attempt, token, worker, started_at, ended_at, outcome FROM attempts",
    "events": "SELECT id, job_id, task_id, kind, name, seq, at FROM events",
    "callbacks": "SELECT id, job_id, endpoint, lane, event, task_id, webhook_id, state, attempts FROM callbacks",
    "lines": "SELECT id, job_id, endpoint, lane FROM callback_lines",
    "counters": "SELECT scope, name, value FROM counters",
    "definitions": "SELECT digest, source FROM definitions",
}


@dataclass(frozen=True)
class Facts:
    """The rows of a store (in the order of their ids), the jobs whose submission was answered, what endpoints heard."""

    jobs: Sequence[Row]
    tasks: Sequence[Row]
    attempts: Sequence[Row]
    events: Sequence[Row]
    callbacks: Sequence[Row]
    lines: Sequence[Row]
    counters: Sequence[Row]
    needs: Mapping[str, Mapping[str, Sequence[str]]]  # definition's digest → step → steps that it needs
    accepted: Collection[int]
    received: Sequence[Received]

    def of_job(self, rows: Sequence[Row], job_id: int) -> list[Row]:
        """The rows of one job."""
        return [row for row in rows if row["job_id"] == job_id]


async def gather(database_url: str, *, accepted: Collection[int] = (), received: Sequence[Received] = ()) -> Facts:
    """Read a store, `sqlite:///path` or `postgresql://…`, in one snapshot, as its owner would look at it by hand."""
    if database_url.startswith("sqlite:///"):
        tables = await asyncio.to_thread(_of_sqlite, database_url.removeprefix("sqlite:///"))
    else:
        tables = await _of_postgres(database_url)
    definitions = tables.pop("definitions")
    needs = {row["digest"]: _needs(json.loads(row["source"])) for row in definitions}
    return Facts(**tables, needs=needs, accepted=frozenset(accepted), received=list(received))


def _needs(definition: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    steps = {**definition.get("steps", {}), **definition.get("on_failure", {})}
    return {name: step.get("needs", ()) for name, step in steps.items()}


def _of_sqlite(path: str) -> dict[str, list[Row]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        return {
            name: [dict(row) for row in connection.execute(f"{sql} ORDER BY 1, 2")] for name, sql in _TABLES.items()
        }


async def _of_postgres(url: str) -> dict[str, list[Row]]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {
                name: [dict(row) for row in await connection.fetch(f"{sql} ORDER BY 1, 2")]
                for name, sql in _TABLES.items()
            }
    finally:
        await connection.close()
