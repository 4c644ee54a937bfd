"""What the PostgreSQL store does when the way to its server is cut, reset, slow or swallows everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest

from taskengine.domain.errors import StoreUnavailable
from taskengine.ports import Store
from taskengine.stores import Sharing, open_store
from tests.support.clock import MovedClock
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.stores import a_task, add_jobs, count_up, until_back

WAIT_S = 30


@pytest.fixture
async def behind(url: str) -> AsyncIterator[tuple[Store, FaultProxy]]:
    """A store, and the proxy between it and its server."""
    async with fault_proxy(url) as proxy, open_store(proxy.through(url), MovedClock()) as store:
        yield store, proxy


async def until_away(store: Store, reason: str = "") -> float:
    """Wait until calls are refused, for this reason; how many seconds the last, refused one took."""
    async with asyncio.timeout(WAIT_S):
        while True:
            began = time.monotonic()
            try:
                await store.check()
            except StoreUnavailable as error:
                if reason in str(error):
                    return time.monotonic() - began
            await asyncio.sleep(0.05)


async def test_a_black_hole_ends_what_waits_and_refuses_what_comes(behind: tuple[Store, FaultProxy]) -> None:
    """A call that hangs is told within seconds, the next one at once; the same store goes on afterwards."""
    store, proxy = behind
    await add_jobs(store)
    proxy.black_hole()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await store.health()
    assert time.monotonic() - began < 15  # a statement may take 30 s
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer in time"):
        await store.health()
    assert time.monotonic() - began < 1
    proxy.heal()
    await until_back(store)
    await add_jobs(store)
    assert (await store.health()).jobs["queued"] == 2


async def test_a_refused_server_is_refused_at_once_and_comes_back(behind: tuple[Store, FaultProxy]) -> None:
    """As where the server is stopped."""
    store, proxy = behind
    await proxy.refuse()
    await until_away(store)
    await asyncio.sleep(3)  # the pulse has felt it by now
    assert await until_away(store) < 0.2
    await proxy.start()
    await until_back(store)
    await add_jobs(store)


async def test_a_server_that_takes_no_changes_is_away(url: str) -> None:
    """One that has become a standby answers what is read: whoever asked that alone would call it healthy. An engine that
    starts waits for one that does."""
    owner = await asyncpg.connect(url)
    name = await owner.fetchval("SELECT quote_ident(current_database())")
    async with open_store(url, MovedClock()) as store:
        await add_jobs(store)
        await owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await until_away(store, "takes no changes")
        with pytest.raises(StoreUnavailable, match="takes no changes"):
            async with open_store(url, MovedClock()):
                pass
        await owner.execute("SET default_transaction_read_only = off")
        await owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await until_back(store)
        await add_jobs(store)
    await owner.close()


async def test_cut_and_reset_connections_are_passed_over(behind: tuple[Store, FaultProxy]) -> None:
    """Nobody hears of them: the calls are made again on new connections."""
    store, proxy = behind
    [job_id] = await add_jobs(store)
    for fault in (proxy.cut, proxy.reset) * 3:
        await asyncio.gather(*(store.decide([job_id], count_up) for _ in range(3)))
        fault()
    job = await store.job(job_id)
    assert job is not None
    assert job.seq == 18


@pytest.mark.parametrize("cuts", [1, 2])
async def test_a_connection_that_is_cut_after_commit_was_sent_changes_once(
    behind: tuple[Store, FaultProxy], cuts: int
) -> None:
    """The server has made the commit and nobody heard: it is asked after over another connection."""
    store, proxy = behind
    [job_id] = await add_jobs(store)
    proxy.watch = lambda piece: b"COMMIT" in piece and proxy.cuts < cuts
    await store.decide([job_id], count_up)
    await store.decide([job_id], count_up)
    job = await store.job(job_id)
    assert job is not None
    assert (job.seq, proxy.cuts) == (2, cuts)
    assert len(await store.logs(job_id)) == 2


async def test_a_slow_way_is_no_fault(behind: tuple[Store, FaultProxy]) -> None:
    """However many round trips a call takes."""
    store, proxy = behind
    proxy.delay_s = 0.05
    await store.check()
    assert (await store.health()).jobs["queued"] == 0


async def test_a_decision_takes_four_round_trips(behind: tuple[Store, FaultProxy]) -> None:
    """However many jobs and tasks it is about: one that begins and locks, one that reads, one that writes, the commit."""
    store, proxy = behind
    ids = await add_jobs(store, 10, tasks=[a_task, lambda job_id: a_task(job_id, "next")])
    await store.decide(ids, count_up)  # the statements are prepared
    sent: list[bytes] = []

    def note(piece: bytes) -> bool:
        if b"transaction_read_only" not in piece:  # of the pulse
            sent.append(piece)
        return False

    proxy.watch = note
    await store.decide(ids, count_up)
    assert len(sent) == 4, sent


# ---------------------------------------------------------------------------------------------------------- sharing


@asynccontextmanager
async def claimed(url: str, *sharings: Sharing) -> AsyncIterator[None]:
    """Stores with these claims, open."""
    async with AsyncExitStack() as stack:
        for sharing in sharings:
            await stack.enter_async_context(open_store(url, MovedClock(), sharing))
        yield


@pytest.mark.parametrize(("first", "second"), [("alone", "alone"), ("alone", "shared"), ("shared", "alone")])
async def test_an_engine_with_a_broker_of_its_own_shares_no_database(url: str, first: str, second: str) -> None:
    """Whoever comes second is refused; after the first has ended, or was ended by the server, it may."""
    async with claimed(url, Sharing(first)):
        with pytest.raises(StoreUnavailable, match="memory://"):
            async with claimed(url, Sharing(second)):
                pass
    async with claimed(url, Sharing(second)):
        pass


async def test_engines_on_one_broker_share_a_database(url: str) -> None:
    """Any number of them; whoever claims nothing may always look."""
    async with claimed(url, Sharing.SHARED, Sharing.SHARED, Sharing.NONE):
        pass


async def test_a_claim_that_was_lost_with_its_connection_is_taken_again(url: str) -> None:
    """After the server ended the pulse's connection, nobody gets in."""
    async with claimed(url, Sharing.ALONE):
        connection = await asyncpg.connect(url)
        held = (
            "SELECT array_agg(l.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
        )
        [before] = await connection.fetchval(held)
        await connection.execute("SELECT pg_terminate_backend($1)", before)
        async with asyncio.timeout(WAIT_S):
            while await connection.fetchval(held) in (None, [before]):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.05)
        await connection.close()
        with pytest.raises(StoreUnavailable, match="another engine"):
            async with claimed(url, Sharing.ALONE):
                pass
