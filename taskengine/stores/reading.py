"""The reading half of `ports.JobStore` and `ports.EventStore` in units of work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from taskengine.domain.errors import InvalidRequest, StoreUnavailable
from taskengine.domain.job import Job
from taskengine.domain.status import JobState
from taskengine.ports import Candidates, Health, JobFilter, StoredTask
from taskengine.stores import migrate, rows
from taskengine.stores.base import Units
from taskengine.stores.session import Session
from taskengine.stores.tally import BLOCK

_ORDERS = frozenset({"id", "created_at", "updated_at", "run_at", "priority", "started_at", "completed_at"})
_WORKER_LATELY_MS = 60_000  # whose slots `health` counts
_MOST_HITS = 1_000  # of a search, to be looked at one by one


class ReadingUnits(Units):
    """Reads jobs, tasks, timers, counters and events."""

    async def definition(self, digest: str) -> tuple[str, str] | None:
        """See `ports.JobStore.definition`."""
        row = await self._read(lambda db: db.one("definition", (digest,)))
        return None if row is None else (row[0], row[1])

    async def job_of(self, task_ids: Sequence[int]) -> Mapping[int, int]:
        """See `ports.JobStore.job_of`."""
        return dict(await self._read(lambda db: db.all("jobs_of_tasks", (db.array(task_ids),))))

    async def expired(self, *, seen_before: int, published_before: int, limit: int) -> Sequence[tuple[int, int, str]]:
        """See `ports.JobStore.expired`."""
        values = {"seen_before": seen_before, "published_before": published_before, "limit": limit}
        return [(row[0], row[1], row[2]) for row in await self._read(lambda db: db.all("expired", values))]

    async def unstarted(self, *, before: int, limit: int) -> Sequence[tuple[int, int, str, str]]:
        """See `ports.JobStore.unstarted`."""
        found = await self._read(lambda db: db.all("unstarted", {"before": before, "limit": limit}))
        return [(row[0], row[1], row[2], row[3]) for row in found]

    async def held(self) -> Sequence[tuple[int, int, str]]:
        """See `ports.JobStore.held`."""
        return [(row[0], row[1], row[2]) for row in await self._read(lambda db: db.all("held"))]

    async def due(self, now: int, limit: int, *, scheduled: bool = True) -> Sequence[int]:
        """See `ports.JobStore.due`. A scheduled job with neither a time nor a semaphore is due."""
        values = {"now": now, "limit": limit, "scheduled": scheduled}
        return [row[0] for row in await self._read(lambda db: db.all("due", values))]

    async def next_due(self, *, scheduled: bool = True) -> int | None:
        """See `ports.JobStore.next_due`."""
        at: int | None = await self._read(lambda db: db.value("next_due", {"scheduled": scheduled}))
        return at

    async def gated(self, now: int) -> Sequence[tuple[int, str, str]]:
        """See `ports.JobStore.gated`."""
        return [(row[0], row[1], row[2]) for row in await self._read(lambda db: db.all("gated", (now,)))]

    async def next_gated(self, now: int) -> int | None:
        """See `ports.JobStore.next_gated`."""
        at: int | None = await self._read(lambda db: db.value("next_gated", (now,)))
        return at

    async def ready_queues(self) -> Sequence[str]:
        """See `ports.JobStore.ready_queues`."""
        return [row[0] for row in await self._read(lambda db: db.all("ready_queues"))]

    async def pending_after(self) -> Sequence[tuple[int, Sequence[int]]]:
        """See `ports.JobStore.pending_after`. An awaited job that was cleaned away has ended."""
        return [(row[0], rows.load(row[1])) for row in await self._read(lambda db: db.all("pending_after"))]

    async def job(self, job_id: int) -> Job | None:
        """See `ports.JobStore.job`."""
        row = await self._read(lambda db: db.one("job", (job_id,)))
        return None if row is None else rows.job_from(row)

    async def jobs(self, query: JobFilter) -> Sequence[Job]:
        """See `ports.JobStore.jobs`."""
        if query.order_by not in _ORDERS:
            raise InvalidRequest(f"order_by: {query.order_by!r} is not one of {', '.join(sorted(_ORDERS))}")
        read = self._read if query.search is None else self._read_whole  # a search is several statements
        return await read(partial(page_of, query=query))

    async def workspace_user(self, workspace: int) -> Job | None:
        """See `ports.JobStore.workspace_user`."""
        row = await self._read(lambda db: db.one("workspace_user", (workspace,)))
        return None if row is None else rows.job_from(row)

    async def tasks(self, job_id: int) -> Sequence[StoredTask]:
        """See `ports.JobStore.tasks`."""
        return await self._read_whole(lambda db: _with_attempts(db, "tasks_of_job", job_id))

    async def task(self, task_id: int) -> StoredTask | None:
        """See `ports.JobStore.task`."""
        found = await self._read_whole(lambda db: _with_attempts(db, "task", task_id))
        return found[0] if found else None

    async def progress(self, job_ids: Sequence[int]) -> Mapping[int, float]:
        """See `ports.JobStore.progress`."""
        return dict(await self._read(lambda db: db.all("progress", (db.array(job_ids),))))

    async def scheduled(self, limit: int, client: str | None = None) -> Sequence[int]:
        """See `ports.JobStore.scheduled`."""
        return [row[0] for row in await self._read(lambda db: db.all("scheduled", {"client": client, "limit": limit}))]

    async def candidates(self, heads: int, client: str | None = None) -> Candidates:
        """See `ports.JobStore.candidates`."""
        return await self._read_whole(partial(candidates, heads=heads, client=client))

    async def positions(self, job_ids: Sequence[int]) -> Mapping[int, int]:
        """See `ports.JobStore.positions`."""
        return dict(await self._read(lambda db: db.all("positions", (db.array(job_ids), BLOCK))))

    async def logs(
        self, job_id: int, *, show_all: bool = False, severity: int | None = None, task_id: int | None = None,
        after_id: int = 0, limit: int = 1000,
    ) -> Sequence[Mapping[str, Any]]:  # fmt: skip
        """See `ports.JobStore.logs`."""
        values = {
            "job_id": job_id, "show_all": show_all, "severity": severity, "task_id": task_id, "after_id": after_id,
            "limit": limit,
        }  # fmt: skip
        return [rows.log_record(row) for row in await self._read(lambda db: db.all("logs", values))]

    async def health(self, client: str | None = None) -> Health:
        """See `ports.JobStore.health`."""
        return await self._read_whole(partial(_health, client=client, lately=self._clock.now() - _WORKER_LATELY_MS))

    async def workers(self) -> Sequence[Mapping[str, Any]]:
        """See `ports.JobStore.workers`: those that were heard of within the hour."""
        return await self._read_whole(_workers)

    async def meta(self, name: str) -> str | None:
        """See `ports.JobStore.meta`."""
        value: str | None = await self._read(lambda db: db.value("meta", (name,)))
        return value

    async def events_after(
        self, event_id: int, *, limit: int, job_id: int | None = None, client: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """See `ports.EventStore.events_after`."""
        narrowed = {"events_of_job": job_id, "events_of_client": client}
        statement, *of = next(((name, of) for name, of in narrowed.items() if of is not None), ("events_after",))
        found = await self._read(lambda db: db.all(statement, (event_id, limit, *of)))
        return [rows.event_record(row) for row in found]

    async def last_event(self) -> int:
        """See `ports.EventStore.last_event`."""
        return int(await self._read(lambda db: db.value("last_event")) or 0)

    async def check(self) -> None:
        """See `ports.JobStore.check`."""
        schema = migrate.Schema.of(await self._read(lambda db: db.all("schema")))
        if missing := migrate.missing(migrate.known(self.dialect), schema):
            raise StoreUnavailable(f"the database's schema is not current: {missing[0].name} is missing")


async def candidates(db: Session, *, heads: int, client: str | None = None) -> Candidates:
    """The heads of the queue, and who is in a slot."""
    found = await (db.all("heads_of_queue", (heads,)) if client is None else db.all("heads_of_client", (client, heads)))
    queued = [(id_, owner, priority, bool(top)) for id_, owner, priority, top in found]
    if not queued:
        return Candidates((), ())
    return Candidates([(owner, priority, bool(top)) for owner, priority, top in await db.all("jobs_in_slots")], queued)


async def page_of(db: Session, query: JobFilter) -> list[Job]:
    """The jobs that a query asks for."""
    conditions, values = _conditions(db, query)
    order, way = db.part(f"order_{query.order_by}"), "ASC" if query.ascending else "DESC"
    where = [db.part(f"where_{name}") for name in conditions]
    search = None if query.search is None else await _search(db, query.search)
    if search is not None:
        where.append(search.condition)
        values |= search.values
    if query.after_id is not None:
        than = ">" if query.ascending else "<"
        if query.order_by == "id":
            where.append(f"jobs.id {than} :after_id")
        else:
            where.append(f"({order}, jobs.id) {than} ({db.part(f'cursor_{query.order_by}')})")
    by = f"jobs.id {way}" if query.order_by == "id" else f"{order} {way}, jobs.id {way}"
    page = f"ORDER BY {by} LIMIT :limit"
    if where:
        page = f"WHERE {' AND '.join(where)} {page}"
    if search is None or not search.reads_texts:  # parameters are read of the page's jobs alone, whatever was sorted
        page = f"{db.part('page_from')} {page}"
        statement = f"{db.part('jobs_columns')} FROM ({page}) AS jobs {db.part('with_body')} ORDER BY {by}"
    else:
        statement = f"{db.part('jobs_columns')} {db.part('searched_from')} {page}"
    return [rows.job_from(row) for row in await db.select(statement, values)]


def _conditions(db: Session, query: JobFilter) -> tuple[list[str], dict[str, Any]]:
    """The named conditions that a query has, and the values of all its parameters."""
    given: dict[str, Any] = {
        "client": query.client, "failed": query.failed, "created_from": query.created_from,
        "created_to": query.created_to, "persist": query.persist,
        "workflow": query.workflow, "priority": query.priority, "tag": query.tag,
        "job_ids": None if query.job_ids is None else db.array(query.job_ids),
    }  # fmt: skip
    if query.states is not None:
        states = [state.value for state in query.states]
        given |= {"state": states[0]} if len(states) == 1 else {"states": db.array(states)}
    given = {name: value for name, value in given.items() if value is not None}
    return list(given), given | {"after_id": query.after_id, "limit": query.limit}


@dataclass(frozen=True, slots=True)
class _Search:
    """A search as a condition of a page; `reads_texts`: it looks through the texts of the jobs itself."""

    condition: str
    values: Mapping[str, Any]
    reads_texts: bool


async def _search(db: Session, text: str) -> _Search:
    """What has the text comes first, and where that is little the page is of it. Where many jobs have it, a page is full
    soon, whatever its order."""
    hits = await db.all("search_hits", {"text": text, "search": _pattern(text), "most": _MOST_HITS + 1})
    named = [name for (name,) in await db.all("workflows_of_jobs") if text.lower() in name.lower()]
    common = len(hits) > _MOST_HITS
    values = {"search": _pattern(text)} if common else {"found": db.array(job_id for (job_id,) in hits)}
    condition = db.part("where_search" if common else "where_found")
    if named:
        condition = f"({condition} OR {db.part('where_named')})"
        values["named"] = db.array(named)
    return _Search(condition, values, common)


def _pattern(search: str) -> str:
    for special in "\\%_":
        search = search.replace(special, f"\\{special}")
    return f"%{search}%"


async def _with_attempts(db: Session, statement: str, of: int) -> list[StoredTask]:
    found = await db.all(statement, (of,))
    attempts: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for task_id, *columns in await db.all("attempts_of_tasks", (db.array(row[0] for row in found),)):
        attempts[task_id].append(rows.record(rows.ATTEMPT_FIELDS, tuple(columns)))
    return [StoredTask(rows.task_from(row), attempts[row[0]]) for row in found]


async def _health(db: Session, *, client: str | None, lately: int) -> Health:
    found = await db.all("job_counters") if client is None else await db.all("job_counters_of_client", (client,))
    jobs = {state.value: 0 for state in JobState} | {"failed": 0} | dict(found)
    tasks = {"processed": 0, "failed": 0, "pending": 0} | dict(await db.all("task_counters"))
    queues: defaultdict[str, dict[str, int]] = defaultdict(
        lambda: {"workers": 0, "slots": 0, "working": 0, "pending": 0}
    )
    for queue, name, value in await db.all("queue_counters"):
        queues[queue]["working" if name == "running" else "pending"] += value
    tasks["pending"] = sum(queue["pending"] for queue in queues.values())
    for *_, slots_of, seen_at, _ in await db.all("workers"):
        for queue, slots in rows.load(slots_of).items() if seen_at >= lately else ():
            queues[queue]["workers"] += 1
            queues[queue]["slots"] += slots
    return Health(jobs, tasks, dict(queues))


async def _workers(db: Session) -> list[Mapping[str, Any]]:
    working: dict[str, int] = dict(await db.all("held_by_worker"))
    return [
        {
            "id": id_, "name": name, "language": language, "queues": rows.load(queues), "seen_at": seen_at,
            "working": working.get(id_, 0), "sandbox": rows.load(sandbox),
        }
        for id_, name, language, queues, seen_at, sandbox in await db.all("workers")
    ]  # fmt: skip
