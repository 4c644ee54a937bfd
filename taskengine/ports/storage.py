"""Files: where assets lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a storage: `path` is logical, below the storage's root."""

    path: str
    size: int
    modified_at: int


Told = Callable[[int], None]


class Storage(Protocol):
    """Where media lives: one root of one storage. Paths are logical (`domain.paths`), judged again by the adapter.

    Raises StorageError (`retryable` where the same call may succeed later) and NotFound for a missing file.
    Nothing is ever read, written or deleted outside the root; links are not followed.
    """

    kind: str  # local, s3, azure

    def full_path(self, path: str) -> str:
        """The storage's own name of it: an absolute path, `s3://bucket/key`, `azure://container/key`."""
        ...

    async def list(self, folder: str, *, recursive: bool = True) -> Sequence[StoredFile]:
        """Files below a folder, sorted by path; [] where there is none."""
        ...

    async def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders directly in a folder, sorted; [] where there are none."""
        ...

    async def stat(self, path: str) -> StoredFile | None:
        """One file; None where there is none."""
        ...

    async def fetch(self, path: str, target: Path) -> None:
        """Bring a file to a local path that does not exist yet: linked where it is on one disk, else copied."""
        ...

    async def store(self, source: Path, path: str, told: Told | None = None) -> None:
        """Put a local file, atomically: a reader sees the old file or the whole new one. The source stays."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Put a small file, atomically."""
        ...

    async def read(self, path: str, *, limit: int = 16 * 1024 * 1024) -> bytes:
        """A small file whole; StorageError where it is larger than `limit` bytes."""
        ...

    async def read_part(self, path: str, start: int, length: int) -> bytes:
        """`length` bytes of a file from `start` on, less where it ends before; it should be some megabytes at most."""
        ...

    async def copy(self, source: str, path: str) -> None:
        """Give a file's content to a second path, atomically, within the storage: linked where it is on one disk."""
        ...

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete files; missing ones are no fault."""
        ...

    async def delete_folder(self, folder: str) -> None:
        """Delete all below a folder and the folder; the root or an empty path is refused. `a` never touches `ab`."""
        ...
