"""`run`: one job in this process, on the embedded default."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskengine.cli.connection import json_option
from taskengine.cli.importing import importing
from taskengine.cli.local import configure_log, local_options, read_settings
from taskengine.cli.outcome import ExitCode, run_async
from taskengine.cli.output import Output, console_for_stderr
from taskengine.cli.parameters import parameter_options, read_parameters
from taskengine.cli.progress import JobLine, TaskLine, follow, job_display
from taskengine.domain.paths import PathFault, logical_path

if TYPE_CHECKING:
    from taskengine.app import Engine
    from taskengine.domain.job import Job
    from taskengine.domain.tenants import Caller
    from taskengine.settings import Settings

LOOK_S = 0.2


@click.command()
@click.argument("workflow")
@parameter_options
@local_options("config", "data_dir")
@click.option("-v", "--verbose", is_flag=True, help="Print the engine's log too.")
@json_option
def run(
    workflow: str, *, pairs: Sequence[str], file: str | None, config: Path | None, data_dir: Path | None, verbose: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Run one job of WORKFLOW in this process and print what it made.

    It needs no running engine: store and broker are the embedded ones, whatever DATABASE_URL and AMQP_URL say.
    Sources are read below <data-dir>/storage/source, assets go below <data-dir>/storage/output.
    Exits 0 when the job completed, 1 when it failed. Interrupted, it breaks the job.
    """
    flags = {"data_dir": data_dir, "log.level": None if verbose else "critical"}
    settings = read_settings(flags, config, embedded=True)
    configure_log(settings)
    parameters = read_parameters(pairs, file)
    explain_local_path(settings, parameters)
    return run_async(_run(settings, workflow, parameters, Output(json=as_json)))


async def _run(settings: Settings, workflow: str, parameters: Mapping[str, Any], output: Output) -> int:
    with importing():
        from taskengine.app import engine
    from taskengine.domain.tenants import Caller, Role
    from taskengine.engine.submissions import Submission

    caller = Caller(settings.bootstrap_client, Role.ADMIN)
    begun = time.monotonic()
    async with engine(settings, http=False) as host:
        answer = await host.jobs.submit(Submission(caller.client, workflow, parameters))
        for warning in answer.get("warnings", ()):
            click.echo(f"Warning: {warning}", err=True)
        job = await _followed(host, caller, answer["id"])
    _report(job, time.monotonic() - begun, output)
    return ExitCode.OK if JobLine.from_record(job).succeeded else ExitCode.FAILED


async def _followed(host: Engine, caller: Caller, job_id: int) -> Job:
    """Show the job until it has ended; whoever interrupts that wants no job left over."""
    import asyncio

    async def look() -> tuple[JobLine, Sequence[TaskLine]]:
        stored = await host.views.tasks(caller, job_id)
        view = await host.views.view(caller, job_id)
        lines = []
        for each in stored:
            line, live = TaskLine.from_record(each.task), host.views.live(each)
            if live is not None:
                line = replace(line, progress=live.fraction, message=live.message, speed=live.speed, eta_s=live.eta_s)
            lines.append(line)
        return JobLine.from_record(view.job), lines

    try:
        with job_display(console_for_stderr(), err=True) as display:
            await follow(look, display, pause=partial(asyncio.sleep, LOOK_S))
    except asyncio.CancelledError:
        await host.jobs.remove(caller, job_id)
        raise
    return (await host.views.view(caller, job_id)).job


def _report(job: Job, seconds: float, output: Output) -> None:
    """What the job made, or why it made nothing."""
    made = dict(job.result or {})
    verdict = "completed" if JobLine.from_record(job).succeeded else "failed"
    if output.json:
        output.value({"id": job.id, "status": verdict, "error": job.error, **made})
        return
    output.line(f"job {job.id} {verdict} in {seconds:.1f} s" + (f": {job.error}" if job.error else ""))
    files = made.pop("files", None) or ()
    output.fields(made)
    if files:
        output.line("files")
        for name in files:
            output.line(f"  {name}")


def explain_local_path(settings: Settings, parameters: Mapping[str, Any]) -> None:
    """Say what to do where `source_folder` is a folder of this machine and not one below the source root."""
    given = parameters.get("source_folder")
    storage = settings.storages.get(str(parameters.get("source_storage") or settings.default_storage))
    if not isinstance(given, str) or storage is None or storage.kind != "local" or not Path(given).is_dir():
        return
    root = storage.folder(settings.data_dir) / storage.source_root
    try:
        if (root / logical_path(given)).exists():
            return
    except PathFault:
        pass
    folder = Path(given).absolute()
    inside = folder.relative_to(root) if folder.is_relative_to(root) else None
    if inside is not None and inside.parts:
        raise click.UsageError(
            f"source_folder: paths are below the source root {root}: give source_folder={shlex.quote(inside.as_posix())}"
        )
    raise click.UsageError(
        f"source_folder: {given} is a folder of this machine, not one below the source root {root}. Copy it there "
        f"({shlex.join(['cp', '-r', str(folder), str(root / folder.name)])}) and give source_folder={shlex.quote(folder.name)}"
    )
