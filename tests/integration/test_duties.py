"""What a hosted engine tells of its own recurring duties, and that a setting reaches the delivery of callbacks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from taskengine.clock import SystemClock
from taskengine.domain.status import JobState
from tests.support.engine import Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver

HEADERS = {"client": "demo", "api-key": "test-key"}


async def test_a_hosted_engine_lists_its_duties_with_the_intervals_in_force(tmp_path: Path) -> None:
    """The names of the contract; `schedule_interval` is the setting's."""

    async def schedules(session: aiohttp.ClientSession, url: str | None) -> dict[str, Any]:
        async with session.get(f"{url}/schedules") as answer:
            found: dict[str, Any] = (await answer.json())["schedules"]
            return found

    async with (
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as world,
        aiohttp.ClientSession(headers=HEADERS) as session,
    ):
        before = await schedules(session, world.engine.url)
        asked = {"name": "schedule_interval", "setting": "7"}
        async with session.post(f"{world.engine.url}/settings", json=asked) as answer:
            assert answer.status == 200
        after = await schedules(session, world.engine.url)
    assert set(before) == {
        "queue_scheduled_jobs", "sweep_leases", "deliver_callbacks", "clean_up", "clean_workspaces"
    }  # fmt: skip
    assert before["queue_scheduled_jobs"]["every"] == [60, {"first_in": 0}]
    assert after["queue_scheduled_jobs"]["every"] == [7, {"first_in": 0}]
    assert all(duty["active"] and duty["description"] and duty["class"] for duty in before.values())


async def test_a_duty_that_is_switched_off_rests_until_it_is_switched_on(tmp_path: Path) -> None:
    """No scheduled job is queued and no callback delivered meanwhile; then both come at once."""
    async with (
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as world,
        aiohttp.ClientSession(headers=HEADERS) as session,
    ):

        async def switch(name: str, *, active: bool) -> list[str]:
            body = {"schedule": name, "active": active}
            async with session.put(f"{world.engine.url}/scheduler", json=body) as answer:
                assert answer.status == 200
                found: list[str] = (await answer.json())["schedules"]
                return found

        assert await switch("queue_scheduled_jobs", active=False) == [
            "sweep_leases", "deliver_callbacks", "clean_up", "clean_workspaces"
        ]  # fmt: skip
        assert "deliver_callbacks" not in await switch("deliver_callbacks", active=False)
        soon = SystemClock().now() + 300
        waits = await world.submit("chain", run_at=soon)
        runs = await world.submit("chain")
        await _ended(world, runs, soon + 300)
        assert (await world.job(waits)).state is JobState.SCHEDULED
        assert receiver.received == []
        await switch("deliver_callbacks", active=True)
        await world.ended(runs)
        await switch("queue_scheduled_jobs", active=True)
        assert not (await world.ended(waits)).failed


async def test_a_time_that_passed_while_no_engine_ran_is_made_up_for_at_the_start(tmp_path: Path) -> None:
    """By one job, tagged with the schedule's name."""
    async with CallbackReceiver() as receiver, aiohttp.ClientSession(headers=HEADERS) as session:
        body = {
            "name": "yearly",
            "cron": "@yearly",
            "job": {"workflow": "chain", "tags": ["mine"]},
            "parameters": {"content_id": "c", "x": 5, "rest_endpoints": [f"{receiver.url}/cb"]},
        }
        async with bench(settings_for(tmp_path), receiver, http=True) as world:
            async with session.post(f"{world.engine.url}/schedules", json=body) as answer:
                assert (answer.status, (await answer.json())["result"]) == (200, "created")
            await world.engine.store.switch_recurring("demo", "yearly", active=True, next_at=1)
        async with bench(settings_for(tmp_path), receiver, http=True) as world:
            await receiver.wait_for(lambda: any("task_name" not in made.body for made in receiver.received), 15)
            async with session.get(f"{world.engine.url}/jobs?tag=schedule:yearly") as answer:
                [job] = await answer.json()
            assert (job["queue_state"], job["failed"], job["parameters"]["x"]) == (2, False, 5)
            [kept] = await world.engine.store.recurring()
            assert (kept.last_job_id, (kept.next_at or 0) > (kept.last_at or 0)) == (job["id"], True)


async def _ended(world: Bench, job_id: int, at: int) -> None:
    """Wait for the job, which nothing tells of, and for a moment."""
    while (await world.job(job_id)).state is not JobState.COMPLETED:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    await asyncio.sleep(max(at - SystemClock().now(), 0) / 1000)
