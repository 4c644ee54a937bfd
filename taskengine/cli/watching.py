"""Following a job of a running engine to its end.

The engine is asked twice a second; a stream of its events will take the place of that when the API has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskengine.cli.outcome import ExitCode
from taskengine.cli.output import Output, console_for_stdout
from taskengine.cli.progress import Display, JobLine, TaskLine, follow, job_display
from taskengine.domain.errors import EngineUnreachable

if TYPE_CHECKING:
    from taskengine.client import Client

POLL_S = 0.5
RESTART_S = 30.0  # an engine that was there and is away is waited for: it goes on with the job when it is back


class JobWatcher:
    """Looks at one job of a running engine."""

    def __init__(self, client: Client, job_id: int, *, every_s: float = POLL_S, patience_s: float = RESTART_S) -> None:
        self._client = client
        self._job_id = job_id
        self._every_s = every_s
        self._patience = int(patience_s / every_s)
        self.job: Mapping[str, Any] = {}
        self.tasks: Sequence[Mapping[str, Any]] = ()

    async def look(self) -> tuple[JobLine, Sequence[TaskLine]]:
        """The job and its tasks now."""
        import asyncio

        for attempt in range(self._patience + 1):
            try:
                # the tasks first: they are then all at their end where the job is at its
                self.tasks = await self._client.tasks(self._job_id)
                self.job = await self._client.job(self._job_id)
                break
            except EngineUnreachable:
                if not self.job or attempt == self._patience:
                    raise
                await asyncio.sleep(self._every_s)
        return JobLine.from_api(self.job), [TaskLine.from_api(task) for task in self.tasks]


class JsonDisplay:
    """One line of JSON for each change: the job and its tasks as the API shows them."""

    def __init__(self, watcher: JobWatcher, output: Output) -> None:
        self._watcher = watcher
        self._output = output
        self._last: object = None

    def show(self, job: JobLine, tasks: Sequence[TaskLine]) -> None:
        """Write what was seen, if it differs from the last."""
        if (job, tasks) != self._last:
            self._last = (job, tasks)
            self._output.json_line({"job": self._watcher.job, "tasks": self._watcher.tasks})


async def watch_job(client: Client, output: Output, job_id: int) -> int:
    """Show a job until it has ended; 0 where it completed, 1 where it failed or is broken."""
    watcher = JobWatcher(client, job_id)
    if output.json:
        job = await follow(watcher.look, JsonDisplay(watcher, output), every_s=POLL_S)
    else:
        job = await _watch_display(watcher)
        output.line(conclusion(job))
    return ExitCode.OK if job.succeeded else ExitCode.FAILED


async def _watch_display(watcher: JobWatcher) -> JobLine:
    with job_display(console_for_stdout(), err=False) as display:
        shown: Display = display
        return await follow(watcher.look, shown, every_s=POLL_S)


def conclusion(job: JobLine) -> str:
    """How a job ended, in one line."""
    if job.succeeded:
        return f"job {job.id} completed"
    verdict = "failed" if job.state == "completed" else job.state
    return f"job {job.id} {verdict}: {job.error}" if job.error else f"job {job.id} {verdict}"
