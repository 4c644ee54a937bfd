"""The Python client beside a running engine: every call of the API, and streams that go on where they broke off."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from taskengine.api.routes import ROUTES
from taskengine.cli import watching
from taskengine.cli.output import Output
from taskengine.client import Client, Happening, TooManyRequests, connect
from taskengine.domain.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from tests.support.engine import Bench, bench, settings_for
from tests.support.proxy import FaultProxy
from tests.support.receiver import CallbackReceiver

_NO_METHOD = {"/", "/docs", "/docs/{name}", "/livez", "/channels/{client}/{channel}/{name}"}  # pages, probes, players


@pytest.fixture(name="running")
async def _running(tmp_path: Path) -> AsyncIterator[Bench]:
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path), receiver, http=True) as running:
        yield running


@pytest.fixture(name="client")
async def _client(running: Bench) -> AsyncIterator[Client]:
    async with connect(str(running.engine.url), client="demo", api_key="test-key") as client:
        yield client


@asynccontextmanager
async def _closing(proxy: FaultProxy) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await proxy.close()


def test_every_call_of_the_api_has_a_method() -> None:
    """Paths and methods of the route table are all in the client's text (PUT is PATCH by another name)."""
    text = inspect.getsource(inspect.getmodule(Client))  # type: ignore[arg-type]
    missing = []
    for route in ROUTES:
        fixed = [part for part in route.path.split("/") if part and not part.startswith("{")]
        if route.path in _NO_METHOD or route.path.startswith("/job/") or (route.method, fixed) == ("PUT", ["jobs"]):
            continue
        if not all(f"/{part}" in text for part in fixed):
            missing.append(f"{route.method} {route.path}")
    assert missing == []


async def test_a_job_from_its_submission_to_its_end(running: Bench, client: Client) -> None:
    """Each call gives what the API does; refusals are errors with their faults."""
    hooks = {"rest_endpoints": [f"{running.receiver.url}/cb"]}
    body = {"job": {"workflow": "chain", "tags": ["t"]}, "parameters": {"content_id": "c", "x": 4, **hooks}}
    made = await client.submit(body, idempotency_key="k")
    assert await client.submit(body, idempotency_key="k") == made
    job_id = made["id"]
    await running.ended(job_id)
    job = await client.job(job_id)
    assert (job["queue_state"], job["progress"]) == (2, 1.0)
    tasks = await client.tasks(job_id)
    assert [task["name"] for task in tasks] == ["a", "b", "c"]
    assert (await client.task(tasks[0]["id"] or 0))["outputs"] == {"x": 4}
    entries = await client.every_log(job_id)
    assert entries[-1]["message"] == "job has completed successfully"
    assert await client.every_log(job_id, {"limit": "2"}) == entries  # by the links from page to page
    assert (await client.why(job_id))["waiting"] is False
    [end] = [one for one in await client.callbacks(job_id) if one["event"] == "job"]
    assert (await client.replay_callback(job_id, end["id"]))["replayed"] == 1
    with pytest.raises(NotFound):
        await client.job(999)
    with pytest.raises(Conflict):
        await client.remove(job_id)
    with pytest.raises(InvalidRequest) as refused:
        await client.submit({"job": {"workflow": "chain", "priority": 11}})
    assert {fault.path for fault in refused.value.faults} >= {"/job/priority"}
    assert (await client.rerun(job_id))["result"] == "accepted"


async def test_what_an_admin_does(client: Client) -> None:
    """Settings, schedules, clients and keys, workflows, and how the engine is."""
    assert (await client.save_setting("max_jobs", "4"))["message"] == "max_jobs setting created"
    assert {one["name"]: one["setting"] for one in (await client.settings())["settings"]}["max_jobs"] == 4
    night = {"name": "night", "cron": "0 3 * * *", "job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
    assert (await client.save_schedule(night))["result"] == "created"
    assert "night" not in (await client.switch_schedule("night", active=False))["schedules"]
    assert "night" in (await client.schedules(everyone=True))["schedules"]
    assert (await client.remove_schedule("night"))["result"] == "removed"
    made = await client.save_client("one", role="submitter", config={"rate": {"per_second": 0.01, "burst": 2}})
    another = await client.add_key("one")
    assert (await client.revoke_key("one", another["key_id"]))["result"] == "revoked"
    assert [one["name"] for one in await client.clients()] == ["demo", "one"]
    async with connect(client.url, client="one", api_key=another["api_key"]) as revoked:
        with pytest.raises(Unauthorized):
            await revoked.jobs()
    async with connect(client.url, client="one", api_key=made["api_key"]) as one:
        assert await one.jobs() == []
        assert (await one.dashboard(limit=1))["queued"] == []
        with pytest.raises(TooManyRequests) as late:
            await one.jobs()
        assert late.value.retry_after > 1
    assert (await client.remove_client("one"))["result"] == "removed"
    assert (await client.workflow("chain"))["steps"][0]["name"] == "a"
    assert "vodstream" in [one["name"] for one in await client.workflows()]
    assert (await client.health())["status"] == "ok"
    assert await client.ready()
    assert (await client.workers())[0]["queues"]["work"] > 0
    assert "taskengine_jobs" in await client.metrics()
    assert (await client.document())["openapi"].startswith("3.1")


async def test_lists_are_read_page_by_page(running: Bench, client: Client) -> None:
    """Whatever is submitted meanwhile, each job once; and one thing is done to all of them."""
    ids = [await running.submit("sleeps", x=60, quiet=True) for _ in range(5)]
    seen = []
    async for job in client.every_job({"limit": "2", "workflow": "sleeps"}):
        seen.append(job["id"])
        if len(seen) == 2:
            await running.submit("sleeps", x=60, quiet=True)
    assert seen == ids[::-1]
    done = await client.act("break", {"workflow": "sleeps"}, dry_run=True)
    assert done["matched"] == 6
    assert (await client.act("priority", {"job_ids": ids}, value=2))["changed"] == 5
    assert (await client.act("break", {"workflow": "sleeps"}))["ids"] == [*ids, ids[-1] + 1]


async def test_a_stream_goes_on_where_it_broke_off(running: Bench) -> None:
    """A connection that is cut in the middle costs no event and repeats none."""
    url = str(running.engine.url)
    port = int(url.rpartition(":")[2])
    proxy = FaultProxy(port)
    await proxy.start()
    async with (
        _closing(proxy),
        connect(f"http://127.0.0.1:{proxy.port}", client="demo", api_key="test-key") as client,
    ):
        job_id = await running.submit("sleeps", x=1)
        told: list[Happening] = []
        async with asyncio.timeout(20):
            async for happening in client.events(job_id):
                told.append(happening)
                if len(told) == 3:
                    proxy.cut()
    kinds = [
        (one.kind, one.data.get("event"), one.data.get("task_name")) for one in told if one.kind in {"job", "task"}
    ]
    assert kinds[-1] == ("job", "completed", None)
    assert len(kinds) == len(set(kinds))
    assert ("task", "complete", "nap") in kinds
    logged = [one.data["message"] for one in told if one.kind == "log"]
    assert len([line for line in logged if line == "job has completed successfully"]) == 1


async def test_watching_goes_by_events_and_not_by_the_clock(
    running: Bench, client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends with the job, although nobody looks for a minute where nothing happens."""
    monkeypatch.setattr(watching, "POLL_S", 60.0)
    monkeypatch.setattr(watching, "QUIET_S", 60.0)
    job_id = await running.submit("sleeps", x=1)
    async with asyncio.timeout(20):
        assert await watching.watch_job(client, Output(json=False), job_id) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"job {job_id} completed"


async def test_the_example_of_the_guide_runs(running: Bench) -> None:
    """As it stands there."""
    guide = (Path(__file__).parents[2] / "docs/how-to/use-the-python-client.md").read_text(encoding="utf-8")
    example = guide.partition("```python\n")[2].partition("```")[0]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TASKENGINE_URL": str(running.engine.url), "TASKENGINE_API_KEY": "test-key"},
    )  # fmt: skip
    printed = (await asyncio.wait_for(process.communicate(), 30))[0].decode().splitlines()
    assert printed[0] == "/job/priority must be from 1 to 10, not 11"
    assert printed[-3:] == ["delete start", "delete complete", "completed None"]
