"""Takes back what silent workers held, and what a broker lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.execution import Run
from taskengine.engine.duties import Gate, always
from taskengine.engine.effects import Effects
from taskengine.engine.rules import Decisions
from taskengine.ports import Broker, Clock, JobStore

log = structlog.get_logger(__name__)

_BATCH = 200
_MANY = 10_000
_LISTENING = "engine_listening"  # "<since> <until>", ms: when engines have been listening without a gap
_PUBLISH_GRACE_S = 12.0  # a dispatch that no broker confirmed by then is dispatched again
_START_GRACE_S = 2.0  # one that has not started by then is looked for in its queue; a worker begins what it is given
_LOOK_MS = 500  # between two such looks; what both miss is taken back

Held = tuple[int, int, str]  # (job id, task id, token)


@dataclass(frozen=True, slots=True)
class Hearing:
    """What the engine has heard of its workers."""

    now: bool  # whether they can be heard at present
    caught_up_at: int  # up to when all that they had said is read and decided, ms; 0: not yet


class Reaper:
    """Twice in each heartbeat it looks for leases that nobody has renewed for three of them. The time in which no engine was
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
        hearing: Callable[[], Hearing],
        may_sweep: Gate = always,
    ) -> None:
        self._store, self._broker, self._decisions, self._effects, self._clock = (
            store, broker, decisions, effects, clock
        )  # fmt: skip
        self._heartbeat_s, self._lease_ms = heartbeat_s, round(heartbeat_s * missed * 1000)
        # A gap that, with the heartbeat before it, could be taken for a lease that ran out.
        self._gap_ms = round(heartbeat_s * max(missed - 1, 1.5) * 1000)
        self._hearing, self._may_sweep = hearing, may_sweep
        self._missed: dict[str, set[str]] = {}  # queue → tokens of which the last look found fewer messages

    async def run(self) -> None:
        """Look twice per heartbeat: what is lost waits half of one at most, beyond its lease."""
        while True:
            if self._may_sweep():
                await self.sweep()
            await self._clock.sleep(self._heartbeat_s / 2)

    async def watch_queues(self) -> None:
        """Look twice per second for what was handed to the broker and is not there any more."""
        while True:
            if self._may_sweep():
                await self.recover_unstarted()
            await self._clock.sleep(_LOOK_MS / 1000)

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
            written = await self.take_back(expired, seen_before)
            if not written:
                return

    async def recover_unstarted(self) -> None:
        """Dispatch again what was handed to the broker a while ago and is not there any more (its queue was purged or
        deleted). Two looks in a row must miss it, neither with reports unread: a delivery is on its way to a start for a
        moment. Where it is in some worker's hands after all, its token is refused, and nothing takes effect twice."""
        missed: dict[str, set[str]] = {}
        for queue, held in (await self._unstarted()).items():
            try:
                waiting = await self._broker.waiting(queue)
            except BrokerUnavailable:
                self._missed = {}
                return
            if waiting >= len(held):
                continue
            before, missed[queue] = self._missed.get(queue, set()), {token for _, _, token in held}
            gone = [one for one in held if one[2] in before]
            if gone:
                log.warning("dispatches_lost", queue=queue, waiting=waiting, tasks=[task_id for _, task_id, _ in gone])
                await self.take_back(gone)
        self._missed = missed

    async def _unstarted(self) -> dict[str, list[Held]]:
        """By queue, the dispatched tasks that have not started within the time of grace, as far as that is known."""
        hearing, grace = self._hearing(), round(_START_GRACE_S * 1000)
        if not hearing.now:
            return {}
        before = min(self._clock.now(), hearing.caught_up_at) - grace
        by_queue: dict[str, list[Held]] = {}
        for job_id, task_id, token, queue in await self._store.unstarted(before=before, limit=_MANY):
            by_queue.setdefault(queue, []).append((job_id, task_id, token))
        return by_queue

    async def void_all(self) -> int:
        """The workers died with the process before this one (embedded broker): dispatch what they held again."""
        held = await self._store.held()
        job_ids = sorted({job_id for job_id, _, _ in held})
        await self._effects.follow(await self._decisions.decide_each(job_ids, Run.void))
        return len(held)

    async def take_back(self, expired: Sequence[Held], seen_before: int = 0) -> bool:
        """Have these dispatched again, where they are still out under these tokens and have not started, or their workers
        were last heard before `seen_before`; whether any was."""
        by_job: dict[int, list[tuple[int, str]]] = {}
        for job_id, task_id, token in expired:
            by_job.setdefault(job_id, []).append((task_id, token))

        def apply(run: Run) -> None:
            for task_id, token in by_job[run.job.id]:
                run.lose(task_id, token, seen_before)

        written = await self._decisions.decide_each(sorted(by_job), apply)
        await self._effects.follow(written)
        return bool(written)

    async def fail_dispatch(self, job_id: int, task_id: int, token: str, reason: str) -> None:
        """Count a dispatch that cannot be made as a failed try."""
        written = await self._decisions.decide_each([job_id], lambda run: run.fail_dispatch(task_id, token, reason))
        await self._effects.follow(written)

    async def _listening_since(self, now: int) -> int:
        if not self._hearing().now:
            return now
        since, until = (int(part) for part in (await self._store.meta(_LISTENING) or "0 0").split())
        if not 0 <= now - until <= self._gap_ms:  # nobody listened, or the clock was set
            since = now
        await self._store.set_meta(_LISTENING, f"{since} {now}")
        return since
