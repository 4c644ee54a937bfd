"""The shared segments of an output root: each is written once, and all that an asset uses are known."""

from __future__ import annotations

from pathlib import Path

from taskengine.handlers.support import in_thread, storage_faults
from taskengine.ports import Storage

_FIELD = "output_root"


class Shelf:
    """`used`: path → bytes of what was placed here or found here. `written`, `found`: how many of each there were.

    A segment that another job writes at the same time is written twice, whole each time, with the same content: storages put
    files in one step.
    """

    def __init__(self, storage: Storage, *, overwrite: bool) -> None:
        self.storage, self._overwrite = storage, overwrite
        self.used: dict[str, int] = {}
        self.written = 0
        self.found = 0

    async def has(self, path: str, size: int | None = None) -> bool:
        """Whether a segment is there (of this size, where it is known) and need not be written; it is used, then."""
        if path in self.used:
            return True
        if self._overwrite:
            return False
        with storage_faults(_FIELD):
            stored = await self.storage.stat(path)
        if stored is None or stored.size == 0 or (size is not None and stored.size != size):
            return False
        self.used[path] = stored.size
        self.found += 1
        return True

    async def put(self, source: Path, path: str) -> None:
        """Write one."""
        with storage_faults(_FIELD):
            await self.storage.store(source, path)
        self.used[path] = await in_thread(lambda: source.stat().st_size)
        self.written += 1

    async def folders(self, path: str) -> list[str]:
        """The folders in one."""
        with storage_faults(_FIELD):
            return list(await self.storage.folders(path))
