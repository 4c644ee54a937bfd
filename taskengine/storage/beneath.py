"""A directory that nothing leaves: each name is opened from its parent's descriptor, and links are not followed.

So no race can lead outside: what is renamed or replaced by a link between two steps is either found or refused.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from taskengine.domain.errors import StorageError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: a pipe must not hold us


class Beneath:
    """Opens folders and files below `root` by logical path. Raises OSError, and StorageError for links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def folder(self, path: str, *, create: bool = False) -> Iterator[int]:
        """A descriptor of a folder ("" is the root); `create` makes what is missing of it, durably."""
        if create:
            self.root.mkdir(parents=True, exist_ok=True)
        here = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in filter(None, path.split("/")):
                here = _step(here, name, create=create)
            yield here
        finally:
            os.close(here)

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that holds `path`, and the name of `path` in it as it is on the disk."""
        folder, _, name = path.rpartition("/")
        with self.folder(folder, create=create) as here:
            yield here, _name_on_disk(here, name)

    @contextmanager
    def file(self, path: str) -> Iterator[tuple[int, int, str]]:
        """(descriptor, its folder's descriptor, its name there) of a regular file, open for reading."""
        with self.parent(path) as (here, name):
            refuse_link(here, name)
            file = os.open(name, _FILE, dir_fd=here)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise StorageError(f"{path!r} is not a file", retryable=False)
                yield file, here, name
            finally:
                os.close(file)


def sync_folder(folder: int) -> None:
    """Make a folder's names durable, where its file system knows how."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise


def refuse_link(folder: int, name: str) -> None:
    """Say clearly that a name is a link; what becomes one later is refused by O_NOFOLLOW."""
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise StorageError(f"{name!r} is a link: links are not followed", retryable=False)


def _step(here: int, name: str, *, create: bool) -> int:
    """Open the folder `name` in `here`, and close `here` where that succeeds."""
    actual = _name_on_disk(here, name)
    refuse_link(here, actual)
    if create:
        with suppress(FileExistsError):
            os.mkdir(actual, dir_fd=here)
            sync_folder(here)
    inner = os.open(actual, _FOLDER, dir_fd=here)
    os.close(here)
    return inner


def _name_on_disk(folder: int, name: str) -> str:
    """Names are compared in NFC; a disk may hold another form (macOS writes NFD)."""
    if name.isascii():
        return name
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return name
    return next((entry for entry in os.listdir(folder) if unicodedata.normalize("NFC", entry) == name), name)
