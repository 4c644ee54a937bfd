"""The end of an engine: what runs may finish, nothing new is begun, and monitors are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from taskengine.domain.status import JobState
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver


async def test_a_draining_engine_is_not_ready_and_begins_nothing(tmp_path: Path) -> None:
    """While the nap goes on, `/readyz` is 503 and `/livez` 200; the nap ends well, the waiting job is not started."""
    settings = settings_for(tmp_path, **{"engine.max_jobs": 1})
    stop, ready = asyncio.Event(), asyncio.Event()
    running: list[Bench] = []

    async def engine() -> None:
        async with bench(settings, receiver, http=True) as world:
            running.append(world)
            ready.set()
            await stop.wait()

    async def status(path: str) -> int:
        async with aiohttp.ClientSession() as session, session.get(f"{running[0].engine.url}{path}") as answer:
            return answer.status

    async with CallbackReceiver() as receiver:
        async with asyncio.TaskGroup() as group:
            group.create_task(engine())
            await ready.wait()
            napping = await running[0].submit("sleeps", 1.2)
            await running[0].heard(napping, ("nap", "start"))
            waiting = await running[0].submit("chain")
            assert await status("/readyz") == 200
            stop.set()
            await asyncio.sleep(0)
            assert (await status("/readyz"), await status("/livez")) == (503, 200)
            assert (await running[0].job(waiting)).state is JobState.QUEUED
        async with bench(settings, receiver, workers=False) as world:
            tasks = await world.engine.views.tasks(ADMIN, napping)
            assert [attempt["outcome"] for attempt in tasks[0].attempts] == ["completed"]
            assert tasks[1].attempts == []


async def test_an_engine_that_is_ended_as_it_begins_ends_at_once(tmp_path: Path) -> None:
    """Also where its workers were not yet waiting for anything."""
    async with CallbackReceiver() as receiver:
        async with asyncio.timeout(10):
            async with bench(settings_for(tmp_path), receiver):
                pass
