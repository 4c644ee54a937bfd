"""Recurring jobs: schedules of clients, each with a pattern of cron, that submit a job at each of its times.

The time of a submission is its idempotency key, and the store moves a schedule on by comparing: however many engines
look, and whenever one of them dies, each time gives one job. Times that passed while nobody looked give one job together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from taskengine.domain.errors import NotFound, SecretUnavailable
from taskengine.engine.recurrence import next_time
from taskengine.engine.signals import SWEEP_S, Signal
from taskengine.engine.vault import Vault
from taskengine.ports import Clock, Recurring, RecurringStore

log = structlog.get_logger(__name__)

_RETRY_S = 1.0  # after a submission that the store could not take now
_ASTRAY_MS = (
    25 * 3_600_000
)  # a last time so far ahead of now: the clock was wrong then, not now (25 h: zones set wrongly)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What came of a submission: the job, or why there is none. `again`: it may be taken later."""

    job_id: int | None = None
    error: str | None = None
    again: bool = False


Submit = Callable[[Recurring, str], Awaitable[Submitted]]  # (schedule, idempotency key)


class RecurringJobs:
    """Keeps the schedules and submits their jobs."""

    def __init__(self, store: RecurringStore, clock: Clock, vault: Vault) -> None:
        self._store, self._clock, self._vault = store, clock, vault
        self._changed = Signal()

    async def all(self) -> Sequence[Recurring]:
        """Every schedule."""
        return await self._store.recurring()

    async def save(self, recurring: Recurring) -> tuple[Recurring, bool]:
        """Keep a schedule from now on; as it is kept, and whether it is new. ValueError of `next_time`; NotFound."""
        now = self._clock.now()
        kept = replace(recurring, created_at=now, next_at=next_time(recurring.cron, recurring.time_zone, now))
        new = await self._store.save_recurring(self._vault.recurring(kept))
        self._changed.set()
        return kept, new

    async def switch(self, client: str, name: str, *, active: bool) -> None:
        """Switch a schedule on or off; times that passed while it was off are left out. NotFound."""
        for one in await self._store.recurring():
            if (one.client, one.name) == (client, name):
                if one.active != active:
                    next_at = next_time(one.cron, one.time_zone, self._clock.now())
                    await self._store.switch_recurring(client, name, active=active, next_at=next_at)
                    self._changed.set()
                return
        raise NotFound(f"there is no schedule {name}")

    async def remove(self, client: str, name: str) -> None:
        """Remove a schedule; its jobs stay. NotFound."""
        if not await self._store.delete_recurring(client, name):
            raise NotFound(f"there is no schedule {name}")

    async def run(self, submit: Submit) -> None:
        """Submit what is due, for ever, awake at each time."""
        while True:
            await self._changed.wait(self._clock, await self.look(submit))

    async def look(self, submit: Submit) -> float:
        """Submit what is due; seconds to the next look."""
        wait = SWEEP_S
        for one in await self._store.recurring():
            if one.active:
                next_at, again = await self._due(one, submit)
                if next_at is not None:
                    wait = min(wait, max((next_at - self._clock.now()) / 1000, _RETRY_S if again else 0.0))
        return wait

    async def _due(self, one: Recurring, submit: Submit) -> tuple[int | None, bool]:
        """Submit it if it is time: (its next time, whether that has passed and must be tried again)."""
        now = self._clock.now()
        if one.last_at is not None and one.last_at - now > _ASTRAY_MS:
            log.warning("schedule_astray", client=one.client, schedule=one.name, last_at=one.last_at)
            moved = replace(one, last_at=None, next_at=self._after(one, now))
            await self._store.move_recurring(one, moved)
            return moved.next_at, False
        if one.next_at is None or one.next_at > now:
            return one.next_at, False
        submitted = await self._submitted(one, submit)
        if submitted.again:
            log.warning("schedule_waits", client=one.client, schedule=one.name, error=submitted.error)
            return one.next_at, True
        if submitted.error:
            log.error("schedule_failed", client=one.client, schedule=one.name, error=submitted.error)
        after = self._after(one, one.next_at)
        if after is not None and after <= now:
            log.warning("schedule_late", client=one.client, schedule=one.name, due=one.next_at)
            after = self._after(one, now)
        job_id = submitted.job_id or one.last_job_id
        moved = replace(one, next_at=after, last_at=now, last_job_id=job_id, last_error=submitted.error)
        await self._store.move_recurring(one, moved)
        return after, False

    async def _submitted(self, one: Recurring, submit: Submit) -> Submitted:
        try:
            opened = replace(one, body=self._vault.open(one.client, one.body))
        except SecretUnavailable as error:
            return Submitted(error=str(error))
        return await submit(opened, f"schedule {one.name} {one.next_at}")

    @staticmethod
    def _after(one: Recurring, at: int) -> int | None:
        try:
            return next_time(one.cron, one.time_zone, at)
        except ValueError as error:  # kept by an engine that knew another pattern, or more zones
            log.error("schedule_not_understood", client=one.client, schedule=one.name, error=str(error))  # noqa: TRY400
            return None
