"""kill -9 of a working engine, again and again: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.engine import write_workflows
from tests.support.media import video_source
from tests.support.receiver import CallbackReceiver

KILLS = 20
KEY = "test-key"
HEADERS = {"client": "demo", "api-key": KEY}


class Served:
    """A `serve` process on a data directory, to be killed and started again."""

    def __init__(self, tmp_path: Path) -> None:
        self.data = tmp_path / "data"
        self.url = ""
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TASKENGINE_DATA_DIR": str(self.data),
            "TASKENGINE_PORT": "0",
            "TASKENGINE_BOOTSTRAP_API_KEY": KEY,
            "TASKENGINE_HEARTBEAT_S": "0.5",
            "TASKENGINE_WORKFLOWS_DIR": str(write_workflows(tmp_path / "workflows")),
            "TASKENGINE_ENGINE__RETRY_DELAY": "0",
            "TASKENGINE_CALLBACKS__DELAYS_S": "[0.2]",
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait for its line."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "taskengine", "serve", env=self._environment, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = (await asyncio.wait_for(self._process.stdout.readline(), 60)).decode()
        assert "http://" in line, line
        self.url = "http://" + line.split("http://")[1].split()[0]

    async def kill(self) -> None:
        """kill -9, unless it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), 40)


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Served]:
    """An engine that does not outlive the test."""
    served = Served(tmp_path)
    await served.start()
    try:
        yield served
    finally:
        await served.kill()


async def call(served: Served, method: str, path: str, body: Any = None) -> Any:
    """One call of the API."""
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.request(method, served.url + path, json=body) as answer,
    ):
        content = await answer.json()
        assert answer.status == 200, content
        return content


async def test_jobs_survive_kills_of_their_engine(tmp_path: Path) -> None:
    """Whenever it is killed: every job completes, each task has one effective completion, callbacks come in order."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    source = tmp_path / "data/storage/source/in"
    source.mkdir(parents=True)
    await asyncio.to_thread(video_source, source / "film.mp4", seconds=4, size="320x180")
    async with CallbackReceiver() as receiver, serving(tmp_path) as served:
        parameters = {
            "content_id": "film", "source_folder": "in", "encode_source": True,
            "rest_endpoints": [f"{receiver.url}/cb"],
        }  # fmt: skip
        jobs: list[int] = []

        def ended() -> set[int]:
            return {one.body["job_id"] for one in receiver.received if "status" in one.body}

        for kill in range(KILLS):
            if not set(jobs) - ended():
                body = {"job": {"workflow": "vodstream"}, "parameters": {**parameters, "output_folder": f"out{kill}"}}
                jobs.append((await call(served, "POST", "/job", body))["id"])
            await asyncio.sleep(chance.uniform(0.05, 2.0))
            await served.kill()
            await served.start()
        await receiver.wait_for(lambda: set(jobs) <= ended(), 120)
        for job_id in jobs:
            await check(served, receiver, job_id)
        assert await served.stop() == 0
        assert not list((tmp_path / "data/scratch").iterdir())  # the next start removes what a kill left
        assert not list((tmp_path / "data/workspace").iterdir())


async def check(served: Served, receiver: CallbackReceiver, job_id: int) -> None:
    """One job against the promises."""
    job = await call(served, "GET", f"/jobs/{job_id}")
    assert (job["queue_state"], job["failed"], job["error"]) == (2, False, None)
    tasks = await call(served, "GET", f"/jobs/{job_id}/tasks")
    for task in tasks:
        done = [attempt["outcome"] for attempt in task["attempts"]].count("completed")
        assert done == (task["state"] == "completed"), task
    first: dict[str, Any] = {}
    for one in receiver.received:
        if one.body["job_id"] == job_id:
            first.setdefault(one.headers["webhook-id"], one.body)
    told = list(first.values())
    for task in tasks:
        events = [body["event"] for body in told if body.get("task_id") == task["id"]]
        assert events == (["start", "complete"] if task["state"] == "completed" else []), (task["name"], events)
    assert [body["time"] for body in told] == sorted(body["time"] for body in told)
    assert told[-1]["status"] == "completed"
    assert Path(told[-1]["message"]).is_file()
    assert all(Path(name).stat().st_size for name in told[-1]["files"])
