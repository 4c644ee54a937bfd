"""`soak rabbitmq`, `postgres` and `network`: jobs are submitted all the while, as faults befall a server or the ways there."""

from __future__ import annotations

import asyncio
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import asyncpg

from scripts.soaks.servers import Options, Servers
from tests.support.cluster import FIVE, Cluster
from tests.support.cluster import cluster as cluster_of
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.rabbitmq import unique_prefix

WAIT_S = 180.0  # for the end of the jobs after the last fault
_EACH_S = 0.5  # and for each of them: on a busy machine there are many left
LONGEST_AWAY_S = 30.0
_AGAIN_S = 0.3
_NO_ANSWER = 0  # in the place of a status
_RATE = 8.0  # jobs per second
_WORKFLOWS = ((FIVE, 0.02), ("chain", 0), ("fan", 0), ("sleeps", 0.5))

Fault = Callable[[], Awaitable[None]]


class Place:
    """A cluster whose ways to its servers lead through proxies, and how it answered."""

    def __init__(
        self, servers: Servers, running: Cluster, prefix: str, database: FaultProxy, broker: FaultProxy
    ) -> None:
        self.servers, self.running, self.prefix = servers, running, prefix
        self.database, self.broker = database, broker
        self.answers: Counter[int] = Counter()  # of submissions, by status
        self.slowest_s = 0.0

    # ------------------------------------------------------------------------------------------------- submissions

    async def submit(self, chance: random.Random) -> None:
        """Have a job accepted, again with the same key where an engine answers 503; it says when to come again."""
        workflow, x = chance.choice(_WORKFLOWS)
        parameters = {"content_id": "test", "x": x, "rest_endpoints": [f"{self.running.receiver.url}/cb"]}
        body, key = {"job": {"workflow": workflow}, "parameters": parameters}, uuid.uuid4().hex
        while not await self._accepted(chance.choice(self.running.engines).url, body, key):  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN_S)

    async def _accepted(self, url: str, body: Any, key: str) -> bool:
        began = time.monotonic()
        try:
            async with self.running.http.post(f"{url}/job", json=body, headers={"Idempotency-Key": key}) as answer:
                content = await answer.json()
        except TimeoutError:  # a database that is slow, not away, lets submissions pile up: the client asks again
            self.answers[_NO_ANSWER] += 1
            return False
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.answers[answer.status] += 1
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0
            return False
        assert answer.status == 200, content
        self.running.accepted.append(content["id"])
        return True

    async def endure(self, faults: Iterable[Fault], *, seed: int, every_s: float) -> dict[str, Any]:
        """Submit as the faults come one after the other; when all has ended, the oracle judges (AssertionError)."""
        over, chance = asyncio.Event(), random.Random(seed)

        async def use() -> None:
            async with asyncio.TaskGroup() as submissions:
                while not over.is_set():
                    submissions.create_task(self.submit(chance))
                    await asyncio.sleep(1 / _RATE)

        done = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(use())
            for fault in faults:
                await fault()
                await asyncio.sleep(every_s)
                done += 1
            over.set()
        await self.running.finished(WAIT_S + _EACH_S * len(self.running.accepted))
        await self.running.settled()
        facts = await self.running.facts()
        assert len(facts.jobs) == len(set(self.running.accepted)), "a submission was stored twice"
        assert not [job["id"] for job in facts.jobs if job["failed"]]
        await self._queues_run_empty()
        await self._everybody_listens()
        await self.running.ends_well()
        return {
            "faults": done, "jobs": len(facts.jobs), "answered 503": self.answers[503],
            "not answered in time": self.answers[_NO_ANSWER],
            "slowest answer s": round(self.slowest_s, 1),
        }  # fmt: skip

    async def _queues_run_empty(self) -> None:
        """No task waits that nobody will take, and nothing was a dead letter."""
        async with self.channel() as channel, asyncio.timeout(WAIT_S):
            while (await channel.queue_declare(f"{self.prefix}.v1.tasks.work", passive=True)).message_count:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert (await channel.queue_declare(f"{self.prefix}.v1.dead", passive=True)).message_count == 0

    async def _everybody_listens(self) -> None:
        """Each process consumes what it is for: where one does not, the others hide it."""
        engines, workers = len(self.running.engines), len(self.running.workers)
        wanted = {"reports": engines, "jobs": engines, "tasks.work": workers}
        found: dict[str, int] = {}
        until = time.monotonic() + WAIT_S
        while found != wanted:
            assert time.monotonic() < until, f"channels that consume: {found}, where {wanted} should be"
            told = await self.servers.rabbitmq.control("list_consumers", "-q", "queue_name", "channel_pid")
            consuming = {tuple(line.split("\t")) for line in told.splitlines()}  # a channel may have several consumers
            found = {queue: sum(name == f"{self.prefix}.v1.{queue}" for name, _ in consuming) for queue in wanted}

    # ------------------------------------------------------------------------------------------------------ faults

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[aiormq.Channel]:
        """A channel beside the engine's, for looking and for mischief."""
        async with aiormq.connect(f"amqp://guest:guest@127.0.0.1:{self.servers.rabbitmq.port}/") as connection:
            channel = await connection.channel()
            assert isinstance(channel, aiormq.Channel)
            yield channel

    def of_rabbitmq(self, away_s: float) -> Mapping[str, Fault]:
        """What may befall RabbitMQ and the way there, for `away_s` seconds where it lasts."""
        return {
            "close_all_connections": self._close_all_connections,
            "queue purged": lambda: self._of_each_queue("queue_purge"),
            "queue deleted": lambda: self._of_each_queue("queue_delete"),
            "memory alarm": lambda: self._memory_alarm(away_s),
            "kill -9": lambda: self._rabbitmq_away(signal.SIGKILL, away_s),
            "restart": lambda: self._rabbitmq_away(signal.SIGTERM, 0),
            **_of_a_way(self.broker, away_s),
        }

    def of_postgres(self, away_s: float) -> Mapping[str, Fault]:
        """What may befall PostgreSQL and the way there, for `away_s` seconds where it lasts."""
        return {
            "pg_terminate_backend": self._terminate_backends,
            "cut after COMMIT": self._cut_after_commit,
            "immediate stop": lambda: self._postgres_away(away_s),
            **_of_a_way(self.database, away_s),
        }

    def of_the_network(self, away_s: float) -> Mapping[str, Fault]:
        """What may befall the ways to both at once; the one to RabbitMQ is there again first, where it lasts."""
        ways = [_of_a_way(self.broker, 0.8 * away_s), _of_a_way(self.database, away_s)]

        def both(name: str) -> Fault:
            async def fault() -> None:
                await asyncio.gather(*(way[name]() for way in ways))

            return fault

        return {name: both(name) for name in ways[0]}

    async def _close_all_connections(self) -> None:
        await self.servers.rabbitmq.control("close_all_connections", "a fault")

    async def _of_each_queue(self, what: str) -> None:
        async with self.channel() as channel:
            for queue in ("tasks.work", "reports"):
                await getattr(channel, what)(f"{self.prefix}.v1.{queue}")

    async def _memory_alarm(self, seconds: float) -> None:
        await self.servers.rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
        await asyncio.sleep(seconds)
        await self.servers.rabbitmq.control("set_vm_memory_high_watermark", "0.4")

    async def _rabbitmq_away(self, number: signal.Signals, seconds: float) -> None:
        await asyncio.to_thread(self.servers.rabbitmq.kill, number)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.servers.rabbitmq.start)

    async def _postgres_away(self, seconds: float) -> None:
        await asyncio.to_thread(self.servers.postgres.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.servers.postgres.start)

    async def _terminate_backends(self) -> None:
        connection = await asyncpg.connect(self.running.database_url)
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"
            )
        finally:
            await connection.close()

    async def _cut_after_commit(self) -> None:
        """The next five COMMITs reach the server, and their answers reach nobody."""
        until = self.database.cuts + 5
        self.database.watch = lambda piece: b"COMMIT" in piece and self.database.cuts < until
        async with asyncio.timeout(WAIT_S):
            while self.database.cuts < until:  # noqa: ASYNC110 - whoever commits next
                await asyncio.sleep(0.05)
        self.database.watch = None


def _of_a_way(proxy: FaultProxy, seconds: float) -> Mapping[str, Fault]:
    async def cut() -> None:
        proxy.cut()

    async def reset() -> None:
        proxy.reset()

    async def black_hole() -> None:
        proxy.black_hole()
        await asyncio.sleep(seconds)
        proxy.heal()

    async def slow() -> None:
        proxy.delay_s = 0.05
        await asyncio.sleep(seconds)
        proxy.delay_s = 0

    return {"cut": cut, "reset": reset, "black hole": black_hole, "slow": slow}


@asynccontextmanager
async def place(servers: Servers, *, engines: int, workers: int) -> AsyncIterator[Place]:
    """A cluster on a database and a prefix of its own, behind proxies."""
    url, prefix = await servers.postgres.new_database(await servers.postgres.migrated()), unique_prefix()
    broker_url = servers.rabbitmq.url(prefix)
    root = servers.root / prefix
    root.mkdir()
    async with fault_proxy(url) as database, fault_proxy(broker_url) as broker, cluster_of(
        root, url, broker.through(broker_url),
        engines=engines, workers=workers, max_jobs=30, TASKENGINE_DRAIN_GRACE_S="10",
        TASKENGINE_DATABASE_URL=database.through(url),
    ) as running:  # fmt: skip
        yield Place(servers, running, prefix, database, broker)
    await servers.postgres.drop_database(url)


def _drawn(kind: Callable[[float], Mapping[str, Fault]], options: Options) -> Iterator[Fault]:
    """Faults by chance, each said as it comes."""
    chance, began = random.Random(options.seed), time.monotonic()
    for _ in range(options.rounds):
        away_s = min(1 + chance.expovariate(1 / 5), LONGEST_AWAY_S)
        name, fault = chance.choice(list(kind(away_s).items()))
        print(f"{time.monotonic() - began:7.1f} s  {name} ({away_s:.1f} s where it lasts)", flush=True)
        yield fault


async def soak_rabbitmq(servers: Servers, options: Options) -> Mapping[str, Any]:
    """Faults of RabbitMQ and of the way there, in an order that the seed draws, while jobs are submitted and run."""
    async with place(servers, engines=2, workers=3) as made:
        return await made.endure(_drawn(made.of_rabbitmq, options), seed=options.seed, every_s=options.every_s)


async def soak_network(servers: Servers, options: Options) -> Mapping[str, Any]:
    """Faults of the ways to both servers at once, in an order that the seed draws, while jobs are submitted and run."""
    async with place(servers, engines=2, workers=3) as made:
        return await made.endure(_drawn(made.of_the_network, options), seed=options.seed, every_s=options.every_s)


async def soak_postgres(servers: Servers, options: Options) -> Mapping[str, Any]:
    """Faults of PostgreSQL and of the way there, in an order that the seed draws, while jobs are submitted and run."""
    async with place(servers, engines=2, workers=3) as made:
        return await made.endure(_drawn(made.of_postgres, options), seed=options.seed, every_s=options.every_s)
