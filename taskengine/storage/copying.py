"""Work that blocks: in a thread that a cancelled caller stops and waits for, so that nothing goes on behind its back."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from taskengine.domain.errors import StorageError
from taskengine.system import copy_in_kernel, open_file

Stop = threading.Event
T = TypeVar("T")

_STRIDE = 16 * 1024 * 1024


class Stopped(Exception):
    """The caller is gone: what is left undone is of no use."""


async def in_thread(work: Callable[[Stop], T]) -> T:
    """Run `work` in a thread. Where the caller is cancelled, `work` is told by its event and waited for."""
    stop = Stop()
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([future])
        future.exception()  # looked at, so that the loop does not complain of it
        raise


def copy(source: int, target: int, stop: Stop) -> None:
    """Copy what is left of one open file into another, by the kernel where it can; raises Stopped when told to stop."""
    step = _by_kernel
    while not stop.is_set():
        try:
            copied = step(source, target)
        except OSError:
            if step is _by_hand:
                raise
            copied, step = 1, _by_hand  # disks and kernels differ in what they can; the offsets are where they were
        if not copied and step is _by_hand:
            return
        if not copied:
            step = _by_hand  # some file systems say "end" at once for what they cannot copy
    raise Stopped


def _by_kernel(source: int, target: int) -> int:
    return copy_in_kernel(source, target, _STRIDE)


def _by_hand(source: int, target: int) -> int:
    data = os.read(source, _STRIDE // 16)
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
    return len(data)


@contextmanager
def local_file(source: Path) -> Iterator[int]:
    """A descriptor of a regular file of a task, for reading; a lasting StorageError where it is none."""
    try:
        file = open_file(source)
    except OSError as error:
        raise StorageError(f"the local file {source.name!r}: {error.strerror}", retryable=False) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise StorageError(f"the local file {source.name!r} is not a regular file", retryable=False)
        yield file
    finally:
        os.close(file)
