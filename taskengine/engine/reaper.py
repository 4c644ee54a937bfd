"""Takes back what silent workers held, and what a broker lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.execution import Run
from taskengine.domain.status import TaskState
from taskengine.engine.effects import Effects
from taskengine.engine.rules import Decisions
from taskengine.ports import Broker, Clock, JobStore

log = structlog.get_logger(__name__)

_BATCH = 200
_LISTENING = "engine_listening"  # "<since> <until>", ms: when engines have been listening without a gap
_PUBLISH_GRACE_S = 30.0  # a dispatch that no broker confirmed by then is dispatched again
_START_GRACE_S = 30.0  # one that was confirmed, and has not started by then, is looked for in its queue

_Held = tuple[int, int, str]  # (job id, task id, token)


class Reaper:
    """Every heartbeat it looks for leases that nobody has renewed for three of them. The time in which no engine was
    listening does not count: workers could not be heard then."""

    def __init__(
        self,
        store: JobStore,
        broker: Broker,
        decisions: Decisions,
        effects: Effects,
        clock: Clock,
        *,
        heartbeat_s: float,
        missed: int,
        listening: Callable[[], bool],
    ) -> None:
        self._store, self._broker, self._decisions, self._effects, self._clock = (
            store, broker, decisions, effects, clock
        )  # fmt: skip
        self._heartbeat_s, self._lease_ms = heartbeat_s, round(heartbeat_s * missed * 1000)
        # A gap that, with the heartbeat before it, could be taken for a lease that ran out.
        self._gap_ms = round(heartbeat_s * max(missed - 1, 1.5) * 1000)
        self._listening = listening

    async def run(self) -> None:
        """Look once per heartbeat."""
        while True:
            await self.sweep()
            if await self._store.claim_duty("unstarted", now=self._clock.now(), every_ms=round(_START_GRACE_S * 1000)):
                await self.recover_unstarted()
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

    async def recover_unstarted(self) -> None:
        """Dispatch again what was handed to the broker long ago and is not there any more (its queue was purged or
        deleted). Where it is in some worker's hands after all, its token is refused, and nothing runs twice."""
        for queue, held in (await self._unstarted()).items():
            try:
                waiting = await self._broker.waiting(queue)
            except BrokerUnavailable:
                return
            if waiting < len(held):
                log.warning("dispatches_lost", queue=queue, waiting=waiting, tasks=[task_id for _, task_id, _ in held])
                await self._take_back(held)

    async def _unstarted(self) -> dict[str, list[_Held]]:
        """By queue, the dispatched tasks that have not started within the time of grace."""
        before = self._clock.now() - round(_START_GRACE_S * 1000)
        found: dict[_Held, str] = {}

        def look(run: Run) -> None:
            for task in run.tasks:
                late = (task.dispatched_at or 0) < before
                if task.state is TaskState.DISPATCHED and task.token and task.id is not None and late:
                    found[run.job.id, task.id, task.token] = task.queue

        await self._decisions.decide(sorted({job_id for job_id, _, _ in await self._store.held()}), look)
        by_queue: dict[str, list[_Held]] = {}
        for held, queue in found.items():
            by_queue.setdefault(queue, []).append(held)
        return by_queue

    async def void_all(self) -> int:
        """The workers died with the process before this one (embedded broker): dispatch what they held again."""
        held = await self._store.held()
        job_ids = sorted({job_id for job_id, _, _ in held})
        await self._effects.follow(await self._decisions.decide_each(job_ids, Run.void))
        return len(held)

    async def _take_back(self, expired: Sequence[_Held]) -> bool:
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
