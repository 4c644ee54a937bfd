"""`scripts/bench orchestration`: this engine beside Celery, taskiq and dramatiq, in alternating rounds.

In each round each system is started, warmed, asked for single chains with a pause between them (the idle hop: from one
step to the next), then frozen while it is given all chains of the round, and let go: from there to the end of the last
step is what its tasks/s are made of. So nobody's submission or start is in it, and everybody has a full queue.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiormq
import asyncpg
from aiormq.exceptions import AMQPError

from scripts.benches.peers.client import STEPS
from scripts.benches.results import conclude
from scripts.benches.systems import PEERS_PYTHON, QUEUE_NAMES, Chain, Place, Running, engine, peer
from scripts.benches.usage import cpu_s, listener, peak_mb
from scripts.hosted import ScriptFailed

ENGINE, WITH_EVENTS = "engine", "engine+events"
PEERS = ("celery", "taskiq", "dramatiq")
BARS: Mapping[str, float] = {"celery": 5.0, "taskiq": 1.6, "dramatiq": 1.0}  # tasks/s of the engine, as a multiple
HOP_BAR_MS = 5.0
_WARM, _IDLE, _PAUSE_S = 20, 40, 0.1
_UNITS = {"tasks/s": 0, "idle hop p50 ms": 1, "idle hop p99 ms": 1, "CPU s per 1,000": 2, "peak MB": 0}


async def orchestration(place: Place, *, rounds: int, jobs: int, systems: list[str]) -> dict[str, Any]:
    """Medians over the rounds, and what was measured in each."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    async with servers_of(place, systems) as pids:
        for number in range(rounds):
            for name in systems[number % len(systems) :] + systems[: number % len(systems)]:
                async with _system(name, place) as running:
                    values = await _round(running, jobs, pids)
                found[name].append(values)
                shown = ", ".join(f"{key} {value:.{_UNITS[key]}f}" for key, value in values.items())
                print(f"round {number + 1} of {rounds}: {name}: {shown}", file=sys.stderr, flush=True)
    medians = {
        name: {key: statistics.median(each[key] for each in values) for key in _UNITS} for name, values in found.items()
    }
    return {"jobs": jobs, "medians": medians, "ratios": _ratios(found), "rounds": found}


def _ratios(found: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """The engine's tasks/s by those of each peer in the same round: the median."""
    ours = found.get(ENGINE, ())
    return {
        name: statistics.median(our["tasks/s"] / their["tasks/s"] for our, their in zip(ours, found[name], strict=True))
        for name in PEERS
        if ours and name in found
    }


def _system(name: str, place: Place) -> AbstractAsyncContextManager[Running]:
    return peer(name, place) if name in PEERS else engine(place, events=name == WITH_EVENTS)


async def _round(system: Running, jobs: int, servers: Sequence[int]) -> dict[str, float]:
    await system.submit(_WARM)
    await system.ended()
    await system.submit(_IDLE, _PAUSE_S)
    idle = [_hops(chain) for chain in await system.ended()]
    hops = sorted(hop for chain in idle for hop in chain)
    system.freeze()
    await system.submit(jobs)
    pids = [*system.pids, *servers]
    before, begun = sum(map(cpu_s, pids)), time.time()
    system.thaw()
    chains = await system.ended()
    used = sum(map(cpu_s, pids)) - before
    tasks = sum(map(len, chains))
    if len(chains) != jobs or tasks != jobs * STEPS:
        raise ScriptFailed(f"{jobs} chains were submitted; {len(chains)} with {tasks} steps came to an end")
    return {
        "tasks/s": tasks / (max(chain[-1] for chain in chains) - begun),
        "idle hop p50 ms": statistics.median(map(statistics.mean, idle)) * 1000,  # the engine's times are whole ms
        "idle hop p99 ms": hops[int(len(hops) * 0.99)] * 1000,
        "CPU s per 1,000": used / tasks * 1000,
        "peak MB": sum(map(peak_mb, system.pids)),
    }


def _hops(chain: Chain) -> list[float]:
    return [after - before for before, after in pairwise(chain)]


# ------------------------------------------------------------------------------------------------------------ servers


@asynccontextmanager
async def servers_of(place: Place, systems: Sequence[str]) -> AsyncIterator[list[int]]:
    """A database for each system, and fresh names on the broker; the servers' processes, where they are
    on this machine. Nothing is left of it."""
    names = [f"bench_{name}" for name in dict.fromkeys(name.partition("+")[0] for name in systems)]
    await _clean(place, names)
    connection = await asyncpg.connect(f"{place.database}/postgres")
    try:
        for name in names:
            await connection.execute(f"CREATE DATABASE {name}")
        ports = [urlsplit(url).port for url in (place.database, place.broker, place.redis)]
        pids = [pid for port, usual in zip(ports, (5432, 5672, 6379), strict=True) if (pid := listener(port or usual))]
        yield pids
    finally:
        await connection.close()
        await _clean(place, names)


async def _clean(place: Place, databases: Sequence[str]) -> None:
    connection = await asyncpg.connect(f"{place.database}/postgres")
    try:
        for name in databases:
            await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()
    broker = await aiormq.connect(place.broker)
    ours = ["bench.v1.jobs", "bench.v1.reports", "bench.v1.dead", "bench.v1.tasks.work"]
    exchanges = ["bench.v1.control", "bench.v1.events", "bench.celery", "bench.taskiq"]
    try:
        for name in [*ours, *(queue for names in QUEUE_NAMES.values() for queue in names)]:
            with suppress(AMQPError):
                await (await broker.channel()).queue_delete(name)
        for name in exchanges:
            with suppress(AMQPError):
                await (await broker.channel()).exchange_delete(name)
    finally:
        await broker.close()


# ------------------------------------------------------------------------------------------------------------- report


def faults(result: Mapping[str, Any]) -> list[str]:
    """The bars that were missed."""
    missed = [
        f"{ratio:.2f} times {name}; at least {BARS[name]:g} are asked for"
        for name, ratio in result["ratios"].items()
        if ratio < BARS[name]
    ]
    ours = result["medians"].get(ENGINE)
    if ours and ours["idle hop p50 ms"] >= HOP_BAR_MS:
        missed.append(f"an idle hop takes {ours['idle hop p50 ms']:.1f} ms; less than {HOP_BAR_MS:g} are asked for")
    return missed


def report(result: Mapping[str, Any]) -> None:
    """Print the medians as a table, and the ratios."""
    print(f"{'median':<16}" + "".join(f"{name:>18}" for name in _UNITS))
    for name, values in result["medians"].items():
        print(f"{name:<16}" + "".join(f"{values[key]:>18.{digits}f}" for key, digits in _UNITS.items()))
    for name, ratio in result["ratios"].items():
        print(f"{ratio:.2f} times {name} (bar {BARS[name]:g}: {_verdict(kept=ratio >= BARS[name])})")
    if ours := result["medians"].get(ENGINE):
        hop = ours["idle hop p50 ms"]
        print(f"an idle hop takes {hop:.1f} ms (bar under {HOP_BAR_MS:g}: {_verdict(kept=hop < HOP_BAR_MS)})")


def _verdict(*, kept: bool) -> str:
    return "kept" if kept else "MISSED"


def add_servers(parser: argparse.ArgumentParser) -> None:
    """The options that say where the servers are."""
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1:5432", metavar="URL", help="a server")
    parser.add_argument("--broker", default="amqp://guest:guest@127.0.0.1:5672/", metavar="URL")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/15", metavar="URL", help="it is emptied")


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench orchestration", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="chains in a round")
    parser.add_argument("--systems", default=",".join([ENGINE, *PEERS]), metavar="A,B,…")
    add_servers(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    systems = given.systems.split(",")
    if not PEERS_PYTHON.exists() and set(systems) & set(PEERS):
        parser.error("the peers are not installed: call scripts/bench, which sees to it")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Place(given.database, given.broker, given.redis, Path(folder))
        measurement = orchestration(place, rounds=given.rounds, jobs=given.jobs, systems=systems)
        return conclude(measurement, as_json=given.json, report=report, faults=faults)
