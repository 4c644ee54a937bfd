"""What lies in a folder that others are still writing to and deleting from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def paths_below(folder: Path) -> Iterator[Path]:
    """Files and folders. Unlike `Path.rglob`, it goes on where a folder vanishes under it."""
    for parent, folders, names in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *names))


def contents_below(folder: Path, limit: int = 1 << 28) -> dict[str, bytes]:
    """What is in the regular files of at most `limit` bytes; those that vanish are left out."""
    found = {}
    for path in paths_below(folder):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size < limit:
                found[str(path)] = path.read_bytes()
    return found
