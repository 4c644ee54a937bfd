"""What every call passes: who calls, whether it may, its body, and how its errors are answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web

from taskengine.api.answers import Answer, to_response
from taskengine.api.body import parse_object, read_body
from taskengine.api.call import Access, Body, Call, Route
from taskengine.api.faults import RETRY_AFTER_S, error_body, invalid, status_of
from taskengine.api.fields import read_id
from taskengine.api.services import Services
from taskengine.domain.errors import Conflict, Fault, Forbidden, InvalidRequest, TaskEngineError, Unauthorized
from taskengine.domain.tenants import ClientConfig

log = structlog.get_logger(__name__)

_KEY_HEADERS = ("api-key", "x-api-key", "x-auth-key")
_JOB_NOT_MADE = "Unable to create job request"
_INTERNAL = "The engine could not answer: an internal error, which its log names by the request's id"
_UNAUTHORIZED_RESULT = "Unauthorized request."


class Gate:
    """Makes aiohttp handlers of the table's rows."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The route's handler for aiohttp: whatever happens, it answers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = Call(self._services, request)
            try:
                call = await self._admit(route, request)
                return to_response(await route.handler(call))
            except TaskEngineError as error:
                return to_response(await self._refusal(route, call, error))
            except Exception:
                log.exception("request_failed", method=request.method, path=request.path)
                made = route.method == "POST" and route.path == "/job"
                return to_response(Answer({"error": _JOB_NOT_MADE if made else _INTERNAL}, 500))

        return handle

    async def _admit(self, route: Route, request: web.Request) -> Call:
        """The call, or the error that refuses it."""
        if route.access is Access.PUBLIC:
            return Call(self._services, request)
        named = request.headers.get("client") or None
        key = next((value for name in _KEY_HEADERS if (value := request.headers.get(name))), None)
        if route.access is Access.LIST and self._services.open_jobs_list and key is None:
            return Call(self._services, request)
        body = None if named or key is None else await self._claimed(request)
        claimed = body.get("client") if body else None
        caller = await self._services.tenants.authenticate(
            named or (claimed if isinstance(claimed, str) else None), key
        )
        config = await self._services.tenants.config(caller.client)
        call = Call(self._services, request, caller, config, body, header_client=named is not None)
        call.may(route.access)
        call = call if body is not None else await self._with_body(route, call)
        self._check_client(route, call)
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
        body = parse_object(data, self._services.limits)
        return Call(call.services, call.request, call.caller, call.config, body, header_client=call.header_client)

    @staticmethod
    def _check_client(route: Route, call: Call) -> None:
        """`client` is legal in every body, and must be the caller's."""
        claimed = call.fields.get("client")
        if claimed is not None and not isinstance(claimed, str):
            raise invalid(Fault("/client", "must be a client's name"))
        if claimed is not None and claimed != call.caller.client and not route.names_client:
            raise Forbidden("The body's client is not the client whose credentials these are")

    async def _refusal(self, route: Route, call: Call, error: TaskEngineError) -> Answer:
        status = status_of(error)
        if status == 500:
            log.error("request_failed", method=call.request.method, path=call.request.path, error=repr(error))
            return Answer({"error": _INTERNAL}, status)
        body = error_body(error, status)
        job_id = read_id(call.request.match_info.get("id", "")) if route.path.startswith("/job") else None
        if isinstance(error, Conflict) and job_id is not None:
            body["id"] = job_id
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
        if isinstance(error, Unauthorized) and self._services.tenants.unauthorized_result:
            body["result"] = _UNAUTHORIZED_RESULT
        return Answer(body, _as_published(route, call.config, status), headers)


def _as_published(route: Route, config: ClientConfig, status: int) -> int:
    """The status as a client that moves over from the original expects it."""
    if route.published and ((status == 404 and config.not_found_as_400) or (status == 409 and config.conflict_as_400)):
        return 400
    return status
