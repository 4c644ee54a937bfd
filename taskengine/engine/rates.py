"""How often a client may call: a token bucket each.

The bucket holds `burst` tokens and gains `per_second`; a call takes one. (The algorithm is RFC 2697's single rate meter
without colours; each engine has buckets of its own.)
"""

from __future__ import annotations

from dataclasses import dataclass

from taskengine.domain.tenants import Rate
from taskengine.ports import Clock


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: int


class Rates:
    """The buckets of all clients."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, client: str, rate: Rate) -> float:
        """Take a token; 0, or the seconds until there is one."""
        now = self._clock.now()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(rate.burst, now)
        gained = max(now - bucket.at, 0) / 1000 * rate.per_second
        bucket.tokens, bucket.at = min(bucket.tokens + gained, float(rate.burst)), now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / rate.per_second
        bucket.tokens -= 1
        return 0.0
