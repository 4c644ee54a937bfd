"""The debug handlers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskengine.domain.errors import InputFault, InternalFault, ResourceFault, TaskFailed, TimeoutFault
from taskengine.handlers.debug import Fail, Noop, Shell, Sleep, debug_handlers
from taskengine.ports import Handler, ProcessResult, TaskContext


@dataclass
class Fake:
    """As much of a TaskContext as these handlers use."""

    inputs: Mapping[str, Any]
    task: Any = field(default_factory=lambda: SimpleNamespace(attempt=1))
    result: tuple[int, bytes] = (0, b"")
    progress: list[float] = field(default_factory=list)
    ran: list[Sequence[str]] = field(default_factory=list)

    async def run(self, argv: Sequence[str], *, children: bool) -> ProcessResult:
        """Note what was to run."""
        assert children
        self.ran.append(argv)
        return ProcessResult(argv, self.result[0], 0.0, self.result[1], "last words")

    def report_progress(self, fraction: float, **_: Any) -> None:
        """Note it."""
        self.progress.append(fraction)


async def call(handler: Handler, inputs: Mapping[str, Any], **given: Any) -> Mapping[str, Any]:
    """What a handler gives for some inputs."""
    return await handler(cast(TaskContext, Fake(inputs, **given)))


async def test_noop_returns_its_inputs() -> None:
    """Whatever they are."""
    assert await call(Noop(), {"a": [1, None]}) == {"a": [1, None]}


async def test_sleep_waits_and_tells_its_progress() -> None:
    """To the end."""
    fake = Fake({"seconds": 0.01})
    assert await Sleep()(cast(TaskContext, fake)) == {"seconds": 0.01}
    assert fake.progress == [1.0]
    assert await call(Sleep(), {"seconds": 0}) == {"seconds": 0}


async def test_sleep_ends_when_it_is_cancelled() -> None:
    """At once."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(Sleep(), {"seconds": 3600}), 0.01)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("input", InputFault), ("resource", ResourceFault), ("timeout", TimeoutFault), ("internal", InternalFault)],
)
async def test_fail_fails_as_it_is_told(kind: str, fault: type[TaskFailed]) -> None:
    """By kind, with the message."""
    with pytest.raises(fault, match="as told"):
        await call(Fail(), {"kind": kind, "message": "as told"})


async def test_fail_succeeds_after_so_many_times() -> None:
    """Counted by the attempt, so that it holds on any worker."""
    for attempt in (1, 2):
        with pytest.raises(InternalFault):
            await call(Fail(), {"times": 2}, task=SimpleNamespace(attempt=attempt))
    assert await call(Fail(), {"times": 2}, task=SimpleNamespace(attempt=3)) == {"attempt": 3}
    assert await call(Fail(), {"times": 0}) == {"attempt": 1}


@pytest.mark.parametrize(
    ("handler", "inputs"),
    [
        (Sleep(), {"seconds": "1"}),
        (Sleep(), {"seconds": -1}),
        (Fail(), {"kind": "odd"}),
        (Fail(), {"times": True}),
        (Shell(), {"command": ""}),
        (Shell(), {"command": 3}),
    ],
)
async def test_wrong_inputs_are_faults_of_the_input(handler: Handler, inputs: Mapping[str, Any]) -> None:
    """Never tried again."""
    with pytest.raises(InputFault):
        await call(handler, inputs)


async def test_shell_runs_its_command_through_the_context() -> None:
    """Its output is cut to what outputs may hold."""
    fake = Fake({"command": "echo x"}, result=(0, b"x" * 20_000))
    outputs = await Shell()(cast(TaskContext, fake))
    assert fake.ran == [["/bin/sh", "-c", "echo x"]]
    assert len(outputs["stdout"]) == 16 * 1024


async def test_shell_fails_by_the_exit_code() -> None:
    """With the code and the last words."""
    with pytest.raises(InternalFault) as raised:
        await call(Shell(), {"command": "false"}, result=(3, b""))
    assert (raised.value.exit_code, raised.value.stderr_tail) == (3, "last words")


def test_shell_is_there_only_where_it_is_allowed() -> None:
    """The configuration decides."""
    assert "debug.shell" not in {handler.name for handler in debug_handlers(shell=False)}
    assert "debug.shell" in {handler.name for handler in debug_handlers(shell=True)}
