"""How a message comes to be marked `redelivered`: taken before the worker gets it, and given back."""

from __future__ import annotations

import asyncio

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp.common import FieldValue
from yarl import URL

from taskengine.brokers.topology import Topology
from taskengine.conformance.played import PlayedEngine, message_of
from taskengine.domain.messages import TaskMessage
from taskengine.ports import Address

_FIRST: dict[str, FieldValue] = {"x-priority": 10}  # of a consumer: it is served before others
_TAKEN_S = 10.0


async def send_redelivered(url: str, engine: PlayedEngine, task: TaskMessage) -> None:
    """Hand a task out as one that somebody held before."""
    parsed = URL(url)
    queue = Topology(parsed.query.get("prefix", "taskengine")).queue(Address.TASKS, engine.queue)
    taken: asyncio.Future[DeliveredMessage] = asyncio.get_running_loop().create_future()

    async def take(message: DeliveredMessage) -> None:
        if not taken.done():
            taken.set_result(message)

    async with aiormq.connect(str(parsed.without_query_params("prefix", "queues"))) as connection:
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=1)
        consuming = await channel.basic_consume(queue, take, arguments=_FIRST)
        await engine.send_raw(message_of(task))
        message = await asyncio.wait_for(taken, _TAKEN_S)
        await channel.basic_cancel(str(consuming.consumer_tag))
        await channel.basic_nack(message.delivery_tag or 0, requeue=True)
