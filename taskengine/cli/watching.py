"""Following a job of a running engine to its end: it is looked at when the stream of its events says something."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from taskengine.cli.outcome import ExitCode
from taskengine.cli.output import Output, console_for_stdout
from taskengine.cli.progress import Display, JobLine, TaskLine, follow, job_display
from taskengine.domain.errors import EngineUnreachable, TaskEngineError

if TYPE_CHECKING:
    from taskengine.client import Client

POLL_S = 0.5  # between looks, as long as no event has come: an engine may keep none
QUIET_S = 10.0  # then it is looked at all the same
SETTLE_S = 0.1  # several events come together
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


class News:
    """Waits for what happens to a job."""

    def __init__(self, client: Client, job_id: int) -> None:
        import asyncio

        self._client, self._job_id = client, job_id
        self._came = asyncio.Event()
        self._longest_s = POLL_S

    async def listen(self) -> None:
        """Note the events of the job. Where there are none, `wait` goes by the clock."""
        try:
            async for _ in self._client.events(self._job_id):
                self._longest_s = QUIET_S
                self._came.set()
        except TaskEngineError:
            pass  # looking at the job meets the same fault, and says so
        self._longest_s = POLL_S

    async def wait(self) -> None:
        """Until something has happened, or might have."""
        import asyncio
        from contextlib import suppress

        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), self._longest_s)
            await asyncio.sleep(SETTLE_S)
        self._came.clear()


@asynccontextmanager
async def _news(client: Client, job_id: int) -> AsyncIterator[News]:
    import asyncio

    news = News(client, job_id)
    listening = asyncio.create_task(news.listen())  # no group: what is raised here is told as it is
    try:
        yield news
    finally:
        listening.cancel()
        await asyncio.wait({listening})


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
    async with _news(client, job_id) as news:
        if output.json:
            job = await follow(watcher.look, JsonDisplay(watcher, output), pause=news.wait)
        else:
            job = await _watch_display(watcher, news)
    if not output.json:
        output.line(conclusion(job))
    return ExitCode.OK if job.succeeded else ExitCode.FAILED


async def _watch_display(watcher: JobWatcher, news: News) -> JobLine:
    with job_display(console_for_stdout(), err=False) as display:
        shown: Display = display
        return await follow(watcher.look, shown, pause=news.wait)


def conclusion(job: JobLine) -> str:
    """How a job ended, in one line."""
    if job.succeeded:
        return f"job {job.id} completed"
    verdict = "failed" if job.state == "completed" else job.state
    return f"job {job.id} {verdict}: {job.error}" if job.error else f"job {job.id} {verdict}"
