"""What a handler gets: the TaskContext of one attempt."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import shlex
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault, InternalFault, ResourceFault
from taskengine.domain.messages import MAX_TEXT, OWN_ROOTS, TaskMessage
from taskengine.engine.reporter import Reporter
from taskengine.engine.vault import Opened
from taskengine.ports import (
    Clock,
    KeyProvider,
    Outbound,
    ProcessResult,
    ProcessRunner,
    Storage,
    TaskLog,
    Tools,
    Workspace,
)


@dataclass(frozen=True, slots=True)
class Facilities:
    """What a worker's machine offers to its tasks."""

    runner: ProcessRunner
    tools: Callable[[], Tools]
    scratch: Callable[
        [str], AbstractAsyncContextManager[Callable[[], Path]]
    ]  # a private directory, made when asked for
    workspace: Callable[[TaskMessage, Path], Workspace]
    storage: Callable[[str, str, Mapping[str, str]], Storage]  # by name, root and the client's own roots
    outbound: Callable[[TaskMessage], Outbound]
    key_provider: Callable[[str], KeyProvider]  # by name
    profile_folders: Sequence[Path] = ()


class ReportedLog:
    """The task's log as the job's owner sees it."""

    def __init__(self, task: TaskMessage, reporter: Reporter, opened: Opened) -> None:
        self._task, self._reporter, self._opened = task, reporter, opened

    def debug(self, message: str) -> None:
        """Severity 0."""
        self._entry(0, message)

    def info(self, message: str) -> None:
        """Severity 1."""
        self._entry(1, message)

    def warning(self, message: str) -> None:
        """Severity 2."""
        self._entry(2, message)

    def error(self, message: str) -> None:
        """Severity 3."""
        self._entry(3, message)

    def _entry(self, severity: int, message: str) -> None:
        self._reporter.entry(self._task, severity, self._opened.scrub(str(message)))


class Context:
    """Conforms to `ports.TaskContext`."""

    def __init__(
        self,
        task: TaskMessage,
        opened: Opened,
        scratch: Callable[[], Path],
        facilities: Facilities,
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self.task = task
        self.inputs: Mapping[str, Any] = {}  # until they are taken
        self._opened = opened
        self._scratch = scratch
        self.deadline = clock.now() + round(task.timeout_s * 1000)
        self.log: TaskLog = ReportedLog(task, reporter, opened)
        self.process_s = 0.0  # wall time in which at least one subprocess ran
        self._facilities, self._reporter = facilities, reporter
        self._active, self._busy_since = 0, 0.0

    @property
    def profile_folders(self) -> Sequence[Path]:
        """Those of this machine."""
        return self._facilities.profile_folders

    @property
    def scratch(self) -> Path:
        """The private directory."""
        return self._scratch()

    @cached_property
    def workspace(self) -> Workspace:
        """The job's files."""
        return self._facilities.workspace(self.task, self.scratch)

    async def take_inputs(self) -> None:
        """Open the inputs, read from the workspace where they were too large for the message. ResourceFault where they are
        not there as they were; SecretUnavailable."""
        reference, inputs = self.task.inputs_ref, self.task.inputs
        if reference is not None:
            path = await self.workspace.fetch(reference, "inputs.json")
            inputs = await asyncio.to_thread(_document, path, reference.get("sha256"))
        self.inputs = self._opened.take(inputs)

    @property
    def tools(self) -> Tools:
        """Where the binaries are."""
        return self._facilities.tools()

    @cached_property
    def outbound(self) -> Outbound:
        """The way to the addresses that the task's client may reach."""
        return self._facilities.outbound(self.task)

    def key_provider(self, name: str) -> KeyProvider:
        """Where content keys come from."""
        return self._facilities.key_provider(name)

    def storage(self, name: str, root: str = "output_root") -> Storage:
        """One root of a storage that the job may use."""
        if name not in self.task.storages:
            known = ", ".join(sorted(self.task.storages))
            raise InputFault(f"the job may not use the storage {name!r}; it may use {known}")
        own = self.task.storages[name].get(OWN_ROOTS)
        return self._facilities.storage(name, root, own or {})

    async def run(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], bool | None] | None = None,
        stall_s: float | None = None,
        children: bool = False,
    ) -> ProcessResult:
        """Run a program in the scratch directory and log what became of it."""
        line = shlex.join(argv)
        self._enter()
        try:
            result = await self._facilities.runner.run(
                argv, cwd=self.scratch, on_line=on_line, stall_s=stall_s, children=children
            )
        except (InternalFault, ResourceFault) as fault:
            tell = self.log.error  # the job's log, not the process's
            tell(f"{line}\n{fault}")
            raise
        finally:
            self._leave()
        tail = f"\n{result.stderr_tail}" if result.stderr_tail else ""
        tell = self.log.info if result.exit_code == 0 else self.log.error
        tell(f"{line}\nexit {result.exit_code} after {result.seconds:.2f} s{tail}")
        return result

    def report_progress(
        self, fraction: float, *, message: str = "", speed: float | None = None, eta_s: float | None = None
    ) -> None:
        """The attempt's latest progress; numbers that are none (a duration of zero somewhere) are not told."""
        if not math.isfinite(fraction):
            return
        details = {
            "progress": round(fraction, 4),
            "message": self._opened.scrub(str(message))[:MAX_TEXT],
            "speed": _finite(speed),
            "eta_s": _finite(eta_s),
        }
        self._reporter.progress(self.task, details)

    def _enter(self) -> None:
        if self._active == 0:
            self._busy_since = time.monotonic()
        self._active += 1

    def _leave(self) -> None:
        self._active -= 1
        if self._active == 0:
            self.process_s += time.monotonic() - self._busy_since


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _document(path: Path, sha256: str | None) -> Mapping[str, Any]:
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ResourceFault("the task's inputs in the workspace are not those that its message names")
    found: Mapping[str, Any] = json.loads(content)
    return found


@asynccontextmanager
async def open_context(
    task: TaskMessage, opened: Opened, facilities: Facilities, reporter: Reporter, clock: Clock
) -> AsyncIterator[Context]:
    """A context with its private scratch directory, where the task asks for it; it is removed at the end."""
    async with facilities.scratch(f"{task.task_id}-{task.attempt}-{task.token[:12]}") as scratch:
        yield Context(task, opened, scratch, facilities, reporter, clock)
