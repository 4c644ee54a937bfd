"""What the RabbitMQ broker says in one piece: what it publishes together, and what is settled at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiormq.abc import ChannelFrame

from taskengine.brokers import open_broker
from taskengine.brokers.rabbitmq import RabbitBroker
from taskengine.ports import Address, Broker, Message, Outgoing
from tests.support.brokers import bodies, round_trip, take, to
from tests.support.rabbitmq import RabbitServer, unique_prefix


@pytest.fixture
async def broker(rabbitmq: RabbitServer) -> AsyncIterator[RabbitBroker]:
    """An open, empty broker."""
    async with open_broker(rabbitmq.url(unique_prefix())) as opened:
        assert isinstance(opened, RabbitBroker)
        yield opened


def watched(queue: asyncio.Queue[ChannelFrame], monkeypatch: pytest.MonkeyPatch) -> list[ChannelFrame]:
    """What is handed to the writer of a connection from now on."""
    handed: list[ChannelFrame] = []
    put = queue.put

    async def note(frame: ChannelFrame) -> None:
        handed.append(frame)
        await put(frame)

    monkeypatch.setattr(queue, "put", note)
    return handed


async def test_what_is_published_together_is_written_in_one_piece(
    broker: RabbitBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 messages, empty and long ones among them: one write, every one confirmed, in order."""
    texts = ["", "x" * 300_000, *(str(number) for number in range(498))]
    await round_trip(broker)
    await broker.publish(to(Address.TASKS, "first", key="work"))
    assert broker._channel is not None
    handed = watched(broker._channel.write_queue, monkeypatch)
    await broker.publish(to(Address.TASKS, *texts, key="work"))
    assert len(handed) == 1
    async with broker.consume(Address.TASKS, "work", prefetch=1000) as consumer:
        assert bodies(await take(consumer, 501)) == ["first", *texts]


async def test_a_message_of_a_piece_that_no_queue_takes_goes_again_alone(
    broker: RabbitBroker, rabbitmq: RabbitServer
) -> None:
    """A queue that was deleted is made again for its messages; the others come once."""
    await broker.publish([*to(Address.TASKS, "a", key="kept"), *to(Address.TASKS, "b", key="gone")])
    await rabbitmq.control("delete_queue", broker._topology.queue(Address.TASKS, "gone"))
    await broker.publish([*to(Address.TASKS, "c", key="kept"), *to(Address.TASKS, "d", key="gone")])
    for queue, texts in (("kept", ["a", "c"]), ("gone", ["d"])):
        assert await broker.waiting(queue) == len(texts)
        async with broker.consume(Address.TASKS, queue, prefetch=9) as consumer:
            assert bodies(await take(consumer, len(texts))) == texts


async def test_messages_with_one_id_are_each_confirmed(broker: RabbitBroker) -> None:
    """A sender may repeat itself within a piece."""
    twice = [Outgoing(Address.TASKS, Message(b"again", "1:1:1"), "work")] * 2
    async with asyncio.timeout(10):
        await broker.publish(twice)
    assert await broker.waiting("work") == 2


async def test_many_callers_publish_at_one_time(broker: Broker) -> None:
    """Each hears of its own messages."""
    await asyncio.gather(*(broker.publish(to(Address.TASKS, *["x"] * 20, key="work")) for _ in range(20)))
    assert await broker.waiting("work") == 400


@pytest.mark.parametrize("done", [(0, 1, 2), (0, 1, 3), (2, 4), (4, 3, 2, 1, 0), (0, 1, 2, 3, 5)])
async def test_what_is_acknowledged_together_is_that_and_no_more(broker: Broker, done: tuple[int, ...]) -> None:
    """Whatever the order: what is held among it comes again when the consumer closes."""
    await broker.publish(to(Address.TASKS, *"012345", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=6) as consumer:
        deliveries = await take(consumer, 6)
        for place in done:
            await deliveries[place].ack()
    async with broker.consume(Address.TASKS, "work", prefetch=6) as consumer:
        left = [text for place, text in enumerate("012345") if place not in done]
        assert sorted(bodies(await take(consumer, len(left)))) == left
        await round_trip(broker)
        assert await broker.waiting("work") == 0


async def test_acknowledgements_of_one_moment_are_one_word(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 settled deliveries make one frame."""
    await broker.publish(to(Address.TASKS, *["x"] * 100, key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=100) as consumer:
        deliveries = await take(consumer, 100)
        inner: Any = deliveries[0]
        handed = watched(inner._consumer._channel.write_queue, monkeypatch)
        for delivery in deliveries:
            await delivery.ack()
        await round_trip(broker)
    acknowledged = [frame for frame in handed if len(frame.payload) < 30 and frame.payload[7:11] == b"\x00\x3c\x00\x50"]
    assert len(acknowledged) == 1 + 1  # these, and the one of the round trip
