"""The engine's state, settings, clients and workflows over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.execution import Run
from taskengine.domain.messages import WorkerInfo
from taskengine.engine import jobs
from tests.support.api import World, api_world, fail
from tests.support.clock import START


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with an admin."""
    async with api_world(
        tmp_path,
        health_aliases={"redis": "broker", "windows_work": "work", "x": "nothing"},
        sandbox={"files": "OK", "network": "network: not closed"},
    ) as made:
        yield made


# --------------------------------------------------------------------------------------------------------------- status


async def test_the_health_has_every_part_of_the_contract(world: World) -> None:
    """Version, components, queues, tasks, jobs, and the names for other monitors."""
    reply = await world.call("GET", "/health")
    assert reply.status == 200
    body = reply.body
    assert (body["version"], body["databases"]) == ("1.2.3", {"sqlite": "OK"})
    assert body["brokers"] == {"memory": "OK", "redis": "OK"}
    assert body["sandbox"] == {"files": "OK", "network": "network: not closed"}
    assert {"scheduler", "controller", "callback", "work", "windows_work", "transcode"} <= set(body["queues"])
    assert all(set(queue) == {"workers", "working", "pending"} for queue in body["queues"].values())
    assert body["tasks"] == {"failed": 0, "pending": 0, "processed": 0}
    assert body["jobs"] == {
        "completed": 0, "failed": 0, "pending": 0, "broken": 0, "queued": 0, "started": 0, "scheduled": 0, "paused": 0,
        "max_jobs": 2, "priority_slots": 0,
    }  # fmt: skip


async def test_the_health_counts_the_callers_jobs(world: World) -> None:
    """A client its own, an admin all."""
    await world.add_client("other")
    await world.submit(by="other")
    await world.tell(await world.submit(), fail)
    await world.submit(run_at="2040-01-01")
    theirs, everyones = [(await world.call("GET", "/health", by=by)).body["jobs"] for by in ("other", "demo")]
    assert (theirs["queued"], theirs["failed"], theirs["scheduled"]) == (1, 0, 0)
    assert (everyones["queued"], everyones["failed"], everyones["scheduled"]) == (1, 1, 1)


async def test_a_component_that_is_down_makes_the_health_500_with_the_same_body(world: World) -> None:
    """And `error` beside it."""
    names = set((await world.call("GET", "/health")).body)
    world.broker.away = True
    reply = await world.call("GET", "/health")
    assert (reply.status, set(reply.body)) == (500, names | {"error"})
    assert (reply.body["brokers"]["memory"], reply.body["status"]) == ("it is away", "degraded")
    world.store.away = True
    reply = await world.call("GET", "/health")
    assert (reply.status, set(reply.body), reply.body["status"]) == (500, names | {"error"}, "down")
    assert reply.body["databases"] == {"sqlite": "it is away"}


async def test_while_the_store_is_away_calls_are_answered_503(world: World) -> None:
    """With Retry-After, also when nothing fresh is known of clients; liveness goes on, readiness does not."""
    job_id = await world.submit()
    world.store.away = True
    for seconds in (0, 60):
        world.clock._now += seconds * 1000
        for method, path, body in (
            ("GET", "/jobs", None), ("GET", f"/jobs/{job_id}", None), ("PATCH", f"/jobs/{job_id}", {"priority": 1}),
            ("POST", "/job", {"job": {"workflow": "fan"}, "parameters": {"content_id": "c"}}),
            ("POST", "/settings", {"name": "max_jobs", "setting": 3}), ("GET", f"/logs/{job_id}", None),
        ):  # fmt: skip
            reply = await world.call(method, path, body)
            assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
    reply = await world.call("GET", "/readyz", by=None)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
    assert "it is away" not in reply.body["error"]  # the adapter's words, which name a host, are not for everybody
    assert (await world.call("GET", "/livez", by=None)).status == 200
    world.store.away = False
    assert (await world.call("GET", f"/jobs/{job_id}")).status == 200


async def test_a_store_that_is_too_slow_for_a_submission_is_answered_503(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Retry-After; the same key tells then what became of the job."""
    submit, go_on = world.store.submit, asyncio.Event()

    async def slow(*given: Any) -> Any:
        await go_on.wait()
        return await submit(*given)

    monkeypatch.setattr(world.store, "submit", slow)
    monkeypatch.setattr(jobs, "_PATIENCE_S", 0.05)
    body = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
    reply = await world.call("POST", "/job", body, headers={"Idempotency-Key": "k"})
    assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
    monkeypatch.undo()
    reply = await world.call("POST", "/job", body, headers={"Idempotency-Key": "k"})
    assert reply.status == 200
    assert [job["id"] for job in (await world.call("GET", "/jobs")).body] == [reply.body["id"]]


async def test_while_the_broker_is_away_jobs_are_accepted(world: World) -> None:
    """The outbox holds them."""
    world.broker.away = True
    await world.submit()
    assert (await world.call("GET", "/readyz", by=None)).status == 200


async def test_an_internal_fault_tells_nothing(world: World) -> None:
    """500 with the published text for a submission, and no traceback anywhere."""
    world.store.broken = {"submit", "jobs"}
    reply = await world.call("POST", "/job", {"job": {"workflow": "chain"}, "parameters": {"content_id": "c"}})
    assert (reply.status, reply.body) == (500, {"error": "Unable to create job request"})
    reply = await world.call("GET", "/jobs")
    assert (reply.status, "secret" in str(reply.body)) == (500, False)


async def test_the_dashboard_lists_jobs_in_the_order_in_which_they_will_run(world: World) -> None:
    """Without parameters; totals beside the lists."""
    late = await world.submit(run_at="2040-01-02")
    soon = await world.submit(run_at="2040-01-01")
    least, first, top = await world.submit(priority=9), await world.submit(priority=1), await world.submit(priority=9)
    await world.call("PATCH", f"/jobs/{top}", {"top_of_queue": True})
    running = await world.submit()
    await world.tell(running, Run.start)
    body = (await world.call("GET", "/dashboard")).body
    shown = {name: [job["id"] for job in body[name]] for name in ("started", "queued", "scheduled")}
    assert shown == {"started": [running], "queued": [top, first, least], "scheduled": [soon, late]}
    assert "parameters" not in body["queued"][0]
    assert (body["max_jobs"], body["priority_slots"], body["version"]) == (2, 0, "1.2.3")
    assert body["totals"] == {"started": 1, "queued": 3, "scheduled": 2}
    cut = (await world.call("GET", "/dashboard?limit=1")).body
    assert {name: [job["id"] for job in cut[name]] for name in shown} == {
        "started": [running], "queued": [top], "scheduled": [soon],
    }  # fmt: skip
    assert cut["totals"] == body["totals"]


async def test_the_queue_is_shown_in_the_order_of_the_fair_share(world: World) -> None:
    """One client's many jobs do not stand before another's one; positions say the same, also to who sees one client's."""
    await world.add_client("many")
    await world.add_client("heavy", weight=2)
    many = [await world.submit(by="many") for _ in range(4)]
    heavy = [await world.submit(by="heavy") for _ in range(3)]
    await world.tell(await world.submit(by="many"), Run.start)
    order = [heavy[0], heavy[1], many[0], heavy[2], *many[1:]]
    queued = (await world.call("GET", "/dashboard")).body["queued"]
    assert [(job["id"], job["position"]) for job in queued] == [(job_id, n) for n, job_id in enumerate(order, 1)]
    own = (await world.call("GET", "/dashboard?limit=2", by="many")).body["queued"]
    assert [(job["id"], job["position"]) for job in own] == [(many[0], 3), (many[1], 5)]
    assert (await world.call("GET", f"/jobs/{heavy[2]}", by="heavy")).body["position"] == 4


async def test_positions_go_on_beyond_what_the_fair_share_is_worked_out_for(world: World) -> None:
    """A client with many jobs, another with one, which starts second: all others keep their order, without gaps."""
    await world.add_client("many")
    many = [await world.submit(by="many") for _ in range(120)]
    other = await world.submit()
    assert (await world.call("GET", f"/jobs/{other}")).body["position"] == 2
    page = (await world.call("GET", "/jobs?client=many&limit=5")).body
    assert [(job["id"], job["position"]) for job in page] == [(many[-n], 122 - n) for n in range(1, 6)]


async def test_the_recurring_duties_are_listed(world: World) -> None:
    """The active ones, or all."""
    reply = await world.call("GET", "/schedules")
    assert reply.body["result"] == "ok"
    assert reply.body["schedules"]["clean_up"]["every"] == [3600, {"first_in": 0}]
    assert set(reply.body["schedules"]) == {"clean_up"}
    assert set((await world.call("GET", "/schedules?all=1")).body["schedules"]) == {"clean_up", "off"}


async def test_workers_are_listed(world: World) -> None:
    """None has been heard of, then one: with what confines its programs, where it says so."""
    assert (await world.call("GET", "/workers")).body == []
    await world.store.heartbeat(WorkerInfo("w1", "box", "go", {"work": 2}, {"files": "OK"}), [], START)
    [worker] = (await world.call("GET", "/workers")).body
    assert (worker["name"], worker["queues"], worker["sandbox"]) == ("box", {"work": 2}, {"files": "OK"})


# ------------------------------------------------------------------------------------------------------------- settings


async def listed(world: World, by: str = "demo", query: str = "") -> dict[str, Any]:
    """name → value."""
    reply = await world.call("GET", f"/settings{query}", by=by)
    return {setting["name"]: setting["setting"] for setting in reply.body["settings"]}


async def test_settings_have_the_defaults_of_the_contract(world: World) -> None:
    """All seven."""
    assert await listed(world) == {
        "max_jobs": 2, "priority_slots": 0, "priority_threshold": 5, "schedule_interval": 60, "retry_delay": 5,
        "retry_limit": 3, "retention_days": 30,
    }  # fmt: skip


async def test_a_setting_is_created_then_updated_and_holds_at_once(world: World) -> None:
    """Text or number; the loops are told."""
    told: list[None] = []
    world.services.tenants._directory.on_change(lambda: told.append(None))
    reply = await world.call("POST", "/settings", {"name": "max_jobs", "setting": "4"})
    assert reply.body == {"result": "ok", "message": "max_jobs setting created"}
    reply = await world.call("POST", "/settings", {"name": "max_jobs", "setting": 5})
    assert reply.body["message"] == "max_jobs setting updated"
    assert ((await listed(world))["max_jobs"], len(told)) == (5, 2)
    assert (await world.call("GET", "/health")).body["jobs"]["max_jobs"] == 5


async def test_the_settings_of_a_client_that_does_not_exist_are_not_made_up(world: World) -> None:
    """An admin's typing error is told."""
    assert (await world.call("GET", "/settings?client=nobody")).status == 404


async def test_a_clients_settings_are_its_own(world: World) -> None:
    """An admin's are the system's, or those of the client in the body."""
    await world.add_client("other")
    assert (await world.call("POST", "/settings", {"name": "max_jobs", "setting": 1}, by="other")).status == 200
    assert ((await listed(world))["max_jobs"], (await listed(world, "other"))["max_jobs"]) == (2, 1)
    body = {"client": "other", "name": "max_jobs", "setting": 2}
    assert (await world.call("POST", "/settings", body)).body["message"] == "max_jobs setting updated"
    assert (await listed(world, query="?client=other"))["max_jobs"] == 2
    body = {"client": "demo", "name": "max_jobs", "setting": 2}
    assert (await world.call("POST", "/settings", body, by="other")).status == 403
    assert (await world.call("GET", "/settings?client=demo", by="other")).status == 403
    assert (await world.call("POST", "/settings", {"name": "retention_days", "setting": 1}, by="other")).status == 403


@pytest.mark.parametrize("header", [True, False])
async def test_an_admin_that_names_itself_sets_the_systems(world: World, header: bool) -> None:  # noqa: FBT001
    """As clients of the original do in every body: it says who calls, not whose setting it is."""
    body = {"client": "demo", "name": "max_jobs", "setting": 7}
    headers = {"api-key": world.keys["demo"]} | ({"client": "demo"} if header else {})
    assert (await world.call("POST", "/settings", body, by=None, headers=headers)).status == 200
    assert (await listed(world))["max_jobs"] == 7
    assert (await world.call("GET", "/health")).body["jobs"]["max_jobs"] == 7


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "max_job", "setting": 1}, "/name"),
        ({"name": 5, "setting": 1}, "/name"),
        ({"setting": 1}, "/name"),
        ({"name": "max_jobs"}, "/setting"),
        ({"name": "max_jobs", "setting": None}, "/setting"),
        ({"name": "max_jobs", "setting": "many"}, "/setting"),
        ({"name": "max_jobs", "setting": -1}, "/setting"),
        ({"name": "max_jobs", "setting": 1.5}, "/setting"),
        ({"name": "max_jobs", "setting": True}, "/setting"),
        ({"name": "max_jobs", "setting": [1]}, "/setting"),
        ({"name": "priority_slots", "setting": 3}, "/setting"),
        ({"name": "priority_threshold", "setting": 0}, "/setting"),
        ({"name": "schedule_interval", "setting": 0}, "/setting"),
        ({"name": "retry_limit", "setting": "-1"}, "/setting"),
        ({"name": "max_jobs", "setting": 1, "client": "nobody"}, "/client"),
        ({"name": "max_jobs", "setting": 1, "value": 1}, "/value"),
    ],
)
async def test_a_wrong_setting_is_refused(world: World, body: dict[str, Any], path: str) -> None:
    """400 with the place; the nearest name is suggested."""
    reply = await world.call("POST", "/settings", body)
    assert (reply.status, path in reply.faults) == (400, True), reply.body
    if body.get("name") == "max_job":
        assert "'max_jobs'" in reply.body["error"]


# -------------------------------------------------------------------------------------------------------------- clients


async def test_an_admin_makes_clients_whose_keys_are_shown_once(world: World) -> None:
    """The key opens; the list shows no key and no secret of the configuration."""
    config = {"weight": 2, "callback_headers": {"X-Mine": "value"}, "callback_secrets": ["c2VjcmV0"]}
    made = (await world.call("POST", "/clients", {"name": "other", "config": config})).body
    assert (made["result"], made["role"]) == ("created", "submitter")
    world.keys["other"] = made["api_key"]
    assert (await world.call("GET", "/jobs", by="other")).status == 200
    reply = await world.call("GET", "/clients")
    [entry] = [client for client in reply.body if client["name"] == "other"]
    assert entry["config"] == {"weight": 2, "callback_headers": {"X-Mine": "****"}, "callback_secrets": ["****"]}
    assert made["api_key"] not in str(reply.body)


async def test_keys_are_added_and_revoked(world: World) -> None:
    """A revoked key opens nothing at once; the other one goes on."""
    await world.add_client("other")
    old = world.keys["other"]
    made = (await world.call("POST", "/clients/other/keys", {})).body
    [entry] = [client for client in (await world.call("GET", "/clients")).body if client["name"] == "other"]
    first = entry["keys"][0]["id"]
    assert (await world.call("DELETE", f"/clients/other/keys/{first}")).status == 200
    assert (await world.call("GET", "/jobs", by="other")).status == 401
    world.keys["other"] = made["api_key"]
    assert (await world.call("GET", "/jobs", by="other")).status == 200
    assert old != made["api_key"]
    assert (await world.call("DELETE", "/clients/other/keys/999")).status == 404
    assert (await world.call("POST", "/clients/nobody/keys", {})).status == 404


async def test_a_client_is_changed_and_removed(world: World) -> None:
    """Its key ends with it; the last admin stays."""
    await world.add_client("other")
    assert (await world.call("POST", "/clients", {"name": "other", "role": "viewer"})).body["result"] == "updated"
    assert (await world.call("POST", "/job", {"job": {}}, by="other")).status == 403
    assert (await world.call("DELETE", "/clients/other")).status == 200
    assert (await world.call("GET", "/jobs", by="other")).status == 401
    assert (await world.call("DELETE", "/clients?name=other")).status == 404
    assert (await world.call("DELETE", "/clients/demo")).status == 409
    assert (await world.call("POST", "/clients", {"name": "demo", "role": "viewer"})).status == 409


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "/name"),
        ({"name": "Upper"}, "/name"),
        ({"name": "ok", "role": "king"}, "/role"),
        ({"name": "ok", "config": {"weigth": 1}}, "/config/weigth"),
        ({"name": "ok", "config": {"weight": -1}}, "/config/weight"),
        ({"name": "ok", "config": []}, "/config"),
        ({"name": "ok", "rol": "viewer"}, "/rol"),
    ],
)
async def test_a_wrong_client_is_refused(world: World, body: dict[str, Any], path: str) -> None:
    """400 with the place."""
    reply = await world.call("POST", "/clients", body)
    assert (reply.status, path in reply.faults) == (400, True), reply.body


# ------------------------------------------------------------------------------------------------------------ workflows


async def test_workflows_are_listed_and_shown(world: World) -> None:
    """Definition, parameter schema, steps and graph."""
    found = {workflow["name"]: workflow for workflow in (await world.call("GET", "/workflows")).body}
    assert found["vodstream"]["published"]
    workflow = (await world.call("GET", "/workflows/chain")).body
    assert set(workflow["definition"]["steps"]) == {"a", "b", "c"}
    assert "x" in workflow["parameters"]["properties"]
    assert [step["needs"] for step in workflow["steps"]] == [[], ["a"], ["b"]]
    assert "s_a --> s_b" in workflow["graph"]
    assert (await world.call("GET", "/workflows/nope")).status == 404


async def test_the_openapi_document_describes_every_route(world: World) -> None:
    """With the schemas of bodies, answers and workflows."""
    document = (await world.call("GET", "/openapi.json", by=None)).body
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]["/jobs/{id}"]) == {"get", "patch", "put", "delete"}
    schemas = document["components"]["schemas"]
    assert {"Error", "JobFields", "parameters.vodstream"} <= set(schemas)
    assert schemas["JobFields"]["properties"]["priority"]["maximum"] == 10
    answer = document["paths"]["/jobs/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"queue_state", "parameters"} <= set(answer["properties"])
