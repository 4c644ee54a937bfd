"""Writes what came of claimed callbacks: all that waits, with one transaction.

What comes while one is written goes with the next; nothing waits for a batch to fill. Where the store is away the batch is
tried until it is back; where it refuses, each of the batch is written for itself, so that one spoils nothing for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential

from taskengine.domain.errors import StoreUnavailable
from taskengine.ports import Clock, Settlement

_MOST = 256  # that share a transaction
T = TypeVar("T")
log = structlog.get_logger("callbacks")


class SettlingStore(Protocol):
    """What settling needs of the store."""

    async def settle_callbacks(self, settlements: Sequence[Settlement]) -> None:
        """See `ports.CallbackStore.settle_callbacks`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    settlement: Settlement
    until: int  # from then on it is not worth writing any more


async def persist(
    clock: Clock, what: str, call: Callable[[], Awaitable[T]], *, until: int | None = None, any_fault: bool = True
) -> T:
    """Call the store; where it fails, again and again, with growing pauses, at most `until` then (UTC milliseconds).

    Where not `any_fault`, only while it is away.
    """

    def tell(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("callback_store_failed", call=what, attempt=state.attempt_number, error=str(error))

    async def once() -> T:  # tenacity awaits what it knows to be a coroutine function
        return await call()

    def over(_: RetryCallState) -> bool:
        return until is not None and clock.now() >= until

    def passing(error: BaseException) -> bool:
        return isinstance(error, Exception if any_fault else StoreUnavailable)

    retrying = AsyncRetrying(
        sleep=clock.sleep,
        retry=retry_if_exception(passing),
        wait=wait_exponential(multiplier=0.2, max=10),
        stop=over,
        before_sleep=tell,
        reraise=True,
    )
    return await retrying(once)


class Settling:
    """The settlements of one process. `ended` hears of those that are written, or not worth it any more."""

    def __init__(self, store: SettlingStore, clock: Clock, ended: Callable[[Sequence[Settlement]], None]) -> None:
        self._store = store
        self._clock = clock
        self._ended = ended
        self._waiting: list[_Waiting] = []
        self._writing: set[_Waiting] = set()
        self._some = asyncio.Event()

    def put(self, settlement: Settlement, until: int) -> None:
        """Have it written, by `until` (UTC milliseconds): then the claim runs out by itself."""
        self._waiting.append(_Waiting(settlement, until))
        self._some.set()

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as apart:
            while True:
                await self._some.wait()
                self._some.clear()
                while batch := self._waiting[:_MOST]:
                    del self._waiting[:_MOST]
                    self._writing.update(batch)
                    if not await self._write(batch):
                        for one in batch:
                            apart.create_task(self._write([one]))

    async def finish(self) -> None:
        """At the end: try once to write what is left."""
        now = self._clock.now()
        left = [one for one in [*self._writing, *self._waiting] if now < one.until]
        try:
            await self._store.settle_callbacks([one.settlement for one in left])
        except Exception:  # the claims run out by themselves
            log.exception("callbacks_not_settled", jobs=sorted({one.settlement.callback.job_id for one in left}))

    async def _write(self, batch: Sequence[_Waiting]) -> bool:
        """Write them together; False where each should be written for itself."""
        single = len(batch) == 1

        async def write() -> None:
            now = self._clock.now()
            await self._store.settle_callbacks([one.settlement for one in batch if now < one.until])

        try:
            await persist(self._clock, "settle", write, until=max(one.until for one in batch), any_fault=single)
        except Exception as error:
            if not single and not isinstance(error, StoreUnavailable):
                return False
            for one in batch:
                callback = one.settlement.callback
                log.exception("callback_not_settled", job=callback.job_id, callback=callback.id, exc_info=error)
        self._end(batch)
        return True

    def _end(self, batch: Sequence[_Waiting]) -> None:
        self._writing.difference_update(batch)
        self._ended([one.settlement for one in batch])
