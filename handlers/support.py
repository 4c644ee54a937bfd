"""What handlers share: documents in the workspace, faults of storages and subprocesses, work done together."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from taskengine.domain.errors import (
    InputFault,
    InternalFault,
    NotFound,
    ResourceFault,
    StorageError,
    TaskFailed,
    TimeoutFault,
)
from taskengine.media.ffmpeg import POSTER
from taskengine.media.progress import EncodeProgress
from taskengine.media.streams.model import StreamFault
from taskengine.media.thumbnails import Grid
from taskengine.media.tools import parse_version
from taskengine.media.tracks import Command, Images, from_json, to_json
from taskengine.ports import ProcessResult, Storage, TaskContext

STALL_S = 60.0
QUIET_STALL_S = 600.0  # where ffmpeg may be at work for long and say nothing: tiles, an index that is moved
_LACKS = ("Unknown encoder", "No such filter", "Unknown decoder", "No space left on device", "Cannot allocate memory",
          "Input/output error", "running out of disk space")  # fmt: skip
_STOPPED = {123, 255}  # ffmpeg was asked to end

T = TypeVar("T")

STRING: Mapping[str, Any] = {"type": "string"}
BOOLEAN: Mapping[str, Any] = {"type": "boolean"}
NUMBER: Mapping[str, Any] = {"type": "number"}
FILE: Mapping[str, Any] = {"type": "object", "required": ["$file"]}
OPTIONAL_FILE: Mapping[str, Any] = {"type": ["object", "null"]}
ANY: Mapping[str, Any] = {}
OUTPUT_STORAGE: Mapping[str, Any] = {
    "type": "string",
    "x-from": ["parameters.destination_storage", "parameters.source_storage", "client.default_storage"],
}
OUTPUT_ROOT: Mapping[str, Any] = {"x-from": ["parameters.output_root"]}


def schema(
    required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, *, ways: Sequence[Sequence[str]] = ()
) -> Mapping[str, Any]:
    """The JSON Schema of an object with these members and no others. `ways`: sets of the optional ones, one of which must be
    there."""
    properties = {**required, **(optional or {})}
    plain = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return plain | ({"anyOf": [{"required": list(way)} for way in ways]} if ways else {})


async def save(context: TaskContext, name: str, value: T, kind: type[T]) -> dict[str, Any]:
    """Put a document into the workspace; its reference."""
    path = context.scratch / name
    await asyncio.to_thread(path.write_bytes, to_json(value, kind))
    return await context.workspace.store(path, name)


async def load(context: TaskContext, reference: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """Read a document from the workspace."""
    path = await context.workspace.fetch(reference, name)
    return from_json(await asyncio.to_thread(path.read_bytes), kind)


async def load_text(storage: Storage, path: str, what: str) -> str:
    """A small text file of a storage; its faults are told of `what`."""
    with storage_faults(what):
        return (await storage.read(path)).decode(errors="replace")


async def together(work: Sequence[Coroutine[Any, Any, T]], limit: int = 8) -> list[T]:
    """Await all, `limit` at a time; the first fault ends the rest and is raised as it is."""
    gate = asyncio.Semaphore(limit)

    async def one(item: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await item

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in work]
    except BaseExceptionGroup as faults:
        raise _first(faults) from None
    finally:
        for item in work:
            item.close()  # what was never begun
    return [task.result() for task in tasks]


async def through(work: Coroutine[Any, Any, T]) -> T:
    """Do to its end what must not be left half done. A cancellation that comes meanwhile is passed over: the task
    completes, and the engine decides whether that counts."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        return await task


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Do `work` while the block runs; a fault of either ends the other and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work)
            yield
    except BaseExceptionGroup as faults:
        raise _first(faults) from None
    finally:
        work.close()


def _first(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


@contextmanager
def storage_faults(what: str) -> Iterator[None]:
    """Tell a storage's errors as faults of the task."""
    try:
        yield
    except NotFound as error:
        raise InputFault(f"{what}: {error}") from error
    except StorageError as error:
        raise (ResourceFault if error.retryable else InputFault)(f"{what}: {error}") from error


@contextmanager
def told_of(what: str) -> Iterator[None]:
    """Tell faults by the parameter that they are of; those that begin with it are told as they are."""
    try:
        yield
    except StreamFault as fault:
        raise InputFault(f"{what}: {fault}") from fault
    except TaskFailed as fault:
        if str(fault).startswith(what):
            raise
        raise type(fault)(f"{what}: {fault}", exit_code=fault.exit_code, stderr_tail=fault.stderr_tail) from fault


async def run(context: TaskContext, argv: Sequence[str], what: str, *, of_input: bool = False) -> ProcessResult:
    """Run a program that must exit with 0."""
    result = await context.run(argv)
    if result.exit_code != 0:
        raise process_fault(what, result, of_input=of_input)
    return result


async def run_ffmpeg(
    context: TaskContext, argv: Sequence[str], what: str, progress: EncodeProgress | None = None, *,
    of_input: bool = False,
) -> ProcessResult:  # fmt: skip
    """Run ffmpeg to its proper end: exit status 0 and `progress=end`. Its progress is the task's, where it is given."""
    seen = progress or EncodeProgress(frames=None, rate=None, duration=0.0, clock=time.monotonic)

    def on_line(line: str) -> bool:
        moved = seen.line(line)
        if progress and moved:
            context.report_progress(progress.fraction, speed=progress.speed, eta_s=progress.eta_s)
        return moved

    result = await context.run(argv, on_line=on_line, stall_s=STALL_S if progress else QUIET_STALL_S)
    if result.exit_code != 0:
        raise process_fault(what, result, of_input=of_input)
    if not seen.ended:
        raise InternalFault(
            f"{what}: ffmpeg exited with 0 before it had ended", exit_code=0, stderr_tail=result.stderr_tail
        )
    return result


def process_fault(what: str, result: ProcessResult, *, of_input: bool = False) -> TaskFailed:
    """The fault of a program that failed: a lack of this worker, its input's (where it reads a client's), or internal.

    A program that gave up by itself over a client's media would do so again; one that a signal ended might not.
    """
    lines = [line for line in result.stderr_tail.splitlines() if line.strip()]
    lack = next((line for line in lines if any(mark in line for mark in _LACKS)), None)
    reason = lack or (lines[-1] if lines else "it said nothing")
    message = f"{what}: {Path(result.argv[0]).name} exited with {result.exit_code}: {reason}"
    kind: type[TaskFailed] = ResourceFault if lack else InternalFault
    if not lack and of_input and result.exit_code > 0 and result.exit_code not in _STOPPED:
        kind = InputFault
    return kind(message, exit_code=result.exit_code, stderr_tail=result.stderr_tail)


async def keep_version(context: TaskContext, name: str, program: str, versions: dict[str, str]) -> None:
    """Ask ffmpeg or ffprobe for its version and keep it under `name`."""
    result = await run(context, [program, "-version"], "asking for the version")
    versions[name] = parse_version(result.stdout.decode(errors="replace")) or "unknown"


async def keep_packager_version(context: TaskContext, versions: dict[str, str]) -> None:
    """Ask packager for its version and keep it."""
    result = await run(context, [context.tools.packager, "--version"], "asking for the version")
    versions["packager"] = parse_version(result.stdout.decode(errors="replace")) or "unknown"


def plain_command(argv: Sequence[str]) -> Sequence[str]:
    """A command line as it is kept beside an asset: programs by name, no path of this machine."""
    return [Path(argv[0]).name, *argv[1:]]


async def need_space(context: TaskContext, wanted: int, what: str) -> None:
    """Raise a ResourceFault where scratch has less than `wanted` bytes free."""
    free = (await asyncio.to_thread(shutil.disk_usage, context.scratch)).free
    if free < wanted:
        raise ResourceFault(f"{what}: it may need {wanted:,} bytes of scratch and {free:,} are free")


def tell(context: TaskContext, message: str) -> None:
    """A line in the job's log."""
    context.log.info(message)


def warn(context: TaskContext, message: str) -> None:
    """A warning in the job's log."""
    context.log.warning(message)


def tell_all(context: TaskContext, messages: Iterable[str]) -> None:
    """Lines in the job's log."""
    for message in messages:
        tell(context, message)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Do blocking work beside the loop."""
    return await asyncio.to_thread(function, *arguments)


async def save_images(
    context: TaskContext, *, poster: bool, previews: Grid | None, commands: Sequence[Command]
) -> dict[str, Any] | None:
    """Put the poster and the sheets that ffmpeg made into the workspace; the reference of their document, if any."""
    if not poster and previews is None:
        return None
    names = [f"sheet_{number}.jpg" for number in range(1, (previews.sheets if previews else 0) + 1)]
    stored = await together(
        [context.workspace.store(context.scratch / name, name) for name in ([POSTER] if poster else []) + names]
    )
    first = 1 if poster else 0
    images = Images(stored[0] if poster else None, stored[first:], previews, [plain_command(argv) for argv in commands])
    return await save(context, "images.json", images, Images)


@asynccontextmanager
async def within_time(context: TaskContext) -> AsyncIterator[None]:
    """Within the job's own time limit, where it has one. TimeoutFault where it is over."""
    limit = float(context.inputs.get("time_limit") or 0)
    timer = asyncio.timeout(limit or None)
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise TimeoutFault(f"remote_execute_timeout_seconds: {limit:g} s are over") from None
