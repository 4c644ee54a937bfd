"""The examples in plain Node.js, run: another language on the bus submits a job, works on it and follows it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import ADMIN, bench, settings_for, write_workflows
from tests.support.nodejs import examples
from tests.support.outsider import submissions_are_taken
from tests.support.rabbitmq import RabbitServer, unique_prefix
from tests.support.receiver import CallbackReceiver

WAIT_S = 60
FOREIGN: Mapping[str, str] = {
    "captions": """
        steps:
          upper: {queue: captions, handler: captions.upper, with: {text: "${{ string(parameters.x) }}"}}
          again: {handler: debug.noop, needs: [upper], with: {text: "${{ steps.upper.outputs.text }}"}}
        job_callback: {message: "${{ steps.again.outputs.text }}"}
    """,
    "waits": """
        steps:
          wait: {queue: captions, handler: captions.wait, with: {seconds: 600}}
    """,
}


installed = pytest.fixture(scope="module")(examples)


class Scripts:
    """Runs the examples against one installation."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder, self._env = folder, {"PATH": os.environ["PATH"], **env}

    @asynccontextmanager
    async def running(self, script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """One that runs until the block ends."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "node", script, *arguments, cwd=self._folder, env=self._env, stdout=pipe, stderr=pipe
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def submit(self, workflow: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a submission."""
        async with self.running("submit.mjs", workflow, json.dumps({"content_id": "c", **parameters})) as process:
            output, errors = await asyncio.wait_for(process.communicate(), WAIT_S)
        assert process.returncode == 0, errors.decode()
        answer: dict[str, Any] = json.loads(output)
        return answer


async def _line(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), WAIT_S)).decode()


async def test_a_job_is_submitted_worked_on_and_followed_in_another_language(
    tmp_path: Path, rabbitmq: RabbitServer, installed: Path
) -> None:
    """Its step has a handler that the engine does not know; breaking a job ends what the worker is at."""
    prefix = unique_prefix()
    settings = settings_for(tmp_path, broker_url=rabbitmq.url(prefix), external_queues=["captions"])
    write_workflows(tmp_path / "workflows", FOREIGN)
    amqp = f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/"
    scripts = Scripts(installed, {"AMQP_URL": amqp, "PREFIX": prefix, "CLIENT": "demo", "API_KEY": "test-key"})
    async with CallbackReceiver() as receiver, bench(settings, receiver) as world:
        await submissions_are_taken(rabbitmq, prefix)
        async with scripts.running("follow.mjs", "#") as follower, scripts.running("worker.mjs") as worker:
            assert "following" in await _line(follower.stderr)
            assert "serves captions" in await _line(worker.stdout)
            first = await scripts.submit("captions", x="hello", rest_endpoints=[f"{receiver.url}/cb"])
            job = await world.ended(first["id"], WAIT_S)
            assert (job.failed, job.result) == (False, {"message": "HELLO"})
            events = [json.loads(await _line(follower.stdout)) for _ in range(7)]
            assert [event["seq"] for event in events] == list(range(1, 8))
            assert {event["subject"].split("/")[1] for event in events} == {str(first["id"])}
            assert events[-1]["data"]["status"] == "completed"
            await _broken_off(world, (await scripts.submit("waits"))["id"])
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.wait(), WAIT_S) == 0


async def _broken_off(world: Any, job_id: int) -> None:
    """Break the job once its task runs; the worker holds nothing of it soon after."""
    async with asyncio.timeout(WAIT_S):
        while (await world.engine.store.tasks(job_id))[0].task.state != "running":  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)
        await world.engine.jobs.remove(ADMIN, job_id)
        while any(worker["working"] for worker in await world.engine.store.workers()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
