"""Who calls, and how a call is refused: the same for HTTP and for messages."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from taskengine.api.answers import Answer
from taskengine.api.faults import TooManyCalls, error_body, invalid, retry_headers, status_of
from taskengine.api.services import Services
from taskengine.domain.errors import Fault, Forbidden, TaskEngineError, Unauthorized
from taskengine.domain.tenants import Caller, ClientConfig, Role

log = structlog.get_logger(__name__)

ANONYMOUS = Caller("", Role.VIEWER)
DEFAULTS = ClientConfig()
INTERNAL = "The engine could not answer: an internal error, which its log names by the request's id"
_KEY_HEADERS = ("api-key", "x-api-key", "x-auth-key")
_UNAUTHORIZED_RESULT = "Unauthorized request."

Claimed = Callable[[], Awaitable[Mapping[str, Any] | None]]
"""Reads the body of a call whose headers do not name the client; None where it is no JSON object."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The client's name and one of its keys, as the headers have them."""

    client: str | None = None
    key: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Credentials:
        """Those of headers whose names are compared without case, or are in small letters."""
        key = next((value for name in _KEY_HEADERS if (value := headers.get(name))), None)
        return cls(headers.get("client") or None, key)


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who calls. `body` is the body where it had to be read to know that."""

    caller: Caller = ANONYMOUS
    config: ClientConfig = DEFAULTS
    body: Mapping[str, Any] | None = None


async def identify(services: Services, given: Credentials, claimed: Claimed) -> Admitted:
    """The client with these credentials; Unauthorized. Without a name in the headers, the body's `client` is it."""
    body = None if given.client or given.key is None else await claimed()
    name = body.get("client") if body else None
    caller = await services.tenants.authenticate(given.client or (name if isinstance(name, str) else None), given.key)
    config = await services.tenants.config(caller.client)
    if config.rate is not None and (wait := services.rates.take(caller.client, config.rate)) > 0:
        raise TooManyCalls(math.ceil(wait))
    return Admitted(caller, config, body)


def must_act(caller: Caller) -> None:
    """Forbidden for who may only look."""
    if not caller.acts:
        raise Forbidden(f"The role {caller.role} may look, not change")


def check_client(caller: Caller, fields: Mapping[str, Any], *, other: bool = False) -> None:
    """`client` is legal in every body, and must be the caller's, unless it may name an`other` one."""
    claimed = fields.get("client")
    if claimed is not None and not isinstance(claimed, str):
        raise invalid(Fault("/client", "must be a client's name"))
    if claimed is not None and claimed != caller.client and not other:
        raise Forbidden("The body's client is not the client whose credentials these are")


def refusal(services: Services, config: ClientConfig, error: TaskEngineError, *, published: bool, call: str) -> Answer:
    """The answer that an error is. `published`: the original has the call too; `call` names it in the log."""
    status = status_of(error)
    if status == 500:
        log.error("request_failed", call=call, error=repr(error))
        return Answer({"error": INTERNAL}, status)
    body = error_body(error, status)
    if isinstance(error, Unauthorized) and services.tenants.unauthorized_result:
        body["result"] = _UNAUTHORIZED_RESULT
    return Answer(body, _as_published(config, status) if published else status, retry_headers(error, status))


def _as_published(config: ClientConfig, status: int) -> int:
    """The status as a client that moves over from the original expects it."""
    as_400 = (status == 404 and config.not_found_as_400) or (status == 409 and config.conflict_as_400)
    return 400 if as_400 else status
