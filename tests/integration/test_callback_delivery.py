"""Callbacks from the store to a real endpoint over HTTP, with the engine's clock moved by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median

from standardwebhooks import Webhook

from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.callbacks.signing import new_secret
from taskengine.clock import SystemClock
from taskengine.engine.callbacks import CallbackDelivery, CallbackPolicy
from taskengine.net import GuardedClients, Timeouts, networks
from taskengine.ports import Clock
from tests.support.callback_store import MemoryCallbackStore, Row
from tests.support.clock import MovedClock
from tests.support.receiver import CallbackReceiver, answer, redirect

HOUR = 3600
POLICY = CallbackPolicy(jitter=0)


@dataclass
class World:
    """A running delivery and the endpoint it delivers to."""

    store: MemoryCallbackStore
    receiver: CallbackReceiver
    delivery: CallbackDelivery
    secret: str

    def submit(self, url: str, *events: str, job_id: int = 1, now: int) -> list[Row]:
        """Commit callbacks and tell the delivery."""
        rows = [
            self.store.add(url, event, job_id=job_id, now=now, body=f'{{"event":"{event}","job_id":{job_id}}}')
            for event in events
        ]
        self.delivery.wake()
        return rows

    async def settled(self, condition: Callable[[], bool]) -> None:
        """Wait until the store says so."""
        await self.store.wait_until(condition)


@asynccontextmanager
async def running(clock: Clock, before: World | None = None) -> AsyncIterator[World]:
    """The delivery with its real sender, on a store in memory: a new one, or that of the process before."""
    secret = new_secret()

    async def config(client: str, url: str) -> EndpointConfig:
        return EndpointConfig(secrets=[secret], allow=networks(["127.0.0.0/8"]))

    store = before.store if before else MemoryCallbackStore()
    async with CallbackReceiver() as receiver, GuardedClients() as clients, asyncio.TaskGroup() as group:
        sender = HttpCallbackSender(clients, config, SystemClock(), timeouts=Timeouts(total_s=5, connect_s=5))
        delivery = CallbackDelivery(store, sender, clock, POLICY)
        task = group.create_task(delivery.run())
        try:
            yield World(store, receiver, delivery, secret)
        finally:
            task.cancel()


async def test_an_endpoint_that_fails_gets_each_callback_in_order_signed_and_with_one_id() -> None:
    """500, then a dropped connection, then 200: three tries of the first, then the others."""
    clock = MovedClock()
    async with running(clock) as world:
        url = world.receiver.script("/hook", 500, world.receiver.reset, 200)
        rows = world.submit(url, "start", "complete", "job", now=clock.now())
        await world.settled(lambda: rows[0].attempts == 1)
        await clock.advance(5)
        await world.settled(lambda: rows[0].attempts == 2)
        await clock.advance(30)
        await world.settled(lambda: world.store.states() == ["delivered"] * 3)
        events = [body["event"] for body in world.receiver.bodies("/hook")]
        assert events == ["start", "start", "start", "complete", "job"]
        ids = [one.headers["webhook-id"] for one in world.receiver.received]
        assert ids == [rows[0].webhook_id] * 3 + [rows[1].webhook_id, rows[2].webhook_id]
        for raw, one in zip(world.receiver.raw, world.receiver.received, strict=True):
            Webhook(world.secret).verify(raw, dict(one.headers))


async def test_a_hanging_endpoint_is_no_concern_of_another() -> None:
    """While fifty jobs hang on one path, the callbacks of another are delivered."""
    clock = MovedClock()
    async with running(clock) as world:
        hanging = world.receiver.script("/hang", world.receiver.hang)
        for job_id in range(50):
            world.submit(hanging, "start", job_id=job_id, now=clock.now())
        await world.receiver.wait_for(lambda: world.receiver.working == 1)
        rows = world.submit(world.receiver.url + "/fine", "start", "complete", "job", job_id=99, now=clock.now())
        await world.settled(lambda: all(row.state == "delivered" for row in rows))
        assert world.receiver.working == 1, "it has never answered"


async def test_redirects_410_and_retry_after_over_http() -> None:
    """A redirect is a failure, Retry-After sets the next try, 410 ends the line."""
    clock = MovedClock()
    async with running(clock) as world:
        url = world.receiver.script("/a", redirect("/b"), answer(429, {"Retry-After": "60"}), 410)
        rows = world.submit(url, "start", "job", now=clock.now())
        for tried, wait in ((1, 5), (2, 60)):
            await world.settled(lambda tried=tried: rows[0].attempts == tried)  # type: ignore[misc]  # bound early
            await clock.advance(wait)
        await world.settled(lambda: world.store.states() == ["dead", "dead"])
        assert [one.path for one in world.receiver.received] == ["/a"] * 3


async def test_a_restart_goes_on_where_the_last_process_was() -> None:
    """What was in flight is sent again at once, with the same id and no try counted."""
    clock = MovedClock()
    async with CallbackReceiver() as receiver:
        async with running(clock) as first:
            (row,) = first.submit(receiver.script("/hook", receiver.hang), "start", now=clock.now())
            await receiver.wait_for(1)
        receiver.script("/hook", 200)
        async with running(clock, first) as second:
            await second.settled(lambda: row.state == "delivered")
        assert row.attempts == 1
        assert {one.headers["webhook-id"] for one in receiver.received} == {row.webhook_id}
        assert len(receiver.received) == 2


async def test_the_way_from_event_to_delivery_is_short() -> None:
    """Idle, half of the callbacks arrive within 20 ms (the store's own time is not in it)."""
    clock = SystemClock()
    async with running(clock) as world:
        took = []
        for number in range(1, 41):
            began = time.perf_counter()
            world.submit(world.receiver.url, "start", job_id=number, now=clock.now())
            await world.receiver.wait_for(number)
            took.append(time.perf_counter() - began)
        assert median(took) < 0.02
