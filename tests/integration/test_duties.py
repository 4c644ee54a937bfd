"""What a hosted engine tells of its own recurring duties, and that a setting reaches the delivery of callbacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.support.engine import bench, settings_for
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
