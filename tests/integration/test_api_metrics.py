"""`GET /metrics`: who may read it, and that it counts what happens."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskengine.api.metrics import Metrics
from tests.support.api import World, api_world, fail
from tests.support.engine import bench, settings_for
from tests.support.receiver import CallbackReceiver

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API, which counts."""
    async with api_world(tmp_path, metrics=Metrics()) as made:
        yield made


async def read(world: World, by: str | None = "demo") -> tuple[int, str]:
    """Status and text."""
    headers = {"client": by, "api-key": world.keys[by]} if by else {}
    async with world.http.get("/metrics", headers=headers) as response:
        return response.status, await response.text()


def samples(text: str) -> Samples:
    """Each sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(found: Samples, name: str, /, **labels: str) -> float:
    """One sample."""
    return found[f"taskengine_{name}", frozenset(labels.items())]


async def test_it_counts_calls_jobs_queues_and_components(world: World) -> None:
    """By the path of the route, not by each job's."""
    await world.tell(await world.submit(), fail)
    job_id = await world.submit(run_at="2040-01-01")
    for number in (job_id, 12345):
        await world.call("GET", f"/jobs/{number}")
    await world.call("GET", "/no/such/call")
    status, text = await read(world)
    assert status == 200
    found = samples(text)
    calls = "http_request_duration_seconds_count"
    assert one(found, calls, method="GET", route="/jobs/{id}", status="200") == 1
    assert one(found, calls, method="GET", route="/jobs/{id}", status="404") == 1
    assert one(found, calls, method="GET", route="none", status="404") == 1
    assert one(found, calls, method="POST", route="/job", status="200") == 2
    assert one(found, "jobs", state="scheduled") == 1
    assert one(found, "jobs_failed") == 1
    assert one(found, "queue_pending", queue="transcode") == 0
    assert one(found, "component_up", kind="database", name="sqlite") == 1
    assert one(found, "build_info", version="1.2.3") == 1
    assert ("process_resident_memory_bytes", frozenset()) in found


async def test_it_answers_while_the_store_is_away(world: World) -> None:
    """That is what somebody wants to know then. What the store counts is not known, and is not told to be nothing: a counter
    would seem to begin anew, and `increase()` to see all that it ever counted when the store is back."""
    counted = {"taskengine_tasks_failed_total", "taskengine_jobs", "taskengine_queue_workers"}
    _, text = await read(world)
    assert counted <= {name for name, _ in samples(text)}
    world.store.away = True
    status, text = await read(world)
    assert status == 200
    found = samples(text)
    assert one(found, "component_up", kind="database", name="sqlite") == 0
    assert ("taskengine_build_info", frozenset({("version", "1.2.3")})) in found
    assert not counted & {name for name, _ in found}


async def test_the_guide_names_what_there_is(world: World) -> None:
    """All of it, and nothing else."""
    _, text = await read(world)
    made = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE taskengine_")}
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md").read_text()
    assert set(re.findall(r"`(taskengine_\w+)`", guide)) == {name for name in made if not name.endswith("_created")}


async def test_admins_and_operators_may_read_it(world: World) -> None:
    """It tells of all clients' jobs."""
    for name, role, expected in (("ops", "operator", 200), ("sub", "submitter", 403), ("eye", "viewer", 403)):
        await world.add_client(name, role)
        assert (await read(world, name))[0] == expected
    assert (await read(world, None))[0] == 401


async def test_it_may_be_public_or_off(tmp_path: Path) -> None:
    """As the configuration says."""
    async with api_world(tmp_path, metrics=Metrics(), metrics_public=True) as world:
        assert (await read(world, None))[0] == 200
    async with api_world(tmp_path / "..", metrics=None) as world:
        assert (await read(world))[0] == 404


async def test_an_engine_counts_attempts_and_deliveries(tmp_path: Path) -> None:
    """Of its own loops, over HTTP as it is started."""
    async with CallbackReceiver() as receiver:
        settings = settings_for(tmp_path, **{"http.metrics": "public"})
        async with bench(settings, receiver, http=True) as running:
            job_id = await running.submit("chain")
            await running.ended(job_id)
            async with aiohttp.ClientSession() as session, session.get(f"{running.engine.url}/metrics") as response:
                found = samples(await response.text())
    assert one(found, "attempt_duration_seconds_count", handler="debug.noop", outcome="completed") == 3
    assert one(found, "callback_tries_total", state="delivered") >= 6
    assert one(found, "callback_delivery_seconds_count") >= 6
    assert one(found, "tasks_processed_total") == 3
