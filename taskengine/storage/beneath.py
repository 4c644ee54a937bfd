"""A directory that nothing leaves: each name is opened from its parent's descriptor, and links are not followed.

So no race can lead outside: what is renamed or replaced by a link between two steps is either found or refused. Where the
system has no such descriptors, each part of a path is looked at instead, and the whole once more.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from taskengine.domain.errors import StorageError
from taskengine.system import DESCRIPTORS, is_link, open_file, open_folder


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder: what is in it is `at(name)`, from the descriptor `fd`. Without one, `at` is a whole path."""

    path: str
    fd: int | None

    @property
    def itself(self) -> int | str:
        """As what lists it takes it."""
        return self.path if self.fd is None else self.fd

    def at(self, name: str) -> str:
        """A name in it, as the calls of `os` take it beside `dir_fd=fd`."""
        return os.path.join(self.path, name) if self.fd is None else name  # noqa: PTH118 - a name, mostly

    def status(self, name: str) -> os.stat_result:
        """Of a name in it; of the link where it is one."""
        return os.stat(self.at(name), dir_fd=self.fd, follow_symlinks=False)

    def open(self, name: str) -> Folder:
        """A folder in it, to be closed; OSError where it is a link or none."""
        path = os.path.join(self.path, name)  # noqa: PTH118 - as `at`
        if self.fd is not None:
            return Folder(path, open_folder(name, dir_fd=self.fd))
        refuse_link(self, name)
        if not stat.S_ISDIR(self.status(name).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return Folder(path, None)

    def sync(self) -> None:
        """Make its names durable, where its file system knows how."""
        if self.fd is None:
            return
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise

    def close(self) -> None:
        """Let go of it."""
        if self.fd is not None:
            os.close(self.fd)


class Beneath:
    """Opens folders and files below `root` by logical path. Raises OSError, and StorageError for links."""

    def __init__(self, root: Path, *, descriptors: bool = DESCRIPTORS) -> None:
        self.root = root
        self._descriptors = descriptors

    @contextmanager
    def folder(self, path: str, *, create: bool = False) -> Iterator[Folder]:
        """A folder ("" is the root); `create` makes what is missing of it, durably."""
        if create:
            self.root.mkdir(parents=True, exist_ok=True)
        here = self._open_root()
        try:
            for name in filter(None, path.split("/")):
                here = _step(here, name, create=create)
            if here.fd is None and not _is_real(here.path):
                raise StorageError(f"{path!r} leads through a link: links are not followed", retryable=False)
            yield here
        finally:
            here.close()

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Iterator[tuple[Folder, str]]:
        """The folder that holds `path`, and the name of `path` in it as it is on the disk."""
        folder, _, name = path.rpartition("/")
        with self.folder(folder, create=create) as here:
            yield here, _name_on_disk(here, name)

    @contextmanager
    def file(self, path: str) -> Iterator[tuple[int, Folder, str]]:
        """(descriptor, its folder, its name there) of a regular file, open for reading."""
        with self.parent(path) as (here, name):
            refuse_link(here, name)
            file = open_file(here.at(name), dir_fd=here.fd)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise StorageError(f"{path!r} is not a file", retryable=False)
                yield file, here, name
            finally:
                os.close(file)

    def _open_root(self) -> Folder:
        """What is mounted or linked as the root is the operator's choice."""
        if self._descriptors:
            return Folder(str(self.root), open_folder(str(self.root), follow=True))
        root = os.path.realpath(self.root, strict=True)
        if not os.path.isdir(root):  # noqa: PTH112 - `realpath` gives no Path
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return Folder(root, None)


def refuse_link(folder: Folder, name: str) -> None:
    """Say clearly that a name is a link; what becomes one later is refused when it is opened."""
    with suppress(FileNotFoundError):
        if is_link(folder.status(name)):
            raise StorageError(f"{name!r} is a link: links are not followed", retryable=False)


def _is_real(path: str) -> bool:
    return os.path.normcase(os.path.realpath(path)) == os.path.normcase(path)


def _step(here: Folder, name: str, *, create: bool) -> Folder:
    """Open the folder `name` in `here`, and close `here` where that succeeds."""
    actual = _name_on_disk(here, name)
    refuse_link(here, actual)
    if create:
        with suppress(FileExistsError):
            os.mkdir(here.at(actual), dir_fd=here.fd)
            here.sync()
    inner = here.open(actual)
    here.close()
    return inner


def _name_on_disk(folder: Folder, name: str) -> str:
    """Names are compared in NFC; a disk may hold another form (macOS writes NFD)."""
    if name.isascii():
        return name
    with suppress(FileNotFoundError):
        folder.status(name)
        return name
    entries = os.listdir(folder.itself)  # noqa: PTH208 - of a descriptor
    return next((entry for entry in entries if unicodedata.normalize("NFC", entry) == name), name)
