"""When a callback is tried again, and when it is given up: values in, a verdict out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState
from tenacity.wait import wait_base

from taskengine.ports import DueCallback, SendResult

JOB_EVENT = "job"
GONE = 410
UNWANTED = frozenset(range(400, 500)) - {408, 425, 429}  # the client does not want it, however often it is told

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class CallbackPolicy:
    """How deliveries are made; durations in seconds."""

    timeout_s: float = 15.0  # of one try
    connect_timeout_s: float = 5.0
    max_answer_bytes: int = 64 * 1024
    delays_s: Sequence[float] = (5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR)
    jitter: float = 0.1  # of each delay, added at random
    retry_after_max_s: float = HOUR
    give_up_after_s: float = 72 * HOUR  # from the oldest undelivered event of the line
    retry_limit: int = 3  # tries of a task callback that the client does not want
    concurrency: int = 256
    per_endpoint_concurrency: int = 4
    claim_batch: int = 128
    breaker_failures: int = 5  # tries in a row without an answer that open an endpoint's breaker
    cool_down_s: float = 5.0  # of an open breaker, doubled while it stays silent
    cool_down_max_s: float = MINUTE

    @property
    def lease_s(self) -> float:
        """How long a claim is good for: a try, and a little for waiting and writing.

        It is also what a crash in the middle of a try costs.
        """
        return self.timeout_s + 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of a try: `delivered`, `pending` until `next_at`, or `dead`, with the rest of its line where `line` says
    so, with all that its job has for the endpoint where `gone` does."""

    state: str
    next_at: int | None = None
    line: bool = False
    gone: bool = False
    reason: str = ""


class wait_listed(wait_base):  # noqa: N801 - named as tenacity names its strategies
    """A tenacity wait strategy: delays from a list, the last one repeated, each with jitter added."""

    def __init__(
        self, delays: Sequence[float], *, jitter: float = 0.0, draw: Callable[[], float] = random.random
    ) -> None:
        self._delays = tuple(delays)
        self._jitter = jitter
        self._draw = draw

    def __call__(self, retry_state: RetryCallState) -> float:
        """The delay after the `attempt_number`-th failure."""
        delay = self._delays[min(retry_state.attempt_number, len(self._delays)) - 1]
        return delay * (1 + self._jitter * self._draw())


def delay_after(failures: int, wait: wait_base) -> float:
    """Seconds to wait after so many failures in a row. Nothing sleeps here: the store keeps the time."""
    state = RetryCallState(AsyncRetrying(), fn=None, args=(), kwargs={})
    state.attempt_number = failures
    return wait(state)


def judge(callback: DueCallback, result: SendResult, now: int, policy: CallbackPolicy, wait: wait_base) -> Verdict:
    """What comes of this try."""
    if result.delivered:
        return Verdict("delivered")
    if result.status == GONE:
        return Verdict("dead", gone=True, reason="the endpoint answered 410 Gone")
    give_up_at = callback.oldest_at + round(policy.give_up_after_s * 1000)
    if now >= give_up_at:
        return Verdict("dead", line=True, reason=f"undelivered for {policy.give_up_after_s / HOUR:g} hours")
    unwanted = result.status in UNWANTED and callback.event != JOB_EVENT
    if unwanted and callback.attempts + 1 >= policy.retry_limit:
        return Verdict("dead", reason=f"not wanted after {callback.attempts + 1} tries")
    delay = _delay(callback, result, policy, wait)
    return Verdict("pending", next_at=min(now + round(delay * 1000), give_up_at))


def _delay(callback: DueCallback, result: SendResult, policy: CallbackPolicy, wait: wait_base) -> float:
    if result.retry_after is not None:
        return min(max(result.retry_after, 1.0), policy.retry_after_max_s)
    return delay_after(callback.failures + 1, wait)
