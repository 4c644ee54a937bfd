"""Many jobs at once, what a job waits for, and how often a client may call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.execution import Run
from taskengine.domain.messages import WorkerInfo
from taskengine.domain.times import format_utc
from tests.support.api import World, api_world, fail
from tests.support.clock import START


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with an admin."""
    async with api_world(tmp_path) as made:
        yield made


async def act(world: World, action: str, found: dict[str, Any], *, by: str = "demo", **more: Any) -> dict[str, Any]:
    """The answer to an action."""
    reply = await world.call("POST", "/jobs/actions", {"action": action, "filter": found, **more}, by=by)
    assert reply.status == 200, reply.body
    body: dict[str, Any] = reply.body
    return body


async def states(world: World, *ids: int) -> list[int]:
    """Published numbers."""
    return [(await world.call("GET", f"/jobs/{job_id}")).body["queue_state"] for job_id in ids]


# ----------------------------------------------------------------------------------------------------------------- many


async def test_a_dry_run_tells_what_the_action_then_does(world: World) -> None:
    """The same counts and ids; what is refused is named, and keeps nothing from the others."""
    queued, running, ended = await world.submit(), await world.submit(), await world.submit()
    await world.tell(running, Run.start)
    await world.tell(ended, fail)
    rehearsed = await act(world, "pause", {"workflow": "chain"}, dry_run=True)
    assert await states(world, queued, running, ended) == [0, 1, 2]
    done = await act(world, "pause", {"workflow": "chain"})
    assert await states(world, queued, running, ended) == [6, 6, 2]
    assert rehearsed == {**done, "dry_run": True}
    assert (done["matched"], done["changed"], done["ids"], done["more"]) == (3, 2, [queued, running], False)
    assert [one["id"] for one in done["refused"]] == [ended]
    assert "cannot be paused" in done["refused"][0]["error"]


async def test_every_action_does_what_the_change_of_one_job_does(world: World) -> None:
    """Priority and time have a value; a rerun names the new jobs."""
    first, second = await world.submit(tags=["a"]), await world.submit(tags=["b"])
    assert (await act(world, "priority", {"job_ids": [first, second]}, value=2))["changed"] == 2
    assert (await act(world, "run_at", {"tag": "a"}, value="2040-01-01T00:00:00"))["ids"] == [first]
    shown = (await world.call("GET", f"/jobs/{first}")).body
    assert (shown["priority"], shown["run_at"], shown["queue_state"]) == (2, "2040-01-01T00:00:00.000Z", 5)
    await act(world, "pause", {"priority": 2})
    assert (await act(world, "resume", {"state": "paused"}))["changed"] == 2
    assert await states(world, first, second) == [5, 0]
    again = await act(world, "rerun", {"tag": "b"})
    assert again["reruns"] == [{"id": second, "new_id": again["reruns"][0]["new_id"]}]
    assert await states(world, second, again["reruns"][0]["new_id"]) == [4, 0]
    assert (await act(world, "break", {"persist": False, "state": 5}))["ids"] == [first]


async def test_an_action_reaches_the_callers_own_jobs_alone(world: World) -> None:
    """Whatever the filter says; viewers act on nothing."""
    await world.add_client("one")
    await world.add_client("looks", "viewer")
    own, other = await world.submit(by="one"), await world.submit()
    assert (await act(world, "break", {"job_ids": [own, other]}, by="one"))["ids"] == [own]
    assert (await act(world, "break", {"client": "demo"}, by="one"))["matched"] == 0
    assert await states(world, other) == [0]
    refused = await world.call("POST", "/jobs/actions", {"action": "break", "filter": {"state": 0}}, by="looks")
    assert refused.status == 403


@pytest.mark.parametrize(("body", "paths"), [
    ({"action": "brake", "filter": {"state": 0}}, {"/action"}),
    ({"action": "break"}, {"/filter"}),
    ({"action": "break", "filter": {}}, {"/filter"}),
    ({"action": "break", "filter": {"stat": 0}}, {"/filter/stat", "/filter"}),
    ({"action": "break", "filter": {"state": "nowhere", "priority": 11}}, {"/filter/state", "/filter/priority"}),
    ({"action": "priority", "filter": {"state": 0}, "value": 0}, {"/value"}),
    ({"action": "pause", "filter": {"state": 0}, "value": 1}, {"/value"}),
])  # fmt: skip
async def test_what_is_no_action_changes_nothing(world: World, body: dict[str, Any], paths: set[str]) -> None:
    """Each fault with its path."""
    job_id = await world.submit()
    reply = await world.call("POST", "/jobs/actions", body)
    assert (reply.status, set(reply.faults)) == (400, paths)
    assert await states(world, job_id) == [0]


async def test_an_action_goes_through_more_than_a_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says where it has left jobs."""
    monkeypatch.setattr("taskengine.engine.actions._PAGE", 2)
    ids = [await world.submit() for _ in range(5)]
    assert (await act(world, "priority", {"state": 0}, value=3))["ids"] == ids
    monkeypatch.setattr("taskengine.engine.actions.MAX_JOBS", 3)
    left = await act(world, "priority", {"state": 0}, value=4)
    assert (left["ids"], left["more"]) == (ids[:3], True)


# ------------------------------------------------------------------------------------------------------------------ why


async def why(world: World, job_id: int) -> dict[str, dict[str, Any]]:
    """kind → reason."""
    reply = await world.call("GET", f"/jobs/{job_id}/why")
    assert reply.status == 200
    reasons = {reason["kind"]: reason for reason in reply.body["reasons"]}
    assert (reply.body["id"], reply.body["waiting"]) == (job_id, bool(reasons))
    return reasons


async def test_why_a_job_waits_at_its_gate(world: World) -> None:
    """For another job, its time, its semaphore, by hand."""
    first = await world.submit()
    after = await world.submit(after=[first])
    assert (await why(world, after))["dependency"]["job_id"] == first
    later = await world.submit(run_at=format_utc(START + 5000))
    assert (await why(world, later))["time"]["run_at"] == format_utc(START + 5000)
    gated = await world.submit(semaphore_url="https://user:secret@gate.example/x")
    assert "secret" not in (await why(world, gated))["semaphore"]["message"]
    await world.call("PATCH", f"/jobs/{gated}", {"queue_state": "paused"})
    assert set(await why(world, gated)) == {"pause"}


async def test_why_a_job_waits_for_a_slot(world: World) -> None:
    """The numbers are those that admission goes by."""
    await world.call("POST", "/settings", {"name": "max_jobs", "setting": 2})
    await world.call("POST", "/settings", {"name": "priority_slots", "setting": 1})
    running = await world.submit(priority=9)
    await world.tell(running, Run.start)
    ordinary, urgent = await world.submit(priority=9), await world.submit(priority=1)
    assert (await why(world, ordinary))["reserved"] == {
        "kind": "reserved", "scope": "all", "started": 1, "max_jobs": 2, "priority_slots": 1, "priority_threshold": 5,
        "message": "of all 2 slots, 1 are kept for jobs of priority 5 or better, and the others are taken",
    }  # fmt: skip
    assert (await why(world, ordinary))["order"]["position"] == 2
    assert await why(world, urgent) == {}
    await world.tell(urgent, Run.start)
    third = await world.submit(priority=1)
    assert (await why(world, third))["slot"]["message"] == "2 of all 2 slots are taken"
    await world.add_client("one", max_jobs=1)
    await world.call("POST", "/settings", {"name": "max_jobs", "setting": 9})
    own = await world.submit(by="one")
    await world.tell(own, Run.start)
    waits = await world.submit(by="one")
    assert (await why(world, waits))["slot"]["scope"] == "client"


async def test_why_a_started_job_does_not_go_on(world: World) -> None:
    """No worker, no slot, a pause before the next try; a job that runs has no reason."""
    job_id = await world.submit()
    await world.tell(job_id, Run.start)
    assert (await why(world, job_id))["worker"]["queue"] == "work"
    await world.services.store.heartbeat(WorkerInfo("w", "box", "python", {"work": 1}), [], START)
    assert await why(world, job_id) == {}
    await world.services.store.heartbeat(WorkerInfo("w", "box", "python", {"work": 0}), [], START)
    assert (await why(world, job_id))["window"]["slots"] == 0
    await world.tell(job_id, lambda run: run.fail("it broke"))
    assert await why(world, job_id) == {}
    await world.add_client("one")
    assert (await world.call("GET", f"/jobs/{job_id}/why", by="one")).status == 404


# ---------------------------------------------------------------------------------------------------------------- rates


async def test_a_client_that_calls_too_often_is_told_when_to_come_again(world: World) -> None:
    """A burst, then so many a second; others are not touched, and a wrong key learns nothing of it."""
    await world.add_client("eager", rate={"per_second": 0.5, "burst": 3})
    assert [(await world.call("GET", "/jobs", by="eager")).status for _ in range(4)] == [200, 200, 200, 429]
    refused = await world.call("GET", "/jobs", by="eager")
    assert (refused.headers["Retry-After"], refused.body) == ("2", {"error": "Too many calls: try again in 2 s"})
    assert (await world.call("GET", "/jobs")).status == 200
    wrong = await world.call("GET", "/jobs", by=None, headers={"client": "eager", "api-key": "wrong"})
    assert wrong.status == 401
    await world.clock.advance(2)
    assert [(await world.call("GET", "/jobs", by="eager")).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("rate", [{}, 5, {"per_second": 0}, {"per_second": 1, "burst": 0}, {"per_second": 1, "x": 2}])
async def test_a_rate_that_is_none_is_refused(world: World, rate: Any) -> None:
    """With its path."""
    reply = await world.call("POST", "/clients", {"name": "odd", "config": {"rate": rate}})
    assert set(reply.faults) == {"/config/rate"}


# ------------------------------------------------------------------------------------------------------------ and small


async def test_a_failed_job_has_come_as_far_as_its_tasks(world: World) -> None:
    """And the log of what belongs to no task can be asked for."""
    job_id = await world.submit()
    await world.tell(job_id, fail)
    assert (await world.call("GET", f"/jobs/{job_id}")).body["progress"] == 0
    entries = (await world.call("GET", f"/logs/{job_id}?task_id=0")).body
    assert entries
    assert all(entry["task_id"] == 0 for entry in entries)
