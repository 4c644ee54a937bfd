"""What a client's configuration says about its jobs: defaults of parameters, storages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import World, api_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with an admin."""
    async with api_world(tmp_path) as made:
        yield made


async def job_of(world: World, by: str, parameters: dict[str, Any], workflow: str = "chain") -> Any:
    """The stored job of a submission."""
    body = {"job": {"workflow": workflow}, "parameters": {"content_id": "c", **parameters}}
    reply = await world.call("POST", "/job", body, by=by)
    assert reply.status == 200, reply.body
    return await world.services.store.job(reply.body["id"])


async def test_a_clients_defaults_stand_where_a_job_gives_nothing(world: World) -> None:
    """Those of the workflow before those of all; the job is shown as it was submitted; null counts as not given."""
    await world.add_client("one", defaults={"*": {"x": 7, "rest_endpoints": ["https://a.example/cb"]}, "fan": {"x": 8}})
    job = await job_of(world, "one", {})
    assert (job.arguments["x"], job.endpoints) == (7, ("https://a.example/cb",))
    assert job.parameters == {"content_id": "c"}
    assert (await job_of(world, "one", {"x": 9})).arguments["x"] == 9
    assert (await job_of(world, "one", {"x": None}, "fan")).arguments["x"] == 8
    assert (await job_of(world, "demo", {})).arguments["x"] == 0


async def test_a_default_is_judged_as_if_it_had_been_submitted(world: World) -> None:
    """A wrong one is told where it stands; one that the workflow does not know is passed over."""
    await world.add_client(
        "one", defaults={"chain": {"rest_endpoints": ["nowhere"], "strange": 1}}, strict_parameters=True
    )
    reply = await world.call(
        "POST", "/job", {"job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}, by="one"
    )
    assert set(reply.faults) == {"/parameters/rest_endpoints/0"}


async def test_a_client_uses_its_own_storages(world: World) -> None:
    """A name beyond them is as unknown as one that does not exist."""
    await world.add_client("one", storages=["other"])
    source = {"source_folder": "in", "source_storage": "local"}
    body = {"job": {"workflow": "vodstream"}, "parameters": {"content_id": "c", **source}}
    assert "/parameters/source_storage" in (await world.call("POST", "/job", body, by="one")).faults
    assert (await world.call("POST", "/job", body)).status == 200
    del body["parameters"]["source_storage"]
    assert "/parameters/source_storage" in (await world.call("POST", "/job", body, by="one")).faults


async def test_what_a_configuration_names_must_be_there(world: World) -> None:
    """Storages, workflows and parameters, each with the nearest; a change is judged as the first one was."""
    config = {
        "storages": ["local", "locl"], "default_storage": "S4", "roots": {"loca": {"output_root": "x"}},
        "workflows": ["vodstrem"], "defaults": {"*": {"any": 1}, "chain": {"xx": 1}, "chian": {}},
    }  # fmt: skip
    wrong = await world.call("POST", "/clients", {"name": "odd", "config": config})
    assert wrong.status == 400
    assert wrong.faults == {
        "/config/storages/1": "unknown storage 'locl'; did you mean 'local'?",
        "/config/default_storage": "unknown storage 'S4'",
        "/config/roots/loca": "unknown storage 'loca'; did you mean 'local'?",
        "/config/workflows/0": "unknown workflow 'vodstrem'; did you mean 'vodstream'?",
        "/config/defaults/chain/xx": "unknown parameter 'xx'; did you mean 'x'?",
        "/config/defaults/chian": "unknown workflow 'chian'; did you mean 'chain'?",
    }
    assert (await world.call("POST", "/clients", {"name": "odd"})).status == 200
    changed = await world.call("POST", "/clients", {"name": "odd", "config": {"storages": ["locl"]}})
    assert set(changed.faults) == {"/config/storages/0"}


@pytest.mark.parametrize("config", [
    {"defaults": []}, {"defaults": {"chain": 1}}, {"storages": []}, {"storages": "local"}, {"default_storage": ""},
    {"roots": {"local": {"output_root": "../others"}}}, {"roots": {"local": "x"}}, {"key_provider": "A B"},
    {"track_properties": []},
])  # fmt: skip
async def test_what_is_no_configuration_is_refused(world: World, config: dict[str, Any]) -> None:
    """With its path."""
    reply = await world.call("POST", "/clients", {"name": "odd", "config": config})
    assert set(reply.faults) == {f"/config/{name}" for name in config}
