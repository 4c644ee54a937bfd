"""The application, and the server that it runs in: every answer is JSON, whatever came over the wire."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from taskengine.api.answers import Answer, to_response
from taskengine.api.gate import Gate
from taskengine.api.routes import ROUTES
from taskengine.api.services import Services

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(services: Services) -> web.Application:
    """The API as an aiohttp application; serve it with `ApiRunner`."""
    app = web.Application(middlewares=[_framed()])
    gate = Gate(services)
    for route in ROUTES:
        if route.method == "GET":
            app.router.add_get(route.path, gate.handler(route))  # HEAD too
        else:
            app.router.add_route(route.method, route.path, gate.handler(route))
    return app


def _framed() -> Middleware:
    @web.middleware
    async def framed(request: web.Request, handler: _Next) -> web.StreamResponse:
        """The request's id in every log line and in the answer; JSON where there is no such call."""
        began = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                response = await handler(request)
            except web.HTTPException as refusal:
                response = _unrouted(request, refusal)
            response.headers["X-Request-Id"] = request_id
            took = round((time.perf_counter() - began) * 1000, 1)
            log.debug("request", method=request.method, path=request.path, status=response.status, ms=took)
            return response

    return framed


def _unrouted(request: web.Request, refusal: web.HTTPException) -> web.StreamResponse:
    """What the router says: there is no such path, or not with that method."""
    allowed = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
    if request.method == "OPTIONS" and allowed:
        return web.Response(status=204, headers=allowed)
    if refusal.status == 404:
        text = f"There is no call {request.method} {request.path[:100]}"
    elif refusal.status == 405:
        text = f"{request.path[:100]} does not take {request.method[:20]}; it takes {allowed.get('Allow', 'others')}"
    else:
        text = refusal.reason
    return to_response(Answer({"error": text}, refusal.status, allowed))


class _Connection(web.RequestHandler):
    """Answers in JSON what is no HTTP, too."""

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
        text = "The request is not valid HTTP" if status < 500 else "The engine could not answer: an internal error"
        response = to_response(Answer({"error": text}, status))
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, handler: Any, request_factory: Any, **options: Any) -> None:
        super().__init__(handler, request_factory=request_factory, loop=asyncio.get_running_loop())
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)


class ApiRunner(web.AppRunner):
    """Runs the application on connections that answer in JSON always; bodies come as they were sent, so that their
    decompression is bounded by us."""

    __slots__ = ()

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, **{"access_log": None, **options, "auto_decompress": False})

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, made.request_factory, **self._kwargs)
