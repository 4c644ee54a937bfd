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
from taskengine.storage.beneath import Beneath, refuse_link, sync_folder
from taskengine.storage.copying import Stop, copy, in_thread, local_file
from taskengine.storage.naming import PARTIAL, judged

_ABSENT = (FileNotFoundError, NotADirectoryError)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_LASTING = {errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EROFS,
            errno.EEXIST, errno.EINVAL}  # fmt: skip
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP}


class LocalStorage:
    """One directory as a Storage; the contract is `ports.Storage`'s.

    Files are linked where that is possible, so what was fetched or stored must never be modified in place. A file that
    has other names already is copied when it is stored, as somebody else may modify it: unless `link_shared`.
    """

    kind = "local"

    def __init__(self, root: Path, *, link_shared: bool = False) -> None:
        self._root = root.absolute()
        self._beneath = Beneath(self._root)
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
                with self._beneath.folder(folder) as here, os.scandir(here) as entries:
                    return sorted(_name(one.name, folder) for one in entries if one.is_dir(follow_symlinks=False))
            except _ABSENT:
                return []

    def _stat(self, path: str) -> StoredFile | None:
        with _translated(path):
            try:
                with self._beneath.parent(path) as (here, name):
                    refuse_link(here, name)
                    found = os.stat(name, dir_fd=here, follow_symlinks=False)
            except _ABSENT:
                return None
        return _stored(path, found) if stat.S_ISREG(found.st_mode) else None

    def _fetch(self, path: str, target: Path, stop: Stop) -> None:
        with _translated(path, absent=NotADirectoryError), self._beneath.file(path) as (file, here, name):
            try:
                os.link(name, target, src_dir_fd=here, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                _copy_to(file, lambda: os.open(target, _NEW, 0o666), target.unlink, stop)
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
            if not self._link(source, file, here, partial) and not _copy_unnamed(file, here, partial, stop):
                os.lseek(file, 0, os.SEEK_SET)
                _copy_to(file, lambda: os.open(partial, _NEW, 0o666, dir_fd=here), None, stop)
            return os.fstat(file).st_size

    def _copy(self, path: str, to: str, stop: Stop) -> None:
        with (
            _translated(path, absent=NotADirectoryError),
            self._beneath.file(path) as (file, here, name),
            self._beneath.parent(to, create=True) as (there, target),
            _partial(there, target) as partial,
        ):
            try:
                os.link(name, partial, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if not _copy_unnamed(file, there, partial, stop):
                    os.lseek(file, 0, os.SEEK_SET)
                    _copy_to(file, lambda: os.open(partial, _NEW, 0o666, dir_fd=there), None, stop)
                return
            if not os.path.samestat(os.stat(partial, dir_fd=there, follow_symlinks=False), os.fstat(file)):
                raise StorageError(f"{path!r} was replaced while it was copied")

    def _link(self, source: Path, file: int, here: int, partial: str) -> bool:
        """Whether the file could be given a further name."""
        status = os.fstat(file)
        if status.st_nlink > 1 and not self._link_shared:
            return False
        try:
            os.link(source, partial, dst_dir_fd=here, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
        if not os.path.samestat(os.stat(partial, dir_fd=here, follow_symlinks=False), status):
            raise StorageError(f"{source.name!r} was replaced while it was stored")
        os.fsync(file)
        return True

    def _write(self, path: str, data: bytes) -> None:
        with (
            _translated(path),
            self._beneath.parent(path, create=True) as (here, name),
            _partial(here, name) as partial,
            os.fdopen(os.open(partial, _NEW, 0o666, dir_fd=here), "wb") as stream,
        ):
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

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

    def _delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with _translated(path), suppress(*_ABSENT), self._beneath.parent(path) as (here, name):
                os.unlink(name, dir_fd=here)

    def _delete_folder(self, folder: str) -> None:
        with _translated(folder), suppress(*_ABSENT), self._beneath.parent(folder) as (here, name):
            refuse_link(here, name)
            if stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=here)


@contextmanager
def _translated(path: str, *, absent: type[OSError] = FileNotFoundError) -> Iterator[None]:
    """OSError as the port's errors, which name the logical path alone."""
    try:
        yield
    except (FileNotFoundError, absent) as error:
        raise NotFound(f"{path!r} does not exist") from error
    except OSError as error:
        raise StorageError(f"{path!r}: {error.strerror}", retryable=error.errno not in _LASTING) from error


def _stored(path: str, status: os.stat_result) -> StoredFile:
    return StoredFile(path, status.st_size, status.st_mtime_ns // 1_000_000)


def _files(folder: int, path: str, *, recursive: bool) -> Iterator[StoredFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PARTIAL):
                continue
            inner = f"{path}/{_name(entry.name, path)}".lstrip("/")
            with suppress(FileNotFoundError):  # it went away meanwhile
                status = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield _stored(inner, status)
                elif stat.S_ISDIR(status.st_mode) and recursive and inner.count("/") < MAX_PARTS:
                    yield from _files_below(folder, entry.name, inner)


def _files_below(folder: int, name: str, path: str) -> Iterator[StoredFile]:
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield from _files(inner, path, recursive=True)
    finally:
        os.close(inner)


def _name(name: str, folder: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise StorageError(
            f"a file's name in {folder!r} is not UTF-8: {os.fsencode(name)!r}", retryable=False
        ) from error
    return unicodedata.normalize("NFC", name)


@contextmanager
def _partial(folder: int, name: str) -> Iterator[str]:
    """A name to write to, which then becomes `name` in one step; nothing is left of it where that fails."""
    partial = f"{PARTIAL}{uuid.uuid4().hex}"
    try:
        yield partial
        os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        sync_folder(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)


def _copy_unnamed(file: int, folder: int, name: str, stop: Stop) -> bool:
    """Copy into a file that has a name when it is whole, so that nothing stays of a process that is killed. Whether this
    disk and system can."""
    try:
        target = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except (OSError, AttributeError):
        return False
    try:
        copy(file, target, stop)
        os.fsync(target)
        with suppress(OSError):
            os.link(f"/proc/self/fd/{target}", name, dst_dir_fd=folder, follow_symlinks=True)
            return True
        return False
    finally:
        os.close(target)


def _copy_to(file: int, create: Callable[[], int], undo: Callable[[], None] | None, stop: Stop) -> None:
    target = create()
    try:
        copy(file, target, stop)
        if undo is None:
            os.fsync(target)
    except BaseException:
        if undo is not None:
            undo()
        raise
    finally:
        os.close(target)
