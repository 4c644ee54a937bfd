"""The live display of a job's tasks: bars on a terminal, one line per change elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from taskengine.cli.output import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from taskengine.domain.job import Job, Task

STATE_NAMES = {0: "queued", 1: "started", 2: "completed", 3: "pending", 4: "broken", 5: "scheduled", 6: "paused"}
ENDED = frozenset({"completed", "broken"})
STYLES = {"completed": "green", "failed": "red", "running": "cyan", "retry_wait": "yellow", "cancelled": "yellow"}
NOTED_EVERY = 0.25  # of a task's progress, where each change is a line


@dataclass(frozen=True, slots=True)
class TaskLine:
    """What is shown of one task. `speed` is in media seconds per second; both it and the ETA only where known."""

    id: int
    name: str
    state: str
    progress: float = 0.0
    message: str = ""
    speed: float | None = None
    eta_s: float | None = None
    error: str | None = None

    @classmethod
    def from_api(cls, task: Mapping[str, Any]) -> TaskLine:
        """Of a task as the API shows it."""
        return cls(
            id=int(task["id"]),
            name=task_name(task["name"], task.get("index")),
            state=str(task["state"]),
            progress=float(task.get("progress") or 0),
            message=str(task.get("message") or ""),
            speed=task.get("speed"),
            eta_s=task.get("eta_s"),
            error=task.get("error"),
        )

    @classmethod
    def from_record(cls, task: Task) -> TaskLine:
        """Of a task as the engine has it; what is live of it is the engine's to add."""
        return cls(task.id or 0, task_name(task.name, task.index), task.state.value, task.progress, error=task.error)


@dataclass(frozen=True, slots=True)
class JobLine:
    """What is shown of a job."""

    id: int
    workflow: str
    state: str
    failed: bool = False
    error: str | None = None

    @classmethod
    def from_api(cls, job: Mapping[str, Any]) -> JobLine:
        """Of a job as the API shows it."""
        state = state_name(job["queue_state"])
        return cls(int(job["id"]), str(job["workflow"]), state, bool(job.get("failed")), job.get("error"))

    @classmethod
    def from_record(cls, job: Job) -> JobLine:
        """Of a job as the engine has it."""
        return cls(job.id, job.workflow, job.state.value, job.failed, job.error)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was asked for."""
        return self.state == "completed" and not self.failed


def state_name(queue_state: object) -> str:
    """The name of a published state, given as its number or as its name."""
    return STATE_NAMES.get(queue_state, str(queue_state)) if isinstance(queue_state, int) else str(queue_state)


def task_name(name: str, index: int | None) -> str:
    """A task's name, with its number where the step has several."""
    return name if index is None else f"{name}[{index}]"


Look = Callable[[], Awaitable[tuple[JobLine, Sequence[TaskLine]]]]


class Display(Protocol):
    """Where what was seen of a job is shown."""

    def show(self, job: JobLine, tasks: Sequence[TaskLine]) -> None:
        """Show what has changed since the last call."""
        ...


async def follow(look: Look, display: Display, *, pause: Callable[[], Awaitable[None]]) -> JobLine:
    """Look and show until the job has ended; the job as it was seen last. `pause` is what happens between looks."""
    while True:
        job, tasks = await look()
        display.show(job, tasks)
        if job.ended:
            return job
        await pause()


class LineDisplay:
    """One line for each change of a state, and for each quarter of a running task."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._job = ""
        self._tasks: dict[int, tuple[str, int]] = {}

    def show(self, job: JobLine, tasks: Sequence[TaskLine]) -> None:
        """Write what has changed."""
        if job.state != self._job and not job.ended:
            self._write(f"job {job.id} {job.workflow}: {job.state}")
        self._job = job.state
        for task in tasks:
            self._show_task(task)

    def _show_task(self, task: TaskLine) -> None:
        seen = (task.state, int(task.progress / NOTED_EVERY) if task.state == "running" else 0)
        if self._tasks.get(task.id) == seen:
            return
        self._tasks[task.id] = seen
        if task.state in {"running", "retry_wait", "completed", "failed", "skipped", "cancelled"}:
            self._write(printable(f"  {task.name}: {_described(task)}"))


def _described(task: TaskLine) -> str:
    parts = [task.state]
    if task.state == "running" and task.progress:
        parts.append(f"{task.progress:.0%}")
    parts += [part for part in (speed_text(task.speed), eta_text(task.eta_s)) if part and task.state == "running"]
    if task.error and task.state in {"failed", "retry_wait"}:
        parts.append(f"({task.error})")
    return " ".join(parts)


class LiveDisplay:
    """A bar for each task that has started, redrawn in place."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rows: dict[int, TaskID] = {}
        self._head: TaskID | None = None

    def show(self, job: JobLine, tasks: Sequence[TaskLine]) -> None:
        """Move the bars."""
        done = sum(1.0 if task.state in {"completed", "skipped"} else task.progress for task in tasks)
        overall = done / len(tasks) if tasks else 0.0
        state = "failed" if job.ended and not job.succeeded else job.state
        if self._head is None:
            self._head = self._progress.add_task(f"[bold]job {job.id} {job.workflow}", total=1.0, **_fields(state))
        self._progress.update(self._head, completed=1.0 if job.succeeded else overall, **_fields(state))
        for task in tasks:
            if task.state not in {"blocked", "ready"} or task.id in self._rows:
                self._show_task(task)

    def _show_task(self, task: TaskLine) -> None:
        from rich.markup import escape

        if task.id not in self._rows:
            self._rows[task.id] = self._progress.add_task("  " + escape(printable(task.name)), total=1.0, **_fields(""))
        completed = 1.0 if task.state in {"completed", "skipped"} else task.progress
        eta = eta_text(task.eta_s) if task.state == "running" else ""
        speed = speed_text(task.speed) if task.state == "running" else ""
        note = task.error if task.state in {"failed", "retry_wait"} and task.error else task.message
        fields = _fields(task.state, speed, eta, escape(printable(note).replace("\n", " ")[:80]))
        self._progress.update(self._rows[task.id], completed=completed, **fields)


def _fields(state: str, speed: str = "", eta: str = "", note: str = "") -> dict[str, Any]:
    style = STYLES.get(state)
    return {"state": f"[{style}]{state}[/]" if style else state, "speed": speed, "eta": eta, "note": note}


def speed_text(speed: float | None) -> str:
    """How many times faster than the media plays."""
    return "" if not speed else f"{speed:.1f}x" if speed < 10 else f"{speed:.0f}x"


def eta_text(seconds: float | None) -> str:
    """The time that is left."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


@contextmanager
def job_display(console: Console, *, err: bool) -> Iterator[Display]:
    """The display that fits: live on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield LineDisplay(lambda text: click.echo(text, err=err))
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %")]
    columns += [TextColumn("{task.fields[" + name + "]}") for name in ("state", "speed", "eta", "note")]
    with Progress(*columns, TimeElapsedColumn(), console=console, refresh_per_second=5) as progress:
        yield LiveDisplay(progress)
