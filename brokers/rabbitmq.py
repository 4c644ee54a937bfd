"""The broker over RabbitMQ (3.10 to 4.x): two connections, publisher confirms, queues that are made when needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace

import structlog
from aiormq import Channel
from yarl import URL

from taskengine.brokers.amqp import (
    ANSWER_S,
    Link,
    Place,
    QueueType,
    declare_entrance,
    declare_exchange,
    declare_queue,
    ready_messages,
)
from taskengine.brokers.amqp_consumer import AmqpConsumer
from taskengine.brokers.amqp_publisher import send, writable
from taskengine.brokers.topology import Topology
from taskengine.domain.errors import BrokerUnavailable, Fault, InvalidRequest
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing

log = structlog.get_logger(__name__)

_TOPICS = {Address.CONTROL, Address.EVENTS}
_BASE = (Address.DEAD, Address.JOBS, Address.REPORTS, Address.EVENTS, Address.CONTROL)
_DEAF_S = 15.0  # a consumer that heard nothing for so long has its queue looked at
_MAX_REASON = 500
_MOST_HEADERS = 64 * 1024  # bytes, of a dead letter: with its other properties they have to fit into one frame


def open_rabbitmq(url: str, *, deaf_s: float = _DEAF_S) -> AbstractAsyncContextManager[Broker]:
    """The broker at `amqp://user:password@host/vhost?prefix=taskengine&queues=auto`.

    Raises InvalidRequest at once for a wrong URL. `queues`: the kind of new queues, `auto`, `classic` or `quorum`. It is
    connected to when something is asked of it.
    """
    place, topology, kind = _parse(url)
    return _open(place, topology, kind, deaf_s)


@asynccontextmanager
async def _open(place: Place, topology: Topology, kind: QueueType, deaf_s: float) -> AsyncIterator[Broker]:
    broker = RabbitBroker(place, topology, kind, deaf_s)
    try:
        yield broker
    finally:
        await broker.close()


class RabbitBroker:
    """The Broker over RabbitMQ; the contract is `ports.Broker`'s. It belongs to one event loop.

    What is lost opens itself again: publishing connects when it is asked to, and a consumer whose channel ended raises
    BrokerUnavailable, so that its loop opens a new one.
    """

    def __init__(self, place: Place, topology: Topology, kind: QueueType, deaf_s: float) -> None:
        self._place, self._topology, self._kind, self._deaf_s = place, topology, kind, deaf_s
        self._publishing, self._consuming = Link(place, "publish"), Link(place, "consume")
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._known: set[str] = set()  # names that were declared on the publishing connection
        self._consumers: set[AmqpConsumer] = set()

    # ------------------------------------------------------------------------------------------------------- publishing

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish all at once; return when every one is confirmed."""
        if not messages:
            return
        returned = await self._publish(messages)
        if returned:  # a queue was deleted under us: make it again, once
            self._known.clear()
            returned = await self._publish(returned)
        if returned:
            raise BrokerUnavailable(f"the broker at {self._place.name} has no queue for {returned[0].address.value}")

    async def prepare(self, queues: Sequence[str]) -> None:
        """Make what is not known to be there."""
        await self._ready_channel()
        for queue in queues:
            await self._declare(self._publishing, Address.TASKS, queue, self._known)

    async def waiting(self, queue: str) -> int:
        """How many messages wait in a queue of tasks."""
        return await ready_messages(self._consuming, self._topology.queue(Address.TASKS, queue))

    @property
    def version(self) -> str:
        """What the server said of itself when the present connection was opened; "" where there is none."""
        return self._publishing.version

    async def check(self) -> None:
        """Raise BrokerUnavailable where it cannot be reached now."""
        await self._ready_channel()
        await self._consuming.connection()

    async def close(self) -> None:
        """End every consumer, then the connections."""
        for consumer in self._consumers:
            consumer.end()
        await asyncio.gather(self._consuming.close(), self._publishing.close())

    async def _publish(self, messages: Sequence[Outgoing]) -> list[Outgoing]:
        """Publish all; those that no queue took."""
        channel = await self._ready_channel()
        for address, key in dict.fromkeys((one.address, one.key) for one in messages):
            if address is not Address.REPLY:
                await self._declare(self._publishing, address, key, self._known)
        routed = [(self._topology.route(one.address, one.key), one.message) for one in messages]

        async def confirmed() -> Sequence[int]:
            return await (await send(channel, routed)).confirmed()

        with self._place.translated():
            returned = await self._publishing.confirmed(confirmed())
        return [messages[place] for place in returned]

    async def _ready_channel(self) -> Channel:
        """The channel for publishing, on a connection that has the names."""
        async with self._opening:
            connection = await self._publishing.connection()
            self._publishing.refuse_where_blocked()
            if self._channel is None or self._channel.is_closed or self._channel.connection is not connection:
                self._known.clear()
                for address in _BASE:
                    await self._declare(self._publishing, address, "", self._known)
                self._channel = await self._publishing.open_channel(confirms=True)
            return self._channel

    async def _declare(self, link: Link, address: Address, key: str, known: set[str]) -> None:
        """Make what is published to or consumed, where it is not known to be there."""
        topic = address in _TOPICS
        name = self._topology.exchange(address) if topic else self._topology.queue(address, key)
        if name in known:
            return
        if topic:
            await declare_exchange(link, name)
        else:
            await declare_queue(link, name, address, self._topology.queue(Address.DEAD), self._kind)
        known.add(name)

    # -------------------------------------------------------------------------------------------------------- consuming

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

    @asynccontextmanager
    async def _consume(self, address: Address, key: str, prefetch: int) -> AsyncIterator[Consumer]:
        queue = self._topology.queue(address, key)
        if address is not Address.REPLY:
            await self._declare(self._consuming, address, key, set())
        if address is Address.JOBS:
            await declare_entrance(self._consuming, queue)
        channel = await self._consuming.open_channel(confirms=False)
        if address is Address.REPLY:
            with self._place.translated():
                await channel.queue_declare(queue, exclusive=True, auto_delete=True, timeout=ANSWER_S)
        bury = _drop if address is Address.DEAD else self._bury
        async with self._opened(AmqpConsumer(self._place, channel, queue, prefetch, bury)) as consumer:
            yield Watched(consumer, self._consuming, queue, self._deaf_s)

    @asynccontextmanager
    async def _subscribe(self, address: Address, keys: Sequence[str]) -> AsyncIterator[Consumer]:
        await self._declare(self._consuming, address, "", set())
        channel = await self._consuming.open_channel(confirms=False)
        with self._place.translated():
            answer = await channel.queue_declare("", exclusive=True, auto_delete=True, timeout=ANSWER_S)
            queue = str(answer.queue)
            for key in keys:
                await channel.queue_bind(queue, self._topology.exchange(address), key, timeout=ANSWER_S)
        async with self._opened(AmqpConsumer(self._place, channel, queue, None, self._bury)) as consumer:
            yield Watched(consumer, self._consuming, queue, self._deaf_s)

    @asynccontextmanager
    async def _opened(self, consumer: AmqpConsumer) -> AsyncIterator[AmqpConsumer]:
        self._consumers.add(consumer)
        try:
            await consumer.open()
            yield consumer
        finally:
            self._consumers.discard(consumer)
            await consumer.close()

    async def _bury(self, message: Message, reason: str) -> None:
        headers = {**writable(message.headers, _MOST_HEADERS), "x-reason": reason[:_MAX_REASON]}
        await self.publish([Outgoing(Address.DEAD, replace(message, headers=headers))])


class Watched:
    """A consumer that is looked after while somebody waits for it: where messages lie in its queue and it hears none,
    twice in a row, its connection is deaf, and is broken off."""

    def __init__(self, consumer: AmqpConsumer, link: Link, queue: str, deaf_s: float) -> None:
        self._consumer, self._link, self._queue, self._deaf_s = consumer, link, queue, deaf_s
        self.pause, self.resume, self.set_prefetch = consumer.pause, consumer.resume, consumer.set_prefetch

    async def batch(self, limit: int) -> list[Delivery]:
        """Wait for one delivery, then take what is there already."""
        suspicious = False
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deaf_s):
                    return await self._consumer.batch(limit)
            suspicious = await self._look(suspicious=suspicious)

    async def _look(self, *, suspicious: bool) -> bool:
        """Whether it should have heard something since the last look; the second time is one too many."""
        silent_s = asyncio.get_running_loop().time() - self._consumer.heard_at
        if silent_s < self._deaf_s or not self._consumer.waits:
            return False
        try:
            waiting = await ready_messages(self._link, self._queue)
        except BrokerUnavailable as error:
            await self._rebuild(str(error))
            return False
        if waiting and suspicious and self._consumer.waits:
            await self._rebuild(f"{waiting} messages wait, and none was heard for {silent_s:.0f} s")
        return waiting > 0

    async def _rebuild(self, reason: str) -> None:
        log.warning("consumer_deaf", queue=self._queue, reason=reason)
        self._consumer.lose(reason)
        await self._link.break_off()


async def _drop(message: Message, reason: str) -> None:
    """What is refused by whoever looks through the dead letters has nowhere left to go."""


def _parse(url: str) -> tuple[Place, Topology, QueueType]:
    """The URL's parts; InvalidRequest where it has a fault."""
    try:
        parsed = URL(url)
        host, query = parsed.host, parsed.query
        _ = parsed.port
    except ValueError:
        raise _fault("it is no URL") from None  # the error's text would repeat the URL with its password
    if not host:
        raise _fault("it names no host: amqp://user:password@host/vhost is wanted")
    kind = query.get("queues", QueueType.AUTO.value)
    if kind not in set(QueueType):
        raise _fault(f"queues is {kind[:20]!r}; it is one of {', '.join(QueueType)}")
    topology = Topology(query.get("prefix", "taskengine"))
    try:
        topology.queue(Address.DEAD)
    except ValueError as error:
        raise _fault(f"prefix: {error}") from error
    return Place(parsed.without_query_params("prefix", "queues")), topology, QueueType(kind)


def _fault(message: str) -> InvalidRequest:
    return InvalidRequest(f"broker_url: {message}", [Fault("/broker_url", message)])
