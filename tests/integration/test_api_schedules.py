"""Schedules of clients over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import World, api_world

NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "cron": "30 2 * * *",
    "time_zone": "Europe/Berlin",
    "job": {"workflow": "chain", "priority": 3},
    "parameters": {"content_id": "c1"},
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with an admin, at 2027-01-15T08:00Z."""
    async with api_world(tmp_path) as made:
        yield made


async def test_a_schedule_is_made_changed_listed_and_removed(world: World) -> None:
    """By name; the list says when and what."""
    made = await world.call("POST", "/schedules", NIGHTLY)
    assert made.body == {"result": "created", "name": "nightly", "next_run": "2027-01-16T01:30:00.000Z"}
    shown = (await world.call("GET", "/schedules")).body["schedules"]["nightly"]
    assert shown["every"] == [86_400, {"first_in": 63_000}]
    assert (shown["class"], shown["cron"], shown["time_zone"]) == ("RecurringJob", "30 2 * * *", "Europe/Berlin")
    assert (shown["active"], shown["last_run"], shown["last_error"], shown["client"]) == (True, None, None, "demo")
    changed = await world.call("POST", "/schedules", {**NIGHTLY, "active": False})
    assert changed.body == {"result": "updated", "name": "nightly", "next_run": None}
    assert "nightly" not in (await world.call("GET", "/schedules")).body["schedules"]
    assert not (await world.call("GET", "/schedules?all=1")).body["schedules"]["nightly"]["active"]
    assert (await world.call("GET", "/schedules?all=maybe")).status == 400
    assert (await world.call("DELETE", "/schedules", {"name": "nightly"})).body["result"] == "removed"
    assert (await world.call("DELETE", "/schedules/nightly")).status == 404


async def test_every_fault_of_a_schedule_and_its_job_is_told_at_once(world: World) -> None:
    """The job is judged as a submission is."""
    reply = await world.call("POST", "/schedules", {
        "name": "a b", "cron": "62 * * * *", "time_zone": "Europe/Berlim", "tags": [],
        "job": {"workflow": "chian", "priority": 11, "run_at": "2040-01-01"},
    })  # fmt: skip
    assert reply.status == 400
    assert set(reply.faults) == {
        "/name", "/cron", "/time_zone", "/tags", "/job/workflow", "/job/priority", "/job/run_at"
    }  # fmt: skip
    assert "Europe/Berlin" in reply.faults["/time_zone"]
    wrong = await world.call("POST", "/schedules", {**NIGHTLY, "cron": "61 * * * *", "name": "clean_up"})
    assert set(wrong.faults) == {"/cron", "/name"}
    assert set((await world.call("POST", "/schedules", {"name": "x"})).faults) == {"/cron", "/job"}
    assert (await world.call("GET", "/schedules?all=1")).body["schedules"].keys() == {"clean_up", "off"}


async def test_clients_have_schedules_of_their_own(world: World) -> None:
    """The same name twice; only an admin sees and touches another's."""
    await world.add_client("one")
    await world.add_client("looks", "viewer")
    await world.call("POST", "/schedules", NIGHTLY, by="one")
    assert (await world.call("POST", "/schedules", NIGHTLY, by="looks")).status == 403
    assert (await world.call("POST", "/schedules", {**NIGHTLY, "client": "demo"}, by="one")).status == 403
    assert "nightly" in (await world.call("GET", "/schedules", by="one")).body["schedules"]
    assert "one/nightly" in (await world.call("GET", "/schedules")).body["schedules"]
    assert "nightly" not in (await world.call("GET", "/schedules", by="looks")).body["schedules"]
    assert (await world.call("DELETE", "/schedules/nightly")).status == 404
    assert (await world.call("POST", "/schedules", {**NIGHTLY, "client": "nobody"})).faults.keys() == {"/client"}
    assert (await world.call("POST", "/schedules", {**NIGHTLY, "client": "one"})).body["result"] == "updated"
    assert (await world.call("DELETE", "/schedules?name=one/nightly")).status == 200


async def test_an_admin_switches_schedules_and_duties(world: World) -> None:
    """The answer names what is active; an unknown name is told with the nearest."""
    await world.add_client("one")
    await world.call("POST", "/schedules", NIGHTLY, by="one")
    assert (await world.call("PUT", "/scheduler", {"schedule": "clean_up", "active": False}, by="one")).status == 403
    off = await world.call("PUT", "/scheduler", {"schedule": "one/nightly", "active": "false"})
    assert off.body == {"result": "ok", "schedules": ["clean_up"]}
    on = await world.call("PUT", "/scheduler", {"schedule": "one/nightly", "active": True})
    assert on.body["schedules"] == ["clean_up", "one/nightly"]
    wrong = await world.call("PUT", "/scheduler", {"schedule": "clean_upp", "active": True})
    assert (wrong.status, "clean_up" in wrong.faults["/schedule"]) == (400, True)
    assert (await world.call("PUT", "/scheduler", {"schedule": "clean_up"})).faults.keys() == {"/active"}
