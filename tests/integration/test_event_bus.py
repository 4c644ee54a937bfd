"""The publisher of events on the in-process broker: in order, one engine at a time, nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.errors import BrokerUnavailable
from taskengine.domain.job import Changes
from taskengine.engine.event_bus import META, EventBus, EventRetention, Pace, Turn
from taskengine.engine.signals import Signal
from taskengine.ports import Address, Broker, Consumer, Outgoing, Store
from taskengine.stores import open_store
from tests.support.brokers import take
from tests.support.clock import START
from tests.support.stores import a_job, a_task, an_event, submit

SHARED = Pace(look_s=0.02, heartbeat_s=0.1, lease_s=1.0)
PATIENT = replace(SHARED, lease_s=60)
ALONE = Pace(look_s=60, heartbeat_s=0.1, lease_s=0)


class Outbox:
    """A store with events, a broker with a follower, and publishers that come and go."""

    def __init__(self, store: Store, broker: Broker, follower: Consumer) -> None:
        self.store, self.broker, self._follower = store, broker, follower
        self.signal = Signal()
        self._jobs = 0

    async def write(self, events: int = 1) -> int:
        """A job with so many events; its id."""
        self._jobs += 1
        told = [an_event(seq=seq) for seq in range(1, events + 1)]
        await submit(self.store, Changes(a_job(self._jobs), events=told))
        self.signal.set()
        return self._jobs

    @asynccontextmanager
    async def publisher(self, pace: Pace = SHARED) -> AsyncIterator[asyncio.Task[None]]:
        """An engine's."""
        bus = EventBus(self.store, self.broker, self.signal, SystemClock(), pace, source="/test")
        running = asyncio.create_task(bus.run())
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def heard(self, count: int) -> list[str]:
        """The ids of the next events that the follower gets."""
        return [str(delivery.message.message_id) for delivery in await take(self._follower, count)]

    async def turn(self) -> Turn:
        """As it is stored."""
        return Turn.of(await self.store.meta(META))

    async def published(self, event_id: int) -> None:
        """Wait until the store knows that an event is out."""
        async with asyncio.timeout(10):
            while (await self.turn()).after < event_id:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    """An empty one."""
    async with (
        open_store(f"sqlite:///{tmp_path}/test.db", SystemClock()) as store,
        open_broker("memory://") as broker,
        broker.subscribe(Address.EVENTS, ["#"]) as follower,
    ):
        yield Outbox(store, broker, follower)


async def test_events_are_published_as_cloud_events_in_order(outbox: Outbox) -> None:
    """What was there before and what comes, each once, with the key of the contract."""
    await outbox.write(3)
    async with outbox.publisher(ALONE), outbox.broker.subscribe(Address.EVENTS, ["task.demo.*.encode.start"]) as narrow:
        assert await outbox.heard(3) == ["1-1", "1-2", "1-3"]
        task = a_task(9, "encode", id=77)
        await submit(outbox.store, Changes(a_job(9), new_tasks=[task], events=[an_event(task, "start", seq=1)]))
        outbox.signal.set()
        [delivery] = await take(narrow, 1)
    event = json.loads(delivery.message.body)
    assert delivery.message.content_type == "application/cloudevents+json"
    assert (event["type"], event["subject"], event["seq"]) == ("taskengine.task.start", "jobs/9/tasks/77", 1)
    assert (event["source"], event["data"]) == ("/test", {"name": "start", "seq": 1})


async def test_publishing_goes_on_where_it_ended(outbox: Outbox) -> None:
    """An engine that ends in order gives its turn back; the next one publishes what came since, and nothing twice."""
    await outbox.write(2)
    async with outbox.publisher():
        assert await outbox.heard(2) == ["1-1", "1-2"]
        await outbox.published(await outbox.store.last_event())
    assert (await outbox.turn()).owner == ""
    await outbox.write(2)
    async with outbox.publisher(PATIENT):  # it does not wait for a lease
        assert await outbox.heard(2) == ["2-1", "2-2"]


async def test_one_engine_publishes_at_a_time(outbox: Outbox) -> None:
    """Of three, the events of a while come once."""
    async with outbox.publisher(PATIENT), outbox.publisher(PATIENT), outbox.publisher(PATIENT):
        for _ in range(20):
            await outbox.write()
            await asyncio.sleep(0.02)
        heard = await outbox.heard(20)
        await outbox.write()
        assert [*heard, *await outbox.heard(1)] == [f"{job_id}-1" for job_id in range(1, 22)]


async def test_the_turn_of_an_engine_that_vanished_is_taken(outbox: Outbox) -> None:
    """Without a sign of life for a lease. What it had published and not noted comes again, with the same ids."""
    await outbox.write(2)
    await outbox.store.swap_meta(META, None, Turn("gone", 7, 0).text)
    async with outbox.publisher():
        assert await outbox.heard(2) == ["1-1", "1-2"]
    assert (await outbox.turn()).beat > 7


async def test_the_turn_of_an_idle_engine_is_kept(outbox: Outbox) -> None:
    """It shows signs of life while there is nothing to publish."""
    async with outbox.publisher():
        async with asyncio.timeout(10):
            while not (await outbox.turn()).owner:  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.01)
        first = (await outbox.turn()).owner
        async with outbox.publisher():
            await asyncio.sleep(SHARED.lease_s * 1.5)
            assert (await outbox.turn()).owner == first


async def test_an_engine_that_lost_its_turn_notes_nothing_any_more(outbox: Outbox) -> None:
    """What it thinks to have published does not move the other one's place."""
    async with outbox.publisher(PATIENT):
        await outbox.write()
        await outbox.heard(1)
        await outbox.published(1)
        other = Turn("other", 1000, 0)
        async with asyncio.timeout(10):
            while not await outbox.store.swap_meta(META, await outbox.store.meta(META), other.text):  # noqa: ASYNC110
                await asyncio.sleep(0)
        await outbox.write()
        await outbox.heard(1)  # it is published twice, at the worst
        await outbox.write()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(outbox.heard(1), 0.3)
        assert await outbox.turn() == other


async def test_what_the_broker_did_not_confirm_is_published_again(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault ends the loop, whose supervisor starts it again; the place has not moved."""
    real: Any = outbox.broker.publish

    async def publish(messages: Sequence[Outgoing]) -> None:
        await real(messages[:1])
        raise BrokerUnavailable("it went away amid the batch")

    await outbox.write(3)
    with monkeypatch.context() as patched:
        patched.setattr(outbox.broker, "publish", publish)
        async with outbox.publisher(ALONE) as running:
            await asyncio.wait([running])
            with pytest.raises(BrokerUnavailable):
                running.result()
    async with outbox.publisher(ALONE):
        assert await outbox.heard(4) == ["1-1", "1-1", "1-2", "1-3"]


async def test_an_event_that_has_no_json_stops_no_other(outbox: Outbox) -> None:
    """An expression may compute a number that JSON does not have: the event comes without its data."""
    odd = replace(an_event(seq=1), body={"message": float("nan")})
    await submit(outbox.store, Changes(a_job(1), events=[odd, an_event(seq=2)]))
    async with outbox.broker.subscribe(Address.EVENTS, ["#"]) as narrow, outbox.publisher(ALONE):
        deliveries = await take(narrow, 2)
    events = [json.loads(delivery.message.body) for delivery in deliveries]
    assert [(event["seq"], event["data"]) for event in events] == [(1, None), (2, {"name": "queued", "seq": 2})]


async def test_a_turn_of_a_later_version_is_understood(outbox: Outbox) -> None:
    """While engines are upgraded one after another."""
    await outbox.write(2)
    later = {"owner": "", "beat": 3, "after": 1, "since": "tomorrow"}
    await outbox.store.swap_meta(META, None, json.dumps(later))
    async with outbox.publisher():
        assert await outbox.heard(1) == ["1-2"]


async def test_many_events_go_in_batches(outbox: Outbox) -> None:
    """More than fit one, all in order."""
    await outbox.write(1234)
    async with outbox.publisher(ALONE):
        assert await outbox.heard(1234) == [f"1-{seq}" for seq in range(1, 1235)]


async def test_events_are_deleted_once_they_are_out_and_old(outbox: Outbox) -> None:
    """What is still to be published stays, however old it is; where nothing is published, age alone counts."""
    await outbox.write(2)
    await outbox.store.swap_meta(META, None, Turn("", 0, 1).text)
    clock = SystemClock()
    kept_s = (clock.now() - START) / 1000 - 10  # the tests' events are from START
    assert await EventRetention(outbox.store, clock, kept_s=kept_s + 100, published=True).clean() == 0
    assert await EventRetention(outbox.store, clock, kept_s=kept_s, published=True).clean() == 1
    assert await EventRetention(outbox.store, clock, kept_s=kept_s, published=False).clean() == 1
