"""What the PostgreSQL store promises beyond the contract: several engines on one database, and its faults passed over."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from taskengine.domain.errors import InvalidRequest, StoreUnavailable
from taskengine.domain.job import Changes, Snapshot
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import Candidates, JobFilter, NewJob, Settlement, Store
from taskengine.stores import migrate, open_store, queries
from taskengine.stores.postgres import PostgresStore
from taskengine.stores.postgres_connect import escaped, from_database, name_of, to_database
from taskengine.stores.postgres_session import numbered
from tests.support.clock import START, MovedClock
from tests.support.postgres import PostgresServer, running_server
from tests.support.stores import (
    a_callback,
    a_job,
    a_task,
    add_jobs,
    add_ready,
    count_up,
    move_job,
    submit,
    token_maker,
    until_back,
)


async def test_two_stores_deciding_the_same_jobs_lose_no_update(engines: tuple[Store, Store]) -> None:
    """In whatever order the jobs are named: each decision sees what the one before wrote, and nobody waits in a circle."""
    ids = await add_jobs(engines[0], 6, tasks=[a_task])
    chance = random.Random(5)
    asked: Counter[int] = Counter()

    async def decide(store: Store) -> None:
        chosen = chance.sample(ids, 4)
        asked.update(chosen)
        await store.decide(chosen, count_up)

    await asyncio.gather(*(decide(engines[number % 2]) for number in range(80)))
    for job_id in ids:
        job = await engines[0].job(job_id)
        assert job is not None
        assert job.seq == asked[job_id]
    events = list(await engines[0].events_after(0, limit=1000))
    for job_id in ids:
        assert [event["seq"] for event in events if event["job_id"] == job_id] == list(range(1, asked[job_id] + 1))


async def test_a_decision_sees_the_tasks_that_the_one_before_made(engines: tuple[Store, Store]) -> None:
    """Also where it waited for it: what it reads is read after the job is its own."""
    [job_id] = await add_jobs(engines[0])
    seen: list[tuple[int, int]] = []

    def add_task(snapshot: Snapshot) -> Changes:
        seen.append((snapshot.job.seq, len(snapshot.tasks)))
        changes = count_up(snapshot)
        changes.new_tasks.append(a_task(job_id, f"step{snapshot.job.seq}"))
        return changes

    await asyncio.gather(*(engines[number % 2].decide([job_id], add_task) for number in range(40)))
    assert seen == [(number, number) for number in range(40)]


async def test_a_follower_misses_no_event_however_many_write(engines: tuple[Store, Store]) -> None:
    """Ids become visible in their order: whoever resumes from the last one seen has seen all before it."""
    ids = await add_jobs(engines[0], 12)
    seen: list[int] = []
    done = asyncio.Event()

    async def follow() -> None:
        while True:
            over = done.is_set()
            rows = await engines[1].events_after(seen[-1] if seen else 0, limit=1000)
            seen.extend(row["id"] for row in rows)
            if over and not rows:
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.gather(*(engines[n % 2].decide([ids[n % 12]], count_up) for n in range(240)))
        done.set()
    everything = [row["id"] for row in await engines[0].events_after(0, limit=1000)]
    assert seen == everything
    assert len(everything) == 240


def start(snapshot: Snapshot) -> Changes:
    """Start a job."""
    return move_job(snapshot, JobState.STARTED, started_at=START)


async def test_admission_of_two_stores_never_exceeds_the_slots(engines: tuple[Store, Store]) -> None:
    """While jobs are paused beside it, too."""
    ids = await add_jobs(engines[0], 30)

    def choose(candidates: Candidates) -> Sequence[int]:
        assert len(candidates.started) <= 5
        return [one[0] for one in candidates.queued][: 5 - len(candidates.started)]

    def pause(snapshot: Snapshot) -> Changes | None:
        return move_job(snapshot, JobState.PAUSED) if snapshot.job.state is JobState.QUEUED else None

    outcomes = await asyncio.gather(
        *(engines[n % 2].admit(START, choose, start) for n in range(20)),
        *(engines[n % 2].decide([ids[n]], pause) for n in range(10)),
    )
    assert sum(len(one) for one in outcomes[:20]) == 5
    jobs = (await engines[0].health()).jobs
    assert jobs["started"] == 5
    assert jobs["started"] + jobs["paused"] + jobs["queued"] == 30


async def test_two_stores_keep_one_window_and_give_no_task_twice(engines: tuple[Store, Store]) -> None:
    """While the jobs are being decided on, too."""
    ids = await add_ready(engines[0], 12, tasks=2)
    tokens = token_maker()
    async with asyncio.TaskGroup() as group:
        for n in range(12):
            group.create_task(engines[n % 2].decide(ids[n % 5 :], count_up))
        sent = await asyncio.gather(
            *(engines[n % 2].dispatch("work", window=10, now=START, tokens=tokens) for n in range(12))
        )
    out = [one.task.id for batch in sent for one in batch]
    assert len(out) == len(set(out)) == 10
    assert len(await engines[0].held()) == 10


async def test_a_callback_is_claimed_by_one_store(engines: tuple[Store, Store]) -> None:
    """And what comes while the last of a line is settled has its line."""
    await submit(engines[0], *(Changes(a_job(n), callbacks=[a_callback(mark=f"{n}")]) for n in range(1, 21)))
    claims = await asyncio.gather(
        *(store.claim_callbacks(START, lease_until=START + 9, limit=7) for store in (*engines, *engines, *engines))
    )
    due = [one for claim in claims for one in claim]
    while more := await engines[0].claim_callbacks(START, lease_until=START + 9, limit=7):
        due += more  # those that one had locked while another looked
    assert sorted(int(one.body) for one in due) == list(range(1, 21))

    def again(snapshot: Snapshot) -> Changes:
        return Changes(snapshot.job, snapshot.job.state, callbacks=[a_callback(mark=f"again{snapshot.job.id}")])

    await asyncio.gather(
        *(engines[0].settle_callbacks([Settlement(one, "delivered", START, 200) for one in due[n::3]]) for n in range(3)),
        *(engines[1].decide([one.job_id], again) for one in due),
    )  # fmt: skip
    left = await engines[0].claim_callbacks(START, lease_until=START + 9, limit=100)
    assert sorted(one.body for one in left) == sorted(f"again{n}" for n in range(1, 21))
    assert (await engines[0].callback_backlog())[0] == 20


async def test_the_same_idempotency_key_at_two_stores_makes_one_job(engines: tuple[Store, Store]) -> None:
    """The second waits for the first and gets its answer."""
    news = [NewJob(Changes(a_job(n)), "key", f"digest{n}", {"id": n}) for n in range(1, 13)]
    known = await asyncio.gather(*(engines[n % 2].submit([new], START) for n, new in enumerate(news)))
    assert sum(answer is None for [answer] in known) == 1
    [job] = await engines[0].jobs(JobFilter())
    assert {answer.job_id for [answer] in known if answer} == {job.id}


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_submissions_that_wait_share_connections_and_transactions(url: str) -> None:
    """However many wait for what another holds, the store serves others meanwhile, and all are kept."""
    connection = await asyncpg.connect(url)
    async with open_store(url, MovedClock()) as store:
        await add_jobs(store)
        async with connection.transaction():
            await connection.execute("SELECT FROM counters FOR UPDATE")
            jobs = [NewJob(Changes(a_job(n)), f"key{n}", "digest", {"id": n}) for n in range(100, 150)]
            jobs.append(NewJob(Changes(a_job(150)), "key107", "digest", {"id": 150}))
            calls = [asyncio.create_task(store.submit([job], START)) for job in jobs]
            async with asyncio.timeout(20):
                while not (waiting := await connection.fetchval(_WAITING)):  # noqa: ASYNC110 - it is the server's
                    await asyncio.sleep(0.01)
            assert len((await asyncio.gather(*(store.jobs(JobFilter()) for _ in range(20))))[0]) == 1
            assert waiting == await connection.fetchval(_WAITING) == 1
        known = [answer for [answer] in await asyncio.gather(*calls)]
        assert known[:-1] == [None] * 50
        assert known[-1] is not None
        assert known[-1].answer == {"id": 107}
        assert (await store.health()).jobs["queued"] == 51
    await connection.close()


async def terminate(url: str, chance: random.Random) -> None:
    """End some of the connections that are on the database."""
    connection = await asyncpg.connect(url)
    try:
        pids = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for row in chance.sample(pids, min(2, len(pids))):
            await connection.execute("SELECT pg_terminate_backend($1)", row["pid"])
    finally:
        await connection.close()


@pytest.mark.parametrize("seed", range(2))
async def test_connections_that_are_ended_at_random_lose_nothing(url: str, seed: int) -> None:
    """Every decision took effect once, and nobody heard of the faults."""
    chance = random.Random(seed)
    done: Counter[int] = Counter()
    due, over = asyncio.Event(), list[bool]()

    async def work(store: Store, ids: Sequence[int]) -> None:
        for _ in range(25):
            chosen = chance.sample(list(ids), 2)
            await store.decide(chosen, count_up)
            done.update(chosen)
            if chance.random() < 0.15:
                due.set()

    async def trouble() -> None:
        while await due.wait():
            if over:
                return
            due.clear()
            await terminate(url, chance)

    async with open_store(url, MovedClock()) as store:
        ids = await add_jobs(store, 8, tasks=[a_task])
        async with asyncio.TaskGroup() as group:
            group.create_task(trouble())
            await asyncio.gather(*(work(store, ids) for _ in range(4)))
            over.append(True)
            due.set()
        for job_id in ids:
            job = await store.job(job_id)
            assert job is not None
            assert job.seq == done[job_id]
            assert [entry["message"] for entry in await store.logs(job_id)] == [
                str(n) for n in range(1, done[job_id] + 1)
            ]
        assert (await store.health()).jobs["queued"] == 8


@pytest.mark.parametrize("made", [True, False])
async def test_a_commit_that_was_not_answered_is_asked_after(
    url: str, monkeypatch: pytest.MonkeyPatch, *, made: bool
) -> None:
    """Whether it was made or not: the decision takes effect once."""
    async with open_store(url, MovedClock()) as store:
        assert isinstance(store, PostgresStore)
        [job_id] = await add_jobs(store)
        execute, cuts = asyncpg.Connection.execute, iter([made])

        async def cut(self: Any, query: str, *values: Any, **options: Any) -> Any:
            if query == "COMMIT" and (first := next(cuts, None)) is not None:
                if first:
                    await execute(self, query)
                self.terminate()
                raise ConnectionResetError("cut")
            return await execute(self, query, *values, **options)

        monkeypatch.setattr(asyncpg.Connection, "execute", cut)
        [changes] = await store.decide([job_id], count_up)
        assert changes.job.seq == 1
        job = await store.job(job_id)
        assert job is not None
        assert job.seq == 1
        assert len(await store.logs(job_id)) == 1


async def test_what_writes_is_planned_once(url: str) -> None:
    """However often it is executed, and with whatever values: a plan costs more than a decision."""
    async with open_store(url, MovedClock()) as store:
        assert isinstance(store, PostgresStore)
        ids = await add_jobs(store, 8)
        for job_id in ids:
            await store.decide([job_id], count_up)
        planned = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE 'WITH part0 AS%INTO logs%'"
        [counts] = await store._transactions.write(lambda db: db.select(planned, ()))
    assert counts == (0, len(ids))


async def test_a_server_that_is_away_is_told_and_comes_back() -> None:
    """StoreUnavailable while it is away, without the secret; the same store goes on when it is there again."""
    with running_server() as server:
        url = (await server.new_database()).replace("postgres@", "postgres:hidden@")
        async with open_store(url, MovedClock()) as store:
            await add_jobs(store)
            server.stop()
            for call in (store.check(), store.allocate(jobs=1), store.health()):
                with pytest.raises(StoreUnavailable, match="cannot be used now") as told:
                    await call
                assert "hidden" not in str(told.value)
            server.start()
            await until_back(store)
            assert (await store.health()).jobs["queued"] == 1
            await add_jobs(store)
            assert (await store.health()).jobs["queued"] == 2


async def test_a_database_that_cannot_be_used_is_told(postgres: PostgresServer) -> None:
    """One that is not there, a server that is not there, a URL that is none."""
    for url, error, reason in (
        (postgres.url("nothing"), StoreUnavailable, "does not exist"),
        ("postgresql://localhost:1/x", StoreUnavailable, "cannot be used now"),
        ("postgres://localhost:port/x", InvalidRequest, "database: "),
    ):
        with pytest.raises(error, match=reason):
            async with open_store(url, MovedClock()):
                pass


async def test_an_engine_goes_on_beside_a_newer_one(url: str) -> None:
    """A newer engine migrates while this one runs: it stays ready, works on tables with more columns, and starts again."""
    async with open_store(url, MovedClock()) as store:
        await add_jobs(store)
        connection = await asyncpg.connect(url)
        await connection.execute("ALTER TABLE jobs ADD COLUMN future text; ALTER TABLE tasks ADD COLUMN future text")
        await connection.execute("INSERT INTO migrations (name, checksum) VALUES ('9999_future', 'x')")
        await connection.close()
        await store.check()
        await add_jobs(store)
        assert (await store.health()).jobs["queued"] == 2
    async with open_store(url, MovedClock()) as store:
        await store.check()


async def test_a_schema_that_this_version_cannot_use_is_refused(url: str) -> None:
    """By a store that is open and by one that opens, once a migration names itself the least that an engine must know."""
    async with open_store(url, MovedClock()) as store:
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO meta (name, value) VALUES ('least_schema', '9999_future')")
        await connection.close()
        with pytest.raises(StoreUnavailable, match="newer than this version"):
            await store.check()
    with pytest.raises(StoreUnavailable, match="newer than this version"):
        async with open_store(url, MovedClock()):
            pass


async def test_migrations_at_the_same_time_do_not_meet(postgres: PostgresServer) -> None:
    """Each is applied once, whoever comes first."""
    url = await postgres.new_database()
    done = await asyncio.gather(*(migrate.migrate(url) for _ in range(4)))
    assert sorted(name for names in done for name in names) == [one.name for one in migrate.known("postgres")]


def test_both_dialects_have_the_same_statements() -> None:
    """What a unit of work asks for by name is there, whatever the database; PostgreSQL has its locks besides."""
    ours, sqlite = queries.load("postgres"), queries.load("sqlite")
    assert ours.keys() - sqlite.keys() == {"lock", "hold_jobs", "seen_tasks", "jobs_as_seen", "tasks_as_seen"}
    assert sqlite.keys() - ours.keys() == set()
    assert ours["job_columns"] == sqlite["job_columns"]
    assert ours["task_columns"] == sqlite["task_columns"]


def test_named_parameters_become_numbers() -> None:
    """Casts and literals are left alone."""
    assert numbered("SELECT :a::text, 'x:%', :b, :a") == ("SELECT $1::text, 'x:%', $2, $1", ("a", "b"))


@pytest.mark.parametrize("text", ["", "plain", "é\x00", "a\x00b\x1a", "\x1a0", "\x1a1\x00"])
def test_text_comes_back_whatever_is_in_it(text: str) -> None:
    """NUL, which the database refuses, and what stands for it."""
    assert from_database(to_database(text)) == text
    assert "\x00" not in escaped(text)
    assert to_database("\ud800") == b"?"


def test_a_database_is_named_without_its_secret() -> None:
    """Nor with its user, nor its options."""
    assert name_of("postgresql://me:secret@host:5/db?password=x") == "postgresql://host:5/db"
    assert name_of("postgresql:///db?host=/run/pg&password=x") == "postgresql:///run/pg/db"


async def test_waiting_tasks_are_dispatched_when_their_job_is_free(engines: tuple[Store, Store]) -> None:
    """A task that a decision moved meanwhile is passed over."""
    [job_id] = await add_ready(engines[0])

    def cancel(snapshot: Snapshot) -> Changes:
        changes = move_job(snapshot, JobState.BROKEN)
        for task in snapshot.tasks:
            assert task.id is not None
            changes.tasks[task.id] = (task, task.state)
            task.move(TaskState.CANCELLED)
            task.ended_at = START
        return changes

    def cancel_ready(snapshot: Snapshot) -> Changes | None:
        return None if snapshot.tasks[0].state is not TaskState.READY else cancel(snapshot)

    sent, changed = await asyncio.gather(
        engines[1].dispatch("work", window=5, now=START, tokens=token_maker()),
        engines[0].decide([job_id], cancel_ready),
    )
    assert len(sent) + len(changed) == 1


@pytest.mark.parametrize(("statement", "values"), [("heads_of_queue", ["100"]), ("heads_of_client", ["'demo'", "100"])])
async def test_the_heads_of_the_queue_are_read_by_their_index(url: str, statement: str, values: list[str]) -> None:
    """However many jobs there are: a collation that is another one would keep the index from being used."""
    sql = queries.load("postgres")[statement]
    for number, value in enumerate(values, 1):
        sql = sql.replace(f"${number}", value)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        plan = " ".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}"))
    finally:
        await connection.close()
    assert re.search("jobs_queued on jobs.*Index Cond: .client = ", plan), plan
