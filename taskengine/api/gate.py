"""What every call passes: who calls, whether it may, its body, and how its errors are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
from aiohttp import BasicAuth, web

from taskengine.api.admission import INTERNAL, Credentials, check_client, identify, refusal
from taskengine.api.answers import Answer, to_response
from taskengine.api.body import parse_object, read_body
from taskengine.api.call import CALLER, Access, Body, Call, Route
from taskengine.api.faults import BodyTooLarge, BodyTooSlow, UnsupportedEncoding
from taskengine.api.fields import read_id
from taskengine.api.services import Services
from taskengine.api.submission import JOB_NOT_MADE
from taskengine.domain.errors import Conflict, InvalidRequest, TaskEngineError
from taskengine.domain.tracing import TRACEPARENT, read_traceparent

log = structlog.get_logger(__name__)

_OF_A_JOB = ("/job", "/logs/")  # paths whose `id` is a job's
_OF_THE_WISH = (InvalidRequest, Conflict, BodyTooLarge, BodyTooSlow, UnsupportedEncoding)  # where the job may be there
_UNTRACED = frozenset({Access.PUBLIC, Access.METRICS})  # what probes ask for


class Gate:
    """Makes aiohttp handlers of the table's rows."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The route's handler for aiohttp: whatever happens, it answers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if route.access in _UNTRACED:
                return await self._answered(route, Call(self._services, request))
            named = f"{request.method} {route.path}"
            about = {"http.request.method": request.method, "http.route": route.path, "url.path": request.path[:200]}
            parent = read_traceparent(request.headers.get(TRACEPARENT))
            with self._services.tracer.span(named, "server", parent, about) as span:
                response = await self._answered(route, Call(self._services, request, traceparent=span.traceparent))
                span.note("http.response.status_code", response.status)
                if response.status >= 500:
                    span.fail(f"answered {response.status}")
                return response

        return handle

    async def _answered(self, route: Route, call: Call) -> web.StreamResponse:
        """The answer, whatever happens."""
        request = call.request
        try:
            call = await self._identified(route, call)
            call = await self._admitted(route, call)
            given = await route.handler(call)
            return to_response(given) if isinstance(given, Answer) else given
        except TaskEngineError as error:
            return to_response(await self._refusal(route, call, error))
        except Exception:
            log.exception("request_failed", method=request.method, path=request.path)
            made = route.method == "POST" and route.path == "/job"
            return to_response(Answer({"error": JOB_NOT_MADE if made else INTERNAL}, 500))

    async def _identified(self, route: Route, call: Call) -> Call:
        """The call with who makes it, or the error that refuses it."""
        services, request = self._services, call.request
        if route.access is Access.PUBLIC or (route.access is Access.METRICS and services.metrics_public):
            return call
        given = _credentials(request.headers)
        if route.access is Access.LIST and services.open_jobs_list and given.key is None:
            return call
        who = await identify(services, given, partial(self._claimed, request))
        request[CALLER] = who.caller.client
        return replace(call, caller=who.caller, config=who.config, body=who.body)

    async def _admitted(self, route: Route, call: Call) -> Call:
        """The call with its body, where its caller may make it."""
        if call.anonymous:
            return call
        call.may(route.access)
        call = call if call.body is not None else await self._with_body(route, call)
        check_client(call.caller, call.fields, other=route.names_client)
        return call

    async def _claimed(self, request: web.Request) -> Mapping[str, Any] | None:
        """The body of a call whose header does not name the client; what is wrong of it is told to no stranger."""
        data = await read_body(request, self._services.limits)
        try:
            return parse_object(data, self._services.limits)
        except InvalidRequest:
            return None

    async def _with_body(self, route: Route, call: Call) -> Call:
        if route.body is Body.NONE:
            return call
        data = await read_body(call.request, self._services.limits)
        if route.body is Body.OPTIONAL and not data.strip():
            return call
        return replace(call, body=parse_object(data, self._services.limits))

    async def _refusal(self, route: Route, call: Call, error: TaskEngineError) -> Answer:
        named = f"{call.request.method} {call.request.path}"
        of_job = route.path.startswith(_OF_A_JOB) and not call.anonymous
        job_id = read_id(call.request.match_info.get("id", "")) if of_job else None
        if job_id is not None and isinstance(error, _OF_THE_WISH):
            absence = await self._absence(call, job_id)
            error, job_id = absence or error, None if absence else job_id
        else:
            job_id = None
        answer = refusal(self._services, call.config, error, published=route.published, call=named)
        return answer if job_id is None else replace(answer, body={**answer.body, "id": job_id})

    async def _absence(self, call: Call, job_id: int) -> TaskEngineError | None:
        """Why there is no such job for the caller: then what was wrong with the wish matters no more."""
        try:
            await self._services.views.view(call.caller, job_id)
        except TaskEngineError as error:
            return error
        return None


def _credentials(headers: Mapping[str, str]) -> Credentials:
    """Who calls, as the headers say.

    HTTP Basic is for programs that can send nothing else (Prometheus, KEDA), and counts only where neither the client
    nor a key has a header of its own: a proxy in front may use `Authorization` for itself.
    """
    given = Credentials.of(headers)
    if given != Credentials() or not (header := headers.get("Authorization")):
        return given
    try:
        basic = BasicAuth.decode(header, encoding="utf-8")
    except ValueError:  # another scheme, or none that can be read: as if nothing was sent
        return given
    return Credentials(basic.login or None, basic.password or None)
