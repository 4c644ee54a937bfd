"""`queues`, `workers`, `callbacks …`: look at a running engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from taskengine.cli.connection import engine_client
from taskengine.cli.output import Output

if TYPE_CHECKING:
    from taskengine.client import Client


@click.command()
@engine_client
async def queues(client: Client, output: Output) -> None:
    """List the queues: their workers, what they are at, and what waits."""
    health = await client.health()
    found = health.get("queues") or {}
    if output.json:
        output.value(found)
        return
    rows = [[name, queue.get("workers"), queue.get("working"), queue.get("pending")] for name, queue in found.items()]
    output.table(["queue", "workers", "working", "pending"], rows, empty="no queues")


@click.command()
@engine_client
async def workers(client: Client, output: Output) -> None:
    """List the workers that were heard of lately."""
    found = await client.workers()
    if output.json:
        output.value(found)
        return
    columns = ["name", "id", "language", "queues", "working", "seen_at"]
    output.table(columns, [[worker.get(column) for column in columns] for worker in found], empty="no workers")


@click.group()
def callbacks() -> None:
    """Look at and repeat the callbacks of a job."""


@callbacks.command("list")
@click.argument("job_id", metavar="JOB", type=int)
@engine_client
async def list_callbacks(client: Client, output: Output, *, job_id: int) -> None:
    """List the deliveries of a job's callbacks, in order."""
    found = await client.callbacks(job_id)
    if output.json:
        output.value(found)
        return
    columns = ["id", "event", "task_id", "endpoint", "state", "attempts", "last_status", "last_error"]
    output.table(columns, [[callback.get(name) for name in columns] for callback in found], empty="no callbacks")


@callbacks.command()
@click.argument("job_id", metavar="JOB", type=int)
@click.argument("callback_ids", metavar="[CALLBACK]...", type=int, nargs=-1)
@engine_client
async def replay(client: Client, output: Output, *, job_id: int, callback_ids: Sequence[int]) -> None:
    """Deliver callbacks of a job again: those named, else all that are dead."""
    chosen = callback_ids or [c["id"] for c in await client.callbacks(job_id) if c.get("state") == "dead"]
    answers = [await client.replay_callback(job_id, callback_id) for callback_id in chosen]
    if output.json:
        output.value(answers)
    else:
        output.line(
            f"{len(answers)} callback{'' if len(answers) == 1 else 's'} of job {job_id} will be delivered again"
        )
