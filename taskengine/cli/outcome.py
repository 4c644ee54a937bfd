"""How a command ends: the exit codes, and the one place that turns errors into them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Coroutine
from enum import IntEnum
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from taskengine.domain.errors import (
    BrokerUnavailable,
    EngineUnreachable,
    Fault,
    InvalidRequest,
    NotFound,
    StoreUnavailable,
    TaskEngineError,
    WorkflowError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


Result = TypeVar("Result")


class ExitCode(IntEnum):
    """What the caller of the command sees."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


def run(command: Callable[[], object]) -> int:
    """Call `command` and return the exit code; every foreseen error is one message on stderr, without a traceback."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = command()
        return code if isinstance(code, int) else ExitCode.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else ExitCode.FAILED
    except BrokenPipeError:
        return _reader_is_gone()
    except BaseExceptionGroup as group:
        return _first_of(group)
    except (TaskEngineError, OSError) as error:
        return _explain(error)
    finally:
        signal.signal(signal.SIGTERM, previous)


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` where SIGTERM does what SIGINT does: `work` is cancelled, cleans up, and the command ends by it."""
    import asyncio

    from taskengine.system import caught

    terminated = False

    async def cancellable() -> Result:
        task = asyncio.current_task()

        def terminate(_: int) -> None:
            nonlocal terminated
            terminated = True
            if task is not None:
                task.cancel()

        with caught((signal.SIGTERM,), terminate):
            return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if terminated:
            raise SystemExit(int(ExitCode.TERMINATED)) from None
        raise


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(int(ExitCode.TERMINATED))


def _reader_is_gone() -> int:
    """`taskengine jobs list | head`: nobody reads the rest, and that is no fault worth a message."""
    sys.stdout = None  # else the interpreter complains when it flushes at its end
    return ExitCode.FAILED


def _first_of(group: BaseExceptionGroup[BaseException]) -> int:
    """A TaskGroup's failure is explained by what it holds; a defect of ours keeps its traceback."""
    causes = list(_leaves(group))
    foreseen = [cause for cause in causes if isinstance(cause, TaskEngineError | OSError)]
    if len(foreseen) < len(causes):
        raise group
    for cause in foreseen[1:]:
        click.echo(f"Error: {_text(cause)}", err=True)
    return _explain(foreseen[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _leaves(member)
        else:
            yield member


def _explain(error: TaskEngineError | OSError) -> int:
    click.echo(f"Error: {_text(error)}", err=True)
    if isinstance(error, InvalidRequest):
        for fault in error.faults:
            if fault_text(fault) != str(error):
                click.echo(f"  {fault_text(fault)}", err=True)
    return exit_code_of(error)


def fault_text(fault: Fault) -> str:
    """Where a fault is and what it is, in one line."""
    return f"{fault.path}: {fault.message}" if fault.path else fault.message


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def exit_code_of(error: Exception) -> int:
    """The exit code that stands for an error."""
    match error:
        case EngineUnreachable() | StoreUnavailable() | BrokerUnavailable():
            return ExitCode.UNREACHABLE
        case NotFound():
            return ExitCode.NOT_FOUND
        case InvalidRequest() if not isinstance(error, WorkflowError):
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
