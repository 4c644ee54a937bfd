"""Reading streams of others: manifests of all kinds, and pieces of their renditions as local files for ffmpeg."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.domain.urls import redacted_url
from taskengine.handlers.stream_readers import Reader, UrlReader
from taskengine.handlers.support import in_thread, together, told_of
from taskengine.media import mp4
from taskengine.media.streams import choosing
from taskengine.media.streams.model import (
    Key,
    Presentation,
    Rendition,
    Resource,
    Segment,
    Stream,
    StreamFault,
    aligned,
)
from taskengine.media.tracks import TrackKind
from taskengine.ports import TaskContext

_KEY_BYTES = 1024
_AT_ONCE = 4
_PLAYLISTS_AT_ONCE = 8

Choose = Callable[[Sequence[Rendition]], Rendition]


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream with the rendition that was chosen (None: there is but one) and the playlist of its key frames, if any."""

    stream: Stream
    variant: Rendition | None
    key_frames: Stream | None = None


async def open_presentation(reader: Reader, location: str, what: str = "source") -> Presentation:
    """What a stream offers, by its manifest alone: HLS, DASH or Smooth, as its content says. `with_segments` reads what lists the
    segments of the renditions that are wanted. InputFault where it is none, told of `what`."""
    with told_of(what):
        at, body = await reader.document(location)
    found = await in_thread(_parsed, body, at, what)
    if isinstance(found, Stream):
        from taskengine.media.streams import playlists  # its library is not needed for others

        return playlists.alone(found, at, body.decode("utf-8", errors="replace"))
    return found


async def open_referable(reader: Reader, location: str, what: str) -> Presentation:
    """What a stream offers whose segments other manifests can name. InputFault where it is none, told of `what`."""
    found = await open_presentation(reader, location, what)
    if found.form == "smooth":
        raise InputFault(f"{what}: no other manifest can name fragments of Smooth Streaming: give HLS or DASH")
    return found


async def with_segments(
    reader: Reader, presentation: Presentation, renditions: Sequence[Rendition], what: str = "source"
) -> Presentation:
    """The presentation with these renditions alone, their segments read, all on one time line."""
    locations = list(dict.fromkeys(each.location for each in renditions if each.stream is None))
    read = await together([_playlist(reader, each, what) for each in locations], _PLAYLISTS_AT_ONCE)
    streams = {location: stream for location, (stream, _) in zip(locations, read, strict=True)}
    texts = {location: text for location, (_, text) in zip(locations, read, strict=True)}
    listed = [replace(each, stream=each.stream or streams[each.location]) for each in renditions]
    listed = await together([_indexed(reader, each, what) for each in listed], _PLAYLISTS_AT_ONCE)
    documents = {**presentation.documents, **texts}
    return aligned(replace(presentation, renditions=listed, documents=documents))


async def _playlist(reader: Reader, location: str, what: str) -> tuple[Stream, str]:
    with told_of(what):
        at, body = await reader.document(location)
    found = await in_thread(_parsed, body, at, what)
    if isinstance(found, Presentation):
        raise InputFault(f"{what}: a master playlist names another one")
    return found, body.decode("utf-8", errors="replace")


async def _indexed(reader: Reader, rendition: Rendition, what: str) -> Rendition:
    if rendition.index is None:
        return rendition
    from taskengine.media.streams import index, manifests

    with told_of(what):
        data = await reader.bytes_of(rendition.index)
        return manifests.with_index(rendition, index.read(data, rendition.index))


def _parsed(body: bytes, at: str, what: str) -> Presentation | Stream:
    """By content: names tell nothing (`x.isml/.m3u8`)."""
    text = _text(body)
    try:
        if text.lstrip("\ufeff \r\n\t").startswith("<"):
            from taskengine.media.streams import manifests

            return manifests.read(text, at, round(time.time() * 1000))
        from taskengine.media.streams import playlists

        return playlists.read(text, at)
    except StreamFault as fault:
        raise InputFault(f"{what}: {fault}") from fault


def _text(body: bytes) -> str:
    if body[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return body.decode("utf-16", errors="replace")
    return body.decode("utf-8", errors="replace")


async def open_stream(context: TaskContext, url: str, choose: Choose, *, key_frames: Choose | None = None) -> Opened:
    """One picture of a stream that has ended. InputFault where it is none, has not ended, or has no picture."""
    reader = UrlReader(context)
    found = await open_presentation(reader, url)
    videos = found.of(TrackKind.VIDEO)
    if not videos:
        raise InputFault("source: it names no rendition with picture")
    read = await with_segments(reader, found, [choose(videos)])
    stream = _ended(read.renditions[0].stream)
    keys = None
    if key_frames and found.key_frames:
        keys = (await _playlist(reader, key_frames(found.key_frames).location, "source"))[0]
    alone = len(videos) == 1 and videos[0].stream is not None and found.form == "hls"
    return Opened(stream, None if alone else read.renditions[0], keys)


def _ended(stream: Stream | None) -> Stream:
    if stream is None or not stream.ended:
        raise InputFault("source: it is a live stream that has not ended")
    if not stream.segments or stream.duration <= 0:
        raise InputFault("source: its segments last no time")
    return stream


class Pieces:
    """Brings segments into the scratch, decrypted, each with the init segment that it needs.

    `content_key`: of segments that are encrypted whole, in place of what the playlist names; where it is given (b"": it is
    for others), samples may be encrypted too, and are left so. `remedy`: what a client can do where it is not.
    """

    def __init__(
        self, context: TaskContext, reader: Reader | None = None, content_key: bytes | None = None, what: str = "source",
        remedy: str = "which needs a licence",
    ) -> None:  # fmt: skip
        self._context, self._reader = context, reader or UrlReader(context)
        self._content_key, self._what, self._remedy = content_key, what, remedy
        self._keys: dict[str, bytes] = {}
        self._keys_read = asyncio.Lock()
        self._count = 0

    async def bring(self, segments: Sequence[Segment]) -> str:
        """Segments that go on from one another, as one file; its name."""
        self._count += 1
        name = f"piece_{self._count}"
        init = segments[0].init
        wanted = [(init, None), *((each.media, each) for each in segments)]
        parts = [
            (f"{name}.{number}", resource, of) for number, (resource, of) in enumerate(wanted) if resource is not None
        ]
        await together([self.fetch(part, resource, of) for part, resource, of in parts], _AT_ONCE)
        await in_thread(join, self._context.scratch, [part for part, _, _ in parts], name)
        return name

    async def drop(self, name: str) -> None:
        """Remove a piece that is of no more use."""
        await in_thread((self._context.scratch / name).unlink)

    async def fetch(self, name: str, resource: Resource, of: Segment | None) -> None:
        """One segment (None: an init segment), opened where it is encrypted whole."""
        if of and of.protection and self._content_key is None:
            raise InputFault(f"{self._what}: its segments are encrypted by {of.protection}, {self._remedy}")
        target = self._context.scratch / name
        if resource.content is not None:
            await in_thread(target.write_bytes, resource.content)
            return
        told = f"{self._what}: {redacted_url(resource.url)}"
        with told_of(self._what):
            await self._reader.bring(resource, target)
        if of and of.key:
            key = await self._key(of.key)
            await in_thread(_decrypt, target, key, of.key.iv, told)
        if of and of.time is not None:
            await in_thread(_time, target, of.time, told)

    async def _key(self, key: Key) -> bytes:
        if self._content_key:
            return self._content_key
        async with self._keys_read:  # segments that are fetched at the same time have one key
            if key.url not in self._keys:
                with told_of(self._what):
                    _, body = await self._reader.document(key.url, most=_KEY_BYTES)
                if len(body) != 16:
                    raise InputFault(f"{self._what}: a key has {len(body)} bytes, and AES-128 has 16")
                self._keys[key.url] = body
        return self._keys[key.url]


def join(scratch: Path, parts: Sequence[str], name: str, kept: Collection[str] = ()) -> None:
    """Files after one another in one; they go, but for those that are `kept`."""
    with (scratch / name).open("wb") as whole:
        for part in parts:
            with (scratch / part).open("rb") as source:
                shutil.copyfileobj(source, whole, 1024 * 1024)
            if part not in kept:
                (scratch / part).unlink()


def _decrypt(path: Path, key: bytes, iv: bytes, what: str) -> None:
    """In place; CBC with PKCS #7, as HLS has it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    reader, unpadder = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor(), PKCS7(128).unpadder()
    try:
        plain = reader.update(path.read_bytes()) + reader.finalize()
        opened = unpadder.update(plain) + unpadder.finalize()
    except ValueError as error:
        raise InputFault(f"{what}: the segment cannot be decrypted by its key") from error
    path.unlink()  # it may be linked to what is stored
    path.write_bytes(opened)


def _time(path: Path, time: tuple[int, int], what: str) -> None:
    """Have a fragment of Smooth Streaming tell when it is shown."""
    from taskengine.media.streams import smooth_fragments  # most streams have none

    try:
        timed = smooth_fragments.timed(path.read_bytes(), *time)
    except mp4.BoxFault as fault:
        raise InputFault(f"{what}: {fault}") from fault
    path.unlink()  # it may be linked to what is stored
    path.write_bytes(timed)


def lowest(width: int = 0, height: int = 0) -> Choose:
    """Chooses the rendition of the fewest bits that is at least so large."""
    return lambda variants: choosing.lowest_that_suffices(variants, width=width, height=height)
