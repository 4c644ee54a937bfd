"""`run_at` on a clock that is moved: over leap days and changes of the clocks, ahead, and back."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import pytest

from taskengine.engine.effects import Effects
from taskengine.engine.scheduler import Scheduler
from tests.support.api import World, api_world

_HOUR_S = 3600.0


def ms(text: str) -> int:
    """UTC milliseconds of an ISO time."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def scheduler_of(world: World) -> Scheduler:
    """The timers of the world's engine."""
    effects = Effects(world.services.broker, world.signals, lambda _: None, lambda: None)
    services = world.services
    return Scheduler(
        services.store, world.decisions, effects, world.signals, services.settings, world.clock, lambda: True
    )


async def queued(world: World) -> set[int]:
    """The ids of the queued jobs."""
    return {job["id"] for job in (await world.call("GET", "/jobs?state=queued&limit=1000")).body}


@pytest.mark.parametrize(
    "around", ["2028-02-29T00:00:00+00:00", "2027-03-28T01:00:00+00:00", "2027-10-31T01:00:00+00:00"]
)
async def test_a_time_is_kept_however_the_clock_is_moved(tmp_path: Path, around: str) -> None:
    """Never early, never twice, never forgotten; a clock that is set back takes nothing back."""
    chance, change = random.Random(around), ms(around)
    async with api_world(tmp_path) as world:
        scheduler, clock = scheduler_of(world), world.clock
        clock._now = change - round(36 * _HOUR_S * 1000)
        due = {}
        for _ in range(40):
            at = datetime.fromtimestamp((change + chance.randint(-30, 30) * 1_800_000) / 1000).astimezone()
            job_id = await world.submit(run_at=at.isoformat())
            due[job_id] = round(at.timestamp() * 1000)
        seen: set[int] = set()
        for _ in range(60):
            clock._now += chance.choice([1_000, 1_800_000, 3_600_000, -3_600_000, 7_200_000, -60_000])
            await scheduler.ring()
            now_queued = await queued(world)
            assert now_queued >= seen, "what was queued stays queued"
            assert all(due[job_id] <= clock.now() for job_id in now_queued - seen), "early"
            seen = now_queued
        clock._now = change + round(40 * _HOUR_S * 1000)
        await scheduler.ring()
        assert await queued(world) == set(due)
        for job_id in due:
            names = [event["name"] for event in await world.services.store.events_after(0, limit=99, job_id=job_id)]
            assert names.count("queued") == 1, names
