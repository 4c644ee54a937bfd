"""Which endpoints may be called now: a concurrency limit and a circuit breaker for each, and a limit for each server.

An endpoint that does not answer is called by one delivery at a time; after some such failures in a row it is left alone
for a while (the breaker is open), then tried by one delivery (half open) until it answers again.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from taskengine.domain.urls import origin
from taskengine.ports import DueCallback

_FORGET_MS = 600_000  # silence after which an endpoint's failures no longer tell anything
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
class _Endpoint:
    sending: int = 0
    silences: int = 0  # tries in a row that got no answer
    silent_at: int = 0  # when the last of them ended
    open_until: int = 0
    held: deque[tuple[DueCallback, int]] = field(default_factory=deque)  # claimed, waiting, with the end of its lease


class Endpoints:
    """The state of every endpoint that is in use or in trouble."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._endpoints: dict[str, _Endpoint] = {}
        self._origins: Counter[str] = Counter()
        self.sending = 0

    def hold(self, callback: DueCallback, lease_until: int) -> None:
        """Take a claimed delivery in."""
        self._endpoints.setdefault(callback.endpoint, _Endpoint()).held.append((callback, lease_until))

    def take(self, now: int) -> list[tuple[DueCallback, int]]:
        """The held deliveries that may be sent now, with their leases; they count as being sent until `done`."""
        taken = []
        for url, endpoint in self._endpoints.items():
            while endpoint.held and self._free(url, endpoint, now):
                taken.append(endpoint.held.popleft())
                endpoint.sending += 1
                self._origins[origin(url)] += 1
                self.sending += 1
        return taken

    def unwanted(self, now: int) -> list[tuple[DueCallback, int]]:
        """Held deliveries to be given back, each with the time when it is worth another claim."""
        given = []
        for url, endpoint in self._endpoints.items():
            full = self._origins[origin(url)] >= self._limits.per_origin
            if endpoint.held and (endpoint.open_until > now or full):
                until = max(endpoint.open_until, now + round(self._limits.cool_down_s * 1000))
                given += [(callback, until) for callback, _ in endpoint.held]
                endpoint.held.clear()
        return given

    def done(self, url: str, now: int, *, answered: bool | None) -> None:
        """A delivery ended; `answered` None: it was not tried."""
        endpoint = self._endpoints[url]
        endpoint.sending -= 1
        self.sending -= 1
        self._origins[origin(url)] -= 1
        if self._origins[origin(url)] <= 0:
            del self._origins[origin(url)]
        if answered:
            endpoint.silences, endpoint.open_until = 0, 0
        elif answered is not None:
            self._silent(endpoint, now)

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
        return min((e.open_until for e in self._endpoints.values() if e.open_until > now), default=None)

    def drop_held(self) -> list[DueCallback]:
        """All that is held, to be given back at the end."""
        held = [callback for endpoint in self._endpoints.values() for callback, _ in endpoint.held]
        for endpoint in self._endpoints.values():
            endpoint.held.clear()
        return held

    def _capacity(self, endpoint: _Endpoint, now: int) -> int:
        if endpoint.open_until > now:
            return 0
        return 1 if endpoint.silences else self._limits.per_endpoint

    def _free(self, url: str, endpoint: _Endpoint, now: int) -> bool:
        return (
            self.sending < self._limits.concurrency
            and endpoint.sending < self._capacity(endpoint, now)
            and self._origins[origin(url)] < self._limits.per_origin
        )

    def _silent(self, endpoint: _Endpoint, now: int) -> None:
        endpoint.silences += 1
        endpoint.silent_at = now
        excess = endpoint.silences - self._limits.breaker_failures
        if excess >= 0:
            cool_down = min(self._limits.cool_down_s * 2 ** min(excess, 30), self._limits.cool_down_max_s)
            endpoint.open_until = now + round(cool_down * 1000)

    def _forget(self, now: int) -> None:
        idle = [
            url
            for url, endpoint in self._endpoints.items()
            if not endpoint.sending
            and not endpoint.held
            and (not endpoint.silences or endpoint.silent_at + _FORGET_MS < now)
        ]
        for url in idle:
            del self._endpoints[url]
