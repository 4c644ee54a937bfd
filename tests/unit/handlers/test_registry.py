"""What the handlers are, and what they share."""

from __future__ import annotations

import asyncio
from typing import Any

import jsonschema
import pytest

from taskengine.domain.errors import InputFault, InternalFault, NotFound, ResourceFault, StorageError
from taskengine.handlers import HANDLERS, load_handlers
from taskengine.handlers.support import beside, plain_command, process_fault, storage_faults, together
from taskengine.ports import ProcessResult


def test_every_handler_has_schemas_of_what_it_takes_and_gives() -> None:
    """Valid ones."""
    for name, handler in HANDLERS.items():
        assert handler.name == name
        jsonschema.Draft202012Validator.check_schema(dict(handler.inputs))
        jsonschema.Draft202012Validator.check_schema(dict(handler.outputs))


def test_the_shell_is_there_where_it_is_allowed() -> None:
    """Else not."""
    assert "debug.shell" not in load_handlers()
    assert "debug.shell" in load_handlers(shell=True)
    assert HANDLERS.keys() <= load_handlers().keys()


class _Point:
    """An entry point of another package."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def load(self) -> Any:
        """What it names."""
        return self._made


def test_other_packages_bring_handlers_but_never_replace_built_in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an object or as a class."""

    class Other:
        name = "other"

    class Ingest:
        name = "ingest"

    points = [_Point(Other), _Point(Ingest())]
    monkeypatch.setattr("taskengine.handlers.entry_points", lambda group: points)
    found = load_handlers()
    assert isinstance(found["other"], Other)
    assert found["ingest"] is HANDLERS["ingest"]


async def test_work_together_keeps_its_order_and_its_limit() -> None:
    """Never more at once than allowed."""
    at_once, most = 0, 0

    async def work(number: int) -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return number

    assert await together([work(number) for number in range(20)], limit=3) == list(range(20))
    assert most == 3


async def test_the_first_fault_ends_the_rest_and_is_raised_as_it_is() -> None:
    """No group around it, nothing left behind."""
    ended, started = [], 0

    async def wait() -> None:
        nonlocal started
        started += 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def fail() -> None:
        raise InputFault("no")

    with pytest.raises(InputFault, match="no"):
        await together([wait(), fail(), *(wait() for _ in range(5))], limit=2)
    with pytest.raises(InputFault, match="no"):
        async with beside(fail()):
            await wait()
    assert len(ended) == started
    assert started >= 2


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (NotFound("x"), InputFault),
        (StorageError("x", retryable=True), ResourceFault),
        (StorageError("x", retryable=False), InputFault),
    ],
)
def test_errors_of_a_storage_become_faults_of_the_task(error: Exception, fault: type[Exception]) -> None:
    """With what was being done."""
    with pytest.raises(fault, match=r"^source_folder: x"), storage_faults("source_folder"):
        raise error


def test_a_program_that_failed_tells_why() -> None:
    """A lack of the worker is a resource fault."""
    lack = ProcessResult(["/x/ffmpeg"], 1, 0.1, b"", "[error] Unknown encoder 'libx264'\nConversion failed!")
    other = ProcessResult(["/x/ffmpeg"], 1, 0.1, b"", "Conversion failed!")
    assert isinstance(process_fault("encoding", lack), ResourceFault)
    fault = process_fault("encoding", other)
    assert isinstance(fault, InternalFault)
    assert str(fault) == "encoding: ffmpeg exited with 1: Conversion failed!"
    assert fault.exit_code == 1
    assert plain_command(["/opt/x/ffmpeg", "-y"]) == ["ffmpeg", "-y"]
