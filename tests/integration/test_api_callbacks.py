"""Given-up callbacks and test deliveries, over HTTP, by an engine that delivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks import Webhook

from taskengine.callbacks.signing import new_secret
from taskengine.client import connect
from tests.support.engine import Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver


@dataclass
class World:
    """A running engine, its receiver, and callers of its API."""

    bench: Bench
    receiver: CallbackReceiver
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, key: str = "test-key", by: str = "demo") -> Any:
        """(status, body) of a call."""
        headers = {"client": by, "api-key": key}
        url = f"{self.bench.engine.url}{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An engine with its API."""
    async with (
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as running,
        aiohttp.ClientSession() as session,
    ):
        yield World(running, receiver, session)


async def test_given_up_callbacks_are_listed_and_all_replayed_since_a_time(world: World) -> None:
    """The same ids come again; another client sees and replays its own alone."""
    receiver = world.receiver
    receiver.script("/cb", 410, 410, 200)
    jobs = [await world.bench.submit("chain", 1) for _ in range(2)]
    await receiver.wait_for(2)
    await world.bench.engine.tenants.add_client("other")
    key = (await world.bench.engine.tenants.add_key("other")).api_key
    dead: list[Any] = []
    while len(dead) < 14:  # three tasks with two events each, and the end, of both jobs
        status, dead = await world.call("GET", "/callbacks?since=2020-01-01")
        assert status == 200
    assert {(row["job_id"], row["state"]) for row in dead} == {(job_id, "dead") for job_id in jobs}
    assert await world.call("GET", f"/callbacks?after_id={dead[0]['id']}&limit=3") == (200, dead[1:4])
    async with connect(str(world.bench.engine.url), client="demo", api_key="test-key") as client:
        assert await client.every_dead_callback({"limit": "5"}) == dead
    assert await world.call("GET", "/callbacks", key=key, by="other") == (200, [])
    assert (await world.call("GET", "/callbacks?client=demo", key=key, by="other"))[0] == 403
    ask = {"since": "2020-01-01T00:00:00Z"}
    assert await world.call("POST", "/callbacks/replay", ask, key=key, by="other") == (
        200,
        {"result": "ok", "replayed": 0},
    )
    assert await world.call("POST", "/callbacks/replay", {"since": "2999-01-01"}) == (
        200,
        {"result": "ok", "replayed": 0},
    )
    assert await world.call("POST", "/callbacks/replay", ask) == (200, {"result": "ok", "replayed": 14})
    await receiver.wait_for(16)
    again = [one.headers["webhook-id"] for one in receiver.received[2:]]
    assert sorted(again) == sorted(row["webhook_id"] for row in dead)
    assert {one.headers["webhook-id"] for one in receiver.received[:2]} <= set(again)
    assert (await world.call("POST", "/callbacks/replay", {"sinc": "x"}))[0] == 400


async def test_a_client_that_configured_nothing_has_its_callbacks_signed(world: World) -> None:
    """By the secret that its maker was shown; the list of clients does not show it."""
    status, made = await world.call("POST", "/clients", {"name": "plain"})
    assert status == 200
    receiver = world.receiver
    await world.call("POST", "/callbacks/test", {"url": receiver.script("/signed", 204), "client": "plain"})
    Webhook(made["callback_secret"]).verify(receiver.raw[0], dict(receiver.received[0].headers))
    listed = {client["name"]: client["config"] for client in (await world.call("GET", "/clients"))[1]}
    assert listed["plain"] == {"callback_secrets": ["****"]}


async def test_an_endpoint_is_tried_as_callbacks_would_be(world: World) -> None:
    """Signed, with the client's headers; what it answered is told; an address that may not be called is refused."""
    secret = new_secret()
    config = {"callback_secrets": [secret], "callback_headers": {"authorization": "Bearer x"}}
    key = (await world.bench.engine.tenants.add_client("other", config=config)).api_key
    receiver = world.receiver
    url = receiver.script("/try", 204, 503)
    status, answer = await world.call("POST", "/callbacks/test", {"url": url}, key=key, by="other")
    assert (status, answer["result"], answer["status"], answer["error"]) == (200, "delivered", 204, None)
    [got] = receiver.received
    Webhook(secret).verify(receiver.raw[0], dict(got.headers))
    assert (got.body["event"], got.body["client"], got.headers["authorization"]) == ("test", "other", "Bearer x")
    _, answer = await world.call("POST", "/callbacks/test", {"url": url, "client": "other"})
    assert (answer["result"], answer["status"], answer["error"]) == ("failed", 503, "answered 503 Service Unavailable")
    for refused, reason in (
        ("http://10.0.0.1/", "TASKENGINE_OUTBOUND_ALLOW"), ("http://169.254.169.254/", "metadata"), ("file:///x", "http"),
    ):  # fmt: skip
        status, answer = await world.call("POST", "/callbacks/test", {"url": refused})
        assert status == 400
        assert reason in answer["error"]
    assert len(receiver.received) == 2
