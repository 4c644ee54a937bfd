"""Jobs that wait for a semaphore."""

from __future__ import annotations

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
