"""Reading streams of others: playlists and pieces through the guarded client, keys applied, for ffmpeg as local files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.domain.urls import redacted_url
from taskengine.handlers.support import in_thread, together
from taskengine.media.streams import choosing
from taskengine.media.streams.playlists import Key, Master, Resource, Segment, Stream, StreamFault, Variant, read
from taskengine.ports import ByteRange, TaskContext

_SEGMENT_BYTES = 512 * 1024 * 1024
_KEY_BYTES = 1024
_AT_ONCE = 4

Choose = Callable[[Sequence[Variant]], Variant]


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream with the rendition that was chosen (None: there is but one) and the playlist of its key frames, if any."""

    stream: Stream
    variant: Variant | None
    key_frames: Stream | None = None


async def open_stream(context: TaskContext, url: str, choose: Choose, *, key_frames: Choose | None = None) -> Opened:
    """Read the playlists of a stream. InputFault where it is none, has not ended, or is protected."""
    found = await _playlist(context, url)
    if isinstance(found, Stream):
        return Opened(_ended(found), None)
    variant = choose(found.variants)
    stream = await _playlist(context, variant.url)
    if isinstance(stream, Master):
        raise InputFault("source: a master playlist names another one")
    keys = None
    if key_frames and found.key_frames:
        keys = await _playlist(context, key_frames(found.key_frames).url)
    return Opened(_ended(stream), variant, keys if isinstance(keys, Stream) else None)


async def _playlist(context: TaskContext, url: str) -> Master | Stream:
    document = await context.outbound.get(url, max_bytes=16 * 1024 * 1024)
    try:
        return await in_thread(read, document.body.decode("utf-8", errors="replace"), document.url)
    except StreamFault as fault:
        raise InputFault(f"source: {fault}") from fault


def _ended(stream: Stream) -> Stream:
    if not stream.ended:
        raise InputFault("source: it is a live stream that has not ended")
    if stream.duration <= 0:
        raise InputFault("source: its segments last no time")
    return stream


class Pieces:
    """Brings segments into the scratch, decrypted, each with the init segment that it needs."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._keys: dict[str, bytes] = {}
        self._count = 0

    async def bring(self, segments: Sequence[Segment]) -> str:
        """Segments that go on from one another, as one file; its name."""
        self._count += 1
        name = f"piece_{self._count}"
        init = segments[0].init
        wanted = [(init, None), *((each.media, each.key) for each in segments)]
        parts = [
            (f"{name}.{number}", resource, key) for number, (resource, key) in enumerate(wanted) if resource is not None
        ]
        await together([self._fetch(part, resource, key) for part, resource, key in parts], _AT_ONCE)
        await in_thread(_join, self._context.scratch, [part for part, _, _ in parts], name)
        return name

    async def drop(self, name: str) -> None:
        """Remove a piece that is of no more use."""
        await in_thread((self._context.scratch / name).unlink)

    async def _fetch(self, name: str, resource: Resource, key: Key | None) -> None:
        part = ByteRange(resource.offset, resource.length) if resource.length is not None else None
        target = self._context.scratch / name
        await self._context.outbound.download(resource.url, target, part=part, max_bytes=_SEGMENT_BYTES)
        if key:
            await in_thread(_decrypt, target, await self._key(key.url), key.iv, resource.url)

    async def _key(self, url: str) -> bytes:
        if url in self._keys:
            return self._keys[url]
        document = await self._context.outbound.get(url, max_bytes=_KEY_BYTES)
        if len(document.body) != 16:
            raise InputFault(f"source: a key has {len(document.body)} bytes, and AES-128 has 16")
        self._keys[url] = document.body
        return document.body


def _join(scratch: Path, parts: Sequence[str], name: str) -> None:
    with (scratch / name).open("wb") as whole:
        for part in parts:
            with (scratch / part).open("rb") as source:
                shutil.copyfileobj(source, whole, 1024 * 1024)
            (scratch / part).unlink()


def _decrypt(path: Path, key: bytes, iv: bytes, url: str) -> None:
    """In place; CBC with PKCS #7, as HLS has it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    reader, unpadder = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor(), PKCS7(128).unpadder()
    try:
        plain = reader.update(path.read_bytes()) + reader.finalize()
        path.write_bytes(unpadder.update(plain) + unpadder.finalize())
    except ValueError as error:
        raise InputFault(f"source: a segment cannot be decrypted by its key: {redacted_url(url)}") from error


def lowest(width: int = 0, height: int = 0) -> Choose:
    """Chooses the rendition of the fewest bits that is at least so large."""
    return lambda variants: choosing.lowest_that_suffices(variants, width=width, height=height)
