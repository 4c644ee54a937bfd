"""Recurring jobs on a moved clock: never early, never twice, never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from taskengine.engine.recurring import RecurringJobs, Submitted
from taskengine.engine.signals import SWEEP_S
from taskengine.ports import Client, Recurring, Store
from taskengine.stores import open_store
from tests.support.clock import START, MovedClock
from tests.support.vault import VAULT

HOUR = 3_600_000
HOURLY = Recurring("demo", "hourly", "0 * * * *", "UTC", {"job": {}, "parameters": {}}, True, None, 0)


class Submissions:
    """What was submitted, as a store with idempotency keys keeps it."""

    def __init__(self, clock: MovedClock) -> None:
        self._clock = clock
        self.keys: dict[str, int] = {}  # → when
        self.calls = 0
        self.answer: Submitted | None = None  # instead of a job

    async def __call__(self, one: Recurring, key: str) -> Submitted:
        """Submit."""
        self.calls += 1
        if self.answer is not None:
            return self.answer
        self.keys.setdefault(key, self._clock.now())
        return Submitted(list(self.keys).index(key) + 1)

    @property
    def at(self) -> list[int]:
        """Hours after the start at which jobs were submitted, rounded down."""
        return [(at - START) // HOUR for at in self.keys.values()]


@pytest.fixture
def clock() -> MovedClock:
    """At the full hour."""
    return MovedClock()


@pytest.fixture
def submitted(clock: MovedClock) -> Submissions:
    """Nothing yet."""
    return Submissions(clock)


@pytest.fixture
async def store(tmp_path: Path, clock: MovedClock) -> AsyncIterator[Store]:
    """With a client."""
    async with open_store(f"sqlite:///{tmp_path}/test.db", clock) as opened:
        await opened.save_client(Client("demo", "submitter", {}, START))
        yield opened


async def kept(store: Store) -> Recurring:
    """The schedule as it is kept."""
    [one] = await store.recurring()
    return one


async def test_each_time_gives_one_job_at_that_time(store: Store, clock: MovedClock, submitted: Submissions) -> None:
    """The loop wakes at the moment itself; a schedule that is new wakes it too."""
    jobs = RecurringJobs(store, clock, VAULT)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(jobs.run(submitted))
        await clock.wait_for_sleeper()
        made, new = await jobs.save(HOURLY)
        assert (new, made.next_at) == (True, START + HOUR)
        for hour in range(1, 4):
            while clock.now() < START + hour * HOUR:
                await clock.wait_for_sleeper()
                assert len(submitted.keys) == hour - 1
                await clock.advance_to_next()
            await clock.wait_for_sleeper()
        loop.cancel()
    assert [at - START for at in submitted.keys.values()] == [HOUR, 2 * HOUR, 3 * HOUR]
    assert submitted.calls == 3
    one = await kept(store)
    assert (one.next_at, one.last_at, one.last_job_id) == (START + 4 * HOUR, START + 3 * HOUR, 3)


async def test_engines_side_by_side_and_one_that_died_submit_a_time_once(store: Store, clock: MovedClock) -> None:
    """The one that died had submitted, and had not written it yet."""
    first = RecurringJobs(store, clock, VAULT)
    await first.save(HOURLY)
    before = await kept(store)
    await clock.advance(3600)
    submitted = Submissions(clock)
    await asyncio.gather(*(RecurringJobs(store, clock, VAULT).look(submitted) for _ in range(3)))
    assert submitted.at == [1]
    await store.save_recurring(before)  # as the one that died left it
    await first.look(submitted)
    assert submitted.at == [1]
    assert (await kept(store)).last_job_id == 1


async def test_times_that_nobody_saw_give_one_job_together(
    store: Store, clock: MovedClock, submitted: Submissions
) -> None:
    """And the next one comes at its own time."""
    jobs = RecurringJobs(store, clock, VAULT)
    await jobs.save(HOURLY)
    await clock.advance(5.5 * 3600)
    assert await jobs.look(submitted) == SWEEP_S
    assert submitted.at == [5]
    assert (await kept(store)).next_at == START + 6 * HOUR


async def test_a_clock_that_is_set_back_submits_nothing_again(store: Store, clock: MovedClock) -> None:
    """By an hour: the times that it shows again have had their jobs."""
    await RecurringJobs(store, clock, VAULT).save(HOURLY)
    await clock.advance(2 * 3600)
    submitted = Submissions(clock)
    await RecurringJobs(store, clock, VAULT).look(submitted)
    back = MovedClock(START + HOUR // 2)
    for _ in range(3):
        await RecurringJobs(store, back, VAULT).look(submitted)
        await back.advance(1800)
    assert submitted.calls == 1
    await back.advance(HOUR / 1000)
    await RecurringJobs(store, back, VAULT).look(submitted)
    assert submitted.calls == 2


async def test_a_clock_that_was_years_ahead_for_a_while_stops_no_schedule(store: Store, clock: MovedClock) -> None:
    """What it wrote then is not believed."""
    await RecurringJobs(store, clock, VAULT).save(HOURLY)
    ahead = MovedClock(START + 10_000 * HOUR)
    submitted = Submissions(ahead)
    await RecurringJobs(store, ahead, VAULT).look(submitted)
    assert (await kept(store)).next_at == START + 10_001 * HOUR
    await RecurringJobs(store, clock, VAULT).look(submitted)
    assert (await kept(store)).next_at == START + HOUR


async def test_a_job_that_cannot_be_submitted_is_told_and_the_next_one_tried(
    store: Store, clock: MovedClock, submitted: Submissions
) -> None:
    """The schedule shows why; while the store is away it is the same time that is tried again."""
    jobs = RecurringJobs(store, clock, VAULT)
    await jobs.save(HOURLY)
    await clock.advance(3600)
    submitted.answer = Submitted(error="the store is away", again=True)
    assert await jobs.look(submitted) == 1.0
    assert (await kept(store)).next_at == START + HOUR
    submitted.answer = Submitted(error="unknown workflow")
    await jobs.look(submitted)
    assert ((await kept(store)).last_error, (await kept(store)).next_at) == ("unknown workflow", START + 2 * HOUR)
    submitted.answer = None
    await clock.advance(3600)
    await jobs.look(submitted)
    assert ((await kept(store)).last_error, (await kept(store)).last_job_id) == (None, 1)


async def test_what_is_switched_off_submits_nothing(store: Store, clock: MovedClock, submitted: Submissions) -> None:
    """Nor are the times made up for that passed meanwhile."""
    jobs = RecurringJobs(store, clock, VAULT)
    await jobs.save(HOURLY)
    await jobs.switch("demo", "hourly", active=False)
    await clock.advance(2.5 * 3600)
    await jobs.look(submitted)
    await jobs.switch("demo", "hourly", active=True)
    await jobs.look(submitted)
    assert submitted.calls == 0
    assert await kept(store) == replace(await kept(store), active=True, next_at=START + 3 * HOUR)
