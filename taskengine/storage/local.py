"""Storage in a directory of this machine, or of one that is mounted."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from taskengine.domain.errors import NotFound, StorageError
from taskengine.domain.paths import MAX_PARTS
from taskengine.ports import StoredFile, Told
from taskengine.storage.beneath import Beneath, Folder, refuse_link
from taskengine.storage.copying import Stop, copy, in_thread, local_file
from taskengine.storage.naming import PARTIAL, judged
from taskengine.system import DESCRIPTORS, in_use, new_file, read_at, replace, sync_content, unnamed_file

_ABSENT = (FileNotFoundError, NotADirectoryError)
_LASTING = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EROFS,
            errno.EEXIST, errno.EINVAL}  # fmt: skip
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP}


class LocalStorage:
    """One directory as a Storage; the contract is `ports.Storage`'s.

    Files are linked where that is possible, so what was fetched or stored must never be modified in place. A file that
    has other names already is copied when it is stored, as somebody else may modify it: unless `link_shared`.
    `descriptors`: whether folders are held by them, which is the safer way.
    """

    kind = "local"

    def __init__(self, root: Path, *, link_shared: bool = False, descriptors: bool = DESCRIPTORS) -> None:
        self._root = root.absolute()
        self._beneath = Beneath(self._root, descriptors=descriptors)
        self._link_shared = link_shared

    def full_path(self, path: str) -> str:
        """The absolute path."""
        return str(self._root / judged(path, allow_empty=True))

    async def list(self, folder: str, *, recursive: bool = True) -> Sequence[StoredFile]:
        """Files below a folder, sorted by path; links, special files and partial files are left out."""
        path = judged(folder, allow_empty=True)
        return await in_thread(lambda _: self._list(path, recursive=recursive))

    async def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders in a folder, sorted; links are left out."""
        path = judged(folder, allow_empty=True)
        return await in_thread(lambda _: self._folders(path))

    async def stat(self, path: str) -> StoredFile | None:
        """One file; None where there is none."""
        at = judged(path)
        return await in_thread(lambda _: self._stat(at))

    async def fetch(self, path: str, target: Path) -> None:
        """Link or copy a file to a local path that does not exist yet."""
        at = judged(path)
        await in_thread(lambda stop: self._fetch(at, target, stop))

    async def store(self, source: Path, path: str, told: Told | None = None) -> None:
        """Put a local file, atomically and durably."""
        at = judged(path)
        size = await in_thread(lambda stop: self._store(source, at, stop))
        if told:
            told(size)

    async def write(self, path: str, data: bytes) -> None:
        """Put a small file, atomically and durably."""
        at = judged(path)
        await in_thread(lambda _: self._write(at, data))

    async def read(self, path: str, *, limit: int = 16 * 1024 * 1024) -> bytes:
        """A small file whole."""
        at = judged(path)
        return await in_thread(lambda _: self._read(at, limit))

    async def read_part(self, path: str, start: int, length: int) -> bytes:
        """A part of a file."""
        at = judged(path)
        return await in_thread(lambda _: self._read_part(at, start, length))

    async def copy(self, source: str, path: str) -> None:
        """Link or copy a file to a second path, atomically and durably."""
        at, to = judged(source), judged(path)
        await in_thread(lambda stop: self._copy(at, to, stop))

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete files in one go; missing ones are no fault."""
        at = [judged(path) for path in paths]
        await in_thread(lambda _: self._delete(at))

    async def delete_folder(self, folder: str) -> None:
        """Delete a folder with all below it; a missing one is no fault."""
        path = judged(folder)
        await in_thread(lambda _: self._delete_folder(path))

    # ---- in a thread

    def _list(self, folder: str, *, recursive: bool) -> Sequence[StoredFile]:
        with _translated(folder):
            try:
                with self._beneath.folder(folder) as here:
                    files = list(_files(here, folder, recursive=recursive))
            except _ABSENT:
                return []
        return sorted(files, key=lambda file: file.path)

    def _folders(self, folder: str) -> Sequence[str]:
        with _translated(folder):
            try:
                with self._beneath.folder(folder) as here, os.scandir(here.itself) as entries:
                    return sorted(_name(one.name, folder) for one in entries if one.is_dir(follow_symlinks=False))
            except _ABSENT:
                return []

    def _stat(self, path: str) -> StoredFile | None:
        with _translated(path):
            try:
                with self._beneath.parent(path) as (here, name):
                    refuse_link(here, name)
                    found = here.status(name)
            except _ABSENT:
                return None
        return _stored(path, found) if stat.S_ISREG(found.st_mode) else None

    def _fetch(self, path: str, target: Path, stop: Stop) -> None:
        with _translated(path, absent=NotADirectoryError), self._beneath.file(path) as (file, here, name):
            try:
                os.link(here.at(name), target, src_dir_fd=here.fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                _copy_to(file, lambda: new_file(target), target.unlink, stop)
                return
            if not os.path.samestat(os.lstat(target), os.fstat(file)):
                target.unlink()
                raise StorageError(f"{path!r} was replaced while it was fetched")

    def _store(self, source: Path, path: str, stop: Stop) -> int:
        """Its size in bytes."""
        with (
            _translated(path),
            local_file(source) as file,
            self._beneath.parent(path, create=True) as (here, name),
            _partial(here, name) as partial,
        ):
            if not self._link(source, file, here, partial) and not _unnamed(
                here, partial, lambda target: copy(file, target, stop)
            ):
                os.lseek(file, 0, os.SEEK_SET)
                _copy_to(file, lambda: new_file(here.at(partial), dir_fd=here.fd), None, stop)
            return os.fstat(file).st_size

    def _copy(self, path: str, to: str, stop: Stop) -> None:
        with (
            _translated(path, absent=NotADirectoryError),
            self._beneath.file(path) as (file, here, name),
            self._beneath.parent(to, create=True) as (there, target),
            _partial(there, target) as partial,
        ):
            try:
                os.link(
                    here.at(name), there.at(partial), src_dir_fd=here.fd, dst_dir_fd=there.fd, follow_symlinks=False
                )
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if not _unnamed(there, partial, lambda target: copy(file, target, stop)):
                    os.lseek(file, 0, os.SEEK_SET)
                    _copy_to(file, lambda: new_file(there.at(partial), dir_fd=there.fd), None, stop)
                return
            if not os.path.samestat(there.status(partial), os.fstat(file)):
                raise StorageError(f"{path!r} was replaced while it was copied")

    def _link(self, source: Path, file: int, here: Folder, partial: str) -> bool:
        """Whether the file could be given a further name."""
        status = os.fstat(file)
        if status.st_nlink > 1 and not self._link_shared:
            return False
        try:
            os.link(source, here.at(partial), dst_dir_fd=here.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        if not os.path.samestat(here.status(partial), status):
            raise StorageError(f"{source.name!r} was replaced while it was stored")
        sync_content(file, here.at(partial), here.fd)
        return True

    def _write(self, path: str, data: bytes) -> None:
        with (
            _translated(path),
            self._beneath.parent(path, create=True) as (here, name),
            _partial(here, name) as partial,
        ):
            if not _unnamed(here, partial, lambda target: _fill(target, data)):
                target = new_file(here.at(partial), dir_fd=here.fd)
                try:
                    _fill(target, data)
                    os.fsync(target)
                finally:
                    os.close(target)

    def _read(self, path: str, limit: int) -> bytes:
        with (
            _translated(path, absent=NotADirectoryError),
            self._beneath.file(path) as (file, _, _),
            os.fdopen(file, "rb", closefd=False) as stream,
        ):
            data = stream.read(limit + 1)
        if len(data) > limit:
            raise StorageError(f"{path!r} is larger than {limit} bytes", retryable=False)
        return data

    def _read_part(self, path: str, start: int, length: int) -> bytes:
        with _translated(path, absent=NotADirectoryError), self._beneath.file(path) as (file, _, _):
            return read_at(file, length, start)

    def _delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with _translated(path), suppress(*_ABSENT), self._beneath.parent(path) as (here, name):
                os.unlink(here.at(name), dir_fd=here.fd)

    def _delete_folder(self, folder: str) -> None:
        with _translated(folder), suppress(*_ABSENT), self._beneath.parent(folder) as (here, name):
            refuse_link(here, name)
            if stat.S_ISDIR(here.status(name).st_mode):
                shutil.rmtree(here.at(name), dir_fd=here.fd)


@contextmanager
def _translated(path: str, *, absent: type[OSError] = FileNotFoundError) -> Iterator[None]:
    """OSError as the port's errors, which name the logical path alone."""
    try:
        yield
    except (FileNotFoundError, absent) as error:
        raise NotFound(f"{path!r} does not exist") from error
    except OSError as error:
        raise StorageError(
            f"{path!r}: {error.strerror}", retryable=error.errno not in _LASTING or in_use(error)
        ) from error


def _stored(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(path, status.st_size, status.st_mtime_ns // 1_000_000)


def _files(folder: Folder, path: str, *, recursive: bool) -> Iterator[StoredFile]:
    with os.scandir(folder.itself) as entries:
        for entry in entries:
            if entry.name.startswith(PARTIAL):
                continue
            inner = f"{path}/{_name(entry.name, path)}".lstrip("/")
            with suppress(FileNotFoundError):  # it went away meanwhile
                status = folder.status(entry.name)
                if stat.S_ISREG(status.st_mode):
                    yield _stored(inner, status)
                elif stat.S_ISDIR(status.st_mode) and recursive and inner.count("/") < MAX_PARTS:
                    yield from _files_below(folder, entry.name, inner)


def _files_below(folder: Folder, name: str, path: str) -> Iterator[StoredFile]:
    inner = folder.open(name)
    try:
        yield from _files(inner, path, recursive=True)
    finally:
        inner.close()


def _name(name: str, folder: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise StorageError(
            f"a file's name in {folder!r} is not UTF-8: {os.fsencode(name)!r}", retryable=False
        ) from error
    return unicodedata.normalize("NFC", name)


@contextmanager
def _partial(folder: Folder, name: str) -> Iterator[str]:
    """A name to write to, which then becomes `name` in one step; nothing is left of it where that fails."""
    partial = f"{PARTIAL}{uuid.uuid4().hex}"
    try:
        yield partial
        replace(folder.at(partial), folder.at(name), src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
        folder.sync()
    finally:
        with suppress(FileNotFoundError):
            os.unlink(folder.at(partial), dir_fd=folder.fd)


def _fill(target: int, data: bytes) -> None:
    with os.fdopen(target, "wb", closefd=False) as stream:
        stream.write(data)


def _unnamed(folder: Folder, name: str, fill: Callable[[int], None]) -> bool:
    """Make a file that has a name when it is whole, so that nothing stays of a process that is killed. Whether this disk
    and system can."""
    target = unnamed_file(folder.fd) if folder.fd is not None else None
    if target is None:
        return False
    try:
        fill(target)
        os.fsync(target)
        with suppress(OSError):
            os.link(f"/proc/self/fd/{target}", name, dst_dir_fd=folder.fd, follow_symlinks=True)
            return True
        return False
    finally:
        os.close(target)


def _copy_to(file: int, create: Callable[[], int], undo: Callable[[], None] | None, stop: Stop) -> None:
    target = create()
    try:
        try:
            copy(file, target, stop)
            if undo is None:
                os.fsync(target)
        finally:
            os.close(target)
    except BaseException:
        if undo is not None:
            undo()
        raise
