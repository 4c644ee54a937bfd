"""The contract of `ports.Broker`, on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskengine.domain.errors import BrokerUnavailable
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing
from tests.support.brokers import ADAPTERS, Ability, BrokerAdapter, adapters_that, bodies, round_trip, take, to


@pytest.fixture(scope="module", params=ADAPTERS, ids=lambda adapter: adapter.name)
def adapter(request: pytest.FixtureRequest) -> BrokerAdapter:
    """Each kind of broker."""
    assert isinstance(request.param, BrokerAdapter)
    return request.param.ready(request)


@pytest.fixture
async def broker(adapter: BrokerAdapter) -> AsyncIterator[Broker]:
    """An open, empty broker."""
    async with adapter.open() as opened:
        yield opened


def only_on_those_that(*abilities: Ability) -> pytest.MarkDecorator:
    """Run a test on the adapters that declare these abilities."""
    adapters = adapters_that(*abilities)
    return pytest.mark.parametrize("adapter", adapters, indirect=True, ids=[adapter.name for adapter in adapters])


# --------------------------------------------------------------------------------------------------------- carrying


async def test_a_message_arrives_as_it_was_sent(broker: Broker) -> None:
    """Nothing that a message carries is lost or changed."""
    message = Message(b'{"v":1}', "1:2:3", {"handler": "probe", "task_id": 7}, 4, "correlated", "answers", "text/plain")
    await broker.publish([Outgoing(Address.TASKS, message, "work")])
    async with broker.consume(Address.TASKS, "work") as consumer:
        (delivery,) = await take(consumer, 1)
        assert delivery.message.headers["task_id"] == 7
        assert delivery.message == message
        assert not delivery.redelivered
        await delivery.ack()


async def test_messages_come_in_the_order_of_publication(broker: Broker) -> None:
    """A queue is first in, first out."""
    sent = [str(number) for number in range(50)]
    await broker.publish(to(Address.REPORTS, *sent))
    async with broker.consume(Address.REPORTS, prefetch=50) as consumer:
        assert bodies(await take(consumer, 50)) == sent


@only_on_those_that(Ability.PRIORITY)
async def test_a_greater_priority_comes_first(broker: Broker) -> None:
    """Priorities order what waits; within one priority the order of publication holds."""
    for priority, body in [(0, "a"), (5, "b"), (9, "c"), (5, "d"), (0, "e")]:
        await broker.publish(to(Address.TASKS, body, key="work", priority=priority))
    async with broker.consume(Address.TASKS, "work", prefetch=5) as consumer:
        assert bodies(await take(consumer, 5)) == ["c", "b", "d", "a", "e"]


async def test_queues_do_not_share_messages(broker: Broker) -> None:
    """An address and a key make a queue."""
    await broker.publish([
        *to(Address.TASKS, "encode", key="encode"), *to(Address.TASKS, "package", key="package"),
        *to(Address.JOBS, "job"), *to(Address.REPORTS, "report"),
    ])  # fmt: skip
    for address, key, body in [
        (Address.TASKS, "encode", "encode"), (Address.TASKS, "package", "package"),
        (Address.JOBS, "", "job"), (Address.REPORTS, "", "report"),
    ]:  # fmt: skip
        async with broker.consume(address, key) as consumer:
            (delivery,) = await take(consumer, 1)
            assert bodies([delivery]) == [body]
            await delivery.ack()


async def test_a_waiting_consumer_gets_what_is_published_later(broker: Broker) -> None:
    """A batch waits for its first message."""
    async with broker.consume(Address.JOBS) as consumer, asyncio.TaskGroup() as group:
        batch = group.create_task(take(consumer, 1))
        await round_trip(broker)
        assert not batch.done()
        await broker.publish(to(Address.JOBS, "late"))
        assert bodies(await batch) == ["late"]


async def test_consumers_of_one_queue_share_its_messages(broker: Broker) -> None:
    """Each message goes to one of them, and each of them gets some."""
    async with (
        broker.consume(Address.TASKS, "work", prefetch=2) as one,
        broker.consume(Address.TASKS, "work", prefetch=2) as other,
        asyncio.TaskGroup() as group,
    ):
        takes = [group.create_task(take(consumer, 2)) for consumer in (one, other)]
        await broker.publish(to(Address.TASKS, "a", "b", "c", "d", key="work"))
        assert sorted(bodies(await takes[0]) + bodies(await takes[1])) == ["a", "b", "c", "d"]


async def test_replies_reach_the_queue_that_waits_for_them(broker: Broker) -> None:
    """A reply goes to the queue that the request named; where nobody waits it is dropped without a fault."""
    async with broker.consume(Address.REPLY, "answers-1") as consumer:
        await broker.publish([*to(Address.REPLY, "mine", key="answers-1"), *to(Address.REPLY, "lost", key="answers-2")])
        assert bodies(await take(consumer, 1)) == ["mine"]


# --------------------------------------------------------------------------------------------------------- batches


@only_on_those_that(Ability.TAKES_WHAT_IS_THERE)
async def test_a_batch_takes_what_is_there_up_to_its_limit(broker: Broker) -> None:
    """One call gives all that is there, but for the limit."""
    await broker.publish(to(Address.REPORTS, "a", "b", "c", "d", "e"))
    async with broker.consume(Address.REPORTS, prefetch=100) as consumer:
        assert bodies(await consumer.batch(3)) == ["a", "b", "c"]
        assert bodies(await consumer.batch(100)) == ["d", "e"]


async def test_no_more_than_prefetch_deliveries_are_unsettled(broker: Broker) -> None:
    """A consumer with full hands waits until it settles something."""
    await broker.publish(to(Address.TASKS, "a", "b", "c", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer, asyncio.TaskGroup() as group:
        first, _ = await take(consumer, 2)
        following = group.create_task(take(consumer, 1))
        await round_trip(broker)
        assert not following.done()
        await first.ack()
        assert bodies(await following) == ["c"]


async def test_a_cancelled_wait_loses_nothing(broker: Broker) -> None:
    """What comes after, or with, the cancellation is there for the next batch."""
    async with broker.consume(Address.REPORTS, prefetch=10) as consumer:
        for number in range(20):
            waiting = asyncio.ensure_future(consumer.batch(1))
            await asyncio.sleep(0)
            if number % 2:
                await broker.publish(to(Address.REPORTS, str(number)))
                waiting.cancel()
            else:
                waiting.cancel()
                await broker.publish(to(Address.REPORTS, str(number)))
            await asyncio.wait([waiting])
            got = [] if waiting.cancelled() else waiting.result()
            got += await take(consumer, 1 - len(got))
            assert bodies(got) == [str(number)]
            await got[0].ack()


@only_on_those_that(Ability.TAKES_ON_DEMAND)
async def test_a_cancelled_wait_leaves_its_message_to_another_consumer(broker: Broker) -> None:
    """Who was woken and is cancelled before it takes does not keep others asleep."""
    async with (
        broker.consume(Address.TASKS, "work") as one,
        broker.consume(Address.TASKS, "work") as other,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(one.batch(1))
        await asyncio.sleep(0)
        second = group.create_task(take(other, 1))
        await asyncio.sleep(0)
        await broker.publish(to(Address.TASKS, "a", key="work"))
        first.cancel()
        await asyncio.wait([first])
        if not first.cancelled():
            for delivery in first.result():
                await delivery.requeue()
            await one.pause()
        assert bodies(await second) == ["a"]


# -------------------------------------------------------------------------------------------------------- settling


async def test_what_was_acknowledged_does_not_come_again(broker: Broker) -> None:
    """An acknowledgement is the end of a message."""
    await broker.publish(to(Address.TASKS, "a", "b", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        (delivery,) = await take(consumer, 1)
        await delivery.ack()
    async with broker.consume(Address.TASKS, "work", prefetch=5) as consumer:
        assert bodies(await take(consumer, 1)) == ["b"]


async def test_what_a_closing_consumer_holds_comes_again_and_says_so(broker: Broker) -> None:
    """A message that was not settled is delivered again, marked redelivered; one that waited is not marked."""
    await broker.publish(to(Address.TASKS, "held", "waiting", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        await take(consumer, 1)
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer:
        again = {delivery.message.body: delivery.redelivered for delivery in await take(consumer, 2)}
        assert again == {b"held": True, b"waiting": False}


async def test_what_is_given_back_comes_again_and_says_so(broker: Broker) -> None:
    """A requeued message is there for any consumer, marked redelivered."""
    await broker.publish(to(Address.TASKS, "a", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        (delivery,) = await take(consumer, 1)
        await delivery.requeue()
        (again,) = await take(consumer, 1)
        assert (again.message.body, again.redelivered) == (b"a", True)
        await again.ack()


@only_on_those_that(Ability.OLD_PLACE)
async def test_what_is_given_back_returns_to_its_place(broker: Broker) -> None:
    """A message does not lose its turn because its consumer went away."""
    await broker.publish(to(Address.TASKS, "a", "b", "c", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer:
        await take(consumer, 2)
    async with broker.consume(Address.TASKS, "work", prefetch=3) as consumer:
        assert bodies(await take(consumer, 3)) == ["a", "b", "c"]


async def test_what_is_rejected_goes_to_the_dead_letters_with_the_reason(broker: Broker) -> None:
    """Nobody has to guess why a message is there."""
    await broker.publish([Outgoing(Address.JOBS, Message(b"{", "id-1", {"client": "demo"}))])
    async with broker.consume(Address.JOBS) as consumer:
        (delivery,) = await take(consumer, 1)
        await delivery.reject("not JSON")
    async with broker.consume(Address.DEAD) as consumer:
        (dead,) = await take(consumer, 1)
        assert (dead.message.body, dead.message.message_id) == (b"{", "id-1")
        assert dead.message.headers["x-reason"] == "not JSON"
        assert dead.message.headers["client"] == "demo"
        await dead.ack()


async def test_a_delivery_is_settled_once(broker: Broker) -> None:
    """A second settling does nothing, also when its consumer is gone."""
    await broker.publish(to(Address.TASKS, "a", "b", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        (first,) = await take(consumer, 1)
        await first.ack()
        await first.requeue()
        await first.reject("too late")
        await first.ack()
        (second,) = await take(consumer, 1)
        assert (second.message.body, second.redelivered) == (b"b", False)
    await second.ack()
    await second.reject("too late")
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer:
        (again,) = await take(consumer, 1)
        assert (again.message.body, again.redelivered) == (b"b", True)


# --------------------------------------------------------------------------------------------------- pause and close


async def test_a_paused_consumer_takes_nothing_until_it_resumes(broker: Broker) -> None:
    """What comes meanwhile stays in the queue."""
    async with broker.consume(Address.TASKS, "work", prefetch=3) as consumer, asyncio.TaskGroup() as group:
        await consumer.pause()
        batch = group.create_task(take(consumer, 2))
        await broker.publish(to(Address.TASKS, "a", "b", key="work"))
        await round_trip(broker)
        assert not batch.done()
        await consumer.resume()
        assert bodies(await batch) == ["a", "b"]


async def test_a_paused_consumer_hoards_nothing(broker: Broker) -> None:
    """Whatever it did not hand out, another consumer gets."""
    async with (
        broker.consume(Address.TASKS, "work", prefetch=5) as busy,
        broker.consume(Address.TASKS, "work", prefetch=5) as free,
    ):
        await busy.pause()
        await broker.publish(to(Address.TASKS, "a", "b", "c", key="work"))
        assert sorted(bodies(await take(free, 3))) == ["a", "b", "c"]


async def test_a_pause_while_a_batch_waits_leaves_messages_to_others(broker: Broker) -> None:
    """A wait that began before the pause takes nothing either."""
    async with (
        broker.consume(Address.TASKS, "work") as busy,
        broker.consume(Address.TASKS, "work") as free,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(busy.batch(1))
        await asyncio.sleep(0)
        other = group.create_task(take(free, 1))
        await asyncio.sleep(0)
        await busy.pause()
        await broker.publish(to(Address.TASKS, "a", key="work"))
        assert bodies(await other) == ["a"]
        assert not waiting.done()
        waiting.cancel()


async def test_deliveries_of_a_paused_consumer_can_be_settled(broker: Broker) -> None:
    """A long task's delivery is acknowledged early, after the consumer was paused."""
    await broker.publish(to(Address.TASKS, "a", "b", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        (delivery,) = await take(consumer, 1)
        await consumer.pause()
        await delivery.ack()
        await consumer.resume()
        assert bodies(await take(consumer, 1)) == ["b"]


async def test_a_smaller_prefetch_holds_for_what_comes(broker: Broker) -> None:
    """With a limit of one, what was taken before counts until it is settled; a greater limit takes more again."""
    await broker.publish(to(Address.TASKS, "a", "b", "c", "d", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer, asyncio.TaskGroup() as group:
        first, second = await take(consumer, 2)
        await consumer.set_prefetch(1)
        await first.ack()
        following = group.create_task(take(consumer, 1))
        await round_trip(broker)
        assert not following.done()
        await second.ack()
        assert bodies(await following) == ["c"]
        await consumer.set_prefetch(2)
        assert bodies(await take(consumer, 1)) == ["d"]


async def test_a_queue_tells_how_much_waits_in_it(broker: Broker) -> None:
    """What a consumer holds does not wait; a queue that was never heard of is empty."""
    assert await broker.waiting("work") == 0
    await broker.publish(to(Address.TASKS, "a", "b", "c", key="work"))
    assert await broker.waiting("work") == 3
    async with broker.consume(Address.TASKS, "work") as consumer:
        await take(consumer, 1)
        assert await broker.waiting("work") == 2


async def test_a_closed_consumer_gives_an_empty_batch(broker: Broker) -> None:
    """Who waits when the consumer closes is let go, and so is who asks later."""
    async with asyncio.TaskGroup() as group:
        async with broker.consume(Address.TASKS, "work") as consumer:
            waiting = group.create_task(consumer.batch(1))
            await round_trip(broker)
        assert await waiting == []
        assert await consumer.batch(1) == []


async def test_a_closed_broker_says_so(adapter: BrokerAdapter) -> None:
    """Consumers end, publishing and checking raise."""
    async with adapter.open() as broker:
        await broker.check()
    with pytest.raises(BrokerUnavailable):
        await broker.check()
    with pytest.raises(BrokerUnavailable):
        await broker.publish(to(Address.JOBS, "late"))


# ----------------------------------------------------------------------------------------------------------- topics


async def test_events_reach_everyone_who_listens_for_their_key(broker: Broker) -> None:
    """A topic fans out by binding keys, once per listener."""
    async with (
        broker.subscribe(Address.EVENTS, ["job.#"]) as jobs,
        broker.subscribe(Address.EVENTS, ["*.demo.#", "job.demo.*.completed"]) as demo,
        broker.subscribe(Address.EVENTS, ["task.other.vodstream.encode.start", "#.end"]) as other,
    ):
        await broker.publish([
            *to(Address.EVENTS, "1", key="job.demo.vodstream.completed"),
            *to(Address.EVENTS, "2", key="job.other.vodstream.completed"),
            *to(Address.EVENTS, "3", key="task.demo.vodstream.encode.start"),
            *to(Address.EVENTS, "end", key="job.demo.end"),
        ])  # fmt: skip
        assert bodies(await take(jobs, 3)) == ["1", "2", "end"]
        assert bodies(await take(demo, 3)) == ["1", "3", "end"]
        assert bodies(await take(other, 1)) == ["end"]


async def test_control_reaches_the_worker_it_names_and_all(broker: Broker) -> None:
    """A worker listens for its own key and for `all`; control is not events."""
    async with (
        broker.subscribe(Address.CONTROL, ["worker.a", "all"]) as a,
        broker.subscribe(Address.CONTROL, ["worker.b", "all"]) as b,
        broker.subscribe(Address.EVENTS, ["#"]) as events,
    ):
        await broker.publish([
            *to(Address.CONTROL, "for a", key="worker.a"), *to(Address.CONTROL, "for all", key="all"),
            *to(Address.EVENTS, "event", key="all"),
        ])  # fmt: skip
        assert bodies(await take(a, 2)) == ["for a", "for all"]
        assert bodies(await take(b, 1)) == ["for all"]
        assert bodies(await take(events, 1)) == ["event"]


async def test_a_topic_that_nobody_listens_to_takes_messages(broker: Broker) -> None:
    """Events are for whoever listens now; that nobody does is no fault, and nothing is kept."""
    await broker.publish(to(Address.EVENTS, "unheard", key="job.demo.test.queued"))
    async with broker.subscribe(Address.EVENTS, ["#"]) as consumer:
        await broker.publish(to(Address.EVENTS, "heard", key="job.demo.test.started"))
        assert bodies(await take(consumer, 1)) == ["heard"]


async def test_a_listener_need_not_settle_to_go_on_listening(broker: Broker) -> None:
    """Events are delivered at most once: nothing holds them back."""
    async with broker.subscribe(Address.CONTROL, ["all"]) as consumer:
        for number in range(300):
            await broker.publish(to(Address.CONTROL, str(number), key="all"))
        assert len(await take(consumer, 300)) == 300


# ------------------------------------------------------------------------------------------------ whatever happens

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["publish", "batch", "cancel", "ack", "requeue", "pause", "resume"]), st.integers(0, 2)),
    max_size=40,
)


class Scramble:
    """Three consumers of one queue, to which everything happens in any order; each message must be seen to its end."""

    def __init__(self, broker: Broker, consumers: list[Consumer]) -> None:
        self._broker = broker
        self._consumers = consumers
        self._waiting: list[list[asyncio.Task[list[Delivery]]]] = [[], [], []]
        self._held: list[list[Delivery]] = [[], [], []]
        self.published = 0
        self.acked: list[bytes] = []

    async def step(self, name: str, who: int) -> None:
        """Let one thing happen to one consumer."""
        if name == "publish":
            self.published += 1
            await self._broker.publish(to(Address.TASKS, str(self.published), key="work"))
        elif name == "batch":
            self._waiting[who].append(asyncio.ensure_future(self._consumers[who].batch(2)))
        elif name == "cancel" and self._waiting[who]:
            self._waiting[who][0].cancel()
        elif name == "pause":
            await self._consumers[who].pause()
        elif name == "resume":
            await self._consumers[who].resume()
        elif self._held[who]:
            await self._settle(self._held[who].pop(), requeue=name == "requeue")
        self._collect(who)

    async def finish(self) -> None:
        """Let the consumers take what is left."""
        for who, consumer in enumerate(self._consumers):
            await consumer.resume()
            for waiting in self._waiting[who]:
                waiting.cancel()
            await asyncio.gather(*self._waiting[who], return_exceptions=True)
            self._collect(who)
            for delivery in self._held[who]:
                await self._settle(delivery, requeue=False)
            if who > 0:
                await consumer.pause()  # what it has not handed out goes back, for the first one to take
        while len(self.acked) < self.published:
            (delivery,) = await take(self._consumers[0], 1)
            await self._settle(delivery, requeue=False)

    async def _settle(self, delivery: Delivery, *, requeue: bool) -> None:
        if requeue:
            await delivery.requeue()
        else:
            await delivery.ack()
            self.acked.append(delivery.message.body)

    def _collect(self, who: int) -> None:
        done = [waiting for waiting in self._waiting[who] if waiting.done()]
        self._waiting[who] = [waiting for waiting in self._waiting[who] if not waiting.done()]
        for waiting in done:
            if not waiting.cancelled():
                self._held[who] += waiting.result()


@settings(max_examples=60)
@given(steps=STEPS)
def test_every_message_is_handled_once_whatever_happens_to_its_consumers(
    adapter: BrokerAdapter, steps: list[Step]
) -> None:
    """No order of publishing, waiting, cancelling, settling and pausing loses a message, or gives it to two."""

    async def scenario() -> None:
        async with (
            adapter.open() as broker,
            broker.consume(Address.TASKS, "work", prefetch=3) as a,
            broker.consume(Address.TASKS, "work", prefetch=3) as b,
            broker.consume(Address.TASKS, "work", prefetch=3) as c,
        ):
            scramble = Scramble(broker, [a, b, c])
            for name, who in steps:
                await scramble.step(name, who)
                await asyncio.sleep(0)
            await scramble.finish()
            assert sorted(scramble.acked, key=int) == [str(n + 1).encode() for n in range(scramble.published)]

    asyncio.run(scenario())
