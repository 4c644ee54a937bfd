"""The only place that starts subprocesses: each in a process group of its own that never outlives its caller.

A tiny launcher (`_launcher.py`) has the kernel kill the program with its parent, sets resource limits, shuts itself in
(`sandbox.py`) and becomes the program. Windows has none: the program is started as it is, and ends with its parent too.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from taskengine.domain.errors import InternalFault, ResourceFault, TaskFailed, TimeoutFault
from taskengine.ports import ProcessResult
from taskengine.sandbox import Sandbox
from taskengine.system import APART, ENDING, ENVIRONMENT, LAUNCHER, ProcessGroup, unblock

MAX_LINE_BYTES = 8 * 1024
TAIL_LINES = 64
TAIL_BYTES = 16 * 1024
_STDERR = 2
_DRAIN_S = 1.0  # for the output of a child that is gone while something outside its group still holds its pipes

OnLine = Callable[[str], bool | None]


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """What one subprocess may use at most. None: no limit of ours. Where the system's own limit is lower, it holds."""

    address_space: int | None = None  # bytes; encoders map more than they touch
    file_size: int | None = 1 << 40  # bytes of one file
    open_files: int | None = 1024
    cpu_s: int | None = 7 * 24 * 3600  # of all its threads together

    def encoded(self) -> str:
        """As the launcher takes them: `resource:value,…`."""
        values = {
            "RLIMIT_AS": self.address_space,
            "RLIMIT_FSIZE": self.file_size,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_CORE": 0,
        }
        return ",".join(f"{name}:{value}" for name, value in values.items() if value is not None)


class SubprocessRunner:
    """The ProcessRunner of this machine. `wait_s` lies between TERM, TERM and KILL."""

    def __init__(
        self, limits: ResourceLimits | None = None, *, sandbox: Sandbox | None = None, wait_s: float = 1.0
    ) -> None:
        self._limits = limits or ResourceLimits()
        self._sandbox = sandbox or Sandbox()
        self._wait_s = wait_s

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        on_line: OnLine | None = None,
        stall_s: float | None = None,
        max_stdout: int = 16 * 1024 * 1024,
        children: bool = False,
    ) -> ProcessResult:
        """Run to the end; the contract is `ports.ProcessRunner`'s."""
        program = _find(argv[0])
        bounds = self._bounds(program, cwd, children=children)
        group = _Group(argv, _Output(on_line, max_stdout), stall_s, self._wait_s)
        with _fault_channel() as (faults, child_end):
            try:
                await _uninterrupted(self._spawn(program, group, cwd, child_end, bounds))
                await group.ended()
            finally:
                await group.end()
            with suppress(BlockingIOError):
                if reason := os.read(faults, 1024).decode(errors="replace"):
                    raise ResourceFault(f"the program {argv[0]!r} cannot be started: {reason}")
        return group.result()

    def _bounds(self, program: str, cwd: Path, *, children: bool) -> list[str]:
        """What limits and confines a program, as the launcher takes it."""
        paths = self._sandbox.paths(program, cwd.absolute())
        return [self._limits.encoded(), self._sandbox.confined(children=children), str(len(paths)), *paths]

    async def _spawn(self, program: str, group: _Group, cwd: Path, child_end: int, bounds: Sequence[str]) -> None:
        command, options = _launch([program, *group.argv], cwd, child_end, bounds)
        try:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: group, *command, stdin=asyncio.subprocess.DEVNULL, **options
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise ResourceFault(f"the program {group.argv[0]!r} cannot be started: {reason}") from error
        finally:
            os.close(child_end)


def _launch(
    program: Sequence[str], cwd: Path, child_end: int, bounds: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """The command line that becomes the program (its path, then its argv), and how it is spawned."""
    home = str(cwd.absolute())
    kept = {name: os.environ.get(name, "") for name in ENVIRONMENT}
    environment = {"LC_ALL": "C.UTF-8", "HOME": home, "TMPDIR": home, **kept}
    options: dict[str, Any] = {"cwd": home, "env": environment, **APART}
    if not LAUNCHER:
        return [program[0], *program[2:]], options
    return [*LAUNCHER, str(os.getpid()), str(child_end), *bounds, *program], options | {"pass_fds": (child_end,)}


def _find(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ResourceFault(f"the program {name!r} is not there or not executable")
    return str(Path(found).absolute())


@contextmanager
def _fault_channel() -> Iterator[tuple[int, int]]:
    """A pipe on which the launcher says why it could not become the program; the writing end is the spawn's to close."""
    reading, writing = os.pipe()
    try:
        unblock(reading)
        yield reading, writing
    finally:
        os.close(reading)


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end also where the caller is cancelled meanwhile; the cancellation is raised after it.

    A spawn that is broken off half way leaves a process that nobody knows. A task group would not do: it cancels.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await _settled(task)
    except asyncio.CancelledError:
        task.exception()  # looked at, so that the loop does not complain of it
        raise
    task.result()


async def _settled(future: asyncio.Future[None]) -> None:
    """Wait until `future` is done, whatever its outcome; a cancellation meanwhile is raised afterwards."""
    cancellation: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        raise cancellation


class _Group(asyncio.SubprocessProtocol):
    """One subprocess with its process group, from its spawn until it is reaped and its output is read."""

    def __init__(self, argv: Sequence[str], output: _Output, stall_s: float | None, wait_s: float) -> None:
        self.argv = list(argv)
        self._output = output
        self._stall_s = stall_s
        self._wait_s = wait_s
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.SubprocessTransport | None = None
        self._processes: ProcessGroup | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._fault: Exception | None = None
        self._started = self._moved = self._loop.time()
        self._seconds = 0.0

    # ---- what the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)  # what uvloop gives is one by its methods alone
        self._processes = ProcessGroup(self._transport.get_pid())
        if self._stall_s is not None:
            self._watch(self._stall_s)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It wrote something."""
        self._take(lambda: self._output.feed(fd, data))

    def process_exited(self) -> None:
        """The child is reaped; what it leaves behind in its group has nobody left to answer to."""
        self._signal(ENDING[-1])
        self._timers["drain"] = self._loop.call_later(_DRAIN_S, self._finish)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        """It is reaped and its pipes are closed."""
        self._finish()

    # ---- what the runner asks

    async def ended(self) -> None:
        """Wait for its end."""
        await asyncio.wait([self._over])

    async def end(self) -> None:
        """End it where it still runs; return when it is reaped, however often the caller is cancelled."""
        if self._transport is not None:
            self._escalate()
            try:
                await _settled(self._over)
            finally:
                self._transport.close()
                if self._processes is not None:
                    self._processes.close()

    def result(self) -> ProcessResult:
        """How it ended; raises the fault for which it was ended."""
        tail = self._output.tail()
        if isinstance(self._fault, TaskFailed):
            self._fault.stderr_tail = tail
        if self._fault is not None:
            raise self._fault
        code = self._transport.get_returncode() if self._transport else None
        if code is None:
            raise InternalFault(f"{self.argv[0]} was lost sight of", stderr_tail=tail)
        return ProcessResult(self.argv, code, self._seconds, bytes(self._output.kept), tail)

    # ---- inside

    def _take(self, feed: Callable[[], bool]) -> None:
        if self._fault is not None:
            return
        try:
            if feed():
                self._moved = self._loop.time()
        except Exception as error:  # noqa: BLE001 - whatever the caller's on_line raises is raised to the caller
            self._fail(error)

    def _watch(self, stall_s: float) -> None:
        left = self._moved + stall_s - self._loop.time()
        if left > 0:
            self._timers["stall"] = self._loop.call_later(left, self._watch, stall_s)
        else:
            self._fail(TimeoutFault(f"{self.argv[0]} made no progress for {stall_s:g} s"))

    def _fail(self, fault: Exception) -> None:
        self._fault = self._fault or fault
        self._escalate()

    def _escalate(self, step: int = 0) -> None:
        """TERM, TERM, KILL with waits between them; begun once."""
        if self._over.done() or (step == 0 and "end" in self._timers):
            return
        self._signal(ENDING[step])
        following = self._escalate if step + 1 < len(ENDING) else (lambda _: None)
        self._timers["end"] = self._loop.call_later(self._wait_s, following, step + 1)

    def _signal(self, number: int) -> None:
        if self._processes is not None:
            self._processes.signal(number)

    def _finish(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        if not self._over.done():
            self._take(self._output.close)
            self._seconds = self._loop.time() - self._started
            self._over.set_result(None)


class _Output:
    """What a subprocess says: its standard output by lines or kept whole, and the end of its standard error."""

    def __init__(self, on_line: OnLine | None, max_stdout: int) -> None:
        self.kept = bytearray()
        self._on_line = on_line
        self._max_stdout = max_stdout
        self._lines = _Lines()
        self._error_lines = _Lines()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def feed(self, fd: int, data: bytes) -> bool:
        """Take what it wrote; whether that was progress."""
        if fd == _STDERR:
            self._tail.extend(self._error_lines.feed(data))
        elif self._on_line is not None:
            return self._report(self._lines.feed(data), self._on_line)
        elif len(self.kept) + len(data) > self._max_stdout:
            raise InternalFault(f"the program wrote more than {self._max_stdout} bytes to its standard output")
        else:
            self.kept += data
        return self._on_line is None

    def close(self) -> bool:
        """Nothing more comes: what lacks its line's end is a line too."""
        self._tail.extend(self._error_lines.close())
        return self._on_line is not None and self._report(self._lines.close(), self._on_line)

    def tail(self) -> str:
        """The last lines of its standard error, the newest of them where they are too long."""
        return "\n".join(self._tail).encode()[-TAIL_BYTES:].decode(errors="ignore")

    @staticmethod
    def _report(lines: Sequence[str], on_line: OnLine) -> bool:
        progress = [on_line(line) is not False for line in lines]
        return any(progress)


class _Lines:
    """Cuts a stream at line feeds and carriage returns. Empty lines are left out, overlong ones are cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that this completes."""
        first, *others = re.split(rb"[\r\n]", data)
        pieces = [self._rest + first, *others]
        self._rest = pieces.pop()[:MAX_LINE_BYTES]
        return [piece[:MAX_LINE_BYTES].decode(errors="replace") for piece in pieces if piece]

    def close(self) -> list[str]:
        """The line that was begun."""
        return self.feed(b"\n")
