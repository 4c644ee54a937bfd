"""The data directory: one owner at a time, and the files with the generated keys."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from taskengine.domain.errors import Conflict, Fault, InvalidRequest

API_KEY = "api-key"
_LOCK = "owner.lock"


@contextmanager
def owned(data_dir: Path) -> Iterator[None]:
    """Own the directory (made where it is missing) until the end; Conflict where another process does, InvalidRequest
    where it cannot be made or written.

    The lock is the kernel's: it goes with the process, however that ends.
    """
    lock = FileLock(data_dir / _LOCK)
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire(timeout=0)
    except Timeout:
        raise Conflict(
            f"the data directory {data_dir} belongs to another running engine; submit the job to it instead "
            "(`taskengine submit WORKFLOW …`), or name another directory with --data-dir"
        ) from None
    except OSError as error:
        text = f"the folder {data_dir} cannot be used: {error.strerror}"
        raise InvalidRequest(f"/data_dir: {text}", [Fault("/data_dir", text)]) from error
    try:
        yield
    finally:
        lock.release()


def write_secret(data_dir: Path, name: str, secret: str) -> Path:
    """Keep a secret in the directory, readable by its owner alone, in the place of what was there."""
    path = data_dir / name
    _partial(path, secret).replace(path)
    return path


def write_key(data_dir: Path, key: str) -> Path:
    """Keep a generated key where client commands on this machine find it."""
    return write_secret(data_dir, API_KEY, key)


def read_secret(data_dir: Path, name: str) -> str | None:
    """A secret of the directory; None where there is none, or none for this user."""
    try:
        return (data_dir / name).read_text().strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def read_or_make(data_dir: Path, name: str, make: Callable[[], str]) -> str:
    """A secret of the directory, made and durably written where there is none. Of two who make it at once, one does."""
    path = data_dir / name
    while (found := read_secret(data_dir, name)) is None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = _partial(path, make())
        try:
            os.link(partial, path)
        except FileExistsError:
            if read_secret(data_dir, name) is None:
                raise
        finally:
            partial.unlink()
    return found


def _partial(path: Path, secret: str) -> Path:
    """The secret in a new file beside `path`, readable by its owner alone and on the disk."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    return partial
