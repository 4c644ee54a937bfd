"""Delivers callbacks: durable, ordered per job and endpoint, no endpoint waiting for another.

The store holds what is due and when; this use case claims the heads of the lines, has them sent, and writes what came of
it. When it dies in between, the claim runs out and the same delivery is due again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from taskengine.domain.job import LogEntry
from taskengine.domain.urls import redacted_url
from taskengine.engine.callback_policy import GONE, CallbackPolicy, Verdict, judge, wait_listed
from taskengine.engine.duties import Gate, always
from taskengine.engine.endpoints import Claim, Endpoints, Limits
from taskengine.engine.meter import NoMeter
from taskengine.engine.settling import Settling, persist
from taskengine.ports import CallbackSender, CallbackStore, Clock, DueCallback, Meter, SendResult, Settlement

__all__ = ["CallbackDelivery", "CallbackPolicy"]

_WARNING, _ERROR = 2, 3
_LEAST_REST_MS = 50  # the least rest before a store that says "due" and gives nothing is asked again
_SETTLE_MS = 120_000  # how long a verdict is tried to be written
_REMEMBERED = (
    10_000  # lines that 410 stopped; one that is forgotten, or was stopped before a restart, is tried once more
)
log = structlog.get_logger("callbacks")


class CallbackDelivery:
    """The delivery of all callbacks by one process; any number of processes may do it on one store."""

    def __init__(
        self,
        store: CallbackStore,
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
        self._settling = Settling(store, clock, self._settled)
        self._claimed: set[int] = set()  # held, being sent, or with a settlement that is not yet written
        self._interrupted: list[Claim] = []
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
                group.create_task(self._settling.run())
                while True:
                    self._woken.clear()
                    if not await self._claim(group):
                        await self._rest(group)
        finally:
            for claim in [*self._interrupted, *self._endpoints.drop_held()]:
                self._give_back(claim, self._clock.now())  # whoever comes next need not wait for it to run out
            await self._settling.finish()

    async def _claim(self, group: asyncio.TaskGroup) -> bool:
        """Claim the heads of due lines for which there is room, and start what may be sent; whether all that was asked
        for came."""
        limit = min(self._policy.concurrency - self._endpoints.sending, self._policy.claim_batch)
        claimed: Sequence[DueCallback] = ()
        now = self._clock.now()
        lease_until = now + round(self._policy.lease_s * 1000)
        if limit > 0 and self._may():
            busy = self._endpoints.busy(now)
            ask = partial(self._store.claim_callbacks, now, lease_until=lease_until, limit=limit, busy=busy)
            claimed = await persist(self._clock, "claim", ask)
        for callback in claimed:
            if callback.id not in self._claimed:  # else its claim ran out before its settlement could be written
                self._claimed.add(callback.id)
                self._endpoints.hold(Claim(callback, lease_until))
        self._start(group)
        for claim, until in self._endpoints.unwanted(self._clock.now()):
            self._give_back(claim, until)
        return 0 < limit == len(claimed)

    def _start(self, group: asyncio.TaskGroup) -> None:
        """Send what may be sent."""
        for claim in self._endpoints.take(self._clock.now()):
            group.create_task(self._deliver(group, claim))

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
        due = await persist(self._clock, "next", partial(self._store.next_callback, busy=self._endpoints.busy(now)))
        times = [at for at in (due, self._endpoints.next_opening(now)) if at is not None]
        return max(min(times), now + _LEAST_REST_MS) if times else None

    async def _ring(self, at: int) -> None:
        await self._clock.sleep((at - self._clock.now()) / 1000)
        self._woken.set()

    async def _deliver(self, group: asyncio.TaskGroup, claim: Claim) -> None:
        """Make one try and have written what came of it. Its faults end here."""
        callback, answered = claim.callback, None
        try:
            if self._clock.now() + round(self._policy.timeout_s * 1000) >= claim.lease_until:
                self._give_back(claim, self._clock.now())
            elif (reason := self._gone.get((callback.job_id, callback.endpoint))) is not None:
                await self._kill_line(callback, reason)
            else:
                result = await self._try(callback)
                answered = result.status is not None
                self._settle(callback, result)
        except asyncio.CancelledError:
            self._interrupted.append(claim)
            raise
        finally:
            self._endpoints.done(callback.endpoint, self._clock.now(), answered=answered)
        self._start(group)  # its place is free, before its settlement is written

    async def _try(self, callback: DueCallback) -> SendResult:
        try:
            return await self._sender.send(callback)
        except Exception as error:
            log.exception("callback_sender_defect", job=callback.job_id, callback=callback.id)
            return SendResult(status=None, error=f"internal fault: {type(error).__name__}")

    def _settle(self, callback: DueCallback, result: SendResult) -> None:
        """Have the verdict written. Where that fails for long the claim runs out, and the delivery is due again."""
        now = self._clock.now()
        verdict = judge(callback, result, now, self._policy_of(callback.client), self._wait)
        _tell(callback, result, verdict)
        self._meter.delivery(verdict.state, (now - callback.created_at) / 1000)
        if result.status == GONE:  # for what the job has yet to tell, too
            while len(self._gone) >= _REMEMBERED:
                del self._gone[next(iter(self._gone))]
            self._gone[callback.job_id, callback.endpoint] = verdict.reason
        settlement = Settlement(
            callback,
            verdict.state,
            now,
            status=result.status,
            error=result.error,
            next_at=verdict.next_at,
            rest=verdict.reason if verdict.line or verdict.gone else None,
            gone=verdict.gone,
            log=_entry(callback, result, verdict, now),
        )
        self._settling.put(settlement, now + _SETTLE_MS)

    def _settled(self, settlements: Sequence[Settlement]) -> None:
        """They are written: their lines may be due."""
        self._claimed -= {settlement.callback.id for settlement in settlements}
        self._woken.set()

    async def _kill_line(self, callback: DueCallback, reason: str) -> None:
        """Give up what is due to an endpoint that wants nothing more of this job."""
        now = self._clock.now()
        kill = partial(self._store.kill_line, callback.job_id, callback.endpoint, reason, now)
        try:
            await persist(self._clock, "kill", kill, until=now + _SETTLE_MS)
        except Exception:  # the claim runs out by itself
            log.exception("callback_line_not_ended", job=callback.job_id, callback=callback.id)
        self._claimed.discard(callback.id)
        self._woken.set()

    def _policy_of(self, client: str) -> CallbackPolicy:
        if self._retry_limit is None:
            return self._policy
        return replace(self._policy, retry_limit=self._retry_limit(client))

    def _give_back(self, claim: Claim, next_at: int) -> None:
        """Return a claim untried, as long as it is ours."""
        settlement = Settlement(claim.callback, "pending", self._clock.now(), next_at=next_at)
        self._settling.put(settlement, claim.lease_until)


def _tell(callback: DueCallback, result: SendResult, verdict: Verdict) -> None:
    told = {
        "job": callback.job_id,
        "callback": callback.id,
        "callback_event": callback.event,
        "endpoint": redacted_url(callback.endpoint),
        "attempt": callback.attempts + 1,
        "status": result.status,
    }
    if verdict.state == "delivered":
        log.debug("callback_delivered", **told)
    else:
        word = "callback_failed" if verdict.state == "pending" else "callback_dead"
        log.warning(word, **told, error=result.error, next_at=verdict.next_at)


def _entry(callback: DueCallback, result: SendResult, verdict: Verdict, now: int) -> LogEntry | None:
    """What the job's owner reads in its log: the first failure of a line, and each end."""
    if verdict.state == "delivered" or (verdict.state == "pending" and callback.failures):
        return None
    failed = f"callback '{callback.event}' to {redacted_url(callback.endpoint)} failed: {result.error}"
    if verdict.state == "dead":
        return LogEntry(_ERROR, "callback", f"{failed}; it is dead: {verdict.reason}", now)
    return LogEntry(_WARNING, "callback", f"{failed}; it is tried again", now)
