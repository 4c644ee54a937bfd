"""Moves files between scratch and a bucket: small ones by one request, large ones in parts side by side."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import obstore
from obstore.store import AzureStore, S3Store
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from taskengine.domain.errors import StorageError
from taskengine.ports import Told
from taskengine.storage.copying import Stop, Stopped, in_thread
from taskengine.storage.object_errors import translated
from taskengine.system import read_at, write_at

PART = 8 * 1024 * 1024  # bytes that one request sends or fetches
COPIED = 5 * 1024**3  # bytes that one request copies
SHA256 = "sha256"  # the metadata that every fetch is checked against
_PARTS_AT_ONCE = 4
_MOST_PARTS = 9_000  # S3 takes 10,000
_LARGE_AT_ONCE = 2  # files in parts: memory stays at about 64 MiB
_TRIES = 4  # of the body of an answer that broke; requests are tried again by the library
_BLOCK = 1024 * 1024

ObjectStore: TypeAlias = S3Store | AzureStore


class Uploads(Protocol):
    """What a bucket holds of files whose parts did not all arrive."""

    async def known(self, key: str) -> frozenset[str]:
        """The ids of the unfinished uploads of one key (relative to the root)."""
        ...

    async def abort(self, key: str, ids: frozenset[str] | None = None) -> int:
        """End the unfinished uploads of one key, or `ids` of them alone; how many there were."""
        ...

    async def abort_below(self, folder: str) -> int:
        """End those of all keys below a folder; how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class Remote:
    """A file in a bucket: its key, and its name for everyone."""

    key: str
    where: str
    attributes: Mapping[str, str]


class Transfers:
    """The transfers of one root. `read_back`: what was sent is fetched and checked against its SHA-256."""

    def __init__(self, store: ObjectStore, *, read_back: bool, uploads: Uploads | None) -> None:
        self._store, self._read_back, self._uploads = store, read_back, uploads
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def fetch(self, remote: Remote, file: int) -> None:
        """Fill an open file; StorageError where what came is not what was stored."""
        size, tag, checksum = 0, None, None
        async for attempt in _again():
            with attempt, translated(remote.where):
                found = await obstore.get_async(self._store, remote.key)
                size, tag, checksum = found.meta["size"], found.meta["e_tag"], found.attributes.get(SHA256)
                if size <= PART:
                    data = await found.bytes_async()
                    await _write_at(file, data, 0)
        if size > PART:
            async with self._large:
                await self._fetch_parts(remote, file, size, tag)
        await in_thread(lambda stop: _check(file, size, checksum, remote.where, stop))

    async def part(self, remote: Remote, start: int, length: int) -> bytes:
        """So many bytes of a file, less where it ends before; what broke on its way is asked for again."""
        data = b""
        async for attempt in _again():
            with attempt, translated(remote.where):
                data = bytes(await obstore.get_range_async(self._store, remote.key, start=start, length=length))
        return data

    async def put(self, remote: Remote, data: bytes) -> None:
        """Store a small file by one request."""
        checksum = hashlib.sha256(data).hexdigest()
        attributes: Any = {**remote.attributes, SHA256: checksum}
        with translated(remote.where):
            put = obstore.put_async(self._store, remote.key, data, attributes=attributes, use_multipart=False)
            await _whole(asyncio.ensure_future(put))
        if self._read_back:  # else the one request was either taken whole or refused
            await self._check_stored(remote, len(data), checksum)

    async def send(self, remote: Remote, file: int, told: Told | None) -> None:
        """Store an open file: it is visible when it is whole, and what is left of a failure is removed; of a process that
        died over the same key, too, once this is there."""
        size = os.fstat(file).st_size
        if size <= PART:
            await self.put(remote, await in_thread(lambda _: read_at(file, size, 0)))
            if told:
                told(size)
            return
        checksum = await in_thread(lambda stop: _checksum(file, stop))
        async with self._large:
            left = await self._uploads.known(remote.key) if self._uploads else frozenset()
            try:
                await self._send_parts(remote, file, size, checksum, told)
            except BaseException:
                if self._uploads:
                    await asyncio.shield(self._uploads.abort(remote.key))
                raise
        await self._check_stored(remote, size, checksum)
        if self._uploads and left:
            await self._uploads.abort(remote.key, left)

    async def copy(self, key: str, remote: Remote) -> None:
        """Copy a file within the bucket; what is larger than S3 copies by one request comes through here."""
        with translated(remote.where):
            size = (await obstore.head_async(self._store, key))["size"]
        if size <= COPIED:
            with translated(remote.where):
                await _whole(asyncio.ensure_future(obstore.copy_async(self._store, key, remote.key)))
            return
        async with self._large:
            stop = Stop()
            try:
                with translated(remote.where):
                    found = await obstore.get_async(self._store, key)
                    blocks = _blocks(found.stream(min_chunk_size=PART), stop)
                    put = obstore.put_async(
                        self._store, remote.key, blocks, attributes=found.attributes, use_multipart=True,
                        chunk_size=_part_of(size), max_concurrency=_PARTS_AT_ONCE,
                    )  # fmt: skip
                    await _whole(asyncio.ensure_future(put), stop)
            except BaseException:
                if self._uploads:
                    await asyncio.shield(self._uploads.abort(remote.key))
                raise

    async def _fetch_parts(self, remote: Remote, file: int, size: int, tag: str | None) -> None:
        gate = asyncio.Semaphore(_PARTS_AT_ONCE)

        async def part(start: int) -> None:
            options: Any = {"range": (start, min(start + PART, size)), "if_match": tag}
            async for attempt in _again():
                with attempt, translated(remote.where):
                    async with gate:
                        found = await obstore.get_async(self._store, remote.key, options=options)
                        data = await found.bytes_async()
                        await _write_at(file, data, start)

        try:
            async with asyncio.TaskGroup() as group:
                for start in range(0, size, PART):
                    group.create_task(part(start))
        except BaseExceptionGroup as faults:
            raise faults.exceptions[0] from None

    async def _send_parts(self, remote: Remote, file: int, size: int, checksum: str, told: Told | None) -> None:
        stop = Stop()
        length = _part_of(size)
        attributes: Any = {**remote.attributes, SHA256: checksum}
        put = obstore.put_async(
            self._store, remote.key, _parts(file, size, length, stop, told), attributes=attributes,
            use_multipart=True, chunk_size=length, max_concurrency=_PARTS_AT_ONCE,
        )  # fmt: skip
        with translated(remote.where):
            await _whole(asyncio.ensure_future(put), stop)

    async def _check_stored(self, remote: Remote, size: int, checksum: str) -> None:
        """What is there now is what was sent; what the protocol has checked is not read back."""
        with translated(remote.where):
            if not self._read_back:
                found = (await obstore.head_async(self._store, remote.key))["size"]
            else:
                answer = await obstore.get_async(self._store, remote.key)
                found, read = answer.meta["size"], hashlib.sha256()
                async for block in answer.stream(min_chunk_size=_BLOCK):
                    read.update(block)
                if read.hexdigest() != checksum and answer.attributes.get(SHA256) == checksum:
                    raise StorageError(f"{remote.where}: what arrived is not what was sent")
        if found != size:
            raise StorageError(f"{remote.where}: {size} bytes were sent and {found} are there")


def _part_of(size: int) -> int:
    return max(PART, -(-size // _MOST_PARTS))


async def _blocks(stream: AsyncIterable[Any], stop: Stop) -> AsyncIterator[bytes]:
    async for block in stream:
        if stop.is_set():
            raise Stopped
        yield bytes(block)


async def _whole(put: asyncio.Future[Any], stop: Stop | None = None) -> None:
    """Await an upload. It is never cancelled, as that would leave its parts behind: its source is told to stop."""
    try:
        await asyncio.shield(put)
    except asyncio.CancelledError:
        if stop:
            stop.set()
        await asyncio.wait([put])
        put.exception()
        raise


async def _parts(file: int, size: int, length: int, stop: Stop, told: Told | None) -> AsyncIterator[bytes]:
    """The file part by part; raises Stopped when told to stop, so that the library aborts the upload."""
    for start in range(0, size, length):
        if stop.is_set():
            raise Stopped
        data = await asyncio.to_thread(read_at, file, min(length, size - start), start)
        if len(data) != min(length, size - start):
            raise StorageError("the local file became shorter while it was stored", retryable=False)
        yield data
        if told:
            told(len(data))


def _again() -> AsyncRetrying:
    """Further tries of what broke on its way."""
    return AsyncRetrying(
        stop=stop_after_attempt(_TRIES),
        wait=wait_exponential_jitter(multiplier=0.2, max=5),
        retry=retry_if_exception(lambda error: isinstance(error, StorageError) and error.retryable),
        reraise=True,
    )


async def _write_at(file: int, data: Any, start: int) -> None:
    def write(_: Stop) -> None:
        view, at = memoryview(data), start
        while view:
            written = write_at(file, view, at)
            view, at = view[written:], at + written

    try:
        await in_thread(write)
    except OSError as error:
        raise StorageError(f"the local file: {error.strerror}") from error


def _checksum(file: int, stop: Stop) -> str:
    found, at = hashlib.sha256(), 0
    while block := read_at(file, _BLOCK, at):
        if stop.is_set():
            raise Stopped
        found.update(block)
        at += len(block)
    return found.hexdigest()


def _check(file: int, size: int, checksum: str | None, where: str, stop: Stop) -> None:
    found = os.fstat(file).st_size
    if found != size:
        raise StorageError(f"{where} has {size} bytes, and {found} came")
    if checksum is not None and _checksum(file, stop) != checksum:
        raise StorageError(f"{where}: what came is not what was stored: its SHA-256 differs")
