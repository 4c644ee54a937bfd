"""The application, and the server that it runs in: every answer is JSON, whatever came over the wire."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.typedefs import Middleware

from taskengine.api.admission import INTERNAL
from taskengine.api.answers import ALWAYS, Answer, to_response
from taskengine.api.call import CALLER
from taskengine.api.gate import Gate
from taskengine.api.metrics import Metrics
from taskengine.api.routes import ROUTES
from taskengine.api.services import HttpLimits, Services
from taskengine.engine.feed import Feed

log = structlog.get_logger(__name__)

_KEEP_ALIVE_S = 75.0
_LONGEST_LINE = 32 * 1024  # bytes; as many ids as `job_ids` may have find room
_PROBES = frozenset({"/", "/livez", "/readyz", "/metrics"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(services: Services) -> web.Application:
    """The API as an aiohttp application; serve it with `ApiRunner`."""
    app = web.Application(middlewares=[_framed(services.metrics, access_log=services.access_log)])
    if services.feed is not None:
        app.on_shutdown.append(_let_go(services.feed))
    gate = Gate(services)
    for route in ROUTES:
        if route.method == "GET":
            app.router.add_get(route.path, gate.handler(route))  # HEAD too
        else:
            app.router.add_route(route.method, route.path, gate.handler(route))
    return app


def _let_go(feed: Feed) -> Callable[[web.Application], Awaitable[None]]:
    async def let_go(_: web.Application) -> None:
        """Streams never end by themselves."""
        feed.close()

    return let_go


def _framed(metrics: Metrics | None, *, access_log: bool) -> Middleware:
    @web.middleware
    async def framed(request: web.Request, handler: _Next) -> web.StreamResponse:
        """The request's id in every log line and in the answer; JSON where there is no such call."""
        began = time.perf_counter()
        if isinstance(request.protocol, _Connection):
            request.protocol.asked()
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                response = await handler(request)
            except web.HTTPException as refusal:
                response = _unrouted(request, refusal)
            response.headers["X-Request-Id"] = request_id
            took = time.perf_counter() - began
            if metrics is not None:
                metrics.request(request.method, _template(request), response.status, took)
            if access_log:
                _tell(request, response, took)
            return response

    return framed


def _tell(request: web.Request, response: web.StreamResponse, took: float) -> None:
    """A line of the access log. Of the query only the names: values may be anybody's."""
    log.log(
        logging.DEBUG if request.path in _PROBES else logging.INFO,
        "request",
        method=request.method,
        path=request.path[:200],
        query=sorted(request.query)[:20] or None,
        status=response.status,
        ms=round(took * 1000, 1),
        bytes=response.content_length,
        client=request.get(CALLER),
        remote=request.remote,
    )


def _template(request: web.Request) -> str:
    """The path as the route table has it: no label of its own for every job."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "none"


def _unrouted(request: web.Request, refusal: web.HTTPException) -> web.StreamResponse:
    """What the router says: there is no such path, or not with that method."""
    allowed = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
    if request.method == "OPTIONS" and allowed:
        return web.Response(status=204, headers={**ALWAYS, **allowed})
    if refusal.status == 404:
        text = f"There is no call {request.method} {request.path[:100]}"
    elif refusal.status == 405:
        text = f"{request.path[:100]} does not take {request.method[:20]}; it takes {allowed.get('Allow', 'others')}"
    else:
        text = refusal.reason
    return to_response(Answer({"error": text}, refusal.status, allowed))


class _Connections:
    """How many are open, and from where."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self._open: Counter[str] = Counter()

    def opened(self, address: str) -> bool:
        """One more; whether it may stay."""
        self._open[address] += 1
        most, of_one = self.limits.connections, self.limits.connections_per_address
        return self._open.total() <= most and self._open[address] <= of_one

    def closed(self, address: str) -> None:
        """One less."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class _Connection(web.RequestHandler):
    """Answers in JSON what is no HTTP, too. One that asks nothing is closed, and so is one too many."""

    __slots__ = ("_address", "_all", "_patience")

    def __init__(self, server: web.Server, connections: _Connections, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._all, self._address = connections, ""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, where there is room."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        if self._all.opened(self._address):
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._all.limits.header_s, self.force_close)
        else:
            log.warning("connection_refused", remote=self._address, reason="too many are open")
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It counts no more."""
        self.asked()
        self._all.closed(self._address)
        super().connection_lost(exc)

    def asked(self) -> None:
        """A call has come: from now on the time between calls is bounded by keep-alive."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's own words, which may repeat what was sent
    ) -> web.StreamResponse:
        """The answer to a request that no handler saw, or at which the server itself failed."""
        if status >= 500:
            log.error("request_failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        text = "The request is not valid HTTP" if status < 500 else INTERNAL
        if isinstance(exc, LineTooLong):
            text = f"The request's first line, or one of its headers, is longer than {_LONGEST_LINE} bytes"
        response = to_response(Answer({"error": text}, status))
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, handler: Any, request_factory: Any, limits: HttpLimits, **options: Any) -> None:
        super().__init__(handler, request_factory=request_factory, loop=asyncio.get_running_loop())
        self._options, self._open = options, _Connections(limits)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._open, **self._options)


class ApiRunner(web.AppRunner):
    """Runs the application on connections that answer in JSON always; bodies come as they were sent, so that their
    decompression is bounded by us."""

    __slots__ = ("_limits",)

    def __init__(self, app: web.Application, limits: HttpLimits, **options: Any) -> None:
        lines = {"max_line_size": _LONGEST_LINE, "max_field_size": _LONGEST_LINE}
        kept = {"access_log": None, "keepalive_timeout": _KEEP_ALIVE_S, **lines, **options, "auto_decompress": False}
        super().__init__(app, **kept)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(_expecting(made.request_handler), made.request_factory, self._limits, **self._kwargs)


def _expecting(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> Any:
    """The header `Expect` is judged before any middleware: what it asks for that nobody knows is refused in JSON, too."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPExpectationFailed:
            return to_response(Answer({"error": "The request expects something else than 100-continue"}, 417))

    return handle
