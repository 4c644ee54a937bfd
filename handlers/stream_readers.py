"""Where the bytes of streams come from: URLs through the guarded client, or a storage of the client's."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from itertools import count
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from taskengine.domain.errors import InputFault, NotFound, TaskFailed
from taskengine.domain.paths import PathFault, logical_path
from taskengine.handlers.support import in_thread, storage_faults
from taskengine.media.streams.model import Resource
from taskengine.ports import ByteRange, Storage, TaskContext

_DOCUMENT_BYTES = 16 * 1024 * 1024
_SEGMENT_BYTES = 512 * 1024 * 1024
_SCHEME = "file"
_MASTER_MARK = b"#EXT-X-STREAM-INF"


class Reader(Protocol):
    """Locations are URLs; relative references count from the location that a document was read at."""

    async def document(self, location: str, *, most: int = _DOCUMENT_BYTES) -> tuple[str, bytes]:
        """(the location that counts, what is there) of a small document. InputFault where there is none."""
        ...

    async def bytes_of(self, resource: Resource) -> bytes:
        """A small part of a file."""
        ...

    async def bring(self, resource: Resource, target: Path) -> None:
        """A segment, or a part of a file, into a new file. InputFault where it is not there."""
        ...


class UrlReader:
    """Streams on the servers that the job may reach."""

    def __init__(self, context: TaskContext) -> None:
        self._outbound = context.outbound

    async def document(self, location: str, *, most: int = _DOCUMENT_BYTES) -> tuple[str, bytes]:
        """See `Reader.document`."""
        document = await self._outbound.get(location, max_bytes=most)
        return document.url, document.body

    async def bytes_of(self, resource: Resource) -> bytes:
        """See `Reader.bytes_of`."""
        document = await self._outbound.get(resource.url, part=_part(resource), max_bytes=_DOCUMENT_BYTES)
        return document.body

    async def bring(self, resource: Resource, target: Path) -> None:
        """See `Reader.bring`."""
        await self._outbound.download(resource.url, target, part=_part(resource), max_bytes=_SEGMENT_BYTES)


def _part(resource: Resource) -> ByteRange | None:
    if resource.length is None and not resource.offset:
        return None
    return ByteRange(resource.offset, resource.length)


class StorageReader:
    """Streams on a storage: locations are `file:///` and the logical path, so that references count as on a server. What
    points elsewhere is refused. Files of which parts are taken are fetched once, into `scratch`."""

    def __init__(self, storage: Storage, scratch: Path, what: str) -> None:
        self._storage, self._scratch, self._what = storage, scratch, what
        self._fetched: dict[str, Path] = {}
        self._numbers = count(1)
        self._fetching: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by location

    @staticmethod
    def location(path: str) -> str:
        """The location of a logical path."""
        return f"{_SCHEME}:///{quote(path)}"

    async def document(self, location: str, *, most: int = _DOCUMENT_BYTES) -> tuple[str, bytes]:
        """See `Reader.document`."""
        with storage_faults(self._what):
            return location, await self._storage.read(self.path_of(location), limit=most)

    async def bytes_of(self, resource: Resource) -> bytes:
        """See `Reader.bytes_of`."""
        whole = await self._whole(resource.url)
        return await in_thread(_read_part, whole, resource)

    async def bring(self, resource: Resource, target: Path) -> None:
        """See `Reader.bring`."""
        if _part(resource) is not None:
            await in_thread(_copy_part, await self._whole(resource.url), target, resource)
            return
        path = self.path_of(resource.url)
        with storage_faults(self._what):
            await self._storage.fetch(path, target)

    async def exists(self, location: str) -> bool:
        """Whether there is a file with something in it."""
        with storage_faults(self._what):
            found = await self._storage.stat(self.path_of(location))
        return found is not None and found.size > 0

    def full_path(self, location: str) -> str:
        """The storage's own name of what is there."""
        return self._storage.full_path(self.path_of(location))

    async def _whole(self, location: str) -> Path:
        async with self._fetching[location]:  # parts of one file are wanted at the same time
            if location not in self._fetched:
                target = self._scratch / f"stored_{next(self._numbers)}"
                with storage_faults(self._what):
                    await self._storage.fetch(self.path_of(location), target)
                self._fetched[location] = target
        return self._fetched[location]

    def path_of(self, location: str) -> str:
        """The logical path of a location. InputFault where it is none of this storage."""
        parts = urlsplit(location)
        if parts.scheme != _SCHEME or parts.netloc:
            raise InputFault(f"{self._what}: the stream on the storage names {parts.scheme}://{parts.hostname or ''}")
        try:
            return logical_path(unquote(parts.path))
        except PathFault as fault:
            raise InputFault(f"{self._what}: the stream names a file that may not be read: {fault}") from fault


def _read_part(path: Path, resource: Resource) -> bytes:
    with path.open("rb") as file:
        file.seek(resource.offset)
        return file.read(-1 if resource.length is None else resource.length)


def _copy_part(path: Path, target: Path, resource: Resource) -> None:
    with path.open("rb") as file, target.open("wb") as written:
        file.seek(resource.offset)
        if resource.length is None:
            shutil.copyfileobj(file, written)
            return
        left = resource.length
        while left > 0 and (block := file.read(min(left, 1024 * 1024))):
            written.write(block)
            left -= len(block)
        if left:
            raise InputFault("a file of the stream ends before a part that its manifest names")


async def stored_stream(context: TaskContext, name: str, path: str, what: str) -> tuple[StorageReader, str]:
    """A reader of the stream at a path of a storage, and where its manifest is: looked for under the output root, then under
    the source root. `path` is a manifest, or a folder with one. InputFault where there is none, told of `what`."""
    tried: list[str] = []
    for root in ("output_root", "source_root"):
        try:
            storage = context.storage(name, root)
        except TaskFailed:
            if root == "output_root":
                raise
            continue
        with storage_faults(what):
            found = await _manifest(storage, path)
        if found is not None:
            return StorageReader(storage, context.scratch, what), StorageReader.location(found)
        tried.append(storage.full_path(path))
    raise InputFault(f"{what}: there is no stream at {' or at '.join(tried)}")


async def _manifest(storage: Storage, path: str) -> str | None:
    """The manifest at a path: the file itself; of a folder's the one that is named as it, a master, the only one."""
    if await storage.stat(path) is not None:
        return path
    files = {file.path.rpartition("/")[2]: file.path for file in await storage.list(path, recursive=False)}
    playlists = {name: each for name, each in files.items() if name.endswith(".m3u8")}
    manifests = {name: each for name, each in files.items() if name.endswith((".mpd", ".ismc")) or name == "Manifest"}
    stem = path.rpartition("/")[2].removesuffix(".ism")
    for name in (f"{stem}.m3u8", ".m3u8", "master.m3u8"):
        if name in playlists:
            return playlists[name]
    for each in playlists.values():
        if _MASTER_MARK in await _content(storage, each):
            return each
    return next(iter([*manifests.values(), *playlists.values()]), None)


async def _content(storage: Storage, path: str) -> bytes:
    try:
        return await storage.read(path)
    except NotFound:
        return b""
