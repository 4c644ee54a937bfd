"""Delivers callbacks: durable, ordered per job and endpoint, no endpoint waiting for another.

The store holds what is due and when; this use case claims the heads of the lines, has them sent, and writes what came of
it. When it dies in between, the claim runs out and the same delivery is due again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from taskengine.domain.job import LogEntry
from taskengine.domain.urls import redacted_url
from taskengine.engine.callback_policy import GONE, CallbackPolicy, Verdict, judge, wait_listed
from taskengine.engine.duties import Gate, always
from taskengine.engine.endpoints import Endpoints, Limits
from taskengine.engine.meter import NoMeter
from taskengine.ports import CallbackSender, CallbackStore, Clock, DueCallback, Meter, SendResult

__all__ = ["CallbackDelivery", "CallbackPolicy", "DeliveryStore"]

_WARNING, _ERROR = 2, 3
_LEAST_REST_MS = 50  # the least rest before a store that says "due" and gives nothing is asked again
_SETTLE_MS = 120_000  # how long a verdict is tried to be written
_REMEMBERED = (
    10_000  # lines that 410 stopped; one that is forgotten, or was stopped before a restart, is tried once more
)
T = TypeVar("T")
log = structlog.get_logger("callbacks")


class DeliveryStore(CallbackStore, Protocol):
    """What delivery needs of the store."""

    async def add_logs(self, job_id: int, entries: Sequence[tuple[int | None, LogEntry]]) -> None:
        """Append entries to a job's log."""
        ...


class CallbackDelivery:
    """The delivery of all callbacks by one process; any number of processes may do it on one store."""

    def __init__(
        self,
        store: DeliveryStore,
        sender: CallbackSender,
        clock: Clock,
        policy: CallbackPolicy,
        *,
        draw: Callable[[], float] = random.random,
        retry_limit: Callable[[str], int] | None = None,  # of a client, as its settings say now; else the policy's
        may: Gate = always,
        meter: Meter | None = None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._clock = clock
        self._policy = policy
        self._wait = wait_listed(policy.delays_s, jitter=policy.jitter, draw=draw)
        self._endpoints = Endpoints(
            Limits(
                policy.concurrency,
                policy.per_endpoint_concurrency,
                policy.breaker_failures,
                policy.cool_down_s,
                policy.cool_down_max_s,
            )
        )
        self._sending: set[int] = set()
        self._interrupted: list[DueCallback] = []
        self._retry_limit = retry_limit
        self._may = may
        self._meter = meter or NoMeter()
        self._gone: dict[tuple[int, str], str] = {}  # (job, endpoint) → why no callback goes there any more
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be new callbacks: look at once."""
        self._woken.set()

    def replayed(self) -> None:
        """Callbacks became due by hand: endpoints that were gone are tried anew."""
        self._gone.clear()
        self.wake()

    async def run(self) -> None:
        """Deliver until cancelled; what is claimed then is given back to the store."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._woken.clear()
                    if not await self._turn(group):
                        await self._rest(group)
        finally:
            await self._give_back_all()

    async def _turn(self, group: asyncio.TaskGroup) -> bool:
        """Claim what is due and start what may be sent; whether there may be more to claim at once."""
        more = await self._claim()
        now = self._clock.now()
        for callback, lease_until in self._endpoints.take(now):
            self._sending.add(callback.id)
            group.create_task(self._deliver(callback, lease_until))
        for callback, until in self._endpoints.unwanted(now):
            group.create_task(self._give_back(callback, until))
        return more

    async def _claim(self) -> bool:
        """Claim the heads of due lines for which there is room; whether all that was asked for came."""
        limit = min(self._policy.concurrency - self._endpoints.sending, self._policy.claim_batch)
        if limit <= 0 or not self._may():
            return False
        now = self._clock.now()
        lease_until = now + round(self._policy.lease_s * 1000)
        claimed = await self._persist(
            "claim",
            lambda: self._store.claim_callbacks(
                now,
                lease_until=lease_until,
                limit=limit,
                busy=self._endpoints.busy(now),
            ),
        )
        for callback in claimed:
            if callback.id not in self._sending:  # else its claim ran out before the verdict could be written
                self._endpoints.hold(callback, lease_until)
        return len(claimed) == limit

    async def _rest(self, group: asyncio.TaskGroup) -> None:
        """Wait until something is due, was submitted, or came to an end."""
        until = await self._next_at()
        alarm = group.create_task(self._ring(until)) if until is not None else None
        await self._woken.wait()
        if alarm is not None:
            alarm.cancel()

    async def _next_at(self) -> int | None:
        if self._endpoints.sending >= self._policy.concurrency:
            return None  # the first that ends wakes us
        if not self._may():
            return None  # so does who switches it on
        now = self._clock.now()
        busy = self._endpoints.busy(now)
        due = await self._persist("next", lambda: self._store.next_callback(busy=busy))
        times = [at for at in (due, self._endpoints.next_opening(now)) if at is not None]
        return max(min(times), now + _LEAST_REST_MS) if times else None

    async def _ring(self, at: int) -> None:
        await self._clock.sleep((at - self._clock.now()) / 1000)
        self._woken.set()

    async def _deliver(self, callback: DueCallback, lease_until: int) -> None:
        """Make one try and write what came of it. Its faults end here."""
        answered: bool | None = None
        try:
            if self._clock.now() + round(self._policy.timeout_s * 1000) >= lease_until:
                await self._give_back(callback, self._clock.now())
                return
            if (reason := self._gone.get((callback.job_id, callback.endpoint))) is not None:
                await self._kill_line(callback, reason)
                return
            result = await self._try(callback)
            answered = result.status is not None
            await self._settle(callback, result)
        except asyncio.CancelledError:
            self._interrupted.append(callback)
            raise
        finally:
            self._sending.discard(callback.id)
            self._endpoints.done(callback.endpoint, self._clock.now(), answered=answered)
            self._woken.set()

    async def _try(self, callback: DueCallback) -> SendResult:
        try:
            return await self._sender.send(callback)
        except Exception as error:
            log.exception("callback_sender_defect", job=callback.job_id, callback=callback.id)
            return SendResult(status=None, error=f"internal fault: {type(error).__name__}")

    async def _settle(self, callback: DueCallback, result: SendResult) -> None:
        """Write the verdict. Where that fails for long the claim runs out, and the delivery is due again by itself."""
        now = self._clock.now()
        until = now + _SETTLE_MS
        verdict = judge(callback, result, now, self._policy_of(callback.client), self._wait)
        _tell(callback, result, verdict)
        self._meter.delivery(verdict.state, (now - callback.created_at) / 1000)
        try:
            await self._persist("settle", lambda: self._write(callback, result, verdict, now), until=until)
            if (entry := _entry(callback, result, verdict, now)) is not None:
                logs = [(None, entry)]
                await self._persist("log", lambda: self._store.add_logs(callback.job_id, logs), until=until)
        except Exception:
            log.exception("callback_not_settled", job=callback.job_id, callback=callback.id)

    async def _write(self, callback: DueCallback, result: SendResult, verdict: Verdict, now: int) -> None:
        if result.status == GONE:  # for what the job has yet to tell, too
            while len(self._gone) >= _REMEMBERED:
                del self._gone[next(iter(self._gone))]
            self._gone[callback.job_id, callback.endpoint] = verdict.reason
        await self._store.settle_callback(
            callback,
            state=verdict.state,
            now=now,
            status=result.status,
            error=result.error,
            next_at=verdict.next_at,
            rest=verdict.reason if verdict.line else None,
        )

    async def _kill_line(self, callback: DueCallback, reason: str) -> None:
        """Give up what is due to an endpoint that wants nothing more of this job."""
        now = self._clock.now()
        kill = partial(self._store.kill_line, callback.job_id, callback.endpoint, reason, now)
        try:
            await self._persist("kill", kill, until=now + _SETTLE_MS)
        except Exception:  # the claim runs out by itself
            log.exception("callback_line_not_ended", job=callback.job_id, callback=callback.id)

    def _policy_of(self, client: str) -> CallbackPolicy:
        if self._retry_limit is None:
            return self._policy
        return replace(self._policy, retry_limit=self._retry_limit(client))

    async def _give_back(self, callback: DueCallback, next_at: int) -> None:
        """Return a claim untried."""
        try:
            await self._store.settle_callback(
                callback, state="pending", now=self._clock.now(), status=None, error=None, next_at=next_at
            )
        except Exception:  # the claim runs out by itself
            log.exception("callback_not_given_back", job=callback.job_id, callback=callback.id)

    async def _give_back_all(self) -> None:
        """At the end, so that whoever comes next need not wait for the claims to run out."""
        for callback in [*self._interrupted, *self._endpoints.drop_held()]:
            await self._give_back(callback, self._clock.now())

    async def _persist(self, what: str, call: Callable[[], Awaitable[T]], *, until: int | None = None) -> T:
        """Call the store; where it fails, again and again, with growing pauses, at most `until` then."""

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            log.warning("callback_store_failed", call=what, attempt=state.attempt_number, error=str(error))

        async def once() -> T:  # tenacity awaits what it knows to be a coroutine function
            return await call()

        def over(_: RetryCallState) -> bool:
            return until is not None and self._clock.now() >= until

        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            retry=retry_if_exception_type(Exception),
            wait=wait_exponential(multiplier=0.2, max=10),
            stop=over,
            before_sleep=tell,
            reraise=True,
        )
        return await retrying(once)


def _tell(callback: DueCallback, result: SendResult, verdict: Verdict) -> None:
    bound = log.bind(job=callback.job_id, callback=callback.id, callback_event=callback.event)
    endpoint, attempt = redacted_url(callback.endpoint), callback.attempts + 1
    if verdict.state == "delivered":
        bound.debug("callback_delivered", endpoint=endpoint, attempt=attempt, status=result.status)
    else:
        bound.warning(
            "callback_failed" if verdict.state == "pending" else "callback_dead",
            endpoint=endpoint,
            attempt=attempt,
            status=result.status,
            error=result.error,
            next_at=verdict.next_at,
        )


def _entry(callback: DueCallback, result: SendResult, verdict: Verdict, now: int) -> LogEntry | None:
    """What the job's owner reads in its log: the first failure of a line, and each end."""
    failed = f"callback '{callback.event}' to {redacted_url(callback.endpoint)} failed: {result.error}"
    if verdict.state == "dead":
        return LogEntry(_ERROR, "callback", f"{failed}; it is dead: {verdict.reason}", now)
    if verdict.state == "pending" and callback.failures == 0:
        return LogEntry(_WARNING, "callback", f"{failed}; it is tried again", now)
    return None
