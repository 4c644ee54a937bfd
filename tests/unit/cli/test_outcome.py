from __future__ import annotations

import asyncio
import os
import signal

import pytest

from taskengine.cli.outcome import ExitCode, run, run_async
from taskengine.domain.errors import (
    BrokerUnavailable,
    Conflict,
    EngineUnreachable,
    Fault,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
    WorkflowError,
)


def raising(error: BaseException) -> object:
    """A command that ends so."""
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineUnreachable("x"), 3), (StoreUnavailable("x"), 3), (BrokerUnavailable("x"), 3), (NotFound("x"), 4),
        (InvalidRequest("x"), 2), (WorkflowError("x"), 1), (Conflict("x"), 1), (OSError("x"), 1), (KeyboardInterrupt(), 130),
    ],
)  # fmt: skip
def test_every_foreseen_end_has_its_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a message without a traceback, but for an interruption, which needs none."""
    assert run(lambda: raising(error)) == code
    assert capsys.readouterr().err == ("" if isinstance(error, KeyboardInterrupt) else "Error: x\n")


def test_a_task_groups_failures_are_explained_by_what_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Nested groups too; the first decides the exit code."""
    group = BaseExceptionGroup("g", [ExceptionGroup("h", [NotFound("no job")]), Conflict("no way")])

    assert run(lambda: raising(group)) == 4
    assert capsys.readouterr().err == "Error: no way\nError: no job\n"


def test_a_defect_keeps_its_traceback() -> None:
    """Only what is foreseen is made short."""
    with pytest.raises(ExceptionGroup):
        run(lambda: raising(ExceptionGroup("g", [ZeroDivisionError()])))
    with pytest.raises(ZeroDivisionError):
        run(lambda: raising(ZeroDivisionError()))


def test_a_commands_own_code_is_its_outcome() -> None:
    """None is success."""
    assert run(lambda: 7) == 7
    assert run(lambda: None) == 0


def test_faults_are_told_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With where they are, if that is known."""
    run(lambda: raising(InvalidRequest("two faults", [Fault("/a", "is wrong"), Fault("", "whole is wrong")])))

    assert capsys.readouterr().err == "Error: two faults\n  /a: is wrong\n  whole is wrong\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_lets_the_work_clean_up_and_is_the_exit_code(number: int, code: int) -> None:
    """SIGTERM is no more abrupt than Ctrl-C."""
    cleaned = []

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    assert run(lambda: run_async(work())) == code
    assert cleaned == [True]


def test_the_exit_codes_are_the_published_ones() -> None:
    """Scripts of operators rely on them."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0, "FAILED": 1, "USAGE": 2, "UNREACHABLE": 3, "NOT_FOUND": 4, "INTERRUPTED": 130, "TERMINATED": 143,
    }  # fmt: skip
