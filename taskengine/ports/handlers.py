"""Handlers, and what they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from taskengine.domain.messages import TaskMessage
from taskengine.ports.outbound import KeyProvider, Outbound
from taskengine.ports.processes import ProcessResult
from taskengine.ports.storage import Storage


class Workspace(Protocol):
    """The job's shared workspace: what passes between its tasks. File references are plain JSON in outputs and inputs:
    `{"$file": "ws://<workspace>/<task>/<attempt>-<token>/<name>", "size": bytes, "sha256": hex or null}`."""

    async def fetch(self, reference: Mapping[str, Any], name: str | None = None) -> Path:
        """Bring a file into the scratch directory under a plain ASCII name and return its path (linked if one disk)."""
        ...

    async def distant(self, reference: Mapping[str, Any]) -> bool:
        """Whether fetching a file moves all its bytes: it is not on the disk of the scratch."""
        ...

    async def read(self, reference: Mapping[str, Any], start: int, length: int) -> bytes:
        """`length` bytes (some megabytes at most) of a file from `start` on, less where it ends before."""
        ...

    async def store(self, path: Path, name: str) -> dict[str, Any]:
        """Put a file of the scratch under this attempt's own path; its reference."""
        ...


class TaskLog(Protocol):
    """The log of the task as the job's owner sees it (severity by method)."""

    def debug(self, message: str) -> None:
        """Severity 0."""
        ...

    def info(self, message: str) -> None:
        """Severity 1."""
        ...

    def warning(self, message: str) -> None:
        """Severity 2."""
        ...

    def error(self, message: str) -> None:
        """Severity 3."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the media binaries are on this machine."""

    ffmpeg: str
    ffprobe: str
    packager: str


class TaskContext(Protocol):
    """What a handler gets. Everything it makes lies in `scratch`, which is removed after it; what must stay goes to
    `workspace` or a storage. Cancellation arrives as asyncio.CancelledError: let it pass."""

    task: TaskMessage
    inputs: Mapping[str, Any]  # `with`, resolved, secrets opened
    deadline: int  # UTC ms
    log: TaskLog

    @property
    def profile_folders(self) -> Sequence[Path]:
        """The folders of encoding profiles beside the built-in ones; a later one overrides by name."""
        ...

    @property
    def scratch(self) -> Path:
        """The task's private directory, empty at first. ResourceFault where it cannot be made."""
        ...

    @property
    def workspace(self) -> Workspace:
        """The job's files."""
        ...

    @property
    def tools(self) -> Tools:
        """Where the media binaries are; ResourceFault where one is missing."""
        ...

    @property
    def outbound(self) -> Outbound:
        """The way to URLs of the job."""
        ...

    def key_provider(self, name: str) -> KeyProvider:
        """A key provider by name. InputFault where this worker does not know it."""
        ...

    def storage(self, name: str, root: str = "output_root") -> Storage:
        """A storage by name with one of its roots (`source_root`, or the name of an output root). InputFault where the
        job may not use it or this worker does not know it."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], bool | None] | None = None,
        stall_s: float | None = None,
        children: bool = False,
    ) -> ProcessResult:
        """Run a program in `scratch`; command line, exit status and the last lines of stderr go to the task's log, its
        wall time to the attempt's record. `children`: whether it may start other programs."""
        ...

    def report_progress(
        self, fraction: float, *, message: str = "", speed: float | None = None, eta_s: float | None = None
    ) -> None:
        """0–1; cheap: it is sent at most once a second. `speed` in media seconds per second."""
        ...


class Handler(Protocol):
    """Executes one kind of task. Registered by name in `handlers.HANDLERS` (third parties: entry points
    `taskengine.handlers`). Policy (retry, timeout, queue) is data in the workflow."""

    name: str
    inputs: Mapping[str, Any]  # JSON Schema of `with`
    outputs: Mapping[str, Any]  # JSON Schema of what it returns; references to outputs are checked against it

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Do it; return the outputs (at most 64 KiB of JSON). Raises TaskFailed's leaves; anything else is internal."""
        ...
