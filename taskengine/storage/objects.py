"""Storage in a bucket of S3 or a container of Azure, by one library."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore

from taskengine.domain.errors import NotFound, StorageError
from taskengine.ports import StoredFile, Told
from taskengine.storage.copying import in_thread, local_file
from taskengine.storage.naming import judged
from taskengine.storage.object_errors import translated
from taskengine.storage.object_transfers import ObjectStore, Remote, Transfers, Uploads
from taskengine.system import new_file

_DELETED_AT_ONCE = 1_000
_LISTED_AT_ONCE = 1_000
_TYPES = {  # what players and browsers want to be told
    "m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml", "m4s": "video/iso.segment",
    "mp4": "video/mp4", "m4a": "audio/mp4", "ts": "video/mp2t", "aac": "audio/aac", "vtt": "text/vtt",
    "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif", "json": "application/json",
    "xml": "application/xml",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a root is: `s3://bucket/prefix` or `azure://container/prefix`."""

    kind: str
    bucket: str
    prefix: str = ""  # without slashes at its ends; "" is the whole bucket

    def full_path(self, path: str) -> str:
        """The name of a logical path for everyone."""
        return f"{self.kind}://{'/'.join(filter(None, (self.bucket, self.prefix, path)))}"


class ObjectStorage:
    """One prefix of a bucket as a Storage; the contract is `ports.Storage`'s.

    `store` has the prefix already. Every file carries its SHA-256 as metadata, and what is fetched is checked against
    it; `read_back` does so with what was stored too, for protocols that do not check what arrives. `uploads` ends what
    a failed upload leaves.
    """

    def __init__(self, store: ObjectStore, place: Place, *, read_back: bool, uploads: Uploads | None = None) -> None:
        self.kind = place.kind
        self._store, self._place, self._uploads = store, place, uploads
        self._transfers = Transfers(store, read_back=read_back, uploads=uploads)

    def full_path(self, path: str) -> str:
        """`s3://bucket/key` or `azure://container/key`."""
        return self._place.full_path(judged(path, allow_empty=True))

    async def list(self, folder: str, *, recursive: bool = True) -> Sequence[StoredFile]:
        """Files below a folder, sorted by path."""
        prefix = judged(folder, allow_empty=True)
        with translated(self._place.full_path(prefix)):
            if recursive:
                stream = obstore.list(self._store, prefix or None, chunk_size=_LISTED_AT_ONCE)
                found = [meta async for chunk in stream for meta in chunk]
            else:
                found = list((await obstore.list_with_delimiter_async(self._store, prefix or None))["objects"])
        return sorted((_stored(meta) for meta in found if meta["path"] != prefix), key=lambda file: file.path)

    async def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders in a folder, sorted."""
        prefix = judged(folder, allow_empty=True)
        with translated(self._place.full_path(prefix)):
            found = await obstore.list_with_delimiter_async(self._store, prefix or None)
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    async def stat(self, path: str) -> StoredFile | None:
        """One file; None where there is none."""
        key = judged(path)
        try:
            with translated(self._place.full_path(key)):
                return _stored(await obstore.head_async(self._store, key))
        except NotFound:
            return None

    async def fetch(self, path: str, target: Path) -> None:
        """Bring a file to a local path that does not exist yet, in parts side by side where it is large."""
        remote = self._remote(path)
        file = await in_thread(lambda _: _create(target))
        try:
            await self._transfers.fetch(remote, file)
        except BaseException:
            await in_thread(lambda _: target.unlink(missing_ok=True))
            raise
        finally:
            os.close(file)

    async def store(self, source: Path, path: str, told: Told | None = None) -> None:
        """Put a local file: visible when it is whole."""
        remote = self._remote(path)
        with local_file(source) as file:
            await self._transfers.send(remote, file, told)

    async def write(self, path: str, data: bytes) -> None:
        """Put a small file."""
        await self._transfers.put(self._remote(path), data)

    async def read(self, path: str, *, limit: int = 16 * 1024 * 1024) -> bytes:
        """A small file whole."""
        key = judged(path)
        with translated(self._place.full_path(key)):
            found = await obstore.get_async(self._store, key)
            if found.meta["size"] > limit:
                raise StorageError(f"{key!r} is larger than {limit} bytes", retryable=False)
            return bytes(await found.bytes_async())

    async def read_part(self, path: str, start: int, length: int) -> bytes:
        """A part of a file."""
        return await self._transfers.part(self._remote(path), start, length)

    async def copy(self, source: str, path: str) -> None:
        """Copy a file within the bucket."""
        await self._transfers.copy(judged(source), self._remote(path))

    async def delete(self, paths: Sequence[str]) -> None:
        """Delete files; missing ones are no fault."""
        await self._delete([judged(path) for path in paths])

    async def delete_folder(self, folder: str) -> None:
        """Delete all below a folder, and end what is being uploaded there; a missing one is no fault."""
        prefix = judged(folder)
        if self._uploads:
            await self._uploads.abort_below(prefix)
        await self._delete([file.path for file in await self.list(prefix)])

    def _remote(self, path: str) -> Remote:
        key = judged(path)
        kind = _TYPES.get(key.rpartition(".")[2].lower())
        attributes: Mapping[str, str] = {"Content-Type": kind} if kind else {}
        return Remote(key, self._place.full_path(key), attributes)

    async def _delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            batch = list(keys[start : start + _DELETED_AT_ONCE])
            if self.kind == "azure":  # one call each, of which one that finds nothing would end the others
                await asyncio.gather(*(self._delete_batch([key]) for key in batch))
            else:
                await self._delete_batch(batch)

    async def _delete_batch(self, keys: Sequence[str]) -> None:
        with suppress(NotFound), translated(self._place.full_path("")):
            await obstore.delete_async(self._store, keys)


def _stored(meta: Mapping[str, Any]) -> StoredFile:
    return StoredFile(meta["path"], meta["size"], round(meta["last_modified"].timestamp() * 1000))


def _create(target: Path) -> int:
    try:
        return new_file(target)
    except OSError as error:
        raise StorageError(f"the local file {target.name!r}: {error.strerror}", retryable=False) from error


async def settled() -> None:
    """Wait, at the end of a process, for what the library's threads still have to say: they would find no Python."""
    await asyncio.sleep(0.02)
