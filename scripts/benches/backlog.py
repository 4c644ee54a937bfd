"""`scripts/bench backlog`: what a long queue costs. The same jobs are submitted and run on an empty engine and behind a
backlog; order and memory are looked at on the way.

The cost of a submission is the median time of `POST /job` and the CPU of engine and database; that of dispatch the time
and the CPU of jobs going through 100 slots. Neither may be more than twice the empty engine's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from scripts.benches.orchestration import add_servers, servers_of
from scripts.benches.peers.client import STEPS
from scripts.benches.results import Result, conclude
from scripts.benches.systems import EngineUp, Place, engine
from scripts.benches.usage import cpu_s, resident_mb
from taskengine.clock import SystemClock
from taskengine.domain.job import Changes, Job, Task
from taskengine.domain.status import JobState, TaskState
from taskengine.ports import NewJob, Store
from taskengine.stores import open_store

COST_BAR, MEMORY_BAR_MB = 2.0, 20.0
_SLOTS, _BATCH, _PRIORITIES = 100, 500, range(1, 10)
_LOOK_S, _WAIT_S = 0.1, 300.0


async def backlog(place: Place, *, queued: int, jobs: int) -> dict[str, Any]:
    """Costs on the empty engine and behind `queued` jobs, their ratios, and the faults of order."""
    async with servers_of(place, ["engine"]) as servers, engine(place, events=False, max_jobs=0) as running:
        pids = [*running.pids, *servers]
        await _submissions(running, 20, pids)
        await _through(running, 20, pids)  # warm
        empty = await _submissions(running, jobs, pids) | await _through(running, jobs, pids)
        _note(f"empty: {_values(empty)}")
        begun = time.monotonic()
        await _queue(f"{place.database}/bench_engine", queued)
        _note(f"{queued} jobs queued in {time.monotonic() - begun:.0f} s")
        behind = await _submissions(running, jobs, pids) | await _through(running, jobs, pids)
        _note(f"behind {queued}: {_values(behind)}")
        faults = await _faults_of_order(running)
    ratios = {name: behind[name] / empty[name] for name in empty if name != "engine MB"}
    grown = behind["engine MB"] - empty["engine MB"]
    return {"empty": empty, "behind": behind, "ratios": ratios, "grown_mb": grown, "out_of_order": faults}


async def _submissions(running: EngineUp, jobs: int, pids: Sequence[int]) -> dict[str, float]:
    """One after the other."""
    before, times = _cpu(pids), []
    for _ in range(jobs):
        begun = time.perf_counter()
        await running.submit(1)
        times.append((time.perf_counter() - begun) * 1000)
    return {"submission ms": statistics.median(times), "submission CPU ms": (_cpu(pids) - before) * 1000 / jobs}


async def _through(running: EngineUp, jobs: int, pids: Sequence[int]) -> dict[str, float]:
    """Open the slots until so many jobs more have ended."""
    ended = "SELECT count(*) FROM jobs WHERE state = 'completed' AND NOT failed"
    wanted = await running.database.fetchval(ended) + jobs
    before, begun = _cpu(pids), time.monotonic()
    await _slots(running, _SLOTS)
    async with asyncio.timeout(_WAIT_S):
        while (now := await running.database.fetchval(ended)) < wanted:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(_LOOK_S)
    took, tasks = time.monotonic() - begun, (now - wanted + jobs) * STEPS
    used = _cpu(pids) - before
    await _slots(running, 0)
    async with asyncio.timeout(_WAIT_S):
        while await running.database.fetchval("SELECT count(*) FROM jobs WHERE state = 'started'"):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
    return {
        "task ms": took * 1000 / tasks,
        "task CPU ms": used * 1000 / tasks,
        "engine MB": resident_mb(running.pids[0]),
    }


async def _slots(running: EngineUp, count: int) -> None:
    await running.client.save_setting("max_jobs", count)


async def _queue(url: str, amount: int) -> None:
    """Queue copies of a job that has run, with priorities by chance, past the API (its speed is another matter)."""
    dice = random.Random(1)  # noqa: S311 - the same every time
    async with open_store(url, SystemClock()) as store:
        [template] = [job for job in [await store.job(1)] if job is not None]
        tasks = [stored.task for stored in await store.tasks(1)]
        for begun in range(0, amount, _BATCH):
            await _submit(
                store, template, tasks, [dice.choice(_PRIORITIES) for _ in range(min(_BATCH, amount - begun))]
            )


async def _submit(store: Store, job: Job, tasks: Sequence[Task], priorities: Sequence[int]) -> None:
    now = SystemClock().now()
    ids, task_ids = await store.allocate(jobs=len(priorities), tasks=len(priorities) * len(tasks))
    free = iter(task_ids)
    queued = replace(
        job, state=JobState.QUEUED, created_at=now, updated_at=now, started_at=None, completed_at=None, result=None
    )
    new = [
        Changes(
            replace(queued, id=job_id, priority=priority),
            new_tasks=[
                Task(
                    next(free),
                    job_id,
                    task.step,
                    None,
                    task.handler,
                    task.queue,
                    TaskState.BLOCKED,
                    now,
                    priority=priority,
                )
                for task in tasks
            ],
        )
        for job_id, priority in zip(ids, priorities, strict=True)
    ]
    await store.submit([NewJob(changes) for changes in new], now)


async def _faults_of_order(running: EngineUp) -> int:
    """How many jobs were started before one that was queued then, and was before them in the order."""
    rows = await running.database.fetch(
        "SELECT id, priority, started_at FROM jobs WHERE started_at IS NOT NULL ORDER BY started_at, priority, id"
    )
    queued_since = await running.database.fetchval("SELECT max(created_at) FROM jobs")
    places = [(row["priority"], row["id"]) for row in rows if row["started_at"] >= queued_since]
    waiting = await running.database.fetchrow(
        "SELECT priority, id FROM jobs WHERE state = 'queued' ORDER BY priority, id LIMIT 1"
    )
    if waiting is not None:
        places.append((waiting["priority"], waiting["id"]))
    return sum(before > after for before, after in pairwise(places))


def _cpu(pids: Sequence[int]) -> float:
    return sum(map(cpu_s, pids))


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def faults(result: Mapping[str, Any]) -> list[str]:
    """The bars that were missed."""
    missed = [
        f"{name}: {ratio:.2f} times the empty engine's" for name, ratio in result["ratios"].items() if ratio > COST_BAR
    ]
    if result["grown_mb"] > MEMORY_BAR_MB:
        missed.append(f"the engine grew by {result['grown_mb']:.0f} MB")
    if result["out_of_order"]:
        missed.append(f"{result['out_of_order']} jobs were started before one that came first")
    return missed


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench backlog", description=__doc__)
    parser.add_argument("--queued", type=int, default=100_000, metavar="N", help="jobs in the queue")
    parser.add_argument("--jobs", type=int, default=300, metavar="N", help="that are submitted and run to measure")
    add_servers(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Place(given.database, given.broker, given.redis, Path(folder))
        measurement = backlog(place, queued=given.queued, jobs=given.jobs)
        return conclude(measurement, as_json=given.json, report=report, faults=faults)


def report(result: Result) -> None:
    """What each took on the empty engine and behind the queue."""
    for name, ratio in result["ratios"].items():
        print(f"{name:<20} {result['empty'][name]:8.2f} {result['behind'][name]:8.2f}   {ratio:.2f} times")
    print(f"{'engine MB':<20} {result['empty']['engine MB']:8.0f} {result['behind']['engine MB']:8.0f}")
