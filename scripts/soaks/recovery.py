"""`soak recovery`: how long work stands still after kill -9 of a worker, and of an engine beside another one."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import asyncpg

from scripts.soaks.servers import Options, Servers
from taskengine.domain.retry import LOSSES_AT_ONCE
from tests.support.cluster import Cluster, Process
from tests.support.oracle import Facts

WORKER_BAR_S, ENGINE_BAR_S = 20.0, 5.0
_NAP_S = 30  # longer than a lease: a task whose worker was killed does not end before it is noticed
_WAIT_S = 60.0
_SLOTS = 32  # of a worker: one is free for what is begun again, however many naps have piled up
# What was lost too often waits longer, so that it takes no worker again soon: that is no part of what is measured.
_RUNNING = "SELECT id FROM tasks WHERE state = 'running' AND losses < $2::int AND worker LIKE '%-' || $1::text"
_AGAIN = """
SELECT task_id, min(started_at) AS at FROM (
    SELECT id AS task_id, attempt, attempt_started_at AS started_at FROM tasks
    UNION ALL SELECT task_id, attempt, started_at FROM attempts
) AS begun WHERE task_id = ANY($1::bigint[]) AND started_at > $2 GROUP BY task_id
"""


async def soak_recovery(servers: Servers, options: Options) -> Mapping[str, float]:
    """How long work stands still after kill -9 of a worker (p99 under 20 s), and of an engine (under 5 s)."""
    chance = random.Random(options.seed)
    heartbeat = {"TASKENGINE_HEARTBEAT_S": "5"}  # as it is unless somebody sets it
    async with servers.cluster(engines=2, workers=4, slots=_SLOTS, max_jobs=64, **heartbeat) as running:
        waits = await after_workers(running, rounds=options.rounds, chance=chance, nap_s=_NAP_S)
        await running.finished(_NAP_S * 6)
        await running.ends_well()
    async with servers.cluster(engines=2, workers=2, max_jobs=64, **heartbeat) as running:
        stalls = await after_engines(running, rounds=options.rounds, chance=chance)
        await running.finished(_WAIT_S)
        await running.ends_well()
    found = {
        "attempts_lost": len(waits), "worker_p50_s": _quantile(waits, 0.5), "worker_p99_s": _quantile(waits, 0.99),
        "engines_killed": len(stalls), "engine_p50_s": _quantile(stalls, 0.5), "engine_worst_s": max(stalls),
    }  # fmt: skip
    assert found["worker_p99_s"] < WORKER_BAR_S, found
    assert found["engine_worst_s"] < ENGINE_BAR_S, found
    return found


async def after_workers(running: Cluster, *, rounds: int, chance: random.Random, nap_s: float) -> list[float]:
    """Seconds from the kill of a worker to the next start of each task that it was at."""
    connection = await asyncpg.connect(running.database_url)
    waits: list[float] = []
    try:
        for _ in range(rounds):
            jobs = [await running.submit("sleeps", nap_s) for _ in range(len(running.workers) * 2)]
            await _until_started(connection, jobs)
            await asyncio.sleep(chance.uniform(0, nap_s / 6))
            victim = await _busy(connection, running.workers, chance)
            waits += await _killed(connection, victim)
            await victim.start()
    finally:
        await connection.close()
    return waits


async def _until_started(connection: asyncpg.Connection, jobs: Sequence[int]) -> None:
    query = "SELECT count(DISTINCT job_id) FROM tasks WHERE job_id = ANY($1::bigint[]) AND attempt_started_at > 0"
    async with asyncio.timeout(_WAIT_S):
        while await connection.fetchval(query, jobs) < len(jobs):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.1)


async def _busy(connection: asyncpg.Connection, workers: Sequence[Process], chance: random.Random) -> Process:
    """One that is at a task: they take them as they come, so that another may have none."""
    for worker in chance.sample(workers, len(workers)):
        if await connection.fetch(_RUNNING, str(worker.pid), LOSSES_AT_ONCE):
            return worker
    raise AssertionError("no worker is at a task")


async def _killed(connection: asyncpg.Connection, victim: Process) -> list[float]:
    held = [row["id"] for row in await connection.fetch(_RUNNING, str(victim.pid), LOSSES_AT_ONCE)]
    await victim.kill()
    at = time.time_ns() // 1_000_000
    async with asyncio.timeout(_WAIT_S):
        while len(again := await connection.fetch(_AGAIN, held, at)) < len(held):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.1)
    return [(row["at"] - at) / 1000 for row in again]


async def after_engines(running: Cluster, *, rounds: int, chance: random.Random) -> list[float]:
    """For each kill of an engine, the longest time in seconds for which a task that could start, at the kill or after
    it, had to wait. Slots and workers are more than enough."""
    kills: list[int] = []
    for _ in range(rounds):
        submitting = asyncio.create_task(_stream(running, 20))
        await asyncio.sleep(chance.uniform(0.3, 1.5))
        victim = chance.choice(running.engines)
        await victim.kill()
        kills.append(time.time_ns() // 1_000_000)
        await submitting
        await running.finished(_WAIT_S)
        await victim.start()
    facts = await running.facts()
    longest: defaultdict[int, float] = defaultdict(float)
    for free_at, begun_at in _waits(facts):
        for kill in kills:
            if kill <= begun_at and free_at < kill + ENGINE_BAR_S * 1000:
                longest[kill] = max(longest[kill], (begun_at - max(free_at, kill)) / 1000)
    return [longest[kill] for kill in kills]


async def _stream(running: Cluster, jobs: int) -> None:
    for _ in range(jobs):
        await running.submit(x=0.05)
        await asyncio.sleep(0.05)


def _waits(facts: Facts) -> list[tuple[int, int]]:
    """(when a task could start, when it did: the attempt that counts), ms."""
    tasks: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for task in facts.tasks:
        tasks[task["job_id"]][task["step"]] = task["ended_at"]
    digests = {job["id"]: job["workflow_digest"] for job in facts.jobs}
    accepted = {job["id"]: job["created_at"] for job in facts.jobs}
    begun = {row["task_id"]: row["started_at"] for row in facts.attempts if row["outcome"] == "completed"}
    found = []
    for task in facts.tasks:
        needs = facts.needs[digests[task["job_id"]]][task["step"]]
        free_at = max((tasks[task["job_id"]][step] for step in needs), default=accepted[task["job_id"]])
        found.append((free_at, begun[task["id"]]))
    return found


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2)
