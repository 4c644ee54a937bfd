"""Fetches what a task's URLs name: documents into memory, large bodies into files. Conforms to `ports.Outbound`."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from yarl import URL

from taskengine.domain.addresses import IPNetwork
from taskengine.domain.errors import InputFault, InternalFault, ResourceFault
from taskengine.domain.urls import origin, redacted_url
from taskengine.net.client import OutboundFault, OutboundRefused, Timeouts
from taskengine.net.parts import Pace, Part
from taskengine.net.pools import GuardedClients
from taskengine.ports import ByteRange, Document, Downloaded

T = TypeVar("T")

_DOCUMENT_BYTES = 4 * 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
_PAUSE_MAX_S = 10.0
_TIMEOUTS = Timeouts(total_s=30.0, connect_s=5.0, body_s=20.0)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_PLAIN = "identity"
_PACKED: Mapping[str, int] = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True, slots=True)
class Patience:
    """What a fetch puts up with. `timeouts.body_s` is the longest silence within a body."""

    timeouts: Timeouts = _TIMEOUTS
    least_bytes_per_s: float = 1024.0  # of a body, over `window_s`
    window_s: float = 30.0
    tries: int = 4
    pause_s: float = 0.5  # before the second try; then longer
    redirects: int = 5


class Fetcher:
    """The way out for one task: to the networks in `allow`, and to what is public."""

    def __init__(
        self,
        clients: GuardedClients,
        allow: Sequence[IPNetwork] = (),
        *,
        user_agent: str = "task-engine",
        patience: Patience = Patience(),
    ) -> None:
        self._clients, self._allow = clients, tuple(allow)
        self._agent, self._patience = user_agent, patience

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        part: ByteRange | None = None,
        max_bytes: int = _DOCUMENT_BYTES,
    ) -> Document:
        """See `ports.Outbound.get`."""

        async def once() -> Document:
            wanted = Part(part or ByteRange(), max_bytes)
            async with self._followed(url, {**(headers or {}), **wanted.request_headers()}) as (response, at):
                return await self._document(response, at, wanted)

        return await self._tried(url, once)

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] | None = None, max_bytes: int = _DOCUMENT_BYTES
    ) -> Document:
        """See `ports.Outbound.post`."""

        async def once() -> Document:
            async with self._opened("POST", url, headers or {}, body) as response:
                _judge_status(response)
                return await self._document(response, url, Part(ByteRange(), max_bytes))

        return await self._tried(url, once, tries=1)

    async def download(
        self,
        url: str,
        target: Path,
        *,
        headers: Mapping[str, str] | None = None,
        part: ByteRange | None = None,
        max_bytes: int,
        on_bytes: Callable[[int], None] | None = None,
    ) -> Downloaded:
        """See `ports.Outbound.download`."""
        wanted = Part(part or ByteRange(), max_bytes)

        async def once() -> Downloaded:
            async with self._followed(url, {**(headers or {}), **wanted.request_headers()}) as (response, at):
                await self._write(response, wanted, target, on_bytes or _nobody)
                return Downloaded(at, wanted.have, dict(response.headers))

        try:
            return await self._tried(url, once)
        except BaseException:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            raise

    @asynccontextmanager
    async def _opened(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        client = await self._clients.client(self._allow)
        sent = {"Accept-Encoding": _PLAIN, "User-Agent": self._agent, **headers}
        async with client.stream(method, url, headers=sent, body=body, timeouts=self._patience.timeouts) as response:
            yield response

    @asynccontextmanager
    async def _followed(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, str]]:
        """What answers a GET well behind its redirects (or with a 416, by which the range is judged), and at which URL."""
        at, sent = url, dict(headers)
        for _ in range(self._patience.redirects + 1):
            async with self._opened("GET", at, sent) as response:
                if response.status not in _REDIRECTS:
                    _judge_status(response, also=416)
                    yield response, at
                    return
                new = _redirected(response)
            if origin(str(new)) != origin(at):  # what was meant for one server is no other's to see
                sent = {name: value for name, value in sent.items() if name in {"Range", "If-Range"}}
            elif new.raw_user is None:
                new = new.with_user(URL(at).user).with_password(URL(at).password)
            at = str(new)
        raise InputFault(f"is redirected more than {self._patience.redirects} times")

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body as it comes; OutboundFault where it drips."""
        pace = Pace(self._patience.least_bytes_per_s, self._patience.window_s)
        async for chunk in response.content.iter_any():
            pace.came(len(chunk))
            yield chunk

    async def _document(self, response: aiohttp.ClientResponse, at: str, wanted: Part) -> Document:
        unpack = _Unpacking(response, wanted.limit)
        wanted.begin(response)
        body = bytearray()
        async for chunk in self._chunks(response):
            body += wanted.take(unpack(chunk))
            if wanted.filled:
                break
        wanted.judge_end()
        return Document(at, response.status, dict(response.headers), bytes(body))

    async def _write(
        self, response: aiohttp.ClientResponse, wanted: Part, target: Path, on_bytes: Callable[[int], None]
    ) -> None:
        """The body, or what was missing of it, into the file."""
        if (packed := _encoding(response)) != _PLAIN:
            raise InputFault(f"is packed as {packed!r}")
        wanted.begin(response)
        with await _file(target.open, "ab" if wanted.have else "wb") as file:
            buffer = bytearray()
            try:
                async for chunk in self._chunks(response):
                    buffer += wanted.take(chunk)
                    if len(buffer) >= _BUFFER_BYTES:
                        await _file(file.write, bytes(buffer))
                        buffer.clear()
                        on_bytes(wanted.have)
                    if wanted.filled:
                        break
            finally:  # what broke off goes on behind it
                await _file(file.write, bytes(buffer))
                await _file(file.flush)
        wanted.judge_end()
        on_bytes(wanted.have)

    async def _tried(self, url: str, once: Callable[[], Awaitable[T]], tries: int | None = None) -> T:
        """What comes of it in a few tries; every fault names the URL, without its secrets."""
        pause = self._patience.pause_s
        retrying = AsyncRetrying(
            stop=stop_after_attempt(tries or self._patience.tries),
            wait=wait_exponential_jitter(multiplier=pause, max=_PAUSE_MAX_S, jitter=pause),
            retry=retry_if_exception_type(OutboundFault),
            reraise=True,
        )
        try:
            return await retrying(once)
        except (OutboundRefused, InputFault) as error:
            raise InputFault(f"{redacted_url(url)}: {error}") from error
        except OutboundFault as error:
            raise InternalFault(f"{redacted_url(url)}: {error}") from error


class _Unpacking:
    """Unpacks a body as its encoding says; InputFault where it is another, or no such body."""

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        encoding = _encoding(response)
        if encoding != _PLAIN and (encoding not in _PACKED or response.status == 206):
            raise InputFault(f"is packed as {encoding!r}")
        self._limit = limit + 1  # a bomb is not unpacked beyond what proves it to be one
        self._unpack = None if encoding == _PLAIN else zlib.decompressobj(_PACKED[encoding])

    def __call__(self, chunk: bytes) -> bytes:
        if self._unpack is None:
            return chunk
        try:
            return self._unpack.decompress(chunk, self._limit)
        except zlib.error:
            raise InputFault("is not packed as it says") from None


async def _file(call: Callable[..., T], *given: object) -> T:
    """Work on a file, beside the loop; ResourceFault where it fails."""
    try:
        return await asyncio.to_thread(call, *given)
    except OSError as error:
        raise ResourceFault(f"cannot write what was fetched: {error.strerror or error}") from error


def _nobody(_count: int) -> None:
    """Nobody is told."""


def _encoding(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Encoding", _PLAIN).strip().lower()[:50] or _PLAIN


def _judge_status(response: aiohttp.ClientResponse, also: int = 0) -> None:
    if response.status in _PASSING:
        raise OutboundFault(f"answered {response.status}")
    if not 200 <= response.status < 300 and response.status != also:
        raise InputFault(f"answered {response.status}")


def _redirected(response: aiohttp.ClientResponse) -> URL:
    """Where an answer points to; InputFault where that is nowhere, or from TLS to plain text."""
    location = response.headers.get("Location", "")
    try:
        new = response.url.join(URL(location))
    except (ValueError, TypeError):
        raise InputFault("is redirected to what is no URL") from None
    if not location or (response.url.scheme == "https" and new.scheme != "https"):
        raise InputFault("is redirected to nowhere" if not location else "is redirected from https to another scheme")
    return new
