"""The writing half of `ports.JobStore` in units of work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from taskengine.domain.job import Changes, LogEntry, Snapshot
from taskengine.domain.messages import Running, WorkerInfo
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import Candidates, Decide, Dispatched, Known, NewJob
from taskengine.stores import changes, rows
from taskengine.stores.base import Units
from taskengine.stores.session import Session
from taskengine.stores.tally import Tally

_HEADS = 100  # of each client's queue, shown to admission
_HOUR_MS = 60 * 60 * 1000
_KEYS_KEPT_MS = 48 * _HOUR_MS
_WORKERS_KEPT_MS = _HOUR_MS


class JobUnits(Units):
    """Writes jobs and tasks."""

    async def allocate(self, *, jobs: int = 0, tasks: int = 0) -> tuple[Sequence[int], Sequence[int]]:
        """See `ports.JobStore.allocate`."""
        return await self._write(partial(_allocate, jobs=jobs, tasks=tasks))

    async def save_definition(self, digest: str, name: str, source: str) -> None:
        """See `ports.JobStore.save_definition`."""
        await self._write(lambda db: db.run("save_definition", (digest, name, source)))

    async def submit(self, jobs: Sequence[NewJob], now: int) -> list[Known | None]:
        """See `ports.JobStore.submit`."""
        return await self._write(partial(_submit, jobs=jobs, now=now))

    async def decide(self, job_ids: Sequence[int], decide: Decide) -> list[Changes]:
        """See `ports.JobStore.decide`."""
        return await self._write(lambda db: changes.decide(db, job_ids, decide))

    async def admit(self, now: int, choose: Callable[[Candidates], Sequence[int]], start: Decide) -> list[Changes]:
        """See `ports.JobStore.admit`."""
        del now  # what `start` writes has it
        return await self._write(partial(_admit, choose=choose, start=start))

    async def dispatch(self, queue: str, *, window: int, now: int, tokens: Callable[[], str]) -> list[Dispatched]:
        """See `ports.JobStore.dispatch`."""
        return await self._write(partial(_dispatch, queue=queue, window=window, now=now, tokens=tokens))

    async def confirm_published(self, tokens: Sequence[str]) -> None:
        """See `ports.JobStore.confirm_published`."""
        if tokens:
            await self._write(lambda db: db.run("confirm_published", (db.array(tokens),)))

    async def heartbeat(self, worker: WorkerInfo, running: Sequence[Running], now: int) -> Sequence[Running]:
        """See `ports.JobStore.heartbeat`. Workers that were silent for an hour are forgotten."""
        return await self._write(partial(_heartbeat, worker=worker, running=running, now=now))

    async def save_progress(self, progress: Sequence[tuple[int, str, float]], now: int) -> None:
        """See `ports.JobStore.save_progress`."""
        del now  # a progress has no time of its own
        values = [(fraction, task_id, token) for task_id, token, fraction in progress]
        await self._write(lambda db: db.many("save_progress", values))

    async def add_logs(self, job_id: int, entries: Sequence[tuple[int | None, LogEntry]]) -> None:
        """See `ports.JobStore.add_logs`. Of a job that is gone, nothing is kept."""
        values = [(*rows.log_values(job_id, task_id, entry), job_id) for task_id, entry in entries]
        await self._write(lambda db: db.many("insert_log_of_job", values))

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
        await self._write(lambda db: db.run("set_meta", (name, value)))


async def _allocate(db: Session, *, jobs: int, tasks: int) -> tuple[Sequence[int], Sequence[int]]:
    return await db.take("jobs", jobs), await db.take("tasks", tasks)


async def _submit(db: Session, *, jobs: Sequence[NewJob], now: int) -> list[Known | None]:
    known = [await _known_or_noted(db, new, now) for new in jobs]
    await changes.write(db, [new.changes for new, there in zip(jobs, known, strict=True) if there is None], {})
    return known


async def _known_or_noted(db: Session, new: NewJob, now: int) -> Known | None:
    if new.idempotency_key is None:
        return None
    job = new.changes.job
    values = (job.client, new.idempotency_key, job.id, new.fingerprint, rows.dump(new.answer), now)
    if await db.run("insert_key", values):
        return None
    job_id, fingerprint, answer = (await db.all("known_key", (job.client, new.idempotency_key)))[0]
    return Known(job_id, fingerprint, rows.load(answer))


async def _admit(db: Session, *, choose: Callable[[Candidates], Sequence[int]], start: Decide) -> list[Changes]:
    await db.lock("admission")
    started = [(client, priority, bool(top)) for client, priority, top in await db.all("jobs_in_slots")]
    queued = [
        (id_, client, priority, bool(top)) for id_, client, priority, top in await db.all("heads_of_queue", (_HEADS,))
    ]
    chosen = choose(Candidates(started, queued))
    return await changes.decide(db, chosen, partial(_start_queued, start=start)) if chosen else []


def _start_queued(snapshot: Snapshot, *, start: Decide) -> Changes | None:
    """What left the queue before its row was locked is not started."""
    return start(snapshot) if snapshot.job.state is JobState.QUEUED else None


async def _dispatch(db: Session, *, queue: str, window: int, now: int, tokens: Callable[[], str]) -> list[Dispatched]:
    await db.lock(f"queue:{queue}")  # what is out is counted by one at a time
    room = window - (await db.value("counter", (f"queue:{queue}", "dispatched")) or 0)
    if room <= 0:
        return []
    sent: list[Dispatched] = []
    for *columns, client, workflow in await db.all("ready_tasks", (queue, room)):
        task = rows.task_from(tuple(columns))
        task.move(TaskState.DISPATCHED)
        task.attempt += 1
        task.token, task.dispatched_at, task.published = tokens(), now, False
        task.worker_id = task.worker = task.seen_at = task.attempt_started_at = None  # the last attempt's
        sent.append(Dispatched(task, client, workflow))
    await changes.write_tasks(db, [(one.task, TaskState.READY) for one in sent])
    return sent


async def _heartbeat(db: Session, *, worker: WorkerInfo, running: Sequence[Running], now: int) -> list[Running]:
    name = rows.plain(worker.name)
    await db.run("note_worker", (worker.id, name, worker.language, rows.dump(dict(worker.queues)), now))
    await db.run("forget_workers", (now - _WORKERS_KEPT_MS,))
    if not running:
        return []
    ids, tokens = db.array(one.task_id for one in running), db.array(one.token for one in running)
    held = set(await db.all("renew_leases", (now, worker.id, name, ids, tokens)))
    return [one for one in running if (one.task_id, one.token) not in held]


async def _clean(db: Session, *, ended_before: int, limit: int, now: int) -> list[int]:
    await db.run("forget_keys", (now - _KEYS_KEPT_MS,))
    await db.run("forget_workers", (now - _WORKERS_KEPT_MS,))
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
    return gone
