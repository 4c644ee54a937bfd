"""What workflows and clients want of callbacks, from the file and the configuration to the endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskengine.engine.submissions import Submission
from tests.support.api import api_world
from tests.support.engine import Bench, bench, settings_for, write_workflows
from tests.support.receiver import CallbackReceiver, Received

WISHES = """
    parameters:
      properties: {title: {type: string}}
    callbacks:
      headers: {X-Title: "${{ parameters.title }}", X-Fixed: "yes", X-Step: "${{ task.step }}"}
      task_fields: {title: "${{ parameters.title }}", event: overwritten}
      job_body:
        text: "${{ parameters.title }} ${{ callback.status }}"
        id: "${{ callback.job_id }}"
        made: "${{ steps.a.outputs.x }}"
        data: "${{ callback.custom_data }}"
    steps:
      a: {handler: debug.noop, with: {x: 7}}
"""


@asynccontextmanager
async def running(tmp_path: Path, **workflows: str) -> AsyncIterator[tuple[Bench, CallbackReceiver]]:
    """An engine with these workflows."""
    async with CallbackReceiver() as receiver:
        settings = settings_for(tmp_path)
        write_workflows(tmp_path / "workflows", workflows)
        async with bench(settings, receiver) as world:
            yield world, receiver


async def submit(world: Bench, workflow: str, *endpoints: str, client: str = "demo", **parameters: Any) -> int:
    """Submit a job that reports to these paths of the receiver."""
    urls = [world.receiver.url + endpoint for endpoint in endpoints]
    given = {"content_id": "c", "rest_endpoints": urls, **parameters}
    return int((await world.engine.jobs.submit(Submission(client, workflow, given)))["id"])


def at(receiver: CallbackReceiver, path: str) -> list[Received]:
    """What came to a path."""
    return [one for one in receiver.received if one.path == path]


async def test_a_workflow_adds_headers_and_fields_and_replaces_a_body(tmp_path: Path) -> None:
    """Published fields are not overwritten; a header that cannot be made is left out, and the log says so."""
    async with running(tmp_path, wishes=WISHES) as (world, receiver):
        job_id = await submit(world, "wishes", "/cb", title='Ünïcode "x"', custom_data={"ref": [1, None]})
        plain = await submit(world, "wishes", "/cb2", title="plain")
        await receiver.wait_for(lambda: len(at(receiver, "/cb")) == 3 and len(at(receiver, "/cb2")) == 3)
        start, complete, end = at(receiver, "/cb")
        assert (start.body["event"], start.body["title"]) == ("start", 'Ünïcode "x"')
        assert (complete.body["event"], complete.body["job_id"]) == ("complete", job_id)
        assert end.body == {"text": 'Ünïcode "x" completed', "id": job_id, "made": 7, "data": {"ref": [1, None]}}
        assert (start.headers["x-fixed"], start.headers["x-step"], "x-title" in start.headers) == ("yes", "a", False)
        assert {one.headers["x-title"] for one in at(receiver, "/cb2")} == {"plain"}
        assert "x-step" not in end.headers
        messages = [entry["message"] for entry in await world.engine.store.logs(job_id, show_all=True)]
        assert any("the header X-Title is not sent: it has a value that no header can have" in one for one in messages)
        assert plain


async def test_a_template_that_fails_costs_no_callback(tmp_path: Path) -> None:
    """The published body is sent, and the job completes: for a missing member as for a body beyond its bounds."""
    broken = """
        callbacks:
          task_body: {x: "${{ steps.a.outputs.missing }}"}
          job_body: {a: "${{ parameters.x }}", b: "${{ parameters.x }}", c: "${{ parameters.x }}"}
        steps:
          a: {handler: debug.noop}
    """
    async with running(tmp_path, broken=broken) as (world, _):
        job_id = await world.submit("broken", "x" * 400_000)
        job = await world.ended(job_id)
        assert not job.failed
        assert world.told(job_id) == [("a", "start"), ("a", "complete"), ("job", "completed")]
        logged = " ".join(entry["message"] for entry in await world.engine.store.logs(job_id, show_all=True))
        assert "the published body is sent: the one that is configured failed" in logged
        assert "more than 1048576 characters" in logged


async def test_a_client_s_wishes_come_before_the_workflow_s(tmp_path: Path) -> None:
    """Template, fields, events, headers and secrets: for all of its endpoints, and for those below a URL."""
    async with running(tmp_path, wishes=WISHES) as (world, receiver):
        config = {
            "callback_ids": "string",
            "callback_headers": {"authorization": "Bearer all", "x-fixed": "no"},
            "callback_template": {"job": {"state": "${{ callback.status }}", "who": "${{ job.client }}"}},
            "callback_fields": {"task": {"title": "${{ 'by ' + client.name }}", "more": 1}},
            "callback_secrets": ["c2VjcmV0LW9uZQ==", "c2VjcmV0LXR3bw=="],
            "callback_endpoints": {
                receiver.url + "/quiet": {"events": ["fail", "job"], "headers": {"authorization": "Bearer quiet"}},
                receiver.url + "/quiet/none": {"events": [], "secrets": []},
            },
        }
        await world.engine.tenants.add_client("one", config=config)
        await submit(world, "wishes", "/cb", "/quiet/a", "/quiet/none", "/quietly", client="one", title="t")
        await receiver.wait_for(7)
        start, complete, end = at(receiver, "/cb")
        assert (start.body["title"], start.body["more"], start.body["event"]) == ("by one", 1, "start")
        assert isinstance(complete.body["job_id"], str)
        assert end.body == {"state": "completed", "who": "one"}
        assert (start.headers["authorization"], start.headers["x-fixed"]) == ("Bearer all", "no")
        assert len(start.headers["webhook-signature"].split(" ")) == 2
        [quiet] = at(receiver, "/quiet/a")
        assert (quiet.body["state"], quiet.headers["authorization"]) == ("completed", "Bearer quiet")
        assert len(at(receiver, "/quietly")) == 3
        assert not at(receiver, "/quiet/none")


async def test_task_callbacks_can_be_turned_off_for_a_client(tmp_path: Path) -> None:
    """Its jobs' ends are told all the same; another client's tasks too."""
    async with running(tmp_path) as (world, receiver):
        await world.engine.tenants.add_client("ends", config={"callback_events": ["job"]})
        await submit(world, "chain", "/ends", client="ends", x=1)
        await submit(world, "chain", "/all", x=1)
        await receiver.wait_for(8)
        assert [one.body["status"] for one in at(receiver, "/ends")] == ["completed"]
        assert len(at(receiver, "/all")) == 7


async def test_asset_delete_names_its_files_in_every_callback(tmp_path: Path) -> None:
    """As published: those asked to be deleted."""
    async with running(tmp_path) as (world, receiver):
        place = tmp_path / "data" / "storage" / "output" / "film"
        await asyncio.to_thread(place.mkdir, parents=True)
        await asyncio.to_thread((place / "a.mp4").write_bytes, b"x")
        await submit(world, "asset_delete", "/cb", files=["film/a.mp4"])
        await receiver.wait_for(3)
        start, complete, end = receiver.bodies("/cb")
        assert start["files"] == complete["files"] == ["film/a.mp4"]
        assert (end["message"], end["files"]) == (["film/a.mp4"], [str(place / "a.mp4")])
        assert end["status"] == "completed"


@pytest.mark.parametrize("name", ["overtake_after_s"])
async def test_the_job_callback_waits_as_long_as_the_settings_say(tmp_path: Path, name: str) -> None:
    """It overtakes its task callbacks then."""
    async with CallbackReceiver() as receiver:
        settings = settings_for(tmp_path, **{f"callbacks.{name}": 0.2, "callbacks.delays_s": [60]})
        async with bench(settings, receiver) as world:
            receiver.script("/cb", 500, 200)
            job_id = await world.submit("chain", 1)
            await world.heard(job_id, ("job", "completed"))
            assert world.told(job_id) == [("a", "start"), ("job", "completed")]


async def test_headers_and_secrets_of_rules_are_not_shown(tmp_path: Path) -> None:
    """Whatever their names; neither what is stored nor what the API answers holds them."""
    rule = {"headers": {"x-plain": "zzz-header"}, "secrets": ["enp6LXNlY3JldA=="], "events": ["job"]}
    config = {"callback_headers": {"x-all": "zzz-all"}, "callback_endpoints": {"http://a.example": rule}}
    async with api_world(tmp_path) as world:
        assert (await world.call("POST", "/clients", {"name": "one", "config": config})).status == 200
        answer = await world.call("GET", "/clients")
        [shown] = [one["config"] for one in answer.body if one["name"] == "one"]
        assert shown["callback_endpoints"]["http://a.example"]["events"] == ["job"]
        stored = await world.services.store.client("one")
        for text in (str(shown), str(stored)):
            assert "zzz" not in text
            assert "enp6" not in text
        [found] = (await world.services.tenants.config("one")).callback_endpoints
        assert (found.headers, found.secrets) == ({"x-plain": "zzz-header"}, ("enp6LXNlY3JldA==",))
