"""The broker within one process: nothing to install, nothing durable. What it loses, the store dispatches again."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from taskengine.brokers.topology import matches
from taskengine.domain.errors import BrokerUnavailable
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing

MAX_UNHEARD = 10_000  # messages that one subscription may leave unread; what comes beyond is dropped for it
_TOPICS = {Address.CONTROL, Address.EVENTS}


@asynccontextmanager
async def open_memory(url: str = "memory://") -> AsyncIterator[Broker]:  # noqa: ARG001 - as every broker is opened
    """A new broker of this process; when it closes, its consumers end."""
    broker = MemoryBroker()
    try:
        yield broker
    finally:
        broker.close()


class _Item(NamedTuple):
    """A message in a queue: greater priorities first, then the order in which they came (also when it comes again)."""

    rank: int
    number: int  # unlike any other: two items never compare further than this
    message: Message
    redelivered: bool = False


class _Queue:
    """Messages in order, and the consumers that wait for one: each message wakes one, and who does not take it, as it
    was cancelled, paused or closed in the meantime, wakes the next."""

    def __init__(self, limit: int | None = None) -> None:
        self.consumers = 0
        self._items: list[_Item] = []
        self._numbers = itertools.count()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._items)

    def put(self, message: Message) -> None:
        """Add a message."""
        if self._limit is None or len(self._items) < self._limit:
            self._push(_Item(-min(max(message.priority, 0), 9), next(self._numbers), message))

    def put_back(self, items: Iterable[_Item]) -> None:
        """Give messages back to their old places."""
        for item in items:
            self._push(item._replace(redelivered=True))

    def take(self, limit: int) -> list[_Item]:
        """The first messages, at most `limit`."""
        return [heapq.heappop(self._items) for _ in range(min(limit, len(self._items)))]

    def wake(self) -> None:
        """Wake one waiter, if there is something for it."""
        while self._items and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def enlist(self, waiter: asyncio.Future[None]) -> None:
        """Have it woken when there is something."""
        self._waiters.append(waiter)

    def delist(self, waiter: asyncio.Future[None]) -> None:
        """It waits no longer."""
        with suppress(ValueError):
            self._waiters.remove(waiter)

    def _push(self, item: _Item) -> None:
        heapq.heappush(self._items, item)
        self.wake()


class MemoryBroker:
    """The Broker of one process; the contract is `ports.Broker`'s. It belongs to one event loop."""

    def __init__(self) -> None:
        self._queues: dict[tuple[Address, str], _Queue] = {}
        self._subscriptions: dict[_Consumer, tuple[Address, Sequence[str]]] = {}
        self._consumers: set[_Consumer] = set()
        self._open = True

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all."""
        await self.check()
        for outgoing in messages:
            self._route(outgoing)

    def consume(self, address: Address, key: str = "", *, prefetch: int = 1) -> AbstractAsyncContextManager[Consumer]:
        """Consume a queue."""
        if address in _TOPICS:
            raise ValueError(f"{address.value} is subscribed to, not consumed")
        if prefetch < 1:
            raise ValueError(f"prefetch is {prefetch}; at least 1 is needed")
        return self._consume(address, key, prefetch)

    def subscribe(self, address: Address, keys: Sequence[str]) -> AbstractAsyncContextManager[Consumer]:
        """Listen to a topic exchange."""
        if address not in _TOPICS:
            raise ValueError(f"{address.value} is consumed, not subscribed to")
        return self._subscribe(address, tuple(keys))

    async def prepare(self, queues: Sequence[str]) -> None:
        """Nothing to do: what is within this process is made when it is used."""
        del queues
        await self.check()

    async def waiting(self, queue: str) -> int:
        """How many messages wait in a queue of tasks."""
        await self.check()
        return len(self._queue(Address.TASKS, queue))

    async def check(self) -> None:
        """Raise BrokerUnavailable once it is closed."""
        if not self._open:
            raise BrokerUnavailable("the broker of this process is closed")

    def close(self) -> None:
        """End every consumer: what waits gets []."""
        self._open = False
        for consumer in [*self._consumers, *self._subscriptions]:
            consumer.close()

    @asynccontextmanager
    async def _consume(self, address: Address, key: str, prefetch: int) -> AsyncIterator[Consumer]:
        await self.check()
        queue = self._queue(address, key)
        queue.consumers += 1
        consumer = _Consumer(queue, prefetch, _drop if address is Address.DEAD else self._bury)
        self._consumers.add(consumer)
        try:
            yield consumer
        finally:
            self._consumers.discard(consumer)
            consumer.close()
            queue.consumers -= 1
            if address is Address.REPLY and not queue.consumers:
                del self._queues[address, key]

    @asynccontextmanager
    async def _subscribe(self, address: Address, keys: Sequence[str]) -> AsyncIterator[Consumer]:
        await self.check()
        consumer = _Consumer(_Queue(MAX_UNHEARD), None, self._bury)
        self._subscriptions[consumer] = (address, keys)
        try:
            yield consumer
        finally:
            del self._subscriptions[consumer]
            consumer.close()

    def _route(self, outgoing: Outgoing) -> None:
        address, key = outgoing.address, outgoing.key
        if address in _TOPICS:
            for consumer, (listened, patterns) in self._subscriptions.items():
                if listened is address and any(matches(pattern, key) for pattern in patterns):
                    consumer.queue.put(outgoing.message)
        elif address is not Address.REPLY or (address, key) in self._queues:  # a reply that nobody awaits is dropped
            self._queue(address, key).put(outgoing.message)

    def _queue(self, address: Address, key: str) -> _Queue:
        return self._queues.setdefault((address, key), _Queue())

    def _bury(self, message: Message, reason: str) -> None:
        self._queue(Address.DEAD, "").put(replace(message, headers={**message.headers, "x-reason": reason}))


def _drop(message: Message, reason: str) -> None:
    """What is refused by whoever looks through the dead letters has nowhere left to go."""


class _Consumer:
    """One consumer of a queue. It buffers nothing: what it holds was handed out and is not settled yet."""

    def __init__(self, queue: _Queue, prefetch: int | None, bury: Callable[[Message, str], None]) -> None:
        self.queue = queue
        self._prefetch = prefetch
        self._bury = bury
        self._held: dict[_Delivery, _Item] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._paused = False
        self._closed = False

    async def batch(self, limit: int) -> list[Delivery]:
        """Wait for one delivery, then take what is there already. A cancelled wait loses nothing."""
        while not self._closed:
            room = self._room(limit)
            if items := self.queue.take(room):
                return [self._hand_out(item) for item in items]
            await self._wait(for_message=room > 0)
        self.queue.wake()
        return []

    async def pause(self) -> None:
        """Take nothing more."""
        self._paused = True

    async def resume(self) -> None:
        """Take again."""
        self._paused = False
        self._wake()

    async def set_prefetch(self, count: int) -> None:
        """Hold at most so many from now on."""
        self._prefetch, self._paused = count, count == 0
        self._wake()

    def close(self) -> None:
        """Give back what is not settled; whoever waits gets []."""
        self._closed = True
        held, self._held = self._held, {}
        self.queue.put_back(held.values())
        self._wake()

    def settle(self, delivery: _Delivery) -> _Item | None:
        """Let go of a delivery; None where that was done before."""
        item = self._held.pop(delivery, None)
        if item is not None:
            self._wake()
        return item

    def give_back(self, delivery: _Delivery) -> None:
        """Put it back into the queue."""
        if item := self.settle(delivery):
            self.queue.put_back([item])

    def bury(self, delivery: _Delivery, reason: str, letter: Message | None) -> None:
        """Send it, or what goes in its place, to the dead letters."""
        if item := self.settle(delivery):
            self._bury(letter or item.message, reason)

    def _room(self, limit: int) -> int:
        if self._paused:
            return 0
        return limit if self._prefetch is None else min(limit, self._prefetch - len(self._held))

    def _hand_out(self, item: _Item) -> Delivery:
        delivery = _Delivery(self, item)
        self._held[delivery] = item
        return delivery

    async def _wait(self, *, for_message: bool) -> None:
        """Until there is a message, or else until this consumer may take one (or is closed)."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        if for_message:
            self.queue.enlist(waiter)
        else:
            self.queue.wake()  # it may have been woken for a message that it cannot take
        try:
            await waiter
        except asyncio.CancelledError:
            self.queue.wake()  # likewise
            raise
        finally:
            self._waiters.discard(waiter)
            self.queue.delist(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


class _Delivery:
    """One message in a consumer's hands."""

    def __init__(self, consumer: _Consumer, item: _Item) -> None:
        self.message = item.message
        self.body = item.message.body
        self.redelivered = item.redelivered
        self._consumer = consumer

    async def ack(self) -> None:
        """Done with it."""
        self._consumer.settle(self)

    async def requeue(self) -> None:
        """Give it back."""
        self._consumer.give_back(self)

    async def reject(self, reason: str, letter: Message | None = None) -> None:
        """Send it to the dead letters."""
        self._consumer.bury(self, reason, letter)
