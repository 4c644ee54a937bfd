"""Guarded clients by what they may reach."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiohttp import AsyncResolver
from aiohttp.abc import AbstractResolver

from taskengine.domain.addresses import IPNetwork
from taskengine.net.client import GuardedClient
from taskengine.net.judging import judge_url


class GuardedClients:
    """Guarded clients by what they may reach: an installation's networks, and those with a client's own added.

    Each has a connection pool of its own, so that a connection which one client may use is never lent to another. DNS is
    asked without threads (c-ares): however many name servers hang, nobody's look-up waits for another's.
    """

    def __init__(self, allow: Sequence[IPNetwork] = (), *, resolver: AbstractResolver | None = None) -> None:
        self._allow = tuple(allow)
        self._resolver = resolver
        self._stack = AsyncExitStack()
        self._clients: dict[frozenset[IPNetwork], GuardedClient] = {}

    async def __aenter__(self) -> Self:
        """Ready for use; clients are opened as they are needed."""
        self._resolver = self._resolver or AsyncResolver()
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
