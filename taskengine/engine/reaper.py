"""Takes back what silent workers held."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from taskengine.domain.execution import Run
from taskengine.engine.effects import Effects
from taskengine.engine.rules import Decisions
from taskengine.ports import Clock, JobStore

log = structlog.get_logger(__name__)

_BATCH = 200
_LISTENING = "engine_listening"  # "<since> <until>", ms: when engines have been listening without a gap
_PUBLISH_GRACE_S = 30.0  # a dispatch that no broker confirmed by then is dispatched again


class Reaper:
    """Every heartbeat it looks for leases that nobody has renewed for three of them. The time in which no engine was
    listening does not count: workers could not be heard then."""

    def __init__(
        self,
        store: JobStore,
        decisions: Decisions,
        effects: Effects,
        clock: Clock,
        *,
        heartbeat_s: float,
        missed: int,
        listening: Callable[[], bool],
    ) -> None:
        self._store, self._decisions, self._effects, self._clock = store, decisions, effects, clock
        self._heartbeat_s, self._lease_ms = heartbeat_s, round(heartbeat_s * missed * 1000)
        # A gap that, with the heartbeat before it, could be taken for a lease that ran out.
        self._gap_ms = round(heartbeat_s * max(missed - 1, 1.5) * 1000)
        self._listening = listening

    async def run(self) -> None:
        """Look once per heartbeat."""
        while True:
            await self.sweep()
            await self._clock.sleep(self._heartbeat_s)

    async def sweep(self) -> None:
        """Take back every expired lease."""
        now = self._clock.now()
        since = await self._listening_since(now)
        seen_before = now - self._lease_ms if now - since >= self._lease_ms else 0
        published_before = now - round(max(_PUBLISH_GRACE_S, self._heartbeat_s) * 1000)
        while expired := await self._store.expired(
            seen_before=seen_before, published_before=published_before, limit=_BATCH
        ):
            log.warning("leases_expired", tasks=[task_id for _, task_id, _ in expired])
            written = await self._take_back(expired)
            if not written:
                return

    async def void_all(self) -> int:
        """The workers died with the process before this one (embedded broker): dispatch what they held again."""
        held = await self._store.held()
        job_ids = sorted({job_id for job_id, _, _ in held})
        await self._effects.follow(await self._decisions.decide_each(job_ids, Run.void))
        return len(held)

    async def _take_back(self, expired: Sequence[tuple[int, int, str]]) -> bool:
        by_job: dict[int, list[tuple[int, str]]] = {}
        for job_id, task_id, token in expired:
            by_job.setdefault(job_id, []).append((task_id, token))

        def apply(run: Run) -> None:
            for task_id, token in by_job[run.job.id]:
                run.lose(task_id, token)

        written = await self._decisions.decide_each(sorted(by_job), apply)
        await self._effects.follow(written)
        return bool(written)

    async def _listening_since(self, now: int) -> int:
        if not self._listening():
            return now
        since, until = (int(part) for part in (await self._store.meta(_LISTENING) or "0 0").split())
        if not 0 <= now - until <= self._gap_ms:  # nobody listened, or the clock was set
            since = now
        await self._store.set_meta(_LISTENING, f"{since} {now}")
        return since
