"""`soak callbacks`: every way in which endpoints fail, while what delivers is killed; and healthy endpoints beside dead ones."""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from scripts.soaks.servers import Options, Servers
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.clock import SystemClock
from taskengine.domain.job import Callback, Changes
from taskengine.engine.callback_policy import CallbackPolicy
from taskengine.engine.callbacks import CallbackDelivery
from taskengine.log import configure
from taskengine.net import GuardedClients
from taskengine.ports import NewJob
from taskengine.stores import open_store
from tests.support.delivery_victim import loopback
from tests.support.receiver import CallbackReceiver
from tests.support.stores import a_job
from tests.support.storm import storm

HEALTHY_BAR_S = 1.0
EVENTS_OF_JOB = 200  # so that `--jobs 500` is 100,000 events
_ROUND_S = 0.5


async def soak_callbacks(servers: Servers, options: Options) -> Mapping[str, float]:
    """200 events per job through failing endpoints, two deliverers killed at random; then 50 dead endpoints of 100."""
    configure("error")  # each failure is a warning
    url = await servers.postgres.new_database(await servers.postgres.migrated())
    events = options.jobs * EVENTS_OF_JOB
    numbers = await storm(url, servers.root, events=events, seed=options.seed, engines=2, every_s=options.every_s)
    await servers.postgres.drop_database(url)
    return {**numbers, **await beside_the_dead(servers.root, rounds=options.rounds)}


async def beside_the_dead(
    folder: Path, *, rounds: int, dead: int = 50, healthy: int = 50, bar_s: float = HEALTHY_BAR_S
) -> dict[str, float]:
    """An event for each of the endpoints in every round; half of the dead ones take a connection and never answer, half
    refuse it. AssertionError where the healthy ones' p99 from event to receipt is beyond the bar."""
    clock, sent, took = SystemClock(), dict[str, float](), list[float]()

    with _dead(dead) as gone:
        async with (
            CallbackReceiver() as receiver,
            open_store(f"sqlite:///{folder}/beside.db", clock) as store,
            GuardedClients() as clients,
            asyncio.TaskGroup() as group,
        ):
            urls = [*gone, *(f"{receiver.url}/{number}" for number in range(healthy))]
            delivery = CallbackDelivery(store, HttpCallbackSender(clients, loopback(), clock), clock, CallbackPolicy())
            running = group.create_task(delivery.run())
            for round_ in range(rounds):
                [job_id], _ = await store.allocate(jobs=1)
                names = [f"msg_{round_}_{number}" for number in range(len(urls))]
                sent.update(dict.fromkeys(names, time.monotonic()))
                events = [
                    Callback(url, "start", name, "{}", clock.now()) for url, name in zip(urls, names, strict=True)
                ]
                await store.submit([NewJob(Changes(a_job(job_id), callbacks=events))], clock.now())
                delivery.wake()
                await receiver.wait_for((round_ + 1) * healthy, timeout_s=30)
                now = time.monotonic()
                took += [now - sent[one.headers["webhook-id"]] for one in receiver.received[round_ * healthy :]]
                await asyncio.sleep(_ROUND_S)
            running.cancel()
    p99 = statistics.quantiles(took, n=100)[98]
    assert p99 < bar_s, f"the p99 of healthy endpoints is {p99:.2f} s beside {dead} dead ones"
    return {"healthy_p50_s": round(statistics.median(took), 4), "healthy_p99_s": round(p99, 4)}


@contextmanager
def _dead(count: int) -> Iterator[list[str]]:
    """URLs of servers that never answer, and of ports where nobody listens."""
    with ExitStack() as stack:
        urls = []
        for number in range(count):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            if number % 2:
                taken.listen(128)
            urls.append(f"http://127.0.0.1:{taken.getsockname()[1]}/hook")
        yield urls
