"""The writing half of `ports.JobStore` in units of work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import islice

from taskengine.domain.job import Changes, Snapshot
from taskengine.domain.messages import Running, WorkerInfo
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import Advanced, Candidates, Clock, Decide, Dispatched, DispatchPlan, Known, NewJob
from taskengine.stores import changes, rows
from taskengine.stores.base import Units
from taskengine.stores.dispatching import Handed
from taskengine.stores.gathering import Gathered
from taskengine.stores.reading import candidates
from taskengine.stores.recent import Recent
from taskengine.stores.session import Overtaken, Seen, Session, Work
from taskengine.stores.tally import Tally

_DISPATCH_TRIES, _DISPATCH_PAUSE_S = 25, 0.02  # while tasks that are next are being decided on
_FEW = 8  # jobs that are decided at once: of more, some have likely been touched meanwhile
_HEADS = 100  # of each client's queue, shown to admission
_MOST_SUBMISSIONS, _MOST_HEARTBEATS = 100, 100  # that share one transaction
_HOUR_MS = 60 * 60 * 1000
_KEYS_KEPT_MS = 48 * _HOUR_MS
_WORKERS_KEPT_MS = _HOUR_MS

_Amounts = tuple[int, int]  # of ids of jobs and of tasks
_Submission = tuple[Sequence[NewJob], int]  # and when it came
_Heartbeat = tuple[WorkerInfo, Sequence[Running], int]  # of whom, what it is at, and when it came


class JobUnits(Units):
    """Writes jobs and tasks."""

    most_known = 0  # jobs that need not be read, where what is written at once is judged

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._large = changes.LargeJobs()
        self._recent = Recent(self.most_known)
        self._clear: set[str] = set()  # queues in which nothing waited when they were looked at last
        self._allocations = Gathered(self._allocate, most=_MOST_SUBMISSIONS)
        self._submissions = Gathered(self._submit, most=_MOST_SUBMISSIONS)
        self._heartbeats = Gathered(self._beat, most=_MOST_HEARTBEATS)

    async def allocate(self, *, jobs: int = 0, tasks: int = 0) -> tuple[Sequence[int], Sequence[int]]:
        """See `ports.JobStore.allocate`."""
        return await self._allocations((jobs, tasks))

    async def _allocate(self, wanted: Sequence[_Amounts]) -> list[tuple[Sequence[int], Sequence[int]]]:
        amounts = {"jobs": sum(jobs for jobs, _ in wanted), "tasks": sum(tasks for _, tasks in wanted)}
        taken = await self._write_apart(lambda db: db.take(amounts))
        jobs, tasks = iter(taken["jobs"]), iter(taken["tasks"])
        return [(list(islice(jobs, few)), list(islice(tasks, many))) for few, many in wanted]

    async def save_definition(self, digest: str, name: str, source: str) -> None:
        """See `ports.JobStore.save_definition`."""
        await self._write_apart(lambda db: db.run("save_definition", (digest, name, source)))

    async def known(self, client: str, key: str) -> Known | None:
        """See `ports.JobStore.known`."""
        return await self._read(partial(_known, client=client, key=key))

    async def submit(self, jobs: Sequence[NewJob], now: int) -> list[Known | None]:
        """See `ports.JobStore.submit`."""
        return await self._submissions((jobs, now))

    async def _submit(self, submissions: Sequence[_Submission]) -> list[list[Known | None]]:
        return await self._write(partial(_submit, submissions=submissions))

    async def decide(self, job_ids: Sequence[int], decide: Decide) -> list[Changes]:
        """See `ports.JobStore.decide`."""
        return await self._write(lambda db: changes.decide(db, job_ids, decide), job_ids)

    async def replace(self, job_id: int, decide: Decide, new: Changes) -> list[Changes]:
        """See `ports.JobStore.replace`."""
        return await self._write(lambda db: changes.decide(db, [job_id], decide, [new]), [job_id])

    async def advance(self, tasks: Mapping[int, Collection[int]], decide: Decide, plan: DispatchPlan) -> Advanced:
        """See `ports.JobStore.advance`."""

        def unit(clear: frozenset[str], seen: Seen | None = None) -> Work[tuple[list[Changes], Handed]]:
            return partial(
                changes.advance, tasks=tasks, decision=decide, plan=plan, large=self._large, clear=clear, seen=seen
            )

        clear = frozenset(self._clear)
        at_once = clear and len(tasks) <= _FEW and not any(job_id in self._large for job_id in tasks)
        known = self._recent.take(tasks) if at_once else {}
        try:
            if at_once:
                seen = Seen(known)
                decided, handed = await self._write_at_once(unit(clear, seen), [*tasks])
                self._recent.keep(seen.snapshots, decided)
            else:
                decided, handed = await self._write(unit(clear), [*tasks])
        except Overtaken:
            self._clear.clear()
            if known:
                self._recent.doubt()
            decided, handed = await self._write(unit(frozenset()), [*tasks])
        self._clear |= handed.clear
        return Advanced(decided, handed.sent, frozenset(handed.passed_over))

    async def admit(self, now: int, choose: Callable[[Candidates], Sequence[int]], start: Decide) -> list[Changes]:
        """See `ports.JobStore.admit`."""
        del now  # what `start` writes has it
        return await self._write(partial(_admit, choose=choose, start=start))

    async def dispatch(self, queue: str, *, window: int, now: int, tokens: Callable[[], str]) -> list[Dispatched]:
        """See `ports.JobStore.dispatch`."""
        plan = DispatchPlan(lambda _queue: window, now, tokens)
        sent: list[Dispatched] = []
        for _ in range(_DISPATCH_TRIES):
            handed = await self._write(lambda db: changes.dispatch(db, queue, plan))
            sent += handed.sent
            if not handed.passed_over:
                break
            await asyncio.sleep(_DISPATCH_PAUSE_S)
        return sent

    async def confirm_published(self, tokens: Sequence[str]) -> None:
        """See `ports.JobStore.confirm_published`."""
        if tokens:
            await self._write_apart(lambda db: db.run("confirm_published", (db.array(tokens),)))

    async def heartbeat(self, worker: WorkerInfo, running: Sequence[Running], now: int) -> Sequence[Running]:
        """See `ports.JobStore.heartbeat`. Workers that were silent for an hour are forgotten."""
        return await self._heartbeats((worker, running, now))

    async def _beat(self, heartbeats: Sequence[_Heartbeat]) -> list[list[Running]]:
        return await self._write_apart(partial(_beat, heartbeats=heartbeats))

    async def save_progress(self, progress: Sequence[tuple[int, str, float]], now: int) -> None:
        """See `ports.JobStore.save_progress`."""
        del now  # a progress has no time of its own
        values = [(fraction, task_id, token) for task_id, token, fraction in progress]
        await self._write_apart(lambda db: db.many("save_progress", values))

    async def clean(self, *, ended_before: int, limit: int) -> Sequence[int]:
        """See `ports.JobStore.clean`. Jobs with undelivered callbacks stay; old workers and keys go too."""
        now = self._clock.now()
        return await self._write(partial(_clean, ended_before=ended_before, limit=limit, now=now))

    async def claim_duty(self, name: str, *, now: int, every_ms: int) -> bool:
        """See `ports.JobStore.claim_duty`. A next time beyond `every_ms` from now (a clock set back) does not hold."""
        values = {"name": name, "now": now, "every": every_ms}
        return await self._write(lambda db: db.one("claim_duty", values)) is not None

    async def set_meta(self, name: str, value: str) -> None:
        """See `ports.JobStore.set_meta`."""
        await self._write_apart(lambda db: db.run("set_meta", (name, value)))

    async def swap_meta(self, name: str, before: str | None, value: str) -> bool:
        """See `ports.JobStore.swap_meta`."""
        if before is None:
            return await self._write(lambda db: db.run("first_meta", (name, value))) == 1
        return await self._write(lambda db: db.run("swap_meta", (value, name, before))) == 1

    async def clean_events(self, *, before: int, up_to: int, limit: int) -> int:
        """See `ports.EventStore.clean_events`."""
        return await self._write(lambda db: db.run("clean_events", (before, up_to, limit)))


async def _submit(db: Session, *, submissions: Sequence[_Submission]) -> list[list[Known | None]]:
    known = await _noted(db, submissions)
    new = [new.changes for jobs, _ in submissions for new in jobs if new.changes.job.id not in known]
    await changes.write(db, new, {})
    return [[known.get(new.changes.job.id) for new in jobs] for jobs, _ in submissions]


async def _noted(db: Session, submissions: Sequence[_Submission]) -> dict[int, Known]:
    """Note the idempotency keys; by job id, what those stand for that were there before."""
    keys = sorted(  # in one order, whoever else is about to write some of them
        (new.changes.job.client, new.idempotency_key, new.changes.job.id, new.fingerprint, rows.dump(new.answer), now)
        for jobs, now in submissions
        for new in jobs
        if new.idempotency_key is not None
    )
    noted = {row[0] for row in await db.returned("insert_key", keys)}
    found = {
        job_id: await _known(db, client=client, key=key) for client, key, job_id, *_ in keys if job_id not in noted
    }
    return {job_id: known for job_id, known in found.items() if known is not None}


async def _known(db: Session, *, client: str, key: str) -> Known | None:
    found = await db.all("known_key", (client, key))
    return Known(found[0][0], found[0][1], rows.load(found[0][2])) if found else None


async def _admit(db: Session, *, choose: Callable[[Candidates], Sequence[int]], start: Decide) -> list[Changes]:
    await db.lock("admission")
    found = await candidates(db, heads=_HEADS)
    chosen = choose(found) if found.queued else ()
    if not chosen:
        return []
    await db.hold(chosen)
    return await changes.decide(db, chosen, partial(_start_queued, start=start))


def _start_queued(snapshot: Snapshot, *, start: Decide) -> Changes | None:
    """What left the queue before its row was locked is not started."""
    return start(snapshot) if snapshot.job.state is JobState.QUEUED else None


async def _beat(db: Session, *, heartbeats: Sequence[_Heartbeat]) -> list[list[Running]]:
    last = {worker.id: (worker, now) for worker, _, now in heartbeats}
    workers = [
        (id_, rows.plain(worker.name), worker.language, rows.dump(dict(worker.queues)), now, rows.dump(worker.sandbox))
        for id_, (worker, now) in sorted(last.items())  # in one order, whoever writes
    ]
    silent = max(now for _, _, _, _, now, _ in workers) - _WORKERS_KEPT_MS
    leases = [
        (now, worker.id, rows.plain(worker.name), one.task_id, one.token)
        for worker, running, now in heartbeats
        for one in running
    ]
    parts: list[tuple[str, Sequence[rows.Row]]] = [
        ("note_worker", workers),
        ("forget_worker", [(silent,)]),
        ("renew_lease", leases),
    ]
    await db.many_apart([(name, some) for name, some in parts if some])
    named = {(one.task_id, one.token) for _, running, _ in heartbeats for one in running}
    ids, tokens = db.array(task_id for task_id, _ in named), db.array(token for _, token in named)
    held = set(await db.all("held_of", (ids, tokens))) if named else set()
    return [[one for one in running if (one.task_id, one.token) not in held] for _, running, _ in heartbeats]


async def _clean(db: Session, *, ended_before: int, limit: int, now: int) -> list[int]:
    await db.run("forget_keys", (now - _KEYS_KEPT_MS,))
    await db.many("forget_worker", [(now - _WORKERS_KEPT_MS,)])
    gone = [row[0] for row in await db.all("cleanable", (ended_before, limit))]
    if gone:
        ids = db.array(gone)
        tally = Tally()
        for client, state, failed, count in await db.all("count_ended", (ids,)):
            tally.ended_jobs_gone(client, JobState(state), failed=bool(failed), count=count)
        for queue, state, count in await db.all("count_open_tasks", (ids,)):
            tally.open_tasks_gone(queue, TaskState(state), count)
        await db.run("delete_jobs", (ids,))
        await tally.write(db)
    await db.run("forget_empty_blocks")
    return gone
