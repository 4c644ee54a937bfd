"""Engines and workers as processes of their own on one database and one broker, to be killed, stopped and continued.

    async with cluster(tmp_path, database_url, broker_url, engines=2, workers=3) as running:
        job_id = await running.submit("chain", 7)      # over any engine that answers, with an idempotency key
        running.workers[0].kill()                      # kill -9, and it is awaited; `pause`, `resume`, `stop`, `start`
        await running.finished(60)                     # every accepted job has told its end
        await running.ends_well()                      # stops everything and asks the oracle

Each process logs to `<root>/<name>.log`. The receiver of callbacks is in the test's own process.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from http.client import GONE
from pathlib import Path
from typing import Any

import aiohttp

from taskengine.sealing import new_key
from tests.support.engine import WORKFLOWS, write_workflows
from tests.support.oracle import Facts, connections, gather, judge, left_behind
from tests.support.receiver import CallbackReceiver

ROOT = Path(__file__).parents[2]
HEADERS = {"client": "demo", "api-key": "test-key"}
STEPS = 5
FIVE = "five"  # the workflow of five steps, each of which lasts `x` seconds
_FIVE_STEPS = "steps:\n" + "\n".join(
    f"  s{number}: {{handler: debug.sleep, {f'needs: [s{number - 1}], ' if number else ''}"
    'with: {seconds: "${{ double(parameters.x) }}"}}'
    for number in range(STEPS)
)
_START_S = 60.0
_STOP_S = 60.0
_PAUSE_S = 0.05


class Process:
    """One process of the product: `serve` or `worker`."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.url = name, ""
        self._command = [sys.executable, "-m", *arguments]
        self.environment, self._log = dict(environment), log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; return when an engine has said where it listens, a worker has begun to log."""
        logged = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        if "serve" not in self._command:
            async with asyncio.timeout(_START_S):
                while self._log.stat().st_size == logged:
                    assert self.alive, f"{self.name} did not start"
                    await asyncio.sleep(_PAUSE_S)
            return
        assert self._process.stdout is not None
        line = (await asyncio.wait_for(self._process.stdout.readline(), _START_S)).decode()
        if not line:  # its end is near, and is to be known to whoever asks
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        assert "http://" in line, f"{self.name} did not start: {self._log.read_text()[-2000:]}"
        self.url = "http://" + line.split("http://")[1].split()[0]

    async def kill(self) -> None:
        """kill -9, unless it has ended."""
        if self._process is not None:
            if self.alive:
                self._process.kill()
            await self._process.wait()

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return await self._process.wait()

    async def restart(self) -> None:
        """kill -9 and start it again on what it left."""
        await self.kill()
        await self.start()

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), _STOP_S)


class Cluster:
    """What runs, what it accepted, and what it told."""

    def __init__(
        self, root: Path, database_url: str, receiver: CallbackReceiver, environment: Mapping[str, str]
    ) -> None:
        self.root, self.database_url, self.receiver, self.mark = root, database_url, receiver, str(root)
        self.engines: list[Process] = []
        self.workers: list[Process] = []
        self.accepted: list[int] = []
        self.environment = dict(environment)
        self.module = "taskengine"  # what further processes run: the product, or a module of tests that meddles with it
        self.max_jobs = int(environment["TASKENGINE_ENGINE__MAX_JOBS"])
        self.http = aiohttp.ClientSession(headers=HEADERS, timeout=aiohttp.ClientTimeout(total=20))
        self._numbers = itertools.count()
        self._gone: set[str] = set()

    @property
    def processes(self) -> list[Process]:
        """Engines and workers."""
        return [*self.engines, *self.workers]

    def engine(self, **more: str) -> Process:
        """Another engine, to be started; `more` goes to its environment."""
        self.engines.append(self._process("engine", [self.module, "serve", "--no-workers"], more))
        return self.engines[-1]

    def worker(self, *, slots: int = 4, **more: str) -> Process:
        """Another worker of the queue `work`, to be started."""
        command = [self.module, "worker", "--queue", "work", "--concurrency", str(slots)]
        self.workers.append(self._process("worker", command, more))
        return self.workers[-1]

    def _process(self, kind: str, command: list[str], more: Mapping[str, str]) -> Process:
        name = f"{kind}{next(self._numbers)}"
        given = {**self.environment, "TASKENGINE_DATA_DIR": str(self.root / name), **more}
        return Process(name, command, given, self.root / f"{name}.log")

    def gone(self) -> str:
        """An endpoint that wants nothing of any job."""
        self._gone.add(url := self.receiver.script("/gone", GONE))
        return url

    async def submit(
        self, workflow: str = FIVE, x: Any = 0, *, further: Sequence[str] = (), wait_s: float = 60, **fields: Any
    ) -> int:
        """Submit over any engine that answers, again with the same key where none does; the job's id. `further` are
        endpoints beside the one of all jobs."""
        parameters = {"content_id": "test", "x": x, "rest_endpoints": [f"{self.receiver.url}/cb", *further]}
        body = {"job": {"workflow": workflow, **fields}, "parameters": parameters}
        key = {"Idempotency-Key": uuid.uuid4().hex}
        async with asyncio.timeout(wait_s):
            while True:
                status, answer = await self.call("POST", "/job", body, key)
                if status < 300:
                    self.accepted.append(answer["id"])
                    return int(answer["id"])
                assert status >= 500, answer
                await asyncio.sleep(_PAUSE_S)

    async def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, answer) of the first engine that answers, asked in random order; (599, None) where none does."""
        for engine in random.sample(self.engines, len(self.engines)):
            if not engine.alive:
                continue
            try:
                async with self.http.request(method, engine.url + path, json=body, headers=headers) as answer:
                    return answer.status, await answer.json()
            except (aiohttp.ClientError, TimeoutError):
                continue
        return 599, None

    def told(self) -> set[int]:
        """The jobs whose end was told."""
        return {one.body["job_id"] for one in self.receiver.received if "status" in one.body}

    async def finished(self, timeout_s: float) -> None:
        """Wait until every accepted job has told its end."""
        try:
            await self.receiver.wait_for(lambda: set(self.accepted) <= self.told(), timeout_s)
        except TimeoutError:
            missing = sorted(set(self.accepted) - self.told())
            raise AssertionError(f"{len(missing)} jobs did not end in {timeout_s} s: {missing[:20]}") from None

    async def settled(self, timeout_s: float = 60) -> None:
        """Wait until every callback was delivered, as the store knows it."""
        async with asyncio.timeout(timeout_s):
            while (await self.facts()).lines:  # noqa: ASYNC110 - it is other processes
                await asyncio.sleep(0.2)

    async def facts(self) -> Facts:
        """What there is for the oracle now."""
        return await gather(self.database_url, accepted=self.accepted, received=self.receiver.received)

    async def stop(self) -> None:
        """End everything in order, engines last; each exits with 0."""
        for group in (self.workers, self.engines):
            running = [process for process in group if process.alive]
            assert not any(await asyncio.gather(*(process.stop() for process in running)))

    async def ends_well(self, *, callbacks_once: bool = False) -> None:
        """Stop everything and have the oracle judge: AssertionError with each violation."""
        await self.settled()
        for process in self.processes:
            if not process.alive:  # what a kill left is removed by the next start
                await process.start()
        await self.stop()
        found = judge(await self.facts(), max_jobs=self.max_jobs, callbacks_once=callbacks_once, gone=self._gone)
        found += left_behind(
            mark=self.mark,
            empty=[self.root / process.name / "scratch" for process in self.processes] + [self.root / "workspace"],
            storages=[self.root / process.name / "storage" for process in self.processes],
        )
        found += await connections(self.database_url)
        assert not found, "\n".join(found[:50])

    async def close(self) -> None:
        """End whatever still runs."""
        await asyncio.gather(*(process.kill() for process in self.processes))
        await self.http.close()


@asynccontextmanager
async def cluster(
    root: Path,
    database_url: str,
    broker_url: str,
    *,
    engines: int = 1,
    workers: int = 1,
    slots: int = 4,
    max_jobs: int = 8,
    **more: str,
) -> AsyncIterator[Cluster]:
    """Run so many engines and workers, each of these with `slots`, on an empty database and broker; leases last a second.
    `more` goes to the environment of all of them."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(root), "PYTHONPATH": str(ROOT),
        "TASKENGINE_DATABASE_URL": database_url, "TASKENGINE_BROKER_URL": broker_url, "TASKENGINE_PORT": "0",
        "TASKENGINE_BOOTSTRAP_API_KEY": HEADERS["api-key"], "TASKENGINE_WORKSPACE": str(root / "workspace"),
        "TASKENGINE_SEALING_KEY": new_key(),
        "TASKENGINE_WORKFLOWS_DIR": str(write_workflows(root / "workflows", {**WORKFLOWS, FIVE: _FIVE_STEPS})),
        "TASKENGINE_HEARTBEAT_S": "0.35", "TASKENGINE_LEASE_MISSED": "3",
        "TASKENGINE_ENGINE__MAX_JOBS": str(max_jobs), "TASKENGINE_ENGINE__RETRY_DELAY": "0",
        "TASKENGINE_CALLBACKS__DELAYS_S": "[0.2]", "TASKENGINE_BUS__EVENTS": "true", **more,
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(CallbackReceiver())
        made = Cluster(root, database_url, receiver, environment)
        stack.push_async_callback(made.close)
        for _ in range(engines):
            await made.engine().start()  # one after the other: the first one makes the first client
        for _ in range(workers):
            made.worker(slots=slots)
        await asyncio.gather(*(worker.start() for worker in made.workers))
        yield made
