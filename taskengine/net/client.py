"""The guarded HTTP client: every connection is judged by the address that it is really made to, as it is made.

Neither a name that resolves to an inner address, nor one that changes between check and use, nor an address in an odd
spelling gets by.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver

from taskengine.domain.addresses import IPNetwork, judge_address
from taskengine.domain.errors import TaskEngineError
from taskengine.net.judging import judge_url

_REMEMBERED = 1024  # URLs whose judgement, which asks nobody, is kept


class OutboundRefused(TaskEngineError, OSError):
    """The address is not one that may be called. (An OSError, so that a connector passes to a name's next address.)"""


class OutboundFault(TaskEngineError):
    """There was no answer: no connection, a timeout, a broken response. The message says which, without secrets."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, and for all up to the answer's headers; then `body_s` for what is read of its body."""

    total_s: float = 15.0
    connect_s: float = 5.0
    body_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An endpoint's answer: `body` is its beginning, as it came over the wire."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class GuardedClient:
    """An HTTP client that connects to allowed addresses alone. It keeps no cookies and asks no proxy."""

    def __init__(self, allow: Sequence[IPNetwork] = (), *, resolver: AbstractResolver | None = None) -> None:
        self._allow = tuple(allow)
        self._judged = functools.lru_cache(_REMEMBERED)(functools.partial(judge_url, allow=self._allow))
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    def check_literal(self, url: str) -> str | None:
        """Why `url` is refused before anything is asked; None where it is not."""
        return self._judged(url)

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        connector = aiohttp.TCPConnector(
            socket_factory=self._socket,
            resolver=self._resolver,
            limit=0,  # callers bound what they do; a pool's limit would let one slow host delay the others
            keepalive_timeout=1.5,  # shorter than servers keep idle connections: none dies under a request
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what an answer unpacks to is nobody's business here, and may be vast
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeouts: Timeouts = Timeouts(),
        max_bytes: int = 64 * 1024,
        verify_tls: bool = True,
    ) -> Answer:
        """Ask once, following no redirect; raise OutboundRefused or OutboundFault.

        An answer counts once its status and headers are there: a body that breaks off, drips or is longer than
        `max_bytes` is cut.
        """
        session = self._open(url)
        sent = {"Accept-Encoding": "identity"} | dict(headers or {})
        timeout = aiohttp.ClientTimeout(
            total=timeouts.total_s, sock_connect=timeouts.connect_s, ceil_threshold=float("inf")
        )
        try:
            async with session.request(
                method, url, headers=sent, data=body, timeout=timeout, allow_redirects=False, ssl=verify_tls
            ) as response:
                beginning = await _beginning(response.content, max_bytes, timeouts.body_s)
                return Answer(response.status, response.headers.copy(), beginning)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise translated(error, timeouts) from error

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeouts: Timeouts
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, its body unread, no redirect followed; `timeouts.body_s` is the longest silence within the body.

        Raises OutboundRefused or OutboundFault, also for what is raised while the body is read.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=timeouts.connect_s, sock_read=timeouts.body_s, ceil_threshold=float("inf")
        )
        response = await self._answer(url, timeouts, method=method, headers=headers, data=body, timeout=timeout)
        try:
            async with response:
                yield response
        except aiohttp.SocketTimeoutError as error:
            raise OutboundFault(f"nothing came for {timeouts.body_s:g} s") from error
        except aiohttp.ClientError as error:
            raise translated(error, timeouts) from error

    async def _answer(self, url: str, timeouts: Timeouts, **asked: Any) -> aiohttp.ClientResponse:
        session = self._open(url)
        try:
            async with asyncio.timeout(timeouts.total_s):
                return await session.request(url=url, allow_redirects=False, **asked)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise translated(error, timeouts) from error

    def _open(self, url: str) -> aiohttp.ClientSession:
        """The session, for a URL that may be called as far as it can be seen."""
        if self._session is None:
            raise RuntimeError("the client is not open")
        if (reason := self._judged(url)) is not None:
            raise OutboundRefused(f"refused: {reason}")
        return self._session

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make the socket of a connection after judging the address that it is about to be connected to."""
        family, kind, protocol, _, target = address
        reason = judge_address(ipaddress.ip_address(target[0]), self._allow)
        if reason is not None:
            raise OutboundRefused(f"refused: {reason}")
        return socket.socket(family, kind, protocol)


async def _beginning(content: aiohttp.StreamReader, limit: int, seconds: float) -> bytes:
    """At most `limit` bytes of a body, as far as they come in time."""
    if content.at_eof():
        return b""
    beginning = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while len(beginning) < limit and (chunk := await content.read(limit - len(beginning))):
                beginning += chunk
    except (aiohttp.ClientError, OSError):
        pass  # the status has come; the body only tells more
    return bytes(beginning)


def translated(error: Exception, timeouts: Timeouts) -> TaskEngineError:
    """What a library's fault means here."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, OutboundRefused):
        return error.os_error
    return OutboundFault(_fault(error, timeouts))


def _fault(error: Exception, timeouts: Timeouts) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {timeouts.connect_s:g} s"
        case TimeoutError():
            return f"no answer within {timeouts.total_s:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return f"certificate not accepted: {error.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"no connection: {error.os_error.strerror or error.os_error}"
        case aiohttp.InvalidURL():  # its text has the whole URL
            return "not a URL that can be called"
        case _:
            return f"no valid answer: {str(error) or type(error).__name__}"
