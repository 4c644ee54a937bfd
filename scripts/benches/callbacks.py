"""`scripts/bench callbacks`: durable deliveries beside a bare aiohttp client that posts the same bodies.

The receiver is a process of its own. In each round both deliver to the same endpoints, one after the other: the engine's
delivery from a store on this disk (SQLite, or a private PostgreSQL) that is full of events, in order per job and endpoint, signed; the bare client from
memory, with as many requests at a time. Beside it, on an idle engine, the time from an event to its receipt.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import aiohttp

from scripts.benches.results import Result, above_bars, conclude, report_medians
from scripts.hosted import ScriptFailed
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.callbacks.signing import new_secret
from taskengine.clock import SystemClock
from taskengine.domain.job import Callback, Changes, Job
from taskengine.domain.status import JobState
from taskengine.engine.callback_policy import CallbackPolicy
from taskengine.engine.callbacks import CallbackDelivery
from taskengine.engine.meter import NoMeter
from taskengine.log import configure
from taskengine.net import GuardedClients
from taskengine.ports import NewJob, Store
from taskengine.stores import open_store
from tests.support.delivery_victim import loopback
from tests.support.postgres import running_server

IDLE_BAR_MS = 20.0
_ENDPOINTS, _EVENTS_OF_JOB, _IDLE_EVENTS = 20, 10, 40
_POLICY = CallbackPolicy()
_RECEIVER = """
import asyncio, sys
from aiohttp import web
async def take(request):
    await request.read()
    return web.Response(status=204)
async def main():
    app = web.Application()
    app.router.add_post("/{tail:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def _receiver() -> AsyncIterator[str]:
    """A server that takes everything; its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RECEIVER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        said = await process.stdout.readline() if process.stdout else b""
        if not said:
            raise ScriptFailed("the receiver did not start")
        yield f"http://127.0.0.1:{int(said)}"
    finally:
        process.kill()
        await process.wait()


def _bodies(events: int) -> list[str]:
    plain = {"task_name": "encode", "workflow": "vodstream", "event": "complete", "content_id": "film", "message": ""}
    return [
        json.dumps({"job_id": 1 + number // _EVENTS_OF_JOB, "task_id": number, **plain}) for number in range(events)
    ]


async def _fill(store: Store, urls: Sequence[str], bodies: Sequence[str]) -> None:
    clock = SystemClock()
    for begin in range(0, len(bodies), _EVENTS_OF_JOB):
        [job_id], _ = await store.allocate(jobs=1)
        url, now = urls[job_id % len(urls)], clock.now()
        callbacks = [
            Callback(url, "start", f"msg_{begin + number}", body, now)
            for number, body in enumerate(bodies[begin : begin + _EVENTS_OF_JOB])
        ]
        await store.submit([NewJob(Changes(_job(job_id, now), callbacks=callbacks))], now)


def _job(job_id: int, now: int) -> Job:
    return Job(job_id, "demo", "bench", "d", JobState.QUEUED, now, now, parameters={}, arguments={})


class _Counting(NoMeter):
    """Tells when so many deliveries were made."""

    def __init__(self, wanted: int) -> None:
        self._left, self.done = wanted, asyncio.Event()

    def delivery(self, state: str, seconds: float) -> None:
        """One try."""
        del seconds
        self._left -= state == "delivered"
        if self._left <= 0:
            self.done.set()


@asynccontextmanager
async def _delivery(store: Store, meter: NoMeter) -> AsyncIterator[CallbackDelivery]:
    clock = SystemClock()
    async with GuardedClients() as clients, asyncio.TaskGroup() as group:
        sender = HttpCallbackSender(clients, loopback(new_secret()), clock)
        delivery = CallbackDelivery(store, sender, clock, _POLICY, meter=meter)
        running = group.create_task(delivery.run())
        try:
            yield delivery
        finally:
            running.cancel()


async def durable(database: str, urls: Sequence[str], bodies: Sequence[str]) -> float:
    """Deliveries per second from a full store."""
    async with open_store(database, SystemClock()) as store:
        await _fill(store, urls, bodies)
        counting, began = _Counting(len(bodies)), time.perf_counter()
        async with _delivery(store, counting):
            await counting.done.wait()
            took = time.perf_counter() - began
        return len(bodies) / took


async def bare(urls: Sequence[str], bodies: Sequence[str]) -> float:
    """Posts per second of a client that keeps nothing."""
    gate = asyncio.Semaphore(_POLICY.per_endpoint_concurrency * len(urls))

    async def post(session: aiohttp.ClientSession, number: int) -> None:
        async with (
            gate,
            session.post(
                urls[number % len(urls)], data=bodies[number], headers={"content-type": "application/json"}
            ) as answer,
        ):
            answer.raise_for_status()

    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for number in range(len(bodies)):
            group.create_task(post(session, number))
    return len(bodies) / (time.perf_counter() - began)


async def idle(database: str) -> list[float]:
    """Milliseconds from the moment before an event is written to its receipt, one event at a time."""
    arrived, took = asyncio.Event(), list[float]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(2)
            arrived.set()
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await take(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with (
        server,
        open_store(database, SystemClock()) as store,
        _delivery(store, NoMeter()) as delivery,
    ):
        for number in range(_IDLE_EVENTS):
            arrived.clear()
            now = SystemClock().now()
            [job_id], _ = await store.allocate(jobs=1)
            event = Callback(url, "start", f"msg_{number}", "{}", now)
            began = time.perf_counter()
            await store.submit([NewJob(Changes(_job(job_id, now), callbacks=[event]))], now)
            delivery.wake()
            await arrived.wait()
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.05)
    return took


@asynccontextmanager
async def _databases(folder: Path, *, postgres: bool) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Makes empty databases, by their URLs."""
    numbers = count(1)

    async def file() -> str:
        return f"sqlite:///{folder}/{next(numbers)}.db"

    if not postgres:
        yield file
        return
    with running_server() as server:
        template = await server.migrated()

        async def database() -> str:
            return await server.new_database(template)

        yield database


async def measure(events: int, rounds: int, *, postgres: bool) -> Result:
    """Medians over interleaved rounds."""
    bodies = _bodies(events)
    rates: dict[str, list[float]] = {"durable": [], "bare": []}
    with tempfile.TemporaryDirectory() as made:
        async with _receiver() as base, _databases(Path(made), postgres=postgres) as new:
            urls = [f"{base}/{number}" for number in range(_ENDPOINTS)]
            for number in range(rounds):
                rates["durable"].append(await durable(await new(), urls, bodies))
                rates["bare"].append(await bare(urls, bodies))
                shown = ", ".join(f"{name} {values[-1]:.0f}/s" for name, values in rates.items())
                print(f"round {number + 1} of {rounds}: {shown}", file=sys.stderr, flush=True)
            latencies = await idle(await new())
    durable_s, bare_s = (statistics.median(values) for values in rates.values())
    found = {
        "deliveries_per_s": durable_s, "bare_posts_per_s": bare_s, "ratio": durable_s / bare_s,
        "idle_p50_ms": statistics.median(latencies), "idle_p99_ms": statistics.quantiles(latencies, n=100)[98],
    }  # fmt: skip
    return {"medians": found, "bars": {"idle_p50_ms": IDLE_BAR_MS}}


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where the bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench callbacks", description=__doc__)
    parser.add_argument("--events", type=int, default=5000, metavar="N", help="of a round (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--postgres", action="store_true", help="from a private PostgreSQL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    configure("info")  # as an engine has it
    measurement = measure(max(given.events, _EVENTS_OF_JOB), max(given.rounds, 1), postgres=given.postgres)
    return conclude(measurement, as_json=given.json, report=report_medians, faults=above_bars)
