"""What the RabbitMQ broker does when RabbitMQ, its queues or its connections do not stay as they were."""

from __future__ import annotations

import asyncio
import signal
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiormq
import pytest
from aiormq.connection import FrameReceiver

from taskengine.brokers import open_broker
from taskengine.brokers.rabbitmq import RabbitBroker, open_rabbitmq
from taskengine.domain.errors import BrokerUnavailable, InvalidRequest, MessageError
from taskengine.ports import Address, Broker, Consumer, Message, Outgoing
from tests.support.brokers import bodies, round_trip, take, to
from tests.support.foreign import Foreign, long_text, table, text
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.rabbitmq import RabbitServer, unique_prefix
from tests.support.tls import self_signed

WAIT_S = 30


@pytest.fixture
def prefix() -> str:
    """An installation of the test's own."""
    return unique_prefix()


@pytest.fixture
async def broker(rabbitmq: RabbitServer, prefix: str) -> AsyncIterator[Broker]:
    """An open, empty broker."""
    async with open_broker(rabbitmq.url(prefix)) as opened:
        yield opened


@pytest.fixture
async def bystander(rabbitmq: RabbitServer) -> AsyncIterator[aiormq.Channel]:
    """A channel beside the broker's own, for looking and for mischief."""
    async with aiormq.connect(f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/") as connection:
        channel = await connection.channel()
        assert isinstance(channel, aiormq.Channel)
        yield channel


async def publish_soon(broker: Broker, *messages: Outgoing) -> None:
    """Publish as the engine's loops do: again, until it is confirmed."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await broker.publish(messages)
            except BrokerUnavailable:
                await asyncio.sleep(0.1)


async def lost(consumer: Consumer) -> None:
    """Wait until the consumer says that it is lost."""
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(BrokerUnavailable):
            await consumer.batch(1)


# ------------------------------------------------------------------------------------------------------------ faults


async def test_connections_that_the_broker_closes_open_themselves_again(rabbitmq: RabbitServer, broker: Broker) -> None:
    """A consumer says that it was lost; settling what it held does nothing; what it held comes again."""
    await broker.publish(to(Address.TASKS, "a", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        (held,) = await take(consumer, 1)
        await rabbitmq.control("close_all_connections", "maintenance")
        await lost(consumer)
        for settle in (held.ack(), held.requeue(), held.reject("late"), consumer.pause(), consumer.resume()):
            await settle
        await consumer.set_prefetch(3)
        await lost(consumer)
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer:
        (again,) = await take(consumer, 1)
        assert (again.message.body, again.redelivered) == (b"a", True)
        await publish_soon(broker, *to(Address.TASKS, "b", key="work"))
        assert bodies(await take(consumer, 1)) == ["b"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_what_was_confirmed_outlives_the_broker(
    rabbitmq: RabbitServer, broker: Broker, how: signal.Signals
) -> None:
    """kill -9 or a stop in the middle: consumers are told, publishing fails at once, then all goes on by itself."""
    await broker.publish(to(Address.REPORTS, "kept"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        await asyncio.to_thread(rabbitmq.kill, how)
        await lost(consumer)
        with pytest.raises(BrokerUnavailable):
            await broker.publish(to(Address.REPORTS, "not taken"))
        with pytest.raises(BrokerUnavailable):
            await broker.check()
    await asyncio.to_thread(rabbitmq.start)
    await publish_soon(broker, *to(Address.REPORTS, "new"))
    async with broker.consume(Address.REPORTS, prefetch=2) as consumer:
        assert bodies(await take(consumer, 2)) == ["kept", "new"]


async def test_a_deleted_queue_is_made_again(broker: Broker, bystander: aiormq.Channel, prefix: str) -> None:
    """By publishing to it, and by consuming from it: a mandatory message is never lost in silence."""
    await broker.publish(to(Address.TASKS, "lost with its queue", key="work"))
    async with broker.consume(Address.TASKS, "work") as consumer:
        await take(consumer, 1)
        await bystander.queue_delete(f"{prefix}.v1.tasks.work")
        await lost(consumer)
    await broker.publish(to(Address.TASKS, "a", "b", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer:
        assert bodies(await take(consumer, 2)) == ["a", "b"]


async def test_workers_of_others_find_their_queues_before_there_is_a_task(
    broker: Broker, bystander: aiormq.Channel, prefix: str
) -> None:
    """Those of tasks, and the exchange of what workers hear."""
    await broker.prepare(["work", "transcode"])
    for queue in ("work", "transcode"):
        assert (await bystander.queue_declare(f"{prefix}.v1.tasks.{queue}", passive=True)).message_count == 0
    await bystander.exchange_declare(f"{prefix}.v1.control", passive=True)


async def test_a_deaf_consumer_is_noticed(rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages wait and none is heard: the connection is broken off, and the next consumer hears."""
    async with open_rabbitmq(rabbitmq.url(), deaf_s=0.2) as broker:
        async with broker.consume(Address.TASKS, "work", prefetch=5) as consumer:
            inner: Any = consumer
            for tag in inner._consumer._subscriptions:
                await inner._consumer._channel.basic_cancel(tag)  # as a consumer that the broker forgot
            await broker.publish(to(Address.TASKS, "a", key="work"))
            await lost(consumer)
        async with broker.consume(Address.TASKS, "work") as consumer:
            assert bodies(await take(consumer, 1)) == ["a"]


async def test_an_idle_consumer_is_left_alone(rabbitmq: RabbitServer) -> None:
    """Where nothing waits, silence is no fault."""
    async with (
        open_rabbitmq(rabbitmq.url(), deaf_s=0.05) as broker,
        broker.consume(Address.TASKS, "work") as consumer,
        asyncio.TaskGroup() as group,
    ):
        waiting = group.create_task(take(consumer, 1))
        await asyncio.sleep(0.5)  # several looks
        await broker.publish(to(Address.TASKS, "a", key="work"))
        assert bodies(await waiting) == ["a"]


# ----------------------------------------------------------------------------------------------------------- holding


async def test_a_smaller_prefetch_gives_back_what_waits(broker: Broker) -> None:
    """What was buffered beyond the new limit is there for others; room grows again as things are settled."""
    await broker.publish(to(Address.TASKS, "a", "b", "c", "d", key="work"))
    async with (
        broker.consume(Address.TASKS, "work", prefetch=4) as busy,
        broker.consume(Address.TASKS, "work", prefetch=4) as free,
    ):
        (long,) = await busy.batch(1)
        await busy.set_prefetch(1)
        others = await take(free, 3)
        assert sorted(bodies(others)) == ["b", "c", "d"]
        await long.ack()
        await broker.publish(to(Address.TASKS, "e", "f", key="work"))
        assert sorted(bodies(await take(busy, 1) + await take(free, 1))) == ["e", "f"]
        await busy.set_prefetch(3)
        await broker.publish(to(Address.TASKS, "g", "h", key="work"))
        assert len(await take(busy, 1)) == 1


async def test_the_limit_comes_back_after_a_pause(broker: Broker) -> None:
    """What was held over the pause counts until it is settled; then the whole limit is there again."""
    await broker.publish(to(Address.TASKS, *"abcdefghij", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=3) as consumer:
        held = await take(consumer, 3)
        await consumer.pause()
        await consumer.resume()
        waiting = asyncio.ensure_future(consumer.batch(1))
        await round_trip(broker)
        assert not waiting.done()
        for delivery in held:
            await delivery.ack()
        assert bodies(await waiting + await take(consumer, 2)) == ["d", "e", "f"]


# ------------------------------------------------------------------------------------------------------------- names


async def test_the_names_are_the_contracts(broker: Broker, bystander: aiormq.Channel, prefix: str) -> None:
    """Durable queues with the version in their names, which others may declare passively."""
    await broker.publish([*to(Address.TASKS, "a", key="work"), *to(Address.EVENTS, "b", key="job.x")])
    for queue in ("jobs", "reports", "dead", "tasks.work"):
        await bystander.queue_declare(f"{prefix}.v1.{queue}", passive=True)
    await bystander.exchange_declare(f"{prefix}.v1.events", passive=True)
    answer = await bystander.basic_get(f"{prefix}.v1.tasks.work")
    properties = answer.header.properties
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")


async def test_quorum_queues_are_made_where_the_url_asks(rabbitmq: RabbitServer, prefix: str) -> None:
    """With their delivery limit; a queue that exists is taken as it is, whatever the URL asks."""
    async with open_broker(rabbitmq.url(prefix, queues="quorum")) as broker:
        await broker.publish(to(Address.TASKS, "a", key="work"))
        listing = await rabbitmq.control("list_queues", "name", "type", "arguments", "--silent")
        (row,) = [line for line in listing.splitlines() if line.startswith(f"{prefix}.v1.tasks.work")]
        assert "quorum" in row
        assert "x-delivery-limit" in row
    async with (
        open_broker(rabbitmq.url(prefix, queues="classic")) as broker,
        broker.consume(Address.TASKS, "work") as consumer,
    ):
        assert bodies(await take(consumer, 1)) == ["a"]


async def test_the_virtual_hosts_default_decides_of_which_kind_queues_are(rabbitmq: RabbitServer, prefix: str) -> None:
    """Where it is quorum each has its limit, where nothing is said tasks have their priorities."""
    await rabbitmq.control("add_vhost", prefix, "--default-queue-type", "quorum")
    await rabbitmq.control("set_permissions", "--vhost", prefix, "guest", ".*", ".*", ".*")
    rows = {}
    for host in ("/", prefix):
        url = f"amqp://guest:guest@127.0.0.1:{rabbitmq.port}/{host.strip('/')}?prefix={prefix}"
        async with open_broker(url) as broker:
            await broker.prepare(["work"])
        listing = await rabbitmq.control("list_queues", "--vhost", host, "name", "type", "arguments", "--silent")
        ours = [line.split("\t") for line in listing.splitlines() if line.startswith(prefix)]
        rows[host] = {name.removeprefix(f"{prefix}.v1."): (kind, arguments) for name, kind, arguments in ours}
    assert {kind for kind, _ in rows["/"].values()} == {"classic"}
    assert {kind for kind, _ in rows[prefix].values()} == {"quorum"}
    assert [name for name, (_, given) in rows["/"].items() if '"x-max-priority",9' in given] == ["tasks.work"]
    limited = {name for name, (_, given) in rows[prefix].items() if '"x-delivery-limit",20' in given}
    assert limited == {"tasks.work", "jobs", "reports"}


async def test_dead_letters_stay_however_often_they_are_looked_at(
    rabbitmq: RabbitServer, bystander: aiormq.Channel, prefix: str
) -> None:
    """As an operator does, who takes one and gives it back: there is no queue after theirs."""
    async with open_broker(rabbitmq.url(prefix, queues="quorum")) as broker:
        await broker.publish(to(Address.DEAD, "poison"))
    async with asyncio.timeout(WAIT_S):
        for _ in range(25):
            while (found := await bystander.basic_get(f"{prefix}.v1.dead")).delivery_tag is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # it comes back a moment after it was given back
            await bystander.basic_nack(found.delivery_tag, requeue=True)


async def test_a_poison_message_ends_among_the_dead_letters(rabbitmq: RabbitServer, prefix: str) -> None:
    """A quorum queue gives up on what is given back again and again."""
    async with open_broker(rabbitmq.url(prefix, queues="quorum")) as broker:
        await broker.publish(to(Address.TASKS, "poison", key="work"))
        async with broker.consume(Address.TASKS, "work") as consumer, broker.consume(Address.DEAD) as dead:
            waiting = asyncio.ensure_future(take(dead, 1))
            while not waiting.done():
                batch = asyncio.ensure_future(consumer.batch(1))
                await asyncio.wait({batch, waiting}, return_when=asyncio.FIRST_COMPLETED)
                for delivery in await batch if batch.done() else []:
                    await delivery.requeue()
                batch.cancel()
            assert bodies(await waiting) == ["poison"]


# ----------------------------------------------------------------------------------------------- messages of others


@pytest.mark.parametrize(
    "unreadable",
    [
        Foreign(correlation_id=text(b"\xe9\xff")),
        Foreign(headers=table(x=b"T" + b"\x80" + bytes(7))),
        Foreign(timestamp=b"\xff" * 8),
    ],
    ids=["no UTF-8", "a time that is none", "a timestamp that is none"],
)
async def test_properties_that_cannot_be_read_lose_no_message(
    broker: Broker, bystander: aiormq.Channel, prefix: str, unreadable: Foreign
) -> None:
    """The body comes all the same; put aside, it is a dead letter with the reason. What comes after it comes, too."""
    queue = f"{prefix}.v1.reports"
    async with broker.consume(Address.REPORTS, prefetch=2) as consumer, broker.consume(Address.DEAD) as dead:
        await unreadable.publish(bystander, "", queue.encode(), b"foreign")
        await broker.publish(to(Address.REPORTS, "ours"))
        foreign, ours = await take(consumer, 2)
        assert (foreign.body, ours.message.body) == (b"foreign", b"ours")
        with pytest.raises(MessageError, match="properties cannot be read"):
            _ = foreign.message
        await foreign.reject("no good")
        (letter,) = await take(dead, 1)
        assert (letter.body, letter.message.headers) == (b"foreign", {"x-reason": "no good"})


async def test_a_routing_key_of_any_bytes_leads_into_the_queue_of_submissions(
    broker: Broker, bystander: aiormq.Channel, prefix: str
) -> None:
    """Whoever may write to its exchange alone chooses it: it must not end the connection that everything is heard by."""
    async with broker.consume(Address.JOBS) as jobs, broker.consume(Address.REPORTS) as reports:
        await Foreign().publish(bystander, f"{prefix}.v1.jobs", b"\xe9\xff", b"foreign")
        (foreign,) = await take(jobs, 1)
        assert foreign.message.body == b"foreign"
        await broker.publish(to(Address.REPORTS, "ours"))
        assert bodies(await take(reports, 1)) == ["ours"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (long_text(b"\xe9\xff"), {"x": "\ufffd\ufffd"}),
        (b"d" + struct.pack(">d", 1e300), {"x": "1e+300"}),
        (long_text(b"x" * 130_900), {}),
    ],
    ids=["no UTF-8", "a large number", "as large as a frame"],
)
async def test_a_dead_letter_has_the_headers_that_can_be_sent_on(
    broker: Broker, bystander: aiormq.Channel, prefix: str, given: bytes, kept: dict[str, str]
) -> None:
    """Those that cannot be written become text, those that no frame has room for beside the reason are left out."""
    async with broker.consume(Address.REPORTS) as consumer, broker.consume(Address.DEAD) as dead:
        await Foreign(table(x=given, y=long_text(b"y"))).publish(
            bystander, "", f"{prefix}.v1.reports".encode(), b"foreign"
        )
        (foreign,) = await take(consumer, 1)
        await foreign.reject("no good")
        (letter,) = await take(dead, 1)
        assert letter.message.headers == kept | {"y": "y", "x-reason": "no good"}


# -------------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("amqp:///x", "names no host"),
        ("amqp://h/?queues=stream", "queues is 'stream'"),
        ("amqp://u:secret@h:port/", "it is no URL"),
    ],
)
def test_a_wrong_url_is_refused_by_name(url: str, text: str) -> None:
    """At once, and without its password."""
    with pytest.raises(InvalidRequest, match=text) as caught:
        open_broker(url)
    assert "secret" not in str(caught.value)


async def test_a_refused_login_does_not_tell_the_password(
    rabbitmq: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error nor in the log."""
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED") as caught:
        async with open_broker(f"amqp://guest:sesame@127.0.0.1:{rabbitmq.port}/") as broker:
            await broker.check()
    assert "sesame" not in str(caught.value) + caplog.text


async def test_a_virtual_host_that_is_not_there_is_named(
    rabbitmq: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In the broker's words, and once: the library's own log would tell each try a second time."""
    for port, reason in ((rabbitmq.port, "NOT_ALLOWED - vhost nowhere not found"), (1, "Connect call failed")):
        with pytest.raises(BrokerUnavailable, match=reason):
            async with open_broker(f"amqp://guest:guest@127.0.0.1:{port}/nowhere") as broker:
                await broker.check()
    assert caplog.text == ""


async def test_a_broker_that_hangs_up_amid_the_greeting_is_away(
    rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the library makes of it: loops wait for a broker that is away, and tell a defect of all else."""

    async def at_its_end(_: FrameReceiver) -> None:
        raise StopAsyncIteration  # as the library does where the stream is at its end

    monkeypatch.setattr(FrameReceiver, "get_frame", at_its_end)
    async with open_broker(rabbitmq.url()) as broker:
        with pytest.raises(BrokerUnavailable, match="closed the connection"):
            await broker.check()


async def test_a_broker_that_is_not_there_is_named(rabbitmq: RabbitServer) -> None:
    """Host and port are in the error."""
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1\b"):
        async with open_broker("amqp://guest:guest@127.0.0.1:1/") as broker:
            await broker.check()


async def test_a_message_of_ten_megabytes_arrives(broker: Broker) -> None:
    """The broker sets no limit of its own: the readers judge."""
    assert isinstance(broker, RabbitBroker)
    await broker.publish([Outgoing(Address.REPORTS, Message(b"x" * 10_000_000))])
    async with broker.consume(Address.REPORTS) as consumer:
        (delivery,) = await take(consumer, 1)
        assert len(delivery.message.body) == 10_000_000
        await delivery.reject("too large")
    async with broker.consume(Address.DEAD) as dead:
        assert len((await take(dead, 1))[0].message.body) == 10_000_000


# ------------------------------------------------------------------------------------------------------- a bad way there


@pytest.fixture
async def behind(rabbitmq: RabbitServer, prefix: str) -> AsyncIterator[tuple[Broker, FaultProxy]]:
    """A broker, and the proxy between it and its server."""
    url = rabbitmq.url(prefix)
    async with fault_proxy(url) as proxy, open_rabbitmq(proxy.through(url), deaf_s=0.5) as opened:
        yield opened, proxy


async def test_cut_and_reset_connections_open_themselves_again(behind: tuple[Broker, FaultProxy]) -> None:
    """Whatever was confirmed arrives, whatever was not is told."""
    broker, proxy = behind
    for number, fault in enumerate((proxy.cut, proxy.reset)):
        async with broker.consume(Address.TASKS, "work") as consumer:
            fault()
            await lost(consumer)
        await publish_soon(broker, *to(Address.TASKS, str(number), key="work"))
        async with broker.consume(Address.TASKS, "work") as consumer:
            (delivery,) = await take(consumer, 1)
            assert delivery.message.body == str(number).encode()
            await delivery.ack()


async def test_a_black_hole_is_told_to_publishers_and_consumers(
    behind: tuple[Broker, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the time for an answer, not with the heartbeats' end; then all goes on by itself."""
    for module in ("amqp", "amqp_consumer", "rabbitmq"):
        monkeypatch.setattr(f"taskengine.brokers.{module}.ANSWER_S", 1.0)
    broker, proxy = behind
    async with broker.consume(Address.TASKS, "work") as consumer:
        proxy.black_hole()
        told = asyncio.ensure_future(lost(consumer))
        with pytest.raises(BrokerUnavailable, match="did not answer in time"):
            await broker.publish(to(Address.TASKS, "swallowed", key="work"))
        await told
    proxy.heal()
    await publish_soon(broker, *to(Address.TASKS, "a", key="work"))
    async with broker.consume(Address.TASKS, "work", prefetch=2) as consumer:
        while "a" not in bodies(await take(consumer, 1)):  # what was swallowed may have come through since
            pass


async def test_a_memory_alarm_is_told_at_once_and_passes(rabbitmq: RabbitServer, broker: Broker) -> None:
    """Publishers are blocked: publishing and the check fail while it lasts, consuming goes on."""
    await broker.publish(to(Address.TASKS, "before", key="work"))
    await rabbitmq.control("set_vm_memory_high_watermark", "0.0001")
    try:
        with pytest.raises(BrokerUnavailable, match="blocks publishers"):
            await broker.publish(to(Address.REPORTS, "blocked"))
        for call in (broker.check(), broker.publish(to(Address.REPORTS, "blocked"))):
            with pytest.raises(BrokerUnavailable, match="blocks publishers"):
                await asyncio.wait_for(call, 0.2)
        assert await broker.waiting("work") == 1
        async with broker.consume(Address.TASKS, "work") as consumer:
            assert bodies(await take(consumer, 1)) == ["before"]
    finally:
        await rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    await publish_soon(broker, *to(Address.REPORTS, "after"))
    await broker.check()


async def test_a_consumer_ends_whenever_it_is_cancelled(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library swallows a cancellation that comes together with an answer: the process would never end."""
    real: Any = aiormq.Channel.basic_consume
    asked = asyncio.Event()

    async def basic_consume(*given: Any, **named: Any) -> Any:
        asked.set()
        return await real(*given, **named)

    async def consume() -> None:
        async with broker.consume(Address.JOBS, prefetch=8) as consumer:
            await consumer.batch(1)

    monkeypatch.setattr(aiormq.Channel, "basic_consume", basic_consume)
    for turns in range(60):
        asked.clear()
        consuming = asyncio.create_task(consume())
        await asyncio.wait_for(asked.wait(), WAIT_S)
        for _ in range(turns % 12):
            await asyncio.sleep(0)
        await asyncio.sleep(turns % 3 / 1000)
        consuming.cancel()
        await asyncio.wait([consuming], timeout=WAIT_S)
        assert consuming.cancelled()


async def test_a_connection_over_tls_is_verified(rabbitmq: RabbitServer, prefix: str, tmp_path: Path) -> None:
    """`amqps://` with the certificate that vouches for the server; without one that does, it is refused."""
    (tmp_path / "server.pem").write_bytes(self_signed("127.0.0.1").pem)
    port = await rabbitmq.listen_with_tls(tmp_path / "server.pem")
    url = f"amqps://guest:guest@127.0.0.1:{port}/?prefix={prefix}"
    async with open_broker(f"{url}&cafile={tmp_path}/server.pem") as broker:
        await broker.publish(to(Address.TASKS, "sealed", key="work"))
        async with broker.consume(Address.TASKS, "work") as consumer:
            assert bodies(await take(consumer, 1)) == ["sealed"]
    with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
        async with open_broker(url) as broker:
            await broker.check()
