"""Several engines and workers on one PostgreSQL and one RabbitMQ: together they are one engine that loses nothing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from scripts.soaks.kills import run_kills
from scripts.soaks.servers import Servers
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer

WAIT_S = 90


@pytest.fixture
def servers(tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitServer) -> Servers:
    """The private servers of the session."""
    return Servers(tmp_path, postgres, rabbitmq)


async def test_two_engines_share_jobs_slots_and_callbacks(servers: Servers) -> None:
    """Any of them takes any report: no job is started twice, no slot is exceeded, no callback is sent twice."""
    async with servers.cluster(engines=2, workers=2, max_jobs=3) as running:
        await asyncio.gather(*(running.submit(x=0) for _ in range(24)))
        await running.finished(WAIT_S)
        for engine in running.engines:  # each of them did some of the work
            assert "attempt_ended" in (running.root / f"{engine.name}.log").read_text()
        await running.ends_well(callbacks_once=True)


async def test_nothing_is_lost_where_engines_and_workers_are_killed(servers: Servers) -> None:
    """kill -9 of any of them at random: the short form of `scripts/soak kills`."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    async with servers.cluster(engines=2, workers=3) as running:
        await run_kills(running, jobs=12, every_s=1.0, seed=seed, step_s=0.1)
