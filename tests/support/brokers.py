"""What the contract of brokers is tried on: every adapter, with what it declares to be able to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum

from taskengine.brokers import open_broker
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing


class Ability(StrEnum):
    """What not every broker can do."""

    PRIORITY = "priority"  # a greater priority overtakes whatever waits
    OLD_PLACE = "old place"  # what is given back comes before what was published after it
    TAKES_WHAT_IS_THERE = "takes what is there"  # a batch holds everything that was published before it


@dataclass(frozen=True)
class BrokerAdapter:
    """A kind of broker. Each opening is empty: it shares nothing with another."""

    name: str
    open: Callable[[], AbstractAsyncContextManager[Broker]]
    abilities: frozenset[Ability]


ADAPTERS = (BrokerAdapter("memory", lambda: open_broker("memory://"), frozenset(Ability)),)


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
