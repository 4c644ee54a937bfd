"""The data directory: one owner at a time, and the file with the generated key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from taskengine.domain.errors import Conflict

API_KEY = "api-key"
_LOCK = "owner.lock"


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Own the directory (made where it is missing) until the end; Conflict where another process does.

    The lock is the kernel's: it goes with the process, however that ends.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(data_dir / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Conflict(
            f"the data directory {data_dir} belongs to another running engine; submit the job to it instead "
            "(`taskengine submit WORKFLOW …`), or name another directory with --data-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


def write_key(data_dir: Path, key: str) -> Path:
    """Keep a generated key where client commands on this machine find it, readable by its owner alone."""
    path = data_dir / API_KEY
    partial = path.with_name(f".{API_KEY}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key + "\n")
    partial.replace(path)
    return path
