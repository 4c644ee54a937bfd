"""taskiq: taskiq-aio-pika as broker, PostgreSQL for results. A task sends the next one of its chain itself: that is
faster than `taskiq-pipelines`."""

from __future__ import annotations

import asyncio
import os
import pickle
import time

import asyncpg
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType
from taskiq_pg.asyncpg import AsyncpgResultBackend

from scripts.benches.peers.client import LOOK_S, STEPS, arguments, submitted, told

DATABASE = os.environ["PEER_DATABASE"]
NAME = os.environ["PEER_QUEUE"]

results = AsyncpgResultBackend(dsn=DATABASE)
broker = AioPikaBroker(
    os.environ["PEER_BROKER"],
    qos=50,  # of each of its two processes
    exchange=Exchange(name=NAME),
    task_queues=[Queue(name=NAME, type=QueueType.CLASSIC)],
    dead_letter_queue=Queue(name=f"{NAME}.dead", type=QueueType.CLASSIC),
).with_result_backend(results)


@broker.task(task_name="noop")
async def noop(times: list[float]) -> list[float]:
    """Nothing, and when."""
    times = [*times, time.time()]
    if len(times) < STEPS:
        await noop.kiq(times)
    return times


async def main() -> None:
    """The client."""
    await broker.startup()
    database = await asyncpg.connect(DATABASE)
    number, pause_s = arguments()
    begun = time.time()
    wanted = await database.fetchval("SELECT count(*) FROM taskiq_results") + number * STEPS
    for _ in range(number):
        await noop.kiq([])
        await asyncio.sleep(pause_s)
    submitted()
    while await database.fetchval("SELECT count(*) FROM taskiq_results") < wanted:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    rows = await database.fetch("SELECT result FROM taskiq_results")
    found = [pickle.loads(row["result"])["return_value"] for row in rows]  # noqa: S301 - this program wrote them
    told([times for times in found if len(times) == STEPS and times[0] >= begun])
    await database.close()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
