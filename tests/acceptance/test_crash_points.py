"""A process that dies at any point of its work: before or after a write of state, before or after a publish."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from scripts.soaks.crash_points import run_crash_points
from scripts.soaks.servers import Servers
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer


@pytest.fixture
def servers(tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitServer) -> Servers:
    """The private servers of the session."""
    return Servers(tmp_path, postgres, rabbitmq)


async def test_an_engine_may_die_before_or_after_any_write_and_publish(servers: Servers) -> None:
    """A sample of the points that `scripts/soak crash-points` goes through, all of them over time."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    names = ["store.advance", "store.dispatch", "store.admit", "store.submit", "dispatcher.publish", "reporter._send"]
    chosen = random.Random(seed).sample([f"{when} {name}" for name in names for when in ("before", "after")], 2)
    async with servers.cluster(engines=0, workers=0) as running:
        assert await run_crash_points(running, chosen, seed) == chosen
