"""Another system on the bus: a plain AMQP client that knows the messaging contract and nothing of our code."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

from tests.support.judged import faults
from tests.support.rabbitmq import RabbitServer

DIRECT_REPLY = "amq.rabbitmq.reply-to"


class Follower:
    """The events that came, as they came: routing keys and CloudEvents."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.faults: list[str] = []  # what the published schema has against them
        self.types: set[str | None] = set()
        self._came = asyncio.Condition()

    async def hear(self, message: DeliveredMessage) -> None:
        """One came."""
        self.keys.append(str(message.routing_key))
        self.types.add(message.header.properties.content_type)
        self.events.append(json.loads(message.body))
        self.faults += faults("event", self.events[-1])
        async with self._came:
            self._came.notify_all()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Wait until what came fulfils a condition."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(condition)
        assert not self.faults, self.faults[:5]

    def by_job(self) -> dict[str, list[dict[str, Any]]]:
        """The events of each job in the order in which they came first, repeats left out."""
        jobs: dict[str, dict[str, dict[str, Any]]] = {}
        for event in self.events:
            job = event["subject"].split("/")[1]
            jobs.setdefault(job, {}).setdefault(event["id"], event)
        return {job: list(events.values()) for job, events in jobs.items()}

    def ended(self) -> int:
        """How many jobs have ended."""
        ends = ("taskengine.job.completed", "taskengine.job.failed", "taskengine.job.broken")
        return len({event["subject"] for event in self.events if event["type"] in ends})


class Outsider:
    """A connection with a channel, and the answers that came."""

    def __init__(self, channel: aiormq.Channel, prefix: str) -> None:
        self.channel, self.prefix = channel, prefix
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def send(self, body: Any, exchange: str = "", queue: str = "jobs", **properties: Any) -> None:
        """Publish to an exchange, the default one unless it is named; return when the broker has it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = aiormq.spec.Basic.Properties(delivery_mode=2, content_type="application/json", **properties)
        key = f"{self.prefix}.v1.{queue}"
        await self.channel.basic_publish(data, exchange=exchange, routing_key=key, properties=given, mandatory=True)

    async def ask(self, body: Any, message_id: str | None = None, patience_s: float = 30, **how: Any) -> dict[str, Any]:
        """Submit and wait for the answer; a second one with the same id is another question."""
        correlation_id = uuid.uuid4().hex
        answer = self._answers[correlation_id] = asyncio.get_running_loop().create_future()
        await self.send(
            body, message_id=message_id or correlation_id, correlation_id=correlation_id, reply_to=DIRECT_REPLY, **how
        )
        given: dict[str, Any] = await asyncio.wait_for(answer, patience_s)
        assert not faults("job-reply", given)
        return given

    async def follow(self, *keys: str, queue: str = "") -> Follower:
        """Bind a queue of one's own to the events, and listen."""
        exchange, follower = f"{self.prefix}.v1.events", Follower()
        made = await self.channel.queue_declare(queue, exclusive=True)
        for key in keys:
            await self.channel.queue_bind(str(made.queue), exchange, key)
        await self.channel.basic_consume(str(made.queue), follower.hear, no_ack=True)
        return follower

    async def hear(self, message: DeliveredMessage) -> None:
        """An answer came."""
        answer = self._answers.get(str(message.header.properties.correlation_id))
        if answer is not None and not answer.done():
            answer.set_result(json.loads(message.body))


@asynccontextmanager
async def outsider(
    rabbitmq: RabbitServer, prefix: str, user: str = "guest", password: str = "guest"
) -> AsyncIterator[Outsider]:
    """Connect as a user of the broker."""
    async with aiormq.connect(f"amqp://{user}:{password}@127.0.0.1:{rabbitmq.port}/") as connection:
        channel = await connection.channel()
        assert isinstance(channel, aiormq.Channel)
        made = Outsider(channel, prefix)
        await channel.basic_consume(DIRECT_REPLY, made.hear, no_ack=True)
        yield made


async def submissions_are_taken(rabbitmq: RabbitServer, prefix: str, engines: int = 1) -> None:
    """Wait until so many engines consume them."""
    async with asyncio.timeout(60):
        while await _consumers(rabbitmq, f"{prefix}.v1.jobs") < engines:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)


async def queue_is_made(rabbitmq: RabbitServer, queue: str) -> None:
    """Wait until the broker has it."""
    async with asyncio.timeout(60), aiormq.connect(rabbitmq.url()) as connection:
        while True:
            with suppress(aiormq.exceptions.ChannelNotFoundEntity):  # which closes the channel
                channel = await connection.channel()
                await channel.queue_declare(queue, passive=True)
                return
            await asyncio.sleep(0.05)


async def _consumers(rabbitmq: RabbitServer, queue: str) -> int:
    async with outsider(rabbitmq, "") as looker:
        with suppress(aiormq.exceptions.ChannelNotFoundEntity):  # it is not made yet
            return (await looker.channel.queue_declare(queue, passive=True)).consumer_count or 0
    return 0


@asynccontextmanager
async def broker_user(rabbitmq: RabbitServer, rights: Mapping[str, str]) -> AsyncIterator[tuple[str, str]]:
    """A user of the broker with these rights (`configure`, `write`, `read`: patterns), and its password."""
    user, password = f"u{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    await rabbitmq.control("add_user", user, password)
    try:
        given = [rights.get(name, "^$") for name in ("configure", "write", "read")]
        await rabbitmq.control("set_permissions", user, *given)
        yield user, password
    finally:
        await rabbitmq.control("delete_user", user)
