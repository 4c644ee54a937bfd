"""The one guarded HTTP client for URLs that clients give: callbacks, semaphores, sources.

Every connection is judged by the address that it is really made to, at the moment it is made: neither a name that
resolves to an inner address, nor one that changes between check and use, nor an address in an odd spelling gets by.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from taskengine.domain.errors import TaskEngineError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SETTING = "TASKENGINE_OUTBOUND_ALLOW"

# Where clouds hand out machine credentials. Some of them look global, so that they must be named.
METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, GCP, Azure, OpenStack, DigitalOcean …
        "169.254.170.2",  # AWS ECS
        "169.254.170.23",  # AWS EKS pod identity
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fd20:ce::254",  # GCP over IPv6
        "168.63.129.16",  # Azure's wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "169.254.0.23",  # Tencent
        "169.254.42.42",  # Scaleway
        "fd00:42::42",  # Scaleway over IPv6
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")  # reaches the public IPv4 address in its last 32 bits
_UNICAST = IPv6Network("2000::/3")
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in ("192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # relays, tunnels, documents
)
# Forms of IPv6 that carry an IPv4 address: (network, how many bits follow it)
_CARRIERS = (
    (IPv6Network("::/96"), 0),  # v4-compatible
    (IPv6Network("::ffff:0:0/96"), 0),  # v4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # v4-translated
    (_NAT64, 0),
    (IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of one's own
    (IPv6Network("2002::/16"), 80),  # 6to4
)
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFCFFFFFF  # the first half of such an interface's number, but two flag bits


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


def networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    """Parse networks (`10.0.0.0/8`, `::1`); ValueError names the one that is none."""
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts if text.strip())


def judge_address(address: IPAddress, allow: Sequence[IPNetwork] = ()) -> str | None:
    """Why `address` may not be called; None where it may."""
    effective = _effective(address)
    carried = list(_carried(effective))
    if any(form in METADATA for form in (effective, *carried)):
        return f"{address} is a metadata address, which {SETTING} cannot allow"
    if any(effective in network for network in allow):
        return None
    judged = carried[0] if carried and effective in _NAT64 else effective
    if (kind := _kind(judged)) is None or (judged is not effective and any(judged in network for network in allow)):
        return None
    return f"{address} is a {kind} address, which {SETTING} does not allow"


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


def _effective(address: IPAddress) -> IPAddress:
    """The address that the system would really connect to."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        return IPv6Address(int(address))  # without its scope
    return address


def _carried(address: IPAddress) -> Iterator[IPv4Address]:
    """IPv4 addresses inside an IPv6 one."""
    if isinstance(address, IPv4Address):
        return
    for network, shift in _CARRIERS:
        if address in network:
            yield IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    if address.teredo is not None:
        yield from address.teredo
    if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _kind(address: IPAddress) -> str | None:
    """What keeps an address from being an ordinary public one."""
    properties = ("unspecified", "loopback", "link_local", "multicast", "site_local", "private", "reserved")
    for name in properties:
        if getattr(address, f"is_{name}", False):
            return name.replace("_", "-")
    special = any(address in network for network in _SPECIAL)
    if special or not address.is_global or (isinstance(address, IPv6Address) and address not in _UNICAST):
        return "special-purpose"
    return None


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


class GuardedClients:
    """Guarded clients by what they may reach: an installation's networks, and those with a client's own added.

    Each has a connection pool of its own, so that a connection which one client may use is never lent to another.
    """

    def __init__(self, allow: Sequence[IPNetwork] = (), *, resolver: AbstractResolver | None = None) -> None:
        self._allow = tuple(allow)
        self._resolver = resolver
        self._stack = AsyncExitStack()
        self._clients: dict[frozenset[IPNetwork], GuardedClient] = {}

    async def __aenter__(self) -> Self:
        """Ready for use; clients are opened as they are needed."""
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
