"""Faults by chance: a store that is away now and then, a broker that repeats, holds back, reorders and forgets."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from taskengine.domain.errors import BrokerUnavailable, StoreUnavailable
from taskengine.ports import Address, Broker, Consumer, Delivery, Outgoing, Store


class Chance:
    """The seed's dice; while it is calm, nothing goes wrong."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.calm = True

    def hits(self, probability: float) -> bool:
        """Whether something goes wrong now."""
        return not self.calm and self.dice.random() < probability


class FaultyStore:
    """A store whose calls fail before, or after they were written (the answer was lost)."""

    def __init__(self, store: Store, chance: Chance) -> None:
        self._store, self._chance = store, chance
        self.changed = asyncio.Event()  # something was written
        self.most_started = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*given: Any, **named: Any) -> Any:
            if self._chance.hits(0.02):
                raise StoreUnavailable(f"{name} was not begun")
            answer = await method(*given, **named)
            self.changed.set()
            if name == "admit":
                self.most_started = max(self.most_started, (await self._store.health()).jobs["started"])
            if self._chance.hits(0.01):
                raise StoreUnavailable(f"the answer of {name} was lost")
            return answer

        return call


class FaultyBroker:
    """A broker that keeps its contract badly."""

    def __init__(self, broker: Broker, chance: Chance) -> None:
        self._broker, self._chance = broker, chance

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Refuse, lose control messages, repeat reports and tasks, reorder tasks."""
        if self._chance.hits(0.02):
            raise BrokerUnavailable("nothing was published")
        out = [one for one in messages if one.address is not Address.CONTROL or not self._chance.hits(0.3)]
        if not self._chance.calm:
            self._chance.dice.shuffle(out)
        await self._broker.publish([one for one in out for _ in range(1 + self._chance.hits(0.05))])
        if self._chance.hits(0.01):
            raise BrokerUnavailable("the confirmation was lost")

    @asynccontextmanager
    async def consume(self, address: Address, key: str = "", *, prefetch: int = 1) -> AsyncIterator[Consumer]:
        """A consumer that gives back by itself and breaks off."""
        async with self._broker.consume(address, key, prefetch=prefetch) as consumer:
            yield _FaultyConsumer(consumer, self._chance)

    def subscribe(self, address: Address, keys: Sequence[str]) -> AbstractAsyncContextManager[Consumer]:
        """As it is."""
        return self._broker.subscribe(address, keys)

    async def prepare(self, queues: Sequence[str]) -> None:
        """As it is."""
        await self._broker.prepare(queues)

    async def waiting(self, queue: str) -> int:
        """As it is."""
        return await self._broker.waiting(queue)

    async def check(self) -> None:
        """As it is."""
        await self._broker.check()


class _FaultyConsumer:
    def __init__(self, consumer: Consumer, chance: Chance) -> None:
        self._consumer, self._chance = consumer, chance

    async def batch(self, limit: int) -> list[Delivery]:
        while deliveries := await self._consumer.batch(limit):
            if self._chance.hits(0.01):
                return []
            kept = []
            for delivery in deliveries:
                if self._chance.hits(0.03):
                    await delivery.requeue()
                else:
                    kept.append(delivery)
            if kept:
                return kept
        return []

    async def pause(self) -> None:
        await self._consumer.pause()

    async def resume(self) -> None:
        await self._consumer.resume()

    async def set_prefetch(self, count: int) -> None:
        await self._consumer.set_prefetch(count)
