"""`jobs …`: look at and change the jobs of a running engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from taskengine.cli.connection import engine_client
from taskengine.cli.outcome import exit_code_of
from taskengine.cli.output import Output
from taskengine.cli.progress import state_name, task_name
from taskengine.cli.watching import watch_job
from taskengine.domain.errors import TaskEngineError

if TYPE_CHECKING:
    from taskengine.client import Client

JOB_STATES = ("queued", "started", "completed", "pending", "broken", "scheduled", "paused")
SEVERITIES = {"debug": "0", "info": "1", "warn": "2", "error": "3", "fatal": "4"}


@click.group()
def jobs() -> None:
    """Look at and change the jobs of a running engine."""


@jobs.command("list")
@click.option("--state", type=click.Choice([*JOB_STATES, "failed"]), help="Only jobs in this state.")
@click.option("--workflow", help="Only jobs of this workflow.")
@click.option("--search", metavar="TEXT", help="Only jobs with this in content id, workflow or parameters.")
@click.option("--tag", help="Only jobs with this tag.")
@click.option("--of", "of_client", metavar="CLIENT", help="Only this client's jobs (for admins).")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--after-id", type=int, metavar="JOB", help="The page that follows this job.")
@click.option(
    "--order-by", type=click.Choice(["id", "created_at", "updated_at", "run_at", "priority"]), help="Newest first else."
)
@click.option("--asc", is_flag=True, help="In ascending order.")
@engine_client
async def list_jobs(client: Client, output: Output, /, **asked: Any) -> None:
    """List jobs, newest first."""
    found = await client.jobs(_query(asked))
    if output.json:
        output.value(found)
        return
    columns = ["id", "workflow", "content id", "state", "priority", "progress", "created", "error"]
    output.table(columns, [_row(job) for job in found], empty="no jobs")


def _query(asked: Mapping[str, Any]) -> dict[str, str]:
    query = {name: str(value) for name, value in asked.items() if value not in (None, False)}
    if query.get("state") == "failed":
        query["state"] = "7"
    if asked["asc"]:
        query["asc"] = "1"
    if "of_client" in query:
        query["client"] = query.pop("of_client")
    return query


def _row(job: Mapping[str, Any]) -> list[object]:
    progress = f"{job.get('progress') or 0:.0%}"
    return [
        job["id"], job["workflow"], job.get("content_id"), _state(job), job.get("priority"), progress,
        job.get("created_at"), job.get("error"),
    ]  # fmt: skip


def _state(job: Mapping[str, Any]) -> str:
    state = state_name(job["queue_state"])
    return "failed" if state == "completed" and job.get("failed") else state


@jobs.command()
@click.argument("job_id", metavar="JOB", type=int)
@engine_client
async def show(client: Client, output: Output, *, job_id: int) -> None:
    """Show a job and its tasks."""
    job = await client.job(job_id)
    tasks = await client.tasks(job_id)
    if output.json:
        output.value({**job, "tasks": tasks})
        return
    output.fields({**job, "queue_state": _state(job)})
    output.line()
    columns = ["task", "name", "state", "progress", "attempts", "worker", "error"]
    output.table(columns, [_task_row(task) for task in tasks], empty="no tasks")


def _task_row(task: Mapping[str, Any]) -> list[object]:
    attempts: Sequence[Mapping[str, Any]] = task.get("attempts") or ()
    worker = attempts[-1].get("worker") if attempts else None
    progress = f"{task.get('progress') or 0:.0%}"
    name = task_name(task["name"], task.get("index"))
    return [task["id"], name, task["state"], progress, len(attempts), worker, task.get("error")]


@jobs.command()
@click.argument("job_id", metavar="JOB", type=int)
@engine_client
async def why(client: Client, output: Output, *, job_id: int) -> None:
    """Say what a job waits for."""
    found = await client.why(job_id)
    if output.json:
        output.value(found)
        return
    for reason in found["reasons"]:
        output.line(str(reason["message"]))
    if not found["reasons"]:
        output.line(f"job {job_id} waits for nothing: it is {state_name(found['queue_state'])}")


@jobs.command()
@click.argument("job_id", metavar="JOB", type=int)
@click.option("--all", "show_all", is_flag=True, help="The entries too that are hidden from most readers.")
@click.option("--severity", type=click.Choice(list(SEVERITIES)), help="This severity.")
@click.option("--task", "task_id", type=int, metavar="TASK", help="Only this task's entries.")
@engine_client
async def logs(
    client: Client, output: Output, *, job_id: int, show_all: bool, severity: str | None, task_id: int | None
) -> None:
    """Print a job's log."""
    query = {"show_all": "1"} if show_all else {}
    if severity:
        query["severity"] = SEVERITIES[severity]
    if task_id is not None:
        query["task_id"] = str(task_id)
    entries = await client.every_log(job_id, query)
    if output.json:
        output.value(entries)
        return
    for entry in entries:
        where = f" task {entry['task_id']}" if entry.get("task_id") else ""
        level = entry.get("severity_description", "")
        output.line(f"{entry['created_at']} {level:<5} {entry['progname']}{where}: {entry['message']}")


@jobs.command()
@click.argument("job_id", metavar="JOB", type=int)
@engine_client
async def watch(client: Client, output: Output, *, job_id: int) -> int:
    """Show a job's progress until it has ended; exit 0 if it completed, 1 if it failed.

    The engine tells of what happens. With --json: one line of JSON per change.
    """
    return await watch_job(client, output, job_id)


@jobs.command()
@click.argument("job_ids", metavar="JOB...", type=int, nargs=-1, required=True)
@engine_client
async def pause(client: Client, output: Output, *, job_ids: Sequence[int]) -> int:
    """Hold jobs: their running tasks are stopped, none is started."""
    return await _each(output, job_ids, lambda job_id: client.update(job_id, {"queue_state": "paused"}))


@jobs.command()
@click.argument("job_ids", metavar="JOB...", type=int, nargs=-1, required=True)
@engine_client
async def resume(client: Client, output: Output, *, job_ids: Sequence[int]) -> int:
    """Let paused jobs go on."""
    return await _each(output, job_ids, lambda job_id: client.update(job_id, {"queue_state": "queued"}))


@jobs.command("break")
@click.argument("job_ids", metavar="JOB...", type=int, nargs=-1, required=True)
@engine_client
async def break_jobs(client: Client, output: Output, *, job_ids: Sequence[int]) -> int:
    """Take jobs out for good: their running tasks are stopped and their workspaces removed."""
    return await _each(output, job_ids, lambda job_id: client.update(job_id, {"queue_state": "broken"}))


@jobs.command()
@click.argument("job_ids", metavar="JOB...", type=int, nargs=-1, required=True)
@click.option("--from", "start", type=click.Choice(["failed"]), help="Keep what was completed, run only the rest.")
@engine_client
async def rerun(client: Client, output: Output, *, job_ids: Sequence[int], start: str | None) -> int:
    """Run jobs again, each as a new job; the old ones become broken."""
    return await _each(output, job_ids, lambda job_id: client.rerun(job_id, from_failed=start == "failed"))


async def _each(output: Output, job_ids: Sequence[int], change: Callable[[int], Awaitable[Mapping[str, Any]]]) -> int:
    """Change every job that can be changed; the exit code is the first fault's."""
    code = 0
    answers: list[Mapping[str, Any]] = []
    for job_id in job_ids:
        try:
            answers.append(await change(job_id))
        except TaskEngineError as error:
            click.echo(f"Error: job {job_id}: {error}", err=True)
            code = code or exit_code_of(error)
    if output.json:
        output.value(answers[0] if len(job_ids) == 1 and answers else answers)
    else:
        for answer in answers:
            output.line(f"job {answer['id']}: {answer['result']}")
    return code
