"""Which endpoints may be called now: a concurrency limit and a circuit breaker for each endpoint, and for each server.

An endpoint that does not answer is called by one delivery at a time; after some such failures in a row it is left alone
for a while (the breaker is open), then tried by one delivery (half open) until it answers again. A server none of whose
endpoints answers is treated so as a whole, for whichever job and endpoint of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from taskengine.domain.urls import origin
from taskengine.ports import DueCallback

_FORGET_MS = 600_000  # silence after which an endpoint's failures no longer tell anything
_SILENT_ENDPOINTS = 3  # of one server in a row, before it is taken to be down: one that hangs says nothing of others
_NAMED = 500  # endpoints that a store is asked to pass over at most; others are claimed and given back


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


@dataclass(slots=True)
class _Breaker:
    """What a row of failures says: `silent` names who failed, as far as it matters."""

    silences: int = 0  # tries in a row that got no answer
    silent_at: int = 0  # when the last of them ended
    open_until: int = 0
    silent: set[str] = field(default_factory=set)

    def close(self) -> None:
        """It answered."""
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
    breaker: _Breaker = field(default_factory=_Breaker)


@dataclass(slots=True)
class _Endpoint:
    server: str  # its origin
    sending: int = 0
    breaker: _Breaker = field(default_factory=_Breaker)
    held: deque[tuple[DueCallback, int]] = field(default_factory=deque)  # claimed, waiting, with the end of its lease


class Endpoints:
    """The state of every endpoint and server that is in use or in trouble."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._endpoints: dict[str, _Endpoint] = {}
        self._servers: dict[str, _Server] = {}
        self.sending = 0

    def hold(self, callback: DueCallback, lease_until: int) -> None:
        """Take a claimed delivery in."""
        url = callback.endpoint
        if url not in self._endpoints:
            self._endpoints[url] = _Endpoint(origin(url))
        self._servers.setdefault(self._endpoints[url].server, _Server())
        self._endpoints[url].held.append((callback, lease_until))

    def take(self, now: int) -> list[tuple[DueCallback, int]]:
        """The held deliveries that may be sent now, with their leases; they count as being sent until `done`."""
        taken = []
        for endpoint in self._endpoints.values():
            while endpoint.held and self._free(endpoint, now):
                taken.append(endpoint.held.popleft())
                endpoint.sending += 1
                self._servers[endpoint.server].sending += 1
                self.sending += 1
        return taken

    def unwanted(self, now: int) -> list[tuple[DueCallback, int]]:
        """Held deliveries to be given back, each with the time when it is worth another claim."""
        given = []
        for endpoint in self._endpoints.values():
            server = self._servers[endpoint.server]
            opens = max(endpoint.breaker.open_until, server.breaker.open_until)
            if endpoint.held and (opens > now or server.sending >= self._room(server, now)):
                until = max(opens, now + round(self._limits.cool_down_s * 1000))
                given += [(callback, until) for callback, _ in endpoint.held]
                endpoint.held.clear()
        return given

    def done(self, url: str, now: int, *, answered: bool | None) -> None:
        """A delivery ended; `answered` None: it was not tried."""
        endpoint = self._endpoints[url]
        server = self._servers[endpoint.server]
        endpoint.sending -= 1
        server.sending -= 1
        self.sending -= 1
        if answered:
            endpoint.breaker.close()
            server.breaker.close()
        elif answered is not None:
            endpoint.breaker.fail(url, now, self._limits, 1)
            server.breaker.fail(url, now, self._limits, _SILENT_ENDPOINTS)

    def busy(self, now: int) -> list[str]:
        """Endpoints that can take nothing now."""
        self._forget(now)
        busy = [
            url
            for url, endpoint in self._endpoints.items()
            if endpoint.sending + len(endpoint.held) >= self._capacity(endpoint, now)
        ]
        return busy[:_NAMED]

    def next_opening(self, now: int) -> int | None:
        """When the first of the open breakers lets a delivery through."""
        opens = [endpoint.breaker.open_until for endpoint in self._endpoints.values()]
        opens += [server.breaker.open_until for server in self._servers.values()]
        return min((at for at in opens if at > now), default=None)

    def drop_held(self) -> list[DueCallback]:
        """All that is held, to be given back at the end."""
        held = [callback for endpoint in self._endpoints.values() for callback, _ in endpoint.held]
        for endpoint in self._endpoints.values():
            endpoint.held.clear()
        return held

    def _capacity(self, endpoint: _Endpoint, now: int) -> int:
        if max(endpoint.breaker.open_until, self._servers[endpoint.server].breaker.open_until) > now:
            return 0
        return 1 if endpoint.breaker.silences else self._limits.per_endpoint

    def _room(self, server: _Server, now: int) -> int:
        """How many deliveries the server may have at one time."""
        if server.breaker.open_until > now:
            return 0
        return 1 if server.breaker.tripped(self._limits, _SILENT_ENDPOINTS) else self._limits.per_origin

    def _free(self, endpoint: _Endpoint, now: int) -> bool:
        server = self._servers[endpoint.server]
        return (
            self.sending < self._limits.concurrency
            and endpoint.sending < self._capacity(endpoint, now)
            and server.sending < self._room(server, now)
        )

    def _forget(self, now: int) -> None:
        """What is idle and in no trouble."""
        for url, endpoint in [*self._endpoints.items()]:
            if not endpoint.sending and not endpoint.held and endpoint.breaker.stale(now):
                del self._endpoints[url]
        used = {endpoint.server for endpoint in self._endpoints.values()}
        for name, server in [*self._servers.items()]:
            if name not in used and server.breaker.stale(now):
                del self._servers[name]
