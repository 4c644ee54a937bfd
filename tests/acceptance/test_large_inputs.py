"""Inputs that are too large for a message go by reference through the workspace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.messages import MAX_MESSAGE_BYTES
from taskengine.handlers import load_handlers
from taskengine.ports import Address, Handler, TaskContext
from tests.support.engine import ADMIN, Bench, bench, settings_for, write_workflows
from tests.support.pool import Made
from tests.support.rabbitmq import RabbitServer
from tests.support.receiver import CallbackReceiver

WAIT_S = 30
LARGE = "ä" * 300_000
WORKFLOW = """
steps:
  measure: {handler: measure, with: {x: "${{ parameters.x }}"}}
job_callback: {message: "${{ steps.measure.outputs.sha256 }}"}
"""


async def measure(context: TaskContext) -> Mapping[str, Any]:
    """What came in, by its digest."""
    return {"sha256": digest(context.inputs["x"])}


def digest(text: str) -> str:
    """Of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def handlers(*, shell: bool) -> Mapping[str, Handler]:
    """The product's, and ours."""
    return {**load_handlers(shell=shell), "measure": Made("measure", measure)}


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("taskengine.app.engine", "taskengine.app.workers"):
        monkeypatch.setattr(import_module(module), "load_handlers", handlers)


async def messages_of(world: Bench) -> list[tuple[int, Mapping[str, Any]]]:
    """(size, body) of the task messages that wait, which nobody else takes."""
    async with world.engine.broker.consume(Address.TASKS, "work", prefetch=10) as consumer:
        return [(len(one.message.body), json.loads(one.message.body)) for one in await consumer.batch(10)]


async def test_large_inputs_reach_the_handler_over_the_workspace(
    tmp_path: Path, rabbitmq: RabbitServer, receiver: CallbackReceiver
) -> None:
    """The message is small and names a document with its size and digest; the worker reads it; small inputs stay in."""
    url = rabbitmq.url()
    settings = settings_for(
        tmp_path, broker_url=url, workflows_dirs=[write_workflows(tmp_path / "workflows", {"large": WORKFLOW})]
    )
    async with bench(settings, receiver, workers=False) as world:
        job_id = await world.submit("large", LARGE)
        [(size, body)] = await messages_of(world)
        assert size < MAX_MESSAGE_BYTES
        assert "with" not in body
        document = (Path(settings.workspace) / body["with_ref"]["$file"].removeprefix("ws://")).read_bytes()
        assert body["with_ref"]["$file"].startswith(body["workspace"] + "/")
        assert body["with_ref"]["size"] == len(document)
        assert body["with_ref"]["sha256"] == hashlib.sha256(document).hexdigest()
        assert json.loads(document) == {"x": LARGE}
    async with bench(settings, receiver) as world:  # what was given back is a new attempt for this one's workers
        job = await world.ended(job_id, WAIT_S)
        assert (job.failed, job.result) == (False, {"message": digest(LARGE)})
        small = await world.ended(await world.submit("large", "small"), WAIT_S)
        assert small.result == {"message": digest("small")}


async def test_inputs_that_cannot_be_kept_are_a_failed_try(
    tmp_path: Path, receiver: CallbackReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace that takes nothing costs tries of that task alone; at last the job fails and says why."""
    settings = settings_for(tmp_path, workflows_dirs=[write_workflows(tmp_path / "workflows", {"large": WORKFLOW})])
    async with bench(settings, receiver) as world:
        (Path(settings.workspace) / "1").write_text("in the way of the folder")
        job_id = await world.submit("large", LARGE, max_retries=1)
        assert job_id == 1
        small = await world.ended(await world.submit("large", "small"), WAIT_S)
        assert not small.failed
        job = await world.ended(job_id, WAIT_S)
        assert job.failed
        assert "its inputs cannot be kept" in (job.error or "")
        [stored] = await world.engine.views.tasks(ADMIN, job_id)
        assert [attempt["outcome"] for attempt in stored.attempts] == ["failed", "failed"]
