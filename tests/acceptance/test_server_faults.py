"""Faults of the servers while jobs are submitted and run: nothing is lost, doubled or out of order. The short form of
`scripts/soak rabbitmq` and `scripts/soak postgres`."""

from __future__ import annotations

from pathlib import Path

from scripts.soaks.faults import place
from scripts.soaks.servers import Servers
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer

SEED = 1
OF_RABBITMQ = ("close_all_connections", "queue purged", "queue deleted", "memory alarm", "restart", "kill -9")
OF_POSTGRES = ("pg_terminate_backend", "cut after COMMIT", "immediate stop", "black hole")


async def test_faults_of_rabbitmq_cost_nothing(
    tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitServer
) -> None:
    """Two engines; what is asked of them meanwhile is accepted, whatever RabbitMQ does."""
    async with place(Servers(tmp_path, postgres, rabbitmq), engines=2, workers=1) as made:
        faults = made.of_rabbitmq(1)
        await made.endure([faults[name] for name in OF_RABBITMQ], seed=SEED, every_s=0.5)
        assert set(made.answers) == {200}
        assert made.slowest_s < 10  # none waited for RabbitMQ, which was away for longer than that altogether


async def test_faults_of_postgresql_cost_nothing(
    tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitServer
) -> None:
    """Two engines; what is asked of them meanwhile is accepted, or answered 503 while PostgreSQL is away."""
    async with place(Servers(tmp_path, postgres, rabbitmq), engines=2, workers=1) as made:
        faults = made.of_postgres(1.5)
        await made.endure([faults[name] for name in OF_POSTGRES], seed=SEED, every_s=0.5)
        assert made.answers[200] == len(made.running.accepted)
        assert made.answers[503] > 0
