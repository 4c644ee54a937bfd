"""An endpoint that records what it is sent and behaves as it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Self

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Received(NamedTuple):
    """One request: its path (with the query), its headers (names in lower case), its JSON body (None where it is none)."""

    path: str
    headers: Mapping[str, str]
    body: Any


class CallbackReceiver:
    """A server on loopback: `async with CallbackReceiver() as receiver`.

    Every path answers 200 until it is scripted: `receiver.script("/path", 503, receiver.hang, 200)` gives one behaviour
    per request, the last one for ever.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._tls, self._host, self._wanted = tls, host, port
        self.received: list[Received] = []
        self.raw: list[bytes] = []  # the bodies of `received` as they came
        self.url = ""
        self.working = 0  # requests being answered now
        self._scripts: defaultdict[str, deque[Behaviour]] = defaultdict(deque)
        self._changed = asyncio.Condition()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._wanted, ssl_context=self._tls)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://{self._host}:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what hangs, and stop."""
        self._closing.set()
        await self._runner.cleanup()

    def script(self, path: str, *behaviours: int | Behaviour) -> str:
        """Set what a path does from now on; the URL of that path."""
        self._scripts[path] = deque(answer(one) if isinstance(one, int) else one for one in behaviours)
        return self.url + path

    async def wait_for(self, condition: int | Callable[[], bool], timeout_s: float = 10) -> None:
        """Wait until that many requests came, or until the predicate holds (it is asked after each change)."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(condition if callable(condition) else lambda: len(self.received) >= condition)

    def bodies(self, path: str | None = None) -> list[Any]:
        """The JSON bodies that came, of one path or all."""
        return [one.body for one in self.received if path is None or one.path == path]

    async def hang(self, request: web.Request) -> web.StreamResponse:
        """Never answer."""
        await self._closing.wait()
        return web.Response()

    async def drip_headers(self, request: web.Request) -> web.StreamResponse:
        """Send the answer's headers byte by byte, without an end."""
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self._closing.is_set() and not request.transport.is_closing():
            request.transport.write(b"x")
            await self._pause()
        return web.Response()

    async def drip_body(self, request: web.Request) -> web.StreamResponse:
        """Answer 200, then send a body byte by byte, without an end."""
        response = web.StreamResponse()
        await response.prepare(request)
        while not self._closing.is_set():
            try:
                await response.write(b"x")
            except ConnectionError:
                break
            await self._pause()
        return response

    async def flood(self, request: web.Request) -> web.StreamResponse:
        """Answer 200 with a body that has no end, as fast as it is read."""
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while not self._closing.is_set():
                await response.write(b"x" * 65536)
        except ConnectionError:
            pass
        return response

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """Drop the connection without an answer."""
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.raw.append(raw)
        self.received.append(Received(request.path_qs, headers, _json(raw)))
        await self._work(+1)
        try:
            return await self._behaviour(request.path_qs)(request)
        finally:
            await self._work(-1)

    def _behaviour(self, path: str) -> Behaviour:
        script = self._scripts[path]
        if not script:
            return answer(200)
        return script.popleft() if len(script) > 1 else script[0]

    async def _work(self, change: int) -> None:
        async with self._changed:
            self.working += change
            self._changed.notify_all()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(0.01):
                await self._closing.wait()
        except TimeoutError:
            pass


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Behaviour:
    """Answer with a status, headers (e.g. `Retry-After`, `Location`) and a body."""

    async def behave(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=dict(headers or {}), body=body)

    return behave


def redirect(location: str, status: int = 307) -> Behaviour:
    """Answer with a redirect."""
    return answer(status, {"Location": location})


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None
