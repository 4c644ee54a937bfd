"""Jobs that wait for a semaphore."""

from __future__ import annotations

import time
from pathlib import Path

import aiohttp

from taskengine.domain.status import JobState
from tests.support.engine import bench, settings_for
from tests.support.receiver import CallbackReceiver


async def test_a_semaphore_is_asked_at_once_and_then_at_each_interval(tmp_path: Path) -> None:
    """The first answer keeps the job scheduled; a shorter interval holds at once; a redirect opens."""
    async with (
        CallbackReceiver() as gate,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as world,
        aiohttp.ClientSession(headers={"client": "demo", "api-key": "test-key"}) as session,
    ):
        job_id = await world.submit("chain", semaphore_url=gate.script("/gate", 404, 302))
        await gate.wait_for(1)
        assert (await world.job(job_id)).state is JobState.SCHEDULED
        setting = {"name": "schedule_interval", "setting": "1"}
        async with session.post(f"{world.engine.url}/settings", json=setting) as answer:
            assert answer.status == 200
        assert not (await world.ended(job_id)).failed
        assert len(gate.received) == 2


async def test_a_semaphore_that_hangs_keeps_no_other_job_waiting(tmp_path: Path) -> None:
    """Neither those that were asked with it nor those that come while it is being asked."""
    async with (
        CallbackReceiver() as dead,
        CallbackReceiver() as gate,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver) as world,
    ):
        hangs = dead.script("/", dead.hang)
        stuck = [await world.submit("chain", quiet=True, semaphore_url=hangs) for _ in range(60)]
        first = await world.submit("chain", semaphore_url=gate.url)
        await dead.wait_for(lambda: dead.working > 0)
        second = await world.submit("chain", semaphore_url=gate.url)
        for job_id in (second, first):
            assert not (await world.ended(job_id, 5)).failed
        assert {(await world.job(job_id)).state for job_id in stuck} == {JobState.SCHEDULED}


async def test_a_semaphore_is_asked_when_the_time_has_come(tmp_path: Path) -> None:
    """At once, however long the interval is; not before."""
    async with (
        CallbackReceiver() as gate,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver) as world,
    ):
        run_at = round(time.time() * 1000) + 500
        job = await world.ended(await world.submit("chain", run_at=run_at, semaphore_url=gate.url))
        assert job.started_at is not None
        assert 0 <= job.started_at - run_at < 1000
