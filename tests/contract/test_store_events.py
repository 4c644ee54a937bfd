"""The contract of stores: the outbox of events, and the value by which one engine at a time publishes it."""

from __future__ import annotations

import asyncio

from taskengine.domain.job import Changes
from taskengine.ports import Store
from tests.support.clock import START
from tests.support.stores import Database, a_job, an_event, submit


async def fill(store: Store) -> None:
    """Six events of three jobs of two clients."""
    for job_id, client in ((1, "demo"), (2, "other"), (3, "demo")):
        await submit(store, Changes(a_job(job_id, client=client), events=[an_event(seq=1), an_event(seq=2)]))


async def test_events_are_narrowed_to_a_job_or_a_client(store: Store) -> None:
    """In the order of their ids, from any of them on."""
    await fill(store)
    everything = await store.events_after(0, limit=9)
    ids = [event["id"] for event in everything]
    assert ids == sorted(ids)
    assert [(event["job_id"], event["seq"]) for event in everything] == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    of_job = await store.events_after(0, limit=9, job_id=2)
    assert [(event["job_id"], event["seq"]) for event in of_job] == [(2, 1), (2, 2)]
    assert [event["seq"] for event in await store.events_after(of_job[0]["id"], limit=9, job_id=2)] == [2]
    of_client = await store.events_after(ids[1], limit=1, client="demo")
    assert [(event["job_id"], event["seq"]) for event in of_client] == [(3, 1)]
    assert list(await store.events_after(0, limit=9, client="nobody")) == []


async def test_the_last_event_is_known(store: Store) -> None:
    """0 where there is none."""
    assert await store.last_event() == 0
    await fill(store)
    assert await store.last_event() == (await store.events_after(0, limit=9))[-1]["id"]


async def test_old_events_are_deleted_up_to_one(store: Store) -> None:
    """In batches, never beyond the one named, never what is younger."""
    await fill(store)
    ids = [event["id"] for event in await store.events_after(0, limit=9)]
    assert await store.clean_events(before=START, up_to=ids[-1], limit=9) == 0
    assert await store.clean_events(before=START + 1, up_to=ids[3], limit=3) == 3
    assert await store.clean_events(before=START + 1, up_to=ids[3], limit=3) == 1
    assert await store.clean_events(before=START + 1, up_to=ids[3], limit=3) == 0
    assert [event["id"] for event in await store.events_after(0, limit=9)] == ids[4:]


async def test_a_value_is_swapped_where_it_is_as_it_was_read(store: Store) -> None:
    """Also for the first time."""
    assert not await store.swap_meta("turn", "none", "a")
    assert await store.swap_meta("turn", None, "a")
    assert not await store.swap_meta("turn", None, "b")
    assert not await store.swap_meta("turn", "b", "c")
    assert await store.swap_meta("turn", "a", "c")
    assert await store.meta("turn") == "c"


async def test_of_many_who_swap_one_does(database: Database) -> None:
    """Over two stores at once, where the database takes two."""
    async with database.open() as one, database.open() as other:
        for before in (None, "0"):
            tries = [store.swap_meta("turn", before, "0" if before is None else f"n{n}")
                     for n, store in enumerate([one, other] * 5)]  # fmt: skip
            assert sum(await asyncio.gather(*tries)) == 1
