"""What every soak runs on: private servers, and clusters on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster, cluster
from tests.support.postgres import PostgresServer, running_server
from tests.support.rabbitmq import RabbitServer, running_rabbitmq


@dataclass(frozen=True)
class Options:
    """How long a soak is; `every_s` seconds lie between two faults."""

    seed: int
    jobs: int = 500
    every_s: float = 2.0
    rounds: int = 20


class Servers:
    """Where clusters are made, each on a database and a prefix of its own, with its files below `root`."""

    def __init__(self, root: Path, postgres: PostgresServer, rabbitmq: RabbitServer) -> None:
        self.root, self.postgres, self.rabbitmq = root, postgres, rabbitmq
        self._numbers = count(1)

    @asynccontextmanager
    async def cluster(self, **how: Any) -> AsyncIterator[Cluster]:
        """See `tests.support.cluster.cluster`."""
        url = await self.postgres.new_database(await self.postgres.migrated())
        root = self.root / f"cluster{next(self._numbers)}"
        root.mkdir()
        async with cluster(root, url, self.rabbitmq.url(), **how) as running:
            yield running
        await self.postgres.drop_database(url)


@contextmanager
def servers(root: Path) -> Iterator[Servers]:
    """A PostgreSQL and a RabbitMQ that are gone at the end."""
    with running_server() as postgres, running_rabbitmq(root / "rabbitmq") as rabbitmq:
        yield Servers(root, postgres, rabbitmq)
