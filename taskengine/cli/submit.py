"""`submit`: hand a job to a running engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from taskengine.cli.connection import engine_client
from taskengine.cli.output import Output
from taskengine.cli.parameters import parameter_options, read_parameters
from taskengine.cli.watching import watch_job

if TYPE_CHECKING:
    from taskengine.client import Client


@click.command()
@click.argument("workflow")
@parameter_options
@click.option("--priority", type=click.IntRange(1, 10), help="1 is first, 10 last; 5 where it is not given.")
@click.option("--run-at", metavar="TIME", help="Not before this time (UTC where it names no zone).")
@click.option("--semaphore-url", metavar="URL", help="Not before this URL answers 2xx or 3xx.")
@click.option("--after", type=int, multiple=True, metavar="JOB", help="Not before this job has completed.")
@click.option("--top-of-queue", is_flag=True, help="Before all priorities.")
@click.option("--persist", is_flag=True, help="Never remove the job when it is old.")
@click.option("--max-retries", type=click.IntRange(min=0), help="Tries of a task after the first.")
@click.option("--timeout", metavar="DURATION", help="Fail the job after this time, e.g. 90s, 2h.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A word to find the job by.")
@click.option("--idempotency-key", metavar="KEY", help="The same key with the same job is answered, not run again.")
@click.option("--watch", is_flag=True, help="Stay, show the progress, and exit as `jobs watch` does.")
@engine_client
async def submit(
    client: Client,
    output: Output,
    /,
    *,
    workflow: str,
    pairs: Sequence[str],
    file: str | None,
    idempotency_key: str | None,
    watch: bool,
    **envelope: Any,
) -> int | None:
    """Submit a job of WORKFLOW to a running engine."""
    given = {name: value for name, value in envelope.items() if value not in (None, False, ())}
    body = {"job": {"workflow": workflow, **given}, "parameters": read_parameters(pairs, file)}
    answer = await client.submit(body, idempotency_key=idempotency_key)
    for warning in answer.get("warnings") or ():
        click.echo(f"Warning: {warning}", err=True)
    if watch:
        return await watch_job(client, output, int(answer["id"]))
    if output.json:
        output.value(answer)
    else:
        output.line(f"job {answer['id']} {answer['result']}: taskengine jobs watch {answer['id']}")
    return None
