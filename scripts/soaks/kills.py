"""`soak kills`: jobs of five steps while engines and workers are killed at random; nothing is lost, stuck or double."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping

from scripts.soaks.servers import Options, Servers
from tests.support.cluster import Cluster

WAIT_S = 180.0  # for the end of the jobs after the last kill


async def run_kills(running: Cluster, *, jobs: int, every_s: float, seed: int, step_s: float) -> dict[str, float]:
    """Submit so many jobs, kill a process of the cluster with every tick and start it again, until all jobs have ended;
    then the oracle judges (AssertionError). What was done, in numbers."""
    chance = random.Random(seed)
    began, kills = time.monotonic(), 0
    limit = began + WAIT_S + jobs * step_s * 5
    submitting = asyncio.create_task(_submit(running, jobs, step_s))
    try:
        while not (submitting.done() and set(running.accepted) <= running.told()):
            assert time.monotonic() < limit, f"stuck: {sorted(set(running.accepted) - running.told())[:20]}"
            await asyncio.wait({submitting}, timeout=every_s)
            if submitting.done():
                await submitting
                await asyncio.sleep(every_s)
            if len(running.told()) < jobs:
                await chance.choice(running.processes).restart()
                kills += 1
    finally:
        submitting.cancel()
    await running.ends_well()
    return {"jobs": len(running.accepted), "kills": kills, "seconds": round(time.monotonic() - began, 1)}


async def _submit(running: Cluster, jobs: int, step_s: float) -> None:
    async with asyncio.TaskGroup() as group:
        limit = asyncio.Semaphore(4)

        async def one() -> None:
            async with limit:
                await running.submit(x=step_s)

        for _ in range(jobs):
            group.create_task(one())


async def soak_kills(servers: Servers, options: Options) -> Mapping[str, float]:
    """Jobs of five steps on two engines and three workers, one of which is killed (SIGKILL) at random every 2 s."""
    async with servers.cluster(engines=2, workers=3) as running:
        return await run_kills(running, jobs=options.jobs, every_s=options.every_s, seed=options.seed, step_s=0.5)
