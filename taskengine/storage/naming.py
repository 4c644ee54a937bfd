"""What every storage asks of a path before it does anything with it."""

from __future__ import annotations

from taskengine.domain.errors import StorageError
from taskengine.domain.paths import PathFault, logical_path

PARTIAL = ".partial-"
"""What the names of files begin with that are being written: no storage takes or shows them."""


def judged(path: str, *, allow_empty: bool = False) -> str:
    """The logical path, judged again; a lasting StorageError where it is refused."""
    try:
        logical = logical_path(path, allow_empty=allow_empty)
    except PathFault as fault:
        raise StorageError(f"{path[:200]!r}: {fault}", retryable=False) from fault
    if any(part.startswith(PARTIAL) for part in logical.split("/")):
        raise StorageError(f"{path!r}: names that start with {PARTIAL!r} are reserved", retryable=False)
    return logical
