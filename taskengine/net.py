"""The one guarded HTTP client for URLs that clients give: callbacks, semaphores, sources.

Every connection is judged by the address that it is really made to, at the moment it is made: neither a name that
resolves to an inner address, nor one that changes between check and use, nor an address in an odd spelling gets by.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from taskengine.domain.addresses import IPAddress, IPNetwork, judge_address, networks
from taskengine.domain.errors import TaskEngineError

__all__ = [
    "Answer",
    "GuardedClient",
    "GuardedClients",
    "IPNetwork",
    "OutboundFault",
    "OutboundRefused",
    "ThreadResolver",
    "Timeouts",
    "judge_address",
    "judge_url",
    "networks",
]


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


def judge_url(url: str, allow: Sequence[IPNetwork] = ()) -> str | None:
    """Why `url` may not be called, as far as it can be known without asking DNS; None where nothing speaks against it.

    Literal addresses are judged in every spelling that a resolver would take: decimal, octal, hexadecimal, short,
    IPv6 forms, full-width digits.
    """
    try:
        parsed = URL(url)
        host, _ = parsed.host, parsed.port
    except (ValueError, TypeError) as error:
        return f"is not a URL: {error}"
    if parsed.scheme not in {"http", "https"}:
        return "is not an http or https URL"
    if not host:
        return "is a URL without a host"
    reasons = [judge_address(address, allow) for address in _literal(host)]
    return next(iter(reasons), None) if None not in reasons else None


def _literal(host: str) -> list[IPAddress]:
    """The addresses that a host means without DNS."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return [IPv4Address("127.0.0.1"), IPv6Address("::1")]
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        return [IPv4Address(socket.inet_aton(host))] if host.isascii() and not host.endswith(" ") else []
    except OSError:
        return []


class GuardedClient:
    """An HTTP client that connects to allowed addresses alone. It keeps no cookies and asks no proxy."""

    def __init__(self, allow: Sequence[IPNetwork] = (), *, resolver: AbstractResolver | None = None) -> None:
        self._allow = tuple(allow)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    def check_literal(self, url: str) -> str | None:
        """Why `url` is refused before anything is asked; None where it is not."""
        return judge_url(url, self._allow)

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
        if self._session is None:
            raise RuntimeError("the client is not open")
        if (reason := judge_url(url, self._allow)) is not None:
            raise OutboundRefused(f"refused: {reason}")
        timeout = aiohttp.ClientTimeout(
            total=timeouts.total_s, sock_connect=timeouts.connect_s, ceil_threshold=float("inf")
        )
        sent = {"Accept-Encoding": "identity"} | dict(headers or {})
        try:
            async with self._session.request(
                method, url, headers=sent, data=body, timeout=timeout, allow_redirects=False, ssl=verify_tls
            ) as response:
                beginning = await _beginning(response.content, max_bytes, timeouts.body_s)
                return Answer(response.status, response.headers.copy(), beginning)
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise _translated(error, timeouts) from error

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """Make the socket of a connection after judging the address that it is about to be connected to."""
        family, kind, protocol, _, target = address
        reason = judge_address(ipaddress.ip_address(target[0]), self._allow)
        if reason is not None:
            raise OutboundRefused(f"refused: {reason}")
        return socket.socket(family, kind, protocol)


async def _beginning(content: aiohttp.StreamReader, limit: int, seconds: float) -> bytes:
    """At most `limit` bytes of a body, as far as they come in time."""
    beginning = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while len(beginning) < limit and (chunk := await content.read(limit - len(beginning))):
                beginning += chunk
    except (aiohttp.ClientError, OSError):
        pass  # the status has come; the body only tells more
    return bytes(beginning)


def _translated(error: Exception, timeouts: Timeouts) -> TaskEngineError:
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


class ThreadResolver(AbstractResolver):
    """Resolves names in threads of its own, so that a name server that hangs holds up no other work in threads."""

    def __init__(self, threads: int = 32) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`; OSError where it has none."""
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol, flags=numeric)
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """End the threads that are idle; one that waits for a name server ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedClients:
    """Guarded clients by what they may reach: an installation's networks, and those with a client's own added.

    Each has a connection pool of its own, so that a connection which one client may use is never lent to another.
    """

    def __init__(self, allow: Sequence[IPNetwork] = (), *, resolver: AbstractResolver | None = None) -> None:
        self._allow = tuple(allow)
        self._resolver = resolver or ThreadResolver()
        self._stack = AsyncExitStack()
        self._clients: dict[frozenset[IPNetwork], GuardedClient] = {}

    async def __aenter__(self) -> Self:
        """Ready for use; clients are opened as they are needed."""
        self._stack.push_async_callback(self._resolver.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all of them."""
        await self._stack.aclose()
        self._clients.clear()

    def check_literal(self, url: str, also: Sequence[IPNetwork] = ()) -> str | None:
        """Why `url` is refused before anything is asked; None where it is not."""
        return judge_url(url, (*self._allow, *also))

    async def client(self, also: Sequence[IPNetwork] = ()) -> GuardedClient:
        """The client that may reach the installation's networks and `also`."""
        key = frozenset((*self._allow, *also))
        if key not in self._clients:
            self._clients[key] = GuardedClient(tuple(key), resolver=self._resolver)
            await self._stack.enter_async_context(self._clients[key])
        return self._clients[key]
