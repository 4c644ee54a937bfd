"""What the contract of storages is tried on: every adapter, with what it declares to be able to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from taskengine.ports import Storage
from taskengine.storage.local import LocalStorage


class Ability(StrEnum):
    """What not every storage can do."""

    LINKS = "links"  # a file that is fetched to the same disk costs no copy


@dataclass(frozen=True)
class StorageAdapter:
    """A kind of storage. `open` gives an empty root; `disk` is a directory of this test."""

    name: str
    kind: str
    open: Callable[[Path], AbstractAsyncContextManager[Storage]]
    abilities: frozenset[Ability]
    full_path_prefix: str


@asynccontextmanager
async def _local(disk: Path) -> AsyncIterator[Storage]:
    yield LocalStorage(disk / "root")


ADAPTERS = (StorageAdapter("local", "local", _local, frozenset(Ability), "/"),)


def adapters_that(*abilities: Ability) -> list[StorageAdapter]:
    """The adapters with these abilities."""
    return [adapter for adapter in ADAPTERS if adapter.abilities.issuperset(abilities)]


async def paths(storage: Storage, folder: str = "", *, recursive: bool = True) -> list[str]:
    """What a folder lists."""
    return [file.path for file in await storage.list(folder, recursive=recursive)]
