"""What the contract of storages is tried on: every adapter, with what it declares to be able to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from taskengine.ports import Storage
from taskengine.storage.buckets import bucket
from taskengine.storage.local import LocalStorage
from taskengine.storage.registry import settled


class Ability(StrEnum):
    """What not every storage can do."""

    LINKS = "links"  # a file that is fetched to the same disk costs no copy


@dataclass(frozen=True)
class StorageAdapter:
    """A kind of storage. `open` gives an empty root; `disk` is a directory of this test. `server` names the fixture of
    the server that it needs."""

    name: str
    kind: str
    open: Callable[[Path, Any], AbstractAsyncContextManager[Storage]]
    abilities: frozenset[Ability]
    full_path_prefix: str
    server: str | None = None


@asynccontextmanager
async def _local(disk: Path, _: None) -> AsyncIterator[Storage]:
    yield LocalStorage(disk / "root")


@asynccontextmanager
async def _local_by_path(disk: Path, _: None) -> AsyncIterator[Storage]:
    yield LocalStorage(disk / "root", descriptors=False)


@asynccontextmanager
async def _bucket(_: Path, server: BucketServer) -> AsyncIterator[Storage]:
    yield bucket(server.settings(), "").storage()
    await settled()


class BucketServer(Protocol):
    """A server that has a bucket."""

    def settings(self) -> Mapping[str, Any]:
        """Of a storage in it that is empty."""
        ...


ADAPTERS = (
    StorageAdapter("local", "local", _local, frozenset(Ability), "/"),
    StorageAdapter("local by path", "local", _local_by_path, frozenset(Ability), "/"),
    StorageAdapter("azure", "azure", _bucket, frozenset(), "azure://media/", "azure"),
    StorageAdapter("s3", "s3", _bucket, frozenset(), "s3://media/", "s3"),
)


def adapters_that(*abilities: Ability) -> list[StorageAdapter]:
    """The adapters with these abilities."""
    return [adapter for adapter in ADAPTERS if adapter.abilities.issuperset(abilities)]


async def paths(storage: Storage, folder: str = "", *, recursive: bool = True) -> list[str]:
    """What a folder lists."""
    return [file.path for file in await storage.list(folder, recursive=recursive)]
