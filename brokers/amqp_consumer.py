"""A consumer of one AMQP queue: what it was sent waits in a buffer until it is asked for."""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

import structlog
from aiormq import Channel, spec
from aiormq.abc import ChannelFrame

from taskengine.brokers.amqp import ANSWER_S, Place, close_quietly
from taskengine.brokers.amqp_reader import Delivered, DirectConnection, Take
from taskengine.domain.errors import BrokerUnavailable, MessageError
from taskengine.ports import Delivery, Message

log = structlog.get_logger(__name__)

_CLOSE_S = 3.0  # for the broker's word on the end of a subscription
MAX_UNHEARD = 10_000  # messages that one listener may leave unread; what comes beyond is dropped for it

Bury = Callable[[Message, str], Awaitable[None]]
"""Publishes a message to the dead letters, with the reason; raises BrokerUnavailable."""


class AmqpDelivery:
    """One message in a consumer's hands."""

    def __init__(self, consumer: AmqpConsumer, delivered: Delivered, epoch: int) -> None:
        self.body = delivered.body
        self._delivered = delivered
        self.redelivered = delivered.redelivered
        self.epoch = epoch
        self.tag = delivered.tag
        self._consumer = consumer

    @cached_property
    def message(self) -> Message:
        """All of it, with its properties; MessageError where they cannot be read."""
        return _message(self._delivered)

    async def ack(self) -> None:
        """Done with it."""
        await self._consumer.settle(self, None)

    async def requeue(self) -> None:
        """Give it back."""
        await self._consumer.settle(self, lambda channel: channel.basic_reject(self.tag, requeue=True, wait=False))

    async def reject(self, reason: str, letter: Message | None = None) -> None:
        """Send it to the dead letters; give it back where they cannot be reached now."""
        if not self._consumer.holds(self):
            return
        try:
            await self._consumer.bury(letter or self._letter(), reason)
        except BrokerUnavailable as error:
            log.warning("dead_letter_waits", error=str(error))
            await self.requeue()
        else:
            await self.ack()

    def _letter(self) -> Message:
        """The message, as far as it can be read."""
        try:
            return self.message
        except MessageError:
            return Message(self.body)


class AmqpConsumer:
    """Its own channel, so that its end is nobody else's.

    `prefetch` None listens: nothing is settled. Else at most so many are unsettled: the broker's own limit is per
    subscription, so after a pause it is set to what is left (an epoch), and what is settled of the time before makes
    room for a further subscription.
    """

    def __init__(self, place: Place, channel: Channel, queue: str, prefetch: int | None, bury: Bury) -> None:
        self.bury = bury
        self._place, self._channel, self._queue, self._prefetch = place, channel, queue, prefetch
        self._wanted = prefetch or 0
        self._granted = 0  # the broker's limits for the present subscriptions together
        self._subscriptions: list[str] = []
        self._epoch = 0
        self._held: dict[int, AmqpDelivery] = {}
        self._buffer: deque[AmqpDelivery] = deque()
        self._changing = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._done: list[int] = []  # tags that are to be acknowledged with the others of this moment
        self._lost: str | None = None
        self._closed = False
        self.heard_at = asyncio.get_running_loop().time()

    # --------------------------------------------------------------------------------------------------------- taking

    async def open(self) -> None:
        """Subscribe."""
        self._channel.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
        self._channel.closing.add_done_callback(self._channel_ended)
        self._takers()[self._channel.number] = self._take
        with self._place.translated():
            if self._prefetch is None:
                await self._subscribe()
            else:
                await self._adjust()

    async def batch(self, limit: int) -> list[Delivery]:
        """Wait for one delivery, then take what is there already; [] once closed, BrokerUnavailable once lost."""
        while True:
            if self._closed:
                return []
            if self._lost is not None:
                raise BrokerUnavailable(self._lost)
            if self._buffer:
                return [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def waits(self) -> bool:
        """Whether it would take a message now, and has none."""
        alive = not self._closed and self._lost is None
        return alive and bool(self._subscriptions) and len(self._held) < self._wanted and not self._buffer

    def lose(self, reason: str) -> None:
        """Its channel is gone or deaf: what it held comes again by itself, to whoever consumes then."""
        if not self._closed and self._lost is None:
            self._lost = f"the consumer of {self._queue} was lost: {reason}"
        self._held.clear()
        self._buffer.clear()
        self._arrived.set()

    # ------------------------------------------------------------------------------------------------- pause and close

    async def pause(self) -> None:
        """Take nothing more; what was not handed out goes back."""
        await self._take_at_most(0)

    async def resume(self) -> None:
        """Take again."""
        await self._take_at_most(self._prefetch or 0)

    async def set_prefetch(self, count: int) -> None:
        """Hold at most so many from now on."""
        self._prefetch = count
        await self._take_at_most(count)

    async def close(self) -> None:
        """Give back what is not settled; whoever waits gets []."""
        await self._acknowledge()
        self.end()
        async with self._changing:
            with suppress(BrokerUnavailable), self._place.translated():
                async with asyncio.timeout(_CLOSE_S):
                    if not self._channel.is_closed:
                        await self._unsubscribe()
                        if self._prefetch is not None:
                            await self._channel.basic_nack(0, multiple=True, requeue=True, wait=False)
            await close_quietly(self._channel)
        if self._takers().get(self._channel.number) == self._take:  # else the number is another one's by now
            del self._takers()[self._channel.number]

    def end(self) -> None:
        """Whoever waits gets [], what is held settles itself."""
        self._closed = True
        self._held.clear()
        self._buffer.clear()
        self._arrived.set()

    # ------------------------------------------------------------------------------------------------------- settling

    def holds(self, delivery: AmqpDelivery) -> bool:
        """Whether it is not settled yet, and can be."""
        return self._held.get(delivery.tag) is delivery

    async def settle(self, delivery: AmqpDelivery, say: Callable[[Channel], Awaitable[None]] | None) -> None:
        """Say to the broker what became of it, once: `say`, or (None) that it is done. On a lost channel it is delivered
        again: nothing is to be said."""
        if not self.holds(delivery):
            return
        del self._held[delivery.tag]
        if say is None:
            self._done.append(delivery.tag)
            if len(self._done) == 1:
                self._acknowledging = asyncio.ensure_future(self._acknowledge())
        else:
            with suppress(BrokerUnavailable), self._place.translated():
                await say(self._channel)
        if delivery.epoch != self._epoch and self._worth_growing():
            await self._quietly(self._adjust)

    async def _acknowledge(self) -> None:
        """Acknowledge what was done since the last time in one piece: by one word as far as nothing is held among it."""
        done, self._done = sorted(self._done), []
        held = next(iter(self._held), None)
        below = done if held is None else done[: bisect(done, held)]
        frames = [spec.Basic.Ack(delivery_tag=below[-1], multiple=len(below) > 1)] if below else []
        frames += [spec.Basic.Ack(delivery_tag=tag, multiple=False) for tag in done[len(below) :]]
        if frames:
            with suppress(BrokerUnavailable), self._place.translated():
                async with self._channel.lock:
                    await self._channel.write_queue.put(ChannelFrame.marshall(self._channel.number, frames))

    def _worth_growing(self) -> bool:
        """A further subscription is made when it doubles the limit, or as the last one: so there are few."""
        return self._missing() > 0 and (self._missing() >= self._granted or not self._older())

    def _missing(self) -> int:
        """How much the limits of the subscriptions, with what is held of older ones, fall short of what is wanted."""
        return self._wanted - self._granted - self._older()

    def _older(self) -> int:
        return sum(delivery.epoch != self._epoch for delivery in self._held.values())

    async def _take_at_most(self, count: int) -> None:
        if self._prefetch is None and count == self._wanted:  # a listener
            return
        self._wanted = count
        await self._quietly(self._adjust)

    async def _quietly(self, change: Callable[[], Awaitable[None]]) -> None:
        """A change of a lost consumer changes nothing: whoever waits for a batch is told."""
        try:
            with self._place.translated():
                await change()
        except BrokerUnavailable as error:
            self.lose(str(error))

    async def _adjust(self) -> None:
        """Subscribe once more for what is missing; where there is too much, end every subscription first and give back
        what was not handed out."""
        async with self._changing:
            if self._closed or self._lost is not None:
                return
            if self._missing() < 0 and self._granted:
                await self._unsubscribe()
                back, self._buffer = list(self._buffer), deque()
                for delivery in back:
                    if self._held.pop(delivery.tag, None):
                        await self._channel.basic_reject(delivery.tag, requeue=True, wait=False)
            if (missing := self._missing()) > 0:
                self._granted += missing
                await self._channel.basic_qos(prefetch_count=missing, timeout=ANSWER_S)
                await self._subscribe()

    async def _subscribe(self) -> None:
        listens = self._prefetch is None
        answer = await self._channel.basic_consume(self._queue, _not_direct, no_ack=listens, timeout=ANSWER_S)
        self._subscriptions.append(str(answer.consumer_tag))
        self.heard_at = asyncio.get_running_loop().time()

    async def _unsubscribe(self) -> None:
        """What is held now is older than any subscription to come: its settling raises no limit of the broker."""
        while self._subscriptions:
            await self._channel.basic_cancel(self._subscriptions.pop(), timeout=ANSWER_S)
        self._granted = 0
        self._epoch += 1

    # ------------------------------------------------------------------------------------------------- what comes in

    def _takers(self) -> dict[int, Take]:
        connection = self._channel.connection
        assert isinstance(connection, DirectConnection)  # noqa: S101 - for the type checker
        return connection.takers

    def _take(self, delivered: Delivered) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if self._closed or self._lost is not None:
            return
        delivery = AmqpDelivery(self, delivered, self._epoch)
        if self._prefetch is not None:
            self._held[delivery.tag] = delivery
        elif len(self._buffer) >= MAX_UNHEARD:
            return
        self._buffer.append(delivery)
        self._arrived.set()

    async def _cancelled_by_broker(self, _frame: Any) -> None:
        self.lose("the broker cancelled it (the queue was deleted, or its node is gone)")

    def _channel_ended(self, ended: asyncio.Future[Any]) -> None:
        error = None if ended.cancelled() else ended.exception()
        self.lose(str(self._place.unavailable(error)) if error else "its channel was closed")


async def _not_direct(_delivered: object) -> None:
    raise RuntimeError("a delivery was not given to its consumer directly")


def _message(delivered: Delivered) -> Message:
    properties = delivered.properties
    return Message(
        delivered.body,
        properties.message_id,
        dict(properties.headers or {}),
        properties.priority or 0,
        properties.correlation_id,
        properties.reply_to,
        properties.content_type or "",
        properties.user_id,
    )
