"""Captures through the API and the engine: they wait for the end of their last clip."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.times import format_utc
from taskengine.engine.submissions import Submission
from tests.support.api import World, api_world
from tests.support.engine import bench, settings_for, write_workflows
from tests.support.receiver import CallbackReceiver

LIVE = {
    "live": """
        parameters:
          type: object
          properties:
            clips: {type: array, items: {type: object}}
            continuous_capture: {type: boolean, default: false}
        capture: {clips: "${{ parameters.clips }}", continuous: "${{ parameters.continuous_capture }}"}
        steps: {take: {handler: debug.noop}}
    """
}
HOUR = 3_600_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API without loops, and a workflow that captures."""
    async with api_world(tmp_path, workflows=write_workflows(tmp_path / "workflows", LIVE)) as running:
        yield running


async def capture(world: World, *clips: Mapping[str, Any], job: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """The job as it is after its submission."""
    body = {"job": {"workflow": "live", **(job or {})}, "parameters": {"content_id": "c", "clips": clips, **more}}
    reply = await world.call("POST", "/job", body)
    assert reply.status == 200, reply.body
    return (await world.call("GET", f"/jobs/{reply.body['id']}")).body


async def test_a_capture_waits_for_the_end_of_its_last_clip(world: World) -> None:
    """Or for `run_at` where that is later; not for what is over, nor for offsets."""
    now = world.clock.now()
    early, late, later = (format_utc(now + hours * HOUR) for hours in (1, 2, 3))
    first = {"start": format_utc(now - HOUR), "end": late}
    made: dict[str, Any] = {}
    for clips, job, expected in (
        ([first, {"end": early}], {}, (late, 5)),
        ([first], {"run_at": early}, (late, 5)),
        ([first], {"run_at": later}, (later, 5)),
        ([{"end": format_utc(now - 1)}], {}, (None, 0)),
        ([{"end": "02:00:00.000"}], {}, (None, 0)),
        ([first], {"semaphore_url": "https://example.com/"}, (late, 5)),
    ):
        made = await capture(world, *clips, job=job)
        assert (made["run_at"], made["queue_state"]) == expected
    logs = (await world.call("GET", f"/logs/{made['id']}")).body
    assert f'Job will run at: "{late}"' in [line["message"] for line in logs]


async def test_a_continuous_capture_begins_before_the_end(world: World) -> None:
    """At 80 % of the time; at `run_at` where that is given."""
    now = world.clock.now()
    clip = {"start": format_utc(now), "end": format_utc(now + 10 * HOUR)}
    made = await capture(world, clip, continuous_capture="true")
    assert (made["run_at"], made["queue_state"]) == (format_utc(now + 8 * HOUR), 5)
    made = await capture(world, clip, continuous_capture=True, job={"run_at": format_utc(now + HOUR)})
    assert made["run_at"] == format_utc(now + HOUR)


async def test_another_time_for_a_capture_keeps_to_its_clips(world: World) -> None:
    """Neither null nor an earlier time lets it begin before its end."""
    now = world.clock.now()
    end, later = format_utc(now + HOUR), format_utc(now + 2 * HOUR)
    made = await capture(world, {"end": end})
    for asked, expected in ((later, later), (None, end), (format_utc(now), end)):
        assert (await world.call("PATCH", f"/jobs/{made['id']}", {"run_at": asked})).status == 200
        job = (await world.call("GET", f"/jobs/{made['id']}")).body
        assert (job["run_at"], job["queue_state"]) == (expected, 5)


async def test_a_capture_runs_when_its_last_clip_has_ended(tmp_path: Path) -> None:
    """Within a second of it, in a running engine."""
    settings = settings_for(tmp_path, workflows_dirs=[write_workflows(tmp_path / "workflows", LIVE)])
    async with CallbackReceiver() as receiver, bench(settings, receiver) as world:
        end = round(time.time() * 1000) + 600
        parameters = {"content_id": "c", "clips": [{"end": format_utc(end)}], "rest_endpoints": [f"{receiver.url}/cb"]}
        answer = await world.engine.jobs.submit(Submission("demo", "live", parameters))
        job = await world.ended(int(answer["id"]))
        assert job.started_at is not None
        assert 0 <= job.started_at - end < 1000
