"""Endpoints that do everything wrong, a store full of events for them, and the judge of what came.

Every event's body names its line (job and endpoint) and its number in it. A number may be asked for only when all before it
were answered well, or given up because the endpoint did not want them.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from standardwebhooks import Webhook

from taskengine.clock import SystemClock
from taskengine.domain.job import Callback, Changes
from taskengine.ports import NewJob, Store
from taskengine.stores import open_store
from tests.support.delivery_victim import POLICY, SECRET
from tests.support.stores import a_job

ROOT = Path(__file__).parents[2]
EVENTS_OF_LINE = 10  # the last one is the job's
ENDPOINTS = 100
_UNWANTED_EVERY = 10  # of so many endpoints one answers 404 to the first event of every line
_BATCH = 100  # jobs stored with one write
_RESTART_S = 2.0  # of the receiver, at most
_FAULTS = ("500", "429", "reset", "redirect", "hang", "drip_headers", "garbage")
_ODD_SUCCESSES = ("flood", "drip_body", "reset_body")
Line = tuple[int, str]  # job, path of the endpoint


@dataclass
class Judge:
    """What was asked and answered."""

    answered: dict[Line, set[int]] = field(default_factory=lambda: defaultdict(set))  # well
    ids: dict[tuple[Line, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    faults: list[str] = field(default_factory=list)
    requests: int = 0
    last_at: float = field(default_factory=time.monotonic)

    def asked(self, line: Line, number: int, webhook_id: str) -> None:
        """A delivery arrives."""
        self.requests += 1
        self.ids[line, number].add(webhook_id)
        missing = set(range(1 if unwanted(line[1]) else 0, number)) - self.answered[line]
        if missing:
            self.faults.append(f"{line}: {number} came before {sorted(missing)}")

    def well(self, line: Line, number: int) -> None:
        """It is answered with a 2xx."""
        self.answered[line].add(number)
        self.last_at = time.monotonic()

    def judge(self, lines: Sequence[Line]) -> None:
        """AssertionError where a promise was broken."""
        assert not self.faults, self.faults[:5]
        due = {line: set(range(1 if unwanted(line[1]) else 0, EVENTS_OF_LINE)) for line in lines}
        missing = {
            line: numbers - self.answered[line] for line, numbers in due.items() if numbers - self.answered[line]
        }
        assert not missing, f"{len(missing)} lines lack deliveries, such as {next(iter(missing.items()))}"
        several = [key for key, ids in self.ids.items() if len(ids) != 1]
        assert not several, f"several webhook-ids for {several[:3]}"
        assert len({next(iter(ids)) for ids in self.ids.values()}) == len(self.ids), "a webhook-id for two deliveries"


def unwanted(path: str) -> bool:
    """Whether the endpoint answers 404 to the first event of each line."""
    return int(path.rpartition("/")[2]) % _UNWANTED_EVERY == 0


class Storm:
    """A server with all the endpoints. `calm`: the share of requests that are answered as they should be."""

    def __init__(self, seed: int, calm: float = 0.8) -> None:
        self.judge, self.calm = Judge(), calm
        self.canary = 0
        self._chance = random.Random(seed)
        self._runner: web.AppRunner | None = None
        self._port = 0

    def urls(self) -> list[str]:
        """Of the endpoints."""
        return [f"http://127.0.0.1:{self._port}/e/{number}" for number in range(ENDPOINTS)]

    @asynccontextmanager
    async def serving(self, restart_s: float | None = None) -> AsyncIterator[Storm]:
        """Listen until the block ends; with `restart_s` the server is away for a moment that often."""
        await self._listen()
        restarting = asyncio.create_task(self._restart(restart_s)) if restart_s else None
        try:
            yield self
        finally:
            if restarting is not None:
                restarting.cancel()
                await asyncio.wait([restarting])
            if self._runner is not None:
                await self._runner.cleanup()

    async def _listen(self) -> None:
        application = web.Application()
        application.router.add_post("/e/{number}", self._deliver)
        application.router.add_route("*", "/{tail:.*}", self._wrong)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def _restart(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            if self._runner is not None:
                await self._runner.cleanup()
            await asyncio.sleep(self._chance.uniform(0, min(every_s, _RESTART_S)))
            await self._listen()

    async def _wrong(self, request: web.Request) -> web.Response:
        self.canary += 1
        return web.Response()

    async def _deliver(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        Webhook(SECRET).verify(raw, dict(request.headers))
        body = json.loads(raw)
        line, number = (int(body["job_id"]), request.path), int(body["number"])
        self.judge.asked(line, number, request.headers["webhook-id"])
        if number == 0 and unwanted(request.path):
            return web.Response(status=404)
        if self._chance.random() > self.calm:
            kind = self._chance.choice(_FAULTS + _ODD_SUCCESSES)
            if kind in _FAULTS:
                return await self._fault(kind, request)
            self.judge.well(line, number)
            return await self._odd_success(kind, request)
        self.judge.well(line, number)
        return web.Response(status=204)

    async def _fault(self, kind: str, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        if kind in {"500", "429"}:
            return web.Response(status=int(kind), headers={"Retry-After": "0"} if kind == "429" else {})
        if kind == "redirect":
            return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{self._port}/canary"})
        if transport is not None and kind == "reset":
            transport.abort()
        elif transport is not None and kind == "garbage":
            transport.write(b"220 mail.example ESMTP\r\n")
            transport.close()
        elif transport is not None and kind == "drip_headers":
            transport.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLICY.timeout_s * 2):
                    while not transport.is_closing():
                        transport.write(b"x")
                        await asyncio.sleep(0.05)
            transport.abort()
        else:
            await asyncio.sleep(POLICY.timeout_s * 2)
        return web.Response(status=500)

    async def _odd_success(self, kind: str, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if kind == "flood":
            response.content_length = 10_000_000_000
        await response.prepare(request)
        with suppress(ConnectionError):
            if kind == "reset_body" and request.transport is not None:
                request.transport.abort()
            while kind == "flood":
                await response.write(bytes(65536))
            for _ in range(20 if kind == "drip_body" else 0):
                await response.write(b"x")
                await asyncio.sleep(0.05)
        return response


async def fill(store: Store, urls: Sequence[str], lines: int) -> list[Line]:
    """Jobs with events for one endpoint each, all due; the lines."""
    filled: list[Line] = []
    for begin in range(0, lines, _BATCH):
        jobs = []
        for job_id in range(begin + 1, min(begin + _BATCH, lines) + 1):
            url = urls[job_id % len(urls)]
            jobs.append(NewJob(Changes(a_job(job_id, endpoints=(url,)), callbacks=_events(job_id, url))))
            filled.append((job_id, "/" + url.split("/", 3)[3]))
        await store.submit(jobs, SystemClock().now())
    return filled


def _events(job_id: int, url: str) -> list[Callback]:
    now = SystemClock().now()
    return [
        Callback(
            url, "job" if number == EVENTS_OF_LINE - 1 else "start", f"msg_{job_id}_{number}",
            json.dumps({"job_id": job_id, "number": number}), now, patience_ms=3_600_000,
        )
        for number in range(EVENTS_OF_LINE)
    ]  # fmt: skip


class Victims:
    """Processes that deliver, to be killed."""

    def __init__(self, url: str, count: int, log: Path) -> None:
        self._url, self._log = url, log
        self._alone = "1" if count == 1 else "0"
        self._running: list[asyncio.subprocess.Process | None] = [None] * count
        self.kills = 0

    async def start(self, number: int) -> None:
        """One of them."""
        with self._log.open("ab") as log:
            self._running[number] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.support.delivery_victim", self._url, self._alone,
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self, number: int) -> None:
        """kill -9; where it had ended by itself, that is a fault."""
        process = self._running[number]
        if process is not None:
            assert process.returncode is None, f"the delivery ended by itself: {self._log.read_text()[-2000:]}"
            process.send_signal(signal.SIGKILL)
            await process.wait()
            self._running[number] = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Victims]:
        """All of them, killed at the end."""
        try:
            for number in range(len(self._running)):
                await self.start(number)
            yield self
        finally:
            for number in range(len(self._running)):
                await self.kill(number)

    async def harass(self, judge: Judge, chance: random.Random, every_s: float) -> None:
        """Kill one and start it again, for ever, about that often while deliveries are made."""
        while True:
            seen = judge.requests
            while judge.requests == seen:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)
            await asyncio.sleep(chance.uniform(0.1, 1.9) * every_s)
            number = chance.randrange(len(self._running))
            await self.kill(number)
            self.kills += 1
            await self.start(number)


async def storm(
    url: str, folder: Path, *, events: int, seed: int, engines: int = 1, every_s: float = 2.0, patience_s: float = 60
) -> dict[str, float]:
    """Deliver so many events through the storm while what delivers is killed at random; AssertionError where one is
    missing, out of order or has two ids. `patience_s`: without a delivery. What was done, in numbers."""
    chance = random.Random(seed)
    began = time.monotonic()
    async with Storm(seed).serving(restart_s=every_s * 5) as world:
        async with open_store(url, SystemClock()) as store:
            lines = await fill(store, world.urls(), max(events // EVENTS_OF_LINE, 1))
        due = sum(EVENTS_OF_LINE - unwanted(path) for _, path in lines)
        victims = Victims(url, engines, folder / "deliveries.log")
        world.judge.last_at = time.monotonic()
        async with victims.running():
            killing = asyncio.create_task(victims.harass(world.judge, chance, every_s))
            try:
                while sum(map(len, world.judge.answered.values())) < due and not killing.done():
                    assert time.monotonic() - world.judge.last_at < patience_s, "nothing is delivered any more"
                    await asyncio.sleep(0.1)
            finally:
                killing.cancel()
                await asyncio.wait([killing])
            if not killing.cancelled():
                killing.result()
            await _settled(url, engines, patience_s)
        world.judge.judge(lines)
        assert world.canary == 0, "a redirect was followed"
        await _as_stored(url, lines)
        return {
            "events": len(lines) * EVENTS_OF_LINE, "requests": world.judge.requests, "kills": victims.kills,
            "seconds": round(time.monotonic() - began, 1),
        }  # fmt: skip


async def _settled(url: str, engines: int, patience_s: float) -> None:
    """Wait until the store knows of all that was answered; a directory's store has one owner: then it is the victim's."""
    del engines
    until = time.monotonic() + patience_s
    async with open_store(url, SystemClock()) as store:
        while (await store.callback_backlog())[0]:
            assert time.monotonic() < until, f"undelivered at the end: {await store.callback_backlog()}"
            await asyncio.sleep(0.1)


async def _as_stored(url: str, lines: Sequence[Line]) -> None:
    """Delivered is what was answered well, dead what was not wanted, after the tries that it is given at least."""
    async with open_store(url, SystemClock()) as store:
        for job_id, path in lines:
            found = await store.callbacks(job_id)
            states = [one["state"] for one in found]
            first = ["dead"] if unwanted(path) else ["delivered"]
            assert states == first + ["delivered"] * (EVENTS_OF_LINE - 1), (job_id, path, states)
            if unwanted(path):
                assert found[0]["attempts"] >= POLICY.retry_limit, found[0]
