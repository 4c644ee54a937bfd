"""Who may call what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import encode_basic_auth

from tests.support.api import ADMIN_KEY, World, api_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with an admin."""
    async with api_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/openapi.json"])
async def test_public_calls_need_no_credentials(world: World, path: str) -> None:
    """Probes and documents answer anyone."""
    assert (await world.call("GET", path, by=None)).status == 200


@pytest.mark.parametrize("path", ["/health", "/jobs", "/jobs/1", "/logs/1", "/settings", "/dashboard", "/workflows"])
async def test_other_calls_are_refused_without_credentials(world: World, path: str) -> None:
    """401 with an error, before anything else is looked at."""
    reply = await world.call("GET", path, by=None)
    assert (reply.status, list(reply.body)) == (401, ["error"])


@pytest.mark.parametrize("name", ["api-key", "API-KEY", "x-api-key", "X-Auth-Key"])
async def test_the_key_has_several_names(world: World, name: str) -> None:
    """The aliases, in any case."""
    reply = await world.call("GET", "/jobs", by=None, headers={"Client": "demo", name: ADMIN_KEY})
    assert reply.status == 200


async def test_http_basic_names_client_and_key(world: World) -> None:
    """For Prometheus and KEDA, which send nothing else: with the rights of the client, and no others."""
    eye = await world.add_client("eye", "viewer")
    basic = {"Authorization": encode_basic_auth(eye, world.keys[eye])}
    assert (await world.call("GET", "/health", by=None, headers=basic)).status == 200
    body = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
    assert (await world.call("POST", "/job", body, by=None, headers=basic)).status == 403


async def test_the_headers_of_a_client_count_before_http_basic(world: World) -> None:
    """A proxy in front may use Authorization for itself; halves of two credentials are never put together."""
    proxy = {"Authorization": encode_basic_auth("proxy", "its password")}
    assert (await world.call("GET", "/jobs", headers=proxy)).status == 200
    right = {"Authorization": encode_basic_auth("demo", ADMIN_KEY)}
    assert (await world.call("GET", "/jobs", by=None, headers={**right, "client": "demo"})).status == 401
    assert (await world.call("GET", "/jobs", by=None, headers={**right, "api-key": "x"})).status == 401


@pytest.mark.parametrize(
    "value",
    ["Basic", "Basic !", "Basic ZGVtbw==", "Basic /////w==", f"Bearer {ADMIN_KEY}", encode_basic_auth("demo", "x"),
     encode_basic_auth("demo", ""), encode_basic_auth("", ADMIN_KEY)],
)  # fmt: skip
async def test_credentials_that_cannot_be_read_are_wrong_ones(world: World, value: str) -> None:
    """401, in the same words."""
    reply = await world.call("GET", "/jobs", by=None, headers={"Authorization": value})
    missing = await world.call("GET", "/jobs", by=None)
    assert (reply.status, reply.body) == (401, missing.body)


async def test_an_unknown_client_is_refused_in_the_words_of_a_wrong_key(world: World) -> None:
    """Nothing tells which clients there are."""
    wrong = [{"client": "demo", "api-key": "x"}, {"client": "nobody", "api-key": ADMIN_KEY}, {"client": "demo"}]
    replies = [await world.call("GET", "/jobs", by=None, headers=headers) for headers in wrong]
    assert {(reply.status, reply.body["error"]) for reply in replies} == {(401, replies[0].body["error"])}


async def test_the_body_names_the_client_where_the_header_does_not(world: World) -> None:
    """As clients of the original do."""
    body = {"client": "demo", "job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
    reply = await world.call("POST", "/job", body, by=None, headers={"api-key": ADMIN_KEY})
    assert reply.status == 200
    reply = await world.call("POST", "/job", {**body, "client": "x"}, by=None, headers={"api-key": ADMIN_KEY})
    assert reply.status == 401


async def test_a_body_of_another_client_is_forbidden(world: World) -> None:
    """The header and the body must not contradict each other."""
    assert (await world.call("POST", "/job", {"client": "other", "job": {}})).status == 403


async def test_without_the_header_a_body_that_is_no_json_is_unauthorized(world: World) -> None:
    """A stranger learns nothing of the body's faults."""
    reply = await world.call("POST", "/job", by=None, data=b"{", headers={"api-key": ADMIN_KEY})
    assert reply.status == 401


async def test_another_clients_things_do_not_exist(world: World) -> None:
    """404 for job, tasks, log and callbacks; nothing in the list, whatever is asked."""
    other = await world.add_client("other")
    job_id = await world.submit()
    for path in (f"/jobs/{job_id}", f"/job/{job_id}", f"/jobs/{job_id}/tasks", f"/logs/{job_id}"):
        assert (await world.call("GET", path, by=other)).status == 404
    assert (await world.call("GET", f"/jobs/{job_id}/callbacks", by=other)).status == 404
    assert (await world.call("PATCH", f"/jobs/{job_id}", {"priority": 1}, by=other)).status == 404
    assert (await world.call("GET", "/jobs", by=other)).body == []
    assert (await world.call("GET", "/jobs?client=demo", by=other)).body == []
    assert len((await world.call("GET", "/jobs")).body) == 1


async def test_an_admin_sees_all_and_filters_by_client(world: World) -> None:
    """Jobs of every client, or of one."""
    await world.add_client("other")
    theirs = await world.submit(by="other")
    mine = await world.submit()
    assert [job["id"] for job in (await world.call("GET", "/jobs")).body] == [mine, theirs]
    assert [job["id"] for job in (await world.call("GET", "/jobs?client=other")).body] == [theirs]
    assert (await world.call("GET", f"/jobs/{theirs}")).body["client"] == "other"
    board = (await world.call("GET", "/dashboard?client=other")).body
    assert [job["id"] for job in board["queued"]] == [theirs]
    assert (await world.call("GET", "/health?client=other")).body["jobs"]["queued"] == 1
    assert (await world.call("GET", "/health")).body["jobs"]["queued"] == 2
    for path in ("/dashboard", "/health"):
        assert (await world.call("GET", f"{path}?client=demo", by="other")).status == 403
        assert (await world.call("GET", f"{path}?client=other", by="other")).status == 200


async def test_a_viewer_looks_and_changes_nothing(world: World) -> None:
    """403 where something would change."""
    await world.add_client("eye", "viewer")
    body = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
    assert (await world.call("POST", "/job", body, by="eye")).status == 403
    assert (await world.call("POST", "/settings", {"name": "max_jobs", "setting": 1}, by="eye")).status == 403
    assert (await world.call("GET", "/jobs", by="eye")).status == 200


async def test_an_operator_changes_every_job_but_no_settings(world: World) -> None:
    """All jobs, neither clients nor settings."""
    await world.add_client("ops", "operator")
    job_id = await world.submit()
    assert (await world.call("PATCH", f"/jobs/{job_id}", {"priority": 1}, by="ops")).status == 200
    assert (await world.call("POST", "/settings", {"name": "max_jobs", "setting": 1}, by="ops")).status == 403
    assert (await world.call("GET", "/clients", by="ops")).status == 403


async def test_a_client_moving_over_gets_the_statuses_that_it_knows(world: World) -> None:
    """`compatibility: original`: 404 and 409 of the published calls as 400, `result` in a 401."""
    await world.add_client("old", compatibility="original")
    job_id = await world.submit(by="old")
    assert (await world.call("GET", "/jobs/999", by="old")).status == 400
    assert (await world.call("GET", "/jobs/999/tasks", by="old")).status == 404
    reply = await world.call("PATCH", f"/jobs/{job_id}", {"queue_state": "queued"}, by="old")
    assert (reply.status, reply.body["id"]) == (400, job_id)
    reply = await world.call("GET", "/jobs", by=None, headers={"client": "old", "api-key": "x"})
    assert (reply.status, reply.body["result"]) == (401, "Unauthorized request.")


async def test_the_open_list_shows_no_parameters(tmp_path: Path) -> None:
    """`open_jobs_list`: anyone may list; wrong credentials are still wrong."""
    async with api_world(tmp_path, open_jobs_list=True) as world:
        await world.submit()
        [job] = (await world.call("GET", "/jobs", by=None)).body
        assert "parameters" not in job
        assert "parameters" in (await world.call("GET", "/jobs")).body[0]
        assert (await world.call("GET", "/jobs", by=None, headers={"api-key": "x"})).status == 401


async def test_a_client_submits_the_workflows_that_it_is_allowed(world: World) -> None:
    """Others are forbidden and not listed."""
    await world.add_client("narrow", workflows=["chain"])
    body = {"job": {"workflow": "fan"}, "parameters": {"content_id": "c"}}
    assert (await world.call("POST", "/job", body, by="narrow")).status == 403
    await world.submit(by="narrow")
    assert [w["name"] for w in (await world.call("GET", "/workflows", by="narrow")).body] == ["chain"]
    assert (await world.call("GET", "/workflows/fan", by="narrow")).status == 404
