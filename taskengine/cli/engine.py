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
    """Look at callbacks, repeat them, and try an endpoint."""


@callbacks.command("list")
@click.argument("job_id", metavar="[JOB]", type=int, required=False)
@click.option("--since", metavar="TIME", help="Of events at or after this time (UTC where it has no zone).")
@engine_client
async def list_callbacks(client: Client, output: Output, *, job_id: int | None, since: str | None) -> None:
    """List the deliveries of a job's callbacks, in order; without JOB: those of all jobs that were given up."""
    if job_id is not None and since is not None:
        raise click.UsageError("--since is for the callbacks of all jobs: leave JOB out")
    if job_id is None:
        found = await client.every_dead_callback({} if since is None else {"since": since})
    else:
        found = await client.callbacks(job_id)
    if output.json:
        output.value(found)
        return
    columns = ["id", "event", "task_id", "endpoint", "state", "attempts", "last_status", "last_error"]
    columns = columns if job_id is not None else ["job_id", *columns]
    output.table(columns, [[callback.get(name) for name in columns] for callback in found], empty="no callbacks")


@callbacks.command()
@click.argument("job_id", metavar="[JOB]", type=int, required=False)
@click.argument("callback_ids", metavar="[CALLBACK]...", type=int, nargs=-1)
@click.option("--since", metavar="TIME", help="All that were given up, of events at or after this time.")
@engine_client
async def replay(
    client: Client, output: Output, *, job_id: int | None, callback_ids: Sequence[int], since: str | None
) -> None:
    """Deliver callbacks again: of a job those named, else all that are dead; or with --since those of all jobs."""
    if (job_id is None) == (since is None):
        raise click.UsageError("give either JOB or --since TIME")
    if since is not None:
        answer = await client.replay_callbacks(since)
        _tell(output, answer, int(answer["replayed"]), "")
        return
    job = int(job_id or 0)
    chosen = callback_ids or [c["id"] for c in await client.callbacks(job) if c.get("state") == "dead"]
    answers = [await client.replay_callback(job, callback_id) for callback_id in chosen]
    _tell(output, answers, len(answers), f" of job {job}")


def _tell(output: Output, answer: object, count: int, of: str) -> None:
    if output.json:
        output.value(answer)
    else:
        output.line(f"{count} callback{'' if count == 1 else 's'}{of} will be delivered again")


@callbacks.command()
@click.argument("endpoint", metavar="URL")
@engine_client
async def test(client: Client, output: Output, *, endpoint: str) -> int:
    """Send a signed test delivery to an endpoint; exit 0 if it was taken, 1 if not."""
    answer = await client.test_callback(endpoint)
    delivered = answer["result"] == "delivered"
    if output.json:
        output.value(answer)
    else:
        what = f"delivered: answered {answer['status']}" if delivered else f"not delivered: {answer['error']}"
        output.line(f"{what} ({answer['seconds']:.2f} s)")
    return 0 if delivered else 1
