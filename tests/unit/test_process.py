"""Subprocesses: their output, their limits, and that none of them outlives what it was started for."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from taskengine.domain.errors import InternalFault, ResourceFault, TimeoutFault
from taskengine.process import MAX_LINE_BYTES, TAIL_BYTES, TAIL_LINES, ResourceLimits, SubprocessRunner

ON_BOTH_LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
STUBBORN = "trap '' TERM; echo $$; while :; do sleep 0.05; done"


@pytest.fixture
def runner() -> SubprocessRunner:
    """A runner that loses patience fast."""
    return SubprocessRunner(wait_s=0.05)


class Started:
    """An `on_line` that says when the program gave its process id."""

    def __init__(self) -> None:
        self._process: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

    def __call__(self, line: str) -> None:
        """Take the first line."""
        if not self._process.done():
            self._process.set_result(Process(int(line)))

    async def process(self) -> Process:
        """The program."""
        return await self._process


class Process:
    """A process that a test watches."""

    def __init__(self, pid: int) -> None:
        self._handle = os.pidfd_open(pid)
        self.pid = pid

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end."""
        return bool(select.select([self._handle], [], [], seconds)[0])

    def close(self) -> None:
        """Let go of it."""
        os.close(self._handle)


async def test_the_exit_code_and_both_outputs_are_given(runner: SubprocessRunner, tmp_path: Path) -> None:
    """Whatever the exit code is, the run returns it with what was written."""
    result = await runner.run(["sh", "-c", "echo out; echo err >&2; exit 3"], cwd=tmp_path)
    assert (result.exit_code, result.stdout, result.stderr_tail) == (3, b"out\n", "err")
    assert result.argv == ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert 0 < result.seconds < 10


async def test_death_by_a_signal_is_a_negative_exit_code(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A program that was killed is told from one that returned."""
    assert (await runner.run(["sh", "-c", "kill -9 $$"], cwd=tmp_path)).exit_code == -signal.SIGKILL


async def test_the_environment_is_empty_but_for_the_directory(
    runner: SubprocessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variable of this process, with its secrets, reaches a program."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    result = await runner.run(["env"], cwd=tmp_path)
    assert set(result.stdout.decode().split()) == {"LC_ALL=C.UTF-8", f"HOME={tmp_path}", f"TMPDIR={tmp_path}"}


async def test_a_program_has_its_own_session_and_directory_and_no_input(
    runner: SubprocessRunner, tmp_path: Path
) -> None:
    """It reads nothing, works in the given directory and leads its own group."""
    script = """if True:
        import os, sys
        print(os.path.samefile(".", os.environ["HOME"]), os.getpid() == os.getsid(0) == os.getpgid(0), sys.stdin.read())
    """
    result = await runner.run([sys.executable, "-c", script], cwd=tmp_path)
    assert result.stdout.decode().split() == ["True", "True"]


async def test_broken_pipes_end_programs_as_they_expect(runner: SubprocessRunner, tmp_path: Path) -> None:
    """The launcher, being Python, ignores SIGPIPE and SIGXFSZ; the program must not inherit that."""
    result = await runner.run(["sh", "-c", "grep SigIgn /proc/self/status"], cwd=tmp_path)
    ignored = int(result.stdout.split()[1], 16)
    assert not any(ignored >> number - 1 & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))


async def test_lines_end_at_line_feeds_and_carriage_returns(runner: SubprocessRunner, tmp_path: Path) -> None:
    """Progress that is overwritten on a terminal comes as lines; the last one needs no end."""
    lines: list[str] = []
    result = await runner.run(["printf", r"a\nb\rc\r\n\nd\377e"], cwd=tmp_path, on_line=lines.append)
    assert lines == ["a", "b", "c", "d\ufffde"]
    assert result.stdout == b""


async def test_an_overlong_line_is_cut(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A program that never ends its line costs no memory."""
    lines: list[str] = []
    script = "print('x' * 3_000_000); print('next')"
    await runner.run([sys.executable, "-c", script], cwd=tmp_path, on_line=lines.append)
    assert lines == ["x" * MAX_LINE_BYTES, "next"]


async def test_only_the_end_of_standard_error_is_kept(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A talkative program is drained and its last lines are given."""
    script = "import sys; [print(i, 'y' * 100, file=sys.stderr) for i in range(20000)]"
    result = await runner.run([sys.executable, "-c", script], cwd=tmp_path)
    lines = result.stderr_tail.splitlines()
    assert len(lines) == TAIL_LINES
    assert lines[-1].startswith("19999 ")


async def test_few_long_lines_of_standard_error_are_bounded_too(runner: SubprocessRunner, tmp_path: Path) -> None:
    """The tail is bounded in bytes as well."""
    script = "import sys; [print('é' * 3000, file=sys.stderr) for i in range(10)]; print('end', file=sys.stderr)"
    result = await runner.run([sys.executable, "-c", script], cwd=tmp_path)
    assert len(result.stderr_tail.encode()) <= TAIL_BYTES
    assert result.stderr_tail.endswith("\nend")


async def test_a_flood_of_output_ends_the_program(runner: SubprocessRunner, tmp_path: Path) -> None:
    """More output than may be kept is a fault, and the program does not go on."""
    with pytest.raises(InternalFault, match="more than 100000 bytes"):
        await runner.run(
            ["sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyy; done"], cwd=tmp_path, max_stdout=100_000
        )


async def test_output_of_exactly_the_limit_is_kept(runner: SubprocessRunner, tmp_path: Path) -> None:
    """The limit itself is allowed."""
    result = await runner.run(["printf", "12345"], cwd=tmp_path, max_stdout=5)
    assert result.stdout == b"12345"


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program"])
async def test_a_missing_program_is_a_resource_fault_that_names_it(
    runner: SubprocessRunner, tmp_path: Path, name: str
) -> None:
    """Another worker may have it."""
    with pytest.raises(ResourceFault, match=name):
        await runner.run([name], cwd=tmp_path)


async def test_a_file_that_is_no_program_is_a_resource_fault(runner: SubprocessRunner, tmp_path: Path) -> None:
    """What the kernel refuses to start is told from a program that failed."""
    program = tmp_path / "program"
    program.write_bytes(b"\x00not a program")
    program.chmod(0o755)
    with pytest.raises(ResourceFault, match=r"program' cannot be started: Exec format error"):
        await runner.run([str(program)], cwd=tmp_path)


async def test_a_missing_directory_is_a_resource_fault(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A scratch that is gone does not look like the program's failure."""
    with pytest.raises(ResourceFault, match="cannot be started"):
        await runner.run(["true"], cwd=tmp_path / "gone")


async def test_limits_hold_in_the_program(tmp_path: Path) -> None:
    """A file beyond the limit is cut short and the program is told."""
    runner = SubprocessRunner(ResourceLimits(file_size=4096, open_files=64))
    result = await runner.run(["sh", "-c", "ulimit -n; ulimit -c; head -c 100000 /dev/zero > big"], cwd=tmp_path)
    assert result.stdout.split() == [b"64", b"0"]
    assert result.exit_code != 0
    assert (tmp_path / "big").stat().st_size == 4096


async def test_no_progress_for_the_given_time_ends_the_program(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A program that says nothing is ended, with its last words on standard error."""
    with pytest.raises(TimeoutFault, match=r"no progress for 1 s") as caught:
        await runner.run(
            ["sh", "-c", "echo stuck >&2; exec sleep 600"], cwd=tmp_path, on_line=lambda _: None, stall_s=1
        )
    assert caught.value.stderr_tail == "stuck"


async def test_lines_that_are_no_progress_do_not_count(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A program may talk and yet stand still: `on_line` judges."""
    with pytest.raises(TimeoutFault):
        await runner.run(
            ["sh", "-c", "while :; do echo frame=7; sleep 0.02; done"],
            cwd=tmp_path, on_line=lambda _: False, stall_s=0.3,
        )  # fmt: skip


async def test_lines_that_are_progress_keep_it_alive(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A slow program is not a stuck one."""
    script = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done"
    lines: list[str] = []
    await runner.run(["sh", "-c", script], cwd=tmp_path, on_line=lines.append, stall_s=0.5)
    assert len(lines) == 8


async def test_what_on_line_raises_ends_the_program_and_is_raised(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A defect in the reading of progress does not leave a program behind."""

    def broken(line: str) -> bool:
        raise KeyError(line)

    with pytest.raises(KeyError, match="hello"):
        await runner.run(["sh", "-c", "echo hello; exec sleep 600"], cwd=tmp_path, on_line=broken)


async def test_what_a_program_leaves_behind_in_its_group_is_ended(runner: SubprocessRunner, tmp_path: Path) -> None:
    """A grandchild that holds the output open neither blocks the run nor outlives it."""
    started = Started()
    script = "(echo $(exec sh -c 'echo $PPID'); trap '' TERM; sleep 600; sleep 600) & sleep 0.2"
    result = await runner.run(["sh", "-c", script], cwd=tmp_path, on_line=started)
    assert result.exit_code == 0
    left_behind = await started.process()
    assert await asyncio.to_thread(left_behind.ends_within, 1.0)
    left_behind.close()


@ON_BOTH_LOOPS
def test_cancellation_ends_a_program_that_ignores_the_polite_signal(
    runner: SubprocessRunner, tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """TERM, TERM, KILL; when the cancelled run returns, the program is gone and reaped."""

    async def scenario() -> None:
        started = Started()
        async with asyncio.TaskGroup() as group:
            run = group.create_task(runner.run(["sh", "-c", STUBBORN], cwd=tmp_path, on_line=started))
            process = await started.process()
            run.cancel()
            await asyncio.wait([run])
            assert run.cancelled()
            assert_reaped(process)

    run_on(new_loop, scenario())


@ON_BOTH_LOOPS
def test_a_cancelled_wait_for_the_end_still_reaps_the_program(
    runner: SubprocessRunner, tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Who is cancelled again while the program is being ended waits on, and is cancelled then."""

    async def scenario() -> None:
        started = Started()
        async with asyncio.TaskGroup() as group:
            run = group.create_task(runner.run(["sh", "-c", STUBBORN], cwd=tmp_path, on_line=started))
            process = await started.process()
            for _ in range(3):
                run.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([run])
            assert run.cancelled()
            assert_reaped(process)

    run_on(new_loop, scenario())


@ON_BOTH_LOOPS
@pytest.mark.parametrize("turns", range(8))
def test_cancellation_during_the_start_leaves_nothing(
    runner: SubprocessRunner, tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], turns: int
) -> None:
    """At whatever turn of the loop the cancellation comes, no child is left, dead or alive."""

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            run = group.create_task(runner.run(["sleep", "600"], cwd=tmp_path))
            for _ in range(turns):
                await asyncio.sleep(0)
            run.cancel()
            await asyncio.wait([run])
            assert run.cancelled()
            children_left.extend(children())

    children_left: list[str] = []
    run_on(new_loop, scenario())
    assert not children_left


@ON_BOTH_LOOPS
def test_many_programs_run_at_once(
    runner: SubprocessRunner, tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Runs do not know of each other."""

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(runner.run(["sh", "-c", f"exit {n}"], cwd=tmp_path)) for n in range(8)]
        assert [run.result().exit_code for run in runs] == list(range(8))

    run_on(new_loop, scenario())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_no_child_outlives_a_killed_parent(tmp_path: Path, loop: str) -> None:
    """SIGKILL gives this process no chance to clean up: the kernel takes the child along."""
    script = (
        f"import pathlib, sys, asyncio, uvloop; from taskengine.process import SubprocessRunner\n"
        f"async def main():\n"
        f"    await SubprocessRunner().run(['sh', '-c', 'echo $$; exec sleep 600'], cwd=pathlib.Path.cwd(),\n"
        f"        on_line=lambda line: print(line, flush=True))\n"
        f"with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner: runner.run(main())"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert parent.stdout is not None
    child = Process(int(await parent.stdout.readline()))
    try:
        parent.kill()
        assert await asyncio.to_thread(child.ends_within, 1.0)
    finally:
        child.close()
        await parent.wait()


def children() -> list[str]:
    """The processes that this thread started, zombies too."""
    return Path("/proc/thread-self/children").read_text().split()


def assert_reaped(process: Process) -> None:
    """Not even a zombie is left of it."""
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def run_on(new_loop: Callable[[], asyncio.AbstractEventLoop], scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario on one kind of loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(scenario)
