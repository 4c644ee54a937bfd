"""What the contract of brokers is tried on: every adapter, with what it declares to be able to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import pytest

from taskengine.brokers import open_broker
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing


class Ability(StrEnum):
    """What not every broker can do."""

    PRIORITY = "priority"  # a greater priority overtakes whatever waits
    OLD_PLACE = "old place"  # what is given back comes before what was published after it
    TAKES_WHAT_IS_THERE = "takes what is there"  # a batch holds everything that was published before it
    TAKES_ON_DEMAND = "takes on demand"  # a consumer that nobody waits for takes nothing


@dataclass(frozen=True)
class BrokerAdapter:
    """A kind of broker. Each opening is empty: it shares nothing with another.

    `url` gives the URL of an empty one, from the fixture named `service`, where it needs one.
    """

    name: str
    abilities: frozenset[Ability]
    url: Callable[[Any], str]
    service: str | None = None
    server: Any = None  # what the fixture gave

    def open(self) -> AbstractAsyncContextManager[Broker]:
        """Open an empty one."""
        return open_broker(self.url(self.server))

    def ready(self, request: pytest.FixtureRequest) -> BrokerAdapter:
        """With its service at hand."""
        return self if self.service is None else replace(self, server=request.getfixturevalue(self.service))


ADAPTERS = (
    BrokerAdapter("memory", frozenset(Ability), lambda _: "memory://"),
    BrokerAdapter(
        "rabbitmq", frozenset({Ability.PRIORITY, Ability.OLD_PLACE}), lambda server: str(server.url()), "rabbitmq"
    ),
)


def adapters_that(*abilities: Ability) -> list[BrokerAdapter]:
    """The adapters with these abilities."""
    return [adapter for adapter in ADAPTERS if adapter.abilities.issuperset(abilities)]


def to(address: Address, *bodies: str, key: str = "", priority: int = 0) -> list[Outgoing]:
    """Plain messages to one address."""
    return [Outgoing(address, Message(body.encode(), priority=priority), key) for body in bodies]


def bodies(deliveries: list[Delivery]) -> list[str]:
    """What deliveries carry."""
    return [delivery.message.body.decode() for delivery in deliveries]


async def take(consumer: Consumer, count: int) -> list[Delivery]:
    """Exactly `count` deliveries, in as many batches as it takes."""
    taken: list[Delivery] = []
    async with asyncio.timeout(10):
        while len(taken) < count:
            taken += await consumer.batch(count - len(taken))
    return taken


async def round_trip(broker: Broker) -> None:
    """Return when a message that was published now has come back: what was on its way before it has arrived too."""
    async with broker.consume(Address.TASKS, "round-trip") as consumer:
        await broker.publish(to(Address.TASKS, "there and back", key="round-trip"))
        for delivery in await take(consumer, 1):
            await delivery.ack()
