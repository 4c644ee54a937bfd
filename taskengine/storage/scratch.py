"""Scratch directories: private, held by a lock that dies with its process, removed after use or at the next start."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from taskengine.domain.errors import ResourceFault
from taskengine.storage.copying import in_thread
from taskengine.system import hold_folder

_TRIES, _BETWEEN_S = 10, 0.1  # Windows removes no folder that a process which just ended stood in


@asynccontextmanager
async def scratch_dir(root: Path, name: str) -> AsyncIterator[Callable[[], Path]]:
    """Gives the way to a new empty directory `<root>/<name>-…` that only this user may enter. It is made when it is first
    asked for (most tasks ask, those that only compute do not) and removed with all in it at the end."""
    made: list[tuple[Path, int]] = []

    def path() -> Path:
        if not made:
            made.append(_make(root, name))
        return made[0][0]

    try:
        yield path
    finally:
        if made:
            await in_thread(lambda _: _remove(*made[0]))


async def remove_stale(root: Path) -> int:
    """Remove the scratch directories of processes that are gone; how many."""
    return await in_thread(lambda _: sum(_remove_if_stale(folder) for folder in _folders(root)))


async def free_bytes(path: Path) -> int:
    """What is free for this user on the disk of `path` (which need not exist yet)."""
    return await in_thread(lambda _: _free(path.absolute()))


def _free(path: Path) -> int:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _make(root: Path, name: str) -> tuple[Path, int]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            folder = root / f"{name}-{uuid.uuid4().hex[:12]}"
            folder.mkdir(mode=0o700)
            lock = hold_folder(folder)
            if lock is not None:
                return folder, lock
    except OSError as error:
        raise ResourceFault(f"no scratch directory can be made: {error.strerror}") from error


def _folders(root: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return [entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink()]
    return []


def _remove_if_stale(folder: Path) -> bool:
    lock = hold_folder(folder)
    if lock is None:
        return False
    _remove(folder, lock)
    return True


def _remove(folder: Path, lock: int) -> None:
    """What cannot be removed now is taken at the next start: the lock is gone with its process."""
    try:
        for _ in range(_TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(_BETWEEN_S)
    finally:
        os.close(lock)
