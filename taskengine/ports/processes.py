"""Programs that are run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How a subprocess ended. `stderr_tail` holds the last lines."""

    argv: Sequence[str]
    exit_code: int
    seconds: float
    stdout: bytes
    stderr_tail: str


class ProcessRunner(Protocol):
    """Starts subprocesses: each in a process group of its own that dies with this process, is ended by TERM, TERM, KILL
    when the caller is cancelled, and sees an empty environment."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        on_line: Callable[[str], bool | None] | None = None,
        stall_s: float | None = None,
        max_stdout: int = 16 * 1024 * 1024,
        children: bool = False,
    ) -> ProcessResult:
        """Run to the end, whatever the exit code; `on_line` gets stdout line by line instead of it being kept.

        Lines end at a line feed or a carriage return; empty ones are left out, overlong ones are cut. `on_line` returns
        False where a line was no progress; None and True count as progress. `stall_s`: where there was no progress for
        that long (without `on_line`: no output at all), the group is ended and TimeoutFault raised. More than
        `max_stdout` bytes to keep: the group is ended and InternalFault raised. What `on_line` raises ends the group and is
        raised here. `children`: whether the program may start others; where subprocesses are confined, one that may not
        leaves none behind. Raises ResourceFault where the program cannot be started.
        """
        ...
