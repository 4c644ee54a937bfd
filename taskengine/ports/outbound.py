"""What is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from taskengine.domain.keys import KeyRequest, KeySet


@dataclass(frozen=True, slots=True)
class Document:
    """What a URL answered with a 2xx: `url` is the one that answered (relative references count from it), with the
    credentials that it was asked with."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A body that lies in a file now: bytes, and the URL that it came from."""

    url: str
    size: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a body: bytes from `start` on; `length` None: to its end."""

    start: int = 0
    length: int | None = None


class Outbound(Protocol):
    """The guarded way to the URLs of a task: the addresses that its client may reach, and no others.

    Redirects of GET are followed, a few, each judged; headers given here, and credentials in a URL, go to the first server
    alone. Faults that may pass (no connection, silence, 408, 425, 429, 5xx) are tried again a few times, then
    InternalFault; InputFault where no try will do better: a refused address, another status, more than `max_bytes`.
    Messages hold no secrets of URLs.
    """

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        part: ByteRange | None = None,
        max_bytes: int = 4 * 1024 * 1024,
    ) -> Document:
        """A small document, gzip and deflate unpacked (`max_bytes` counts what is unpacked)."""
        ...

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] | None = None, max_bytes: int = 4 * 1024 * 1024
    ) -> Document:
        """As `get`, with a body, once: it is neither repeated nor redirected."""
        ...

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
        """A large body into a new file. What breaks off goes on from there where the server lets it, else anew;
        `on_bytes` is told how many are there. The file is removed where it fails. ResourceFault where it cannot be
        written."""
        ...


class KeyProvider(Protocol):
    """Where the content keys of a client's protected assets come from."""

    name: str
    kind: str  # static, seed, cpix

    def tells(self, system: str) -> bool:
        """Whether it may know where players get the keys of a system (`aes`)."""
        ...

    async def keys(self, request: KeyRequest, outbound: Outbound) -> KeySet:
        """The keys of one set: the same ones for the same request, with the ids that it names where it names some.

        InputFault where the provider has none, ResourceFault or InternalFault where another try may get them. No message
        has a key.
        """
        ...
