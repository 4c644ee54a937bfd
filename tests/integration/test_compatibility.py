"""Clients of the original: each part of `compatibility: original` alone, and every published workflow's payload."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import World, api_world
from tests.support.published import PARAMETERS, payload

PARTS: Mapping[str, Any] = {
    "not_found_as_400": True, "conflict_as_400": True, "unauthorized_result": True, "manifest_style": "ism",
    "callback_extra_fields": False,
}  # fmt: skip


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API without loops."""
    async with api_world(tmp_path) as running:
        yield running


async def seen(world: World, client: str) -> dict[str, Any]:
    """What a client sees of each part."""
    job_id = await world.submit(by=client)
    missing = [
        (await world.call(method, f"/jobs/999{path}", body, by=client)).status
        for method, path, body in (("GET", "", None), ("PATCH", "", {"priority": 1}), ("POST", "/rerun", None))
    ]
    missing.append((await world.call("GET", "/logs/999", by=client)).status)
    conflict = await world.call("PATCH", f"/jobs/{job_id}", {"queue_state": "queued"}, by=client)
    assert conflict.body == {"error": "the job is queued: it cannot be resumed", "id": job_id}
    refused = await world.call("GET", "/jobs", by=None, headers={"client": client, "api-key": "wrong"})
    assert refused.status == 401
    assert refused.body["error"]
    job = await world.services.store.job(job_id)
    assert job is not None
    rules = world.decisions.rules(job)
    return {
        "not_found_as_400": missing == [400] * 4, "conflict_as_400": conflict.status == 400,
        "unauthorized_result": refused.body.get("result") == "Unauthorized request.",
        "manifest_style": rules.client["manifest_style"], "callback_extra_fields": rules.callbacks.extra_fields,
    }  # fmt: skip


async def test_every_part_is_there_alone(world: World) -> None:
    """Each changes its own answers, and no others; all of them are the one word's."""
    await world.add_client("plain")
    usual = await seen(world, "plain")
    assert usual == {name: not value if isinstance(value, bool) else "plain" for name, value in PARTS.items()}
    for name, value in PARTS.items():
        await world.services.tenants.remove_client("plain")
        await world.add_client("plain", **{name: value})
        assert await seen(world, "plain") == {**usual, name: value}
    await world.add_client("original", compatibility="original")
    assert await seen(world, "original") == PARTS
    await world.add_client("nearly", compatibility="original", conflict_as_400=False)
    assert await seen(world, "nearly") == {**PARTS, "conflict_as_400": False, "unauthorized_result": True}


def without_secrets(value: Any, name: str = "") -> Any:
    """What is shown of a submission: keys and seeds are not."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    return "****" if name in {"content_key", "seed"} else value


@pytest.mark.parametrize("workflow", sorted(PARAMETERS))
async def test_every_published_payload_is_taken_as_the_original_took_it(world: World, workflow: str) -> None:
    """Accepted, its times and texts understood, nothing of it unknown; the job shows what was submitted."""
    await world.add_client("original", compatibility="original")
    body = payload(workflow)
    reply = await world.call("POST", "/job", body, by="original")
    assert "warnings" not in reply.body
    assert (reply.status, reply.body["result"], reply.body["job_id"]) == (200, "accepted", reply.body["id"])
    job = (await world.call("GET", f"/jobs/{reply.body['id']}", by="original")).body
    shown = (job["queue_state"], job["priority"], job["run_at"], job["custom_data"], job["content_id"])
    assert shown == (5, 3, "2040-06-06T10:00:00.000Z", {"ref": 1, "flag": "true"}, "demo1")
    assert job["parameters"] == without_secrets(body["parameters"])
    logs = (await world.call("GET", f"/logs/{reply.body['id']}", by="original")).body
    assert logs[-1]["message"] == 'Job will run at: "2040-06-06T10:00:00.000Z"'
