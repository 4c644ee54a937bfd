"""One call of the API: what its handler gets, and the table's row that it belongs to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiohttp import web

from taskengine.api.admission import ANONYMOUS, DEFAULTS, must_act
from taskengine.api.answers import Answer
from taskengine.api.fields import read_id
from taskengine.api.models import Fields
from taskengine.api.services import Services
from taskengine.domain.errors import Forbidden, NotFound
from taskengine.domain.tenants import Caller, ClientConfig, Role

CALLER = web.RequestKey("caller", str)  # the client that a request was found to come from


class Access(Enum):
    """Who may make a call."""

    PUBLIC = auto()
    LIST = auto()  # anyone where the list of jobs is open, else who has credentials
    METRICS = auto()  # anyone where the metrics are public, else who sees all clients
    LOOK = auto()  # who has credentials
    ACT = auto()  # all but viewers
    ADMIN = auto()


class Body(Enum):
    """Whether a call has a body of its own."""

    NONE = auto()
    OPTIONAL = auto()
    REQUIRED = auto()


@dataclass(frozen=True, slots=True)
class Call:
    """A request with what was found out of it."""

    services: Services
    request: web.Request
    caller: Caller = ANONYMOUS
    config: ClientConfig = DEFAULTS
    body: Mapping[str, Any] | None = None
    traceparent: str | None = None  # what the call begins goes on in this trace

    @property
    def anonymous(self) -> bool:
        """Whether nobody in particular calls."""
        return self.caller is ANONYMOUS

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body's fields; none where there is no body."""
        return self.body or {}

    def next_page(self, after_id: int) -> dict[str, str]:
        """The header that leads to what comes after: under `public_url` where that is set, else as the request came; its
        URL is relative where the request's own is not known well."""
        query = self.request.rel_url.update_query({"after_id": str(after_id)})
        public = self.services.public_url
        try:
            url = f"{public.rstrip('/')}{query}" if public else str(self.request.url.join(query))
        except ValueError:  # the Host header is none
            url = str(query)
        return {"Link": f'<{url}>; rel="next"'}

    def id(self, what: str, name: str = "id") -> int:
        """An id of the path; what can be no id is as unknown as one that does not exist."""
        text = self.request.match_info[name]
        found = read_id(text)
        if found is None:
            raise NotFound(f"there is no {what} {text[:40]}")
        return found

    def scope(self) -> str | None:
        """Whose jobs are looked at, as `client=` of the query says; None: everybody's."""
        return self.whose(self.request.query.get("client") or None)

    def whose(self, named: str | None) -> str | None:
        """Whose things are meant: the caller's own; any client's, or everybody's (None), where the caller sees all."""
        if self.caller.sees_all:
            return named
        if named not in {None, self.caller.client}:
            raise Forbidden("Only an admin or operator may name another client")
        return self.caller.client

    def name(self, part: str = "name") -> str:
        """A name of the path."""
        return self.request.match_info[part]

    def may(self, access: Access) -> None:
        """Forbidden where the caller's role does not allow it."""
        if access is Access.ADMIN and self.caller.role is not Role.ADMIN:
            raise Forbidden("Only an admin may do this")
        if access is Access.METRICS and not self.caller.sees_all:
            raise Forbidden("Only an admin or operator may read the metrics")
        if access is Access.ACT:
            must_act(self.caller)


Handler = Callable[[Call], Awaitable[Answer | web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the route table. `published`: the original has the call too, and its clients its status codes.

    `takes` and `gives` are for the OpenAPI document: the model of the body, the type of the answer.
    """

    method: str
    path: str
    handler: Handler
    access: Access = Access.LOOK
    body: Body = Body.NONE
    published: bool = False
    names_client: bool = False  # the body's `client` is not the caller's name
    takes: type[Fields] | None = None
    gives: Any = None
    query: Mapping[str, str] | None = None  # parameter → meaning
    paged: bool = False  # the header `Link` leads to the next page
    media: str = "application/json"  # of the answer
    refused: Mapping[int, str] = field(default_factory=dict)  # further statuses, beside those of all calls
