"""Which endpoints may be called now: a concurrency limit and a circuit breaker for each endpoint, and for each server.

An endpoint is called by one delivery until it has answered, and its server by a few: what is dead holds no more than
that. Silent again and again, it is left alone for a while (the breaker is open), then tried by one delivery (half open)
until it answers again. A server none of whose endpoints answers is treated so as a whole, for whichever job and endpoint.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from taskengine.domain.urls import origin
from taskengine.ports import Busy, DueCallback

_FORGET_MS = 600_000  # silence after which an endpoint's failures no longer tell anything
_SILENT_ENDPOINTS = 3  # of one server in a row, before it is taken to be down: one that hangs says nothing of others
_NAMED = 500  # endpoints that a store is asked to pass over at most; others are claimed and given back
_MOST_HELD = 4  # shares of a server's deliveries that wait for it here
_BEGINNINGS = 20  # of one server's URLs: they differ by who calls alone


@dataclass(frozen=True, slots=True)
class Limits:
    """Deliveries at a time, and the breaker's settings."""

    concurrency: int
    per_endpoint: int
    breaker_failures: int
    cool_down_s: float
    cool_down_max_s: float

    @property
    def per_origin(self) -> int:
        """What the endpoints of one server may have together, so that it cannot take all there is."""
        return max(self.per_endpoint, self.concurrency // 4)

    @property
    def per_unknown_origin(self) -> int:
        """The same of a server that has not answered yet."""
        return max(self.per_endpoint, self.per_origin // 4)


@dataclass(frozen=True, slots=True)
class Claim:
    """A callback that is ours until then (UTC milliseconds)."""

    callback: DueCallback
    lease_until: int


@dataclass(slots=True)
class _Breaker:
    """What a row of failures says: `silent` names who failed, as far as it matters."""

    silences: int = 0  # tries in a row that got no answer
    silent_at: int = 0  # when the last of them ended
    open_until: int = 0
    silent: set[str] = field(default_factory=set)
    answered: bool = False  # since it is known here

    def close(self) -> None:
        """It answered."""
        self.answered = True
        self.silences, self.open_until = 0, 0
        self.silent.clear()

    def fail(self, who: str, now: int, limits: Limits, at_least: int) -> None:
        """It did not; it opens where so many have failed so often."""
        self.silences += 1
        self.silent_at = now
        if len(self.silent) < at_least:
            self.silent.add(who)
        excess = self.silences - limits.breaker_failures
        if excess >= 0 and len(self.silent) >= at_least:
            cool_down = min(limits.cool_down_s * 2 ** min(excess, 30), limits.cool_down_max_s)
            self.open_until = now + round(cool_down * 1000)

    def tripped(self, limits: Limits, at_least: int) -> bool:
        """Whether it has been open and nothing has answered since."""
        return self.silences >= limits.breaker_failures and len(self.silent) >= at_least

    def stale(self, now: int) -> bool:
        """Whether what it says is of no interest any more."""
        return not self.silences or self.silent_at + _FORGET_MS < now


@dataclass(slots=True)
class _Server:
    sending: int = 0
    held: int = 0
    breaker: _Breaker = field(default_factory=_Breaker)
    beginnings: set[str] = field(default_factory=set)  # `https://host/`, as its endpoints write it


@dataclass(slots=True)
class _Endpoint:
    server: _Server
    sending: int = 0
    breaker: _Breaker = field(default_factory=_Breaker)
    held: deque[Claim] = field(default_factory=deque)

    @property
    def open_until(self) -> int:
        """When the last of its breakers lets somebody through."""
        return max(self.breaker.open_until, self.server.breaker.open_until)


class Endpoints:
    """The state of every endpoint and server that is in use or in trouble."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._endpoints: dict[str, _Endpoint] = {}
        self._servers: dict[str, _Server] = {}  # by origin
        self._holding: dict[str, _Endpoint] = {}  # those with claims that wait, the longest first
        self.sending = 0

    def hold(self, claim: Claim) -> None:
        """Take a claimed delivery in."""
        url = claim.callback.endpoint
        if url not in self._endpoints:
            server = self._servers.setdefault(origin(url), _Server())
            if (beginning := _beginning(url)) and len(server.beginnings) < _BEGINNINGS:
                server.beginnings.add(beginning)
            self._endpoints[url] = _Endpoint(server)
        endpoint = self._endpoints[url]
        endpoint.held.append(claim)
        endpoint.server.held += 1
        self._holding[url] = endpoint

    def take(self, now: int) -> list[Claim]:
        """The held deliveries that may be sent now; they count as being sent until `done`."""
        taken = []
        for url, endpoint in [*self._holding.items()]:
            while endpoint.held and self._free(endpoint, now):
                taken.append(endpoint.held.popleft())
                endpoint.server.held -= 1
                endpoint.sending += 1
                endpoint.server.sending += 1
                self.sending += 1
            if not endpoint.held:
                del self._holding[url]
        return taken

    def unwanted(self, now: int) -> list[tuple[Claim, int]]:
        """Held deliveries to be given back, each with the time when it is worth another claim.

        What waits for a server that answers is held: its turn comes soon.
        """
        given = []
        for endpoint in [*self._holding.values()]:
            server = endpoint.server
            down = self._tripped(server) and server.sending >= self._room(server, now)
            if endpoint.open_until > now or down or server.held > _MOST_HELD * self._limits.per_origin:
                until = max(endpoint.open_until, now + round(self._limits.cool_down_s * 1000))
                given += [(claim, until) for claim in self._drop(endpoint)]
        self._holding = {url: endpoint for url, endpoint in self._holding.items() if endpoint.held}
        return given

    def done(self, url: str, now: int, *, answered: bool | None) -> None:
        """A delivery ended; `answered` None: it was not tried."""
        endpoint = self._endpoints[url]
        server = endpoint.server
        endpoint.sending -= 1
        server.sending -= 1
        self.sending -= 1
        if answered:
            endpoint.breaker.close()
            server.breaker.close()
        elif answered is not None:
            endpoint.breaker.fail(url, now, self._limits, 1)
            server.breaker.fail(url, now, self._limits, _SILENT_ENDPOINTS)

    def busy(self, now: int) -> Busy:
        """What can take nothing now."""
        self._forget(now)
        servers = {
            beginning for server in self._servers.values() if self._full(server, now) for beginning in server.beginnings
        }
        endpoints = [
            url
            for url, endpoint in self._endpoints.items()
            if _beginning(url) not in servers
            and (
                endpoint.sending + len(endpoint.held) >= self._capacity(endpoint, now)
                or self._full(endpoint.server, now)
            )
        ]
        return Busy(tuple(endpoints[:_NAMED]), tuple(sorted(servers)))

    def next_opening(self, now: int) -> int | None:
        """When the first of the open breakers lets a delivery through."""
        opens = [endpoint.breaker.open_until for endpoint in self._endpoints.values()]
        opens += [server.breaker.open_until for server in self._servers.values()]
        return min((at for at in opens if at > now), default=None)

    def drop_held(self) -> list[Claim]:
        """All that is held, to be given back at the end."""
        held = [claim for endpoint in self._holding.values() for claim in self._drop(endpoint)]
        self._holding.clear()
        return held

    def _drop(self, endpoint: _Endpoint) -> list[Claim]:
        held = [*endpoint.held]
        endpoint.server.held -= len(held)
        endpoint.held.clear()
        return held

    def _capacity(self, endpoint: _Endpoint, now: int) -> int:
        if endpoint.open_until > now:
            return 0
        return self._limits.per_endpoint if endpoint.breaker.answered and not endpoint.breaker.silences else 1

    def _room(self, server: _Server, now: int) -> int:
        """How many deliveries the server may have at one time."""
        if server.breaker.open_until > now:
            return 0
        if self._tripped(server):
            return 1
        return self._limits.per_origin if server.breaker.answered else self._limits.per_unknown_origin

    def _full(self, server: _Server, now: int) -> bool:
        return server.sending >= self._room(server, now)

    def _tripped(self, server: _Server) -> bool:
        return server.breaker.tripped(self._limits, _SILENT_ENDPOINTS)

    def _free(self, endpoint: _Endpoint, now: int) -> bool:
        return (
            self.sending < self._limits.concurrency
            and not self._full(endpoint.server, now)
            and endpoint.sending < self._capacity(endpoint, now)
        )

    def _forget(self, now: int) -> None:
        """What is idle and in no trouble."""
        for url, endpoint in [*self._endpoints.items()]:
            if not endpoint.sending and not endpoint.held and endpoint.breaker.stale(now):
                del self._endpoints[url]
        used = {id(endpoint.server) for endpoint in self._endpoints.values()}
        for name, server in [*self._servers.items()]:
            if id(server) not in used and server.breaker.stale(now):
                del self._servers[name]


def _beginning(url: str) -> str:
    """`https://host/` as `url` writes it; empty where no path follows: `http://a` is no beginning of `http://a.example`."""
    return url[: url.find("/", url.find("//") + 2) + 1]
