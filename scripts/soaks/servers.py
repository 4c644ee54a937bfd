"""What every soak runs on: private servers, and clusters on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
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
    """Where clusters are made, each on a database and a prefix of its own, with its files below `root`. A server that is
    not given is started when it is first asked for, on the stack."""

    def __init__(
        self, root: Path, postgres: PostgresServer | None = None, rabbitmq: RabbitServer | None = None,
        stack: ExitStack | None = None,
    ) -> None:  # fmt: skip
        self.root = root
        self._postgres, self._rabbitmq, self._stack = postgres, rabbitmq, stack or ExitStack()
        self._numbers = count(1)

    @property
    def postgres(self) -> PostgresServer:
        """The PostgreSQL."""
        if self._postgres is None:
            self._postgres = self._stack.enter_context(running_server())
        return self._postgres

    @property
    def rabbitmq(self) -> RabbitServer:
        """The RabbitMQ."""
        if self._rabbitmq is None:
            self._rabbitmq = self._stack.enter_context(running_rabbitmq(self.root / "rabbitmq"))
        return self._rabbitmq

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
    """A PostgreSQL and a RabbitMQ for who asks for them, gone at the end."""
    with ExitStack() as stack:
        yield Servers(root, stack=stack)
