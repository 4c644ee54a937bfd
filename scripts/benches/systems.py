"""The systems that are measured, behind one interface: start, be frozen, take chains, tell when their steps ran."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg

from scripts.benches.peers.client import STEPS
from scripts.hosted import ROOT, Hosted, ScriptFailed, hosted_engine

SLOTS = 100
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
QUEUE_NAMES = {
    "celery": ["bench.celery"],
    "taskiq": ["bench.taskiq", "bench.taskiq.dead"],
    "dramatiq": ["bench.dramatiq", "bench.dramatiq.DQ", "bench.dramatiq.XQ"],
}
_WAIT_S = 120.0
_SUBMITTERS = 20
_LOOK_S = 0.1

Chain = Sequence[float]
"""When each step of a chain ran or, of this engine, ended: seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the servers are, and room for files. The Redis database is emptied."""

    database: str  # URL of a server, without a database
    broker: str
    redis: str
    folder: Path


class Running(Protocol):
    """A system that is up."""

    pids: list[int]  # of its processes

    def freeze(self) -> None:
        """Have its workers stand still."""
        ...

    def thaw(self) -> None:
        """Let them go on."""
        ...

    async def submit(self, chains: int, pause_s: float = 0.0) -> None:
        """Hand it so many chains."""
        ...

    async def ended(self) -> list[Chain]:
        """Wait for all that was handed to it since the last call; when the steps ran."""
        ...


class _Group:
    """A worker program in a process group of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def signal(self, number: signal.Signals) -> None:
        """Signal all of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@asynccontextmanager
async def _program(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> AsyncIterator[_Group]:
    """A program that runs until the block ends."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, env={**environment, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    group = _Group(process)
    try:
        yield group
    finally:
        group.signal(signal.SIGKILL)
        await process.wait()


# --------------------------------------------------------------------------------------------------------------- peers


class _Peer:
    """A peer's workers, and its client as a program for each batch of chains."""

    def __init__(self, module: str, environment: Mapping[str, str], group: _Group, log: Path) -> None:
        self._module, self._environment, self._group, self._log = module, environment, group, log
        self._client: asyncio.subprocess.Process | None = None
        self.pids = [group.process.pid]

    def freeze(self) -> None:
        """Stop its processes."""
        self._group.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._group.signal(signal.SIGCONT)

    async def submit(self, chains: int, pause_s: float = 0.0) -> None:
        """Run the client until it has submitted."""
        with self._log.open("ab") as errors:
            self._client = await asyncio.create_subprocess_exec(
                str(PEERS_PYTHON), "-m", self._module, str(chains), str(pause_s), env=self._environment, cwd=ROOT,
                stdout=asyncio.subprocess.PIPE, stderr=errors, limit=2**26,
            )  # fmt: skip
        if await self._line() != "submitted":
            raise ScriptFailed(f"{self._module} did not submit: {self._last_words()}")

    async def ended(self) -> list[Chain]:
        """What the client tells at its end."""
        assert self._client is not None  # noqa: S101 - for the type checker: `submit` comes first
        line = await self._line()
        await self._client.wait()
        if not line:
            raise ScriptFailed(f"{self._module} told nothing: {self._last_words()}")
        chains: list[Chain] = json.loads(line)
        return chains

    def _last_words(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    async def _line(self) -> str:
        assert self._client is not None  # noqa: S101 - for the type checker
        assert self._client.stdout is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(_WAIT_S):
                return (await self._client.stdout.readline()).decode().strip()
        except TimeoutError:
            self._client.kill()
            raise ScriptFailed(f"{self._module} does not come to an end: {self._last_words()}") from None


_COMMANDS: Mapping[str, Sequence[str]] = {
    "celery": ("-m", "celery", "-A", "{module}", "worker", "--concurrency", "2", "--loglevel", "warning"),
    "taskiq": ("-m", "taskiq", "worker", "{module}:broker", "--workers", "2", "--max-async-tasks", str(SLOTS // 2),
               "--log-level", "WARNING"),
    "dramatiq": ("-m", "dramatiq", "{module}", "--processes", "2", "--threads", "8"),
}  # fmt: skip


@asynccontextmanager
async def peer(name: str, place: Place) -> AsyncIterator[Running]:
    """A peer with its workers running."""
    module = f"scripts.benches.peers.{name}_app"
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PEER_DATABASE": f"{place.database}/bench_{name}",
        "PEER_BROKER": place.broker, "PEER_REDIS": place.redis, "PEER_QUEUE": QUEUE_NAMES[name][0],
        "dramatiq_queue_prefetch": str(SLOTS // 2),  # of each of its two processes
    }  # fmt: skip
    log = place.folder / f"{name}.log"
    argv = [str(PEERS_PYTHON), *(part.format(module=module) for part in _COMMANDS[name])]
    async with _program(argv, environment, log) as group:
        group.signal(signal.SIGSTOP)
        running = _Peer(module, environment, group, log)
        await running.submit(0)  # the client makes the tables; at the same time, they would stumble over each other
        await running.ended()
        running.thaw()
        yield running


# ---------------------------------------------------------------------------------------------------------------- ours

_WORKFLOW = "\n".join([
    "name: chain",
    "description: Steps that do nothing, one after the other.",
    "steps:",
    "  s1: {handler: debug.noop}",
    *(f"  s{number}: {{handler: debug.noop, needs: [s{number - 1}]}}" for number in range(2, STEPS + 1)),
    "",
])  # fmt: skip


class EngineUp:
    """One engine process and one worker process."""

    def __init__(self, engine: Hosted, engine_pid: int, worker: _Group, database: asyncpg.Connection) -> None:
        self.client, self.database = engine.client, database
        self._worker = worker
        self._ids: list[int] = []
        self.pids = [engine_pid, worker.process.pid]

    def freeze(self) -> None:
        """Stop the worker: the engine is who takes the jobs."""
        self._worker.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._worker.signal(signal.SIGCONT)

    async def submit(self, chains: int, pause_s: float = 0.0) -> None:
        """Post the jobs, several at a time where there is no pause."""
        left = iter(range(chains))

        async def some() -> None:
            for _ in left:
                answer = await self.client.submit({"job": {"workflow": "chain"}, "parameters": {}})
                self._ids.append(int(answer["id"]))
                await asyncio.sleep(pause_s)

        await asyncio.gather(*(some() for _ in range(1 if pause_s else _SUBMITTERS)))

    async def ended(self) -> list[Chain]:
        """Ask the database until all have ended: until the last has, for it alone, which costs what is measured least."""
        ids, self._ids = self._ids, []
        async with asyncio.timeout(_WAIT_S):
            for some in (ids[-1:], ids):
                while len(some) > await self._completed(some):  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(_LOOK_S)
        rows = await self.database.fetch(
            "SELECT array_agg(ended_at ORDER BY id) AS ends FROM tasks WHERE job_id = ANY($1) GROUP BY job_id", ids
        )
        return [[end / 1000 for end in row["ends"]] for row in rows]

    async def _completed(self, ids: Sequence[int]) -> int:
        wanted = "SELECT count(*) FROM jobs WHERE id = ANY($1) AND state = 'completed' AND NOT failed"
        return int(await self.database.fetchval(wanted, ids))


@asynccontextmanager
async def engine(place: Place, *, events: bool, max_jobs: int = 100_000) -> AsyncIterator[EngineUp]:
    """This engine, with the events on the bus or without."""
    url = f"{place.database}/bench_engine"
    broker = f"{place.broker}{'&' if '?' in place.broker else '?'}prefix=bench"
    data = place.folder / "data"
    workflows = place.folder / "workflows"
    workflows.mkdir(exist_ok=True)
    (workflows / "chain.yaml").write_text(_WORKFLOW, encoding="ascii")
    config = place.folder / "taskengine.yaml"
    config.write_text(json.dumps({
        "database_url": url, "broker_url": broker, "workflows_dirs": [str(workflows)],
        "engine": {"max_jobs": max_jobs}, "bus": {"events": events}, "log": {"level": "warning", "format": "json"},
    }), encoding="utf-8")  # fmt: skip
    argv = [sys.executable, "-m", "taskengine", "worker", "--queue", "work", "--concurrency", str(SLOTS),
            "--config", str(config), "--data-dir", str(data)]  # fmt: skip
    async with AsyncExitStack() as stack:
        before = set(_children())
        hosted = await stack.enter_async_context(hosted_engine(data, "--no-workers", "--config", str(config)))
        [pid] = set(_children()) - before
        worker = await stack.enter_async_context(_program(argv, {}, place.folder / "worker.log"))
        database = await asyncpg.connect(url)
        stack.push_async_callback(database.close)
        yield EngineUp(hosted, pid, worker, database)


def _children() -> list[int]:
    """Of this process."""
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
