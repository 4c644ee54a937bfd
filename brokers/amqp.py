"""A connection to an AMQP 0-9-1 broker that opens itself again, its queues, and what the library below says in our
words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import structlog
from aiormq import Channel, Connection
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from taskengine.brokers.amqp_reader import DirectConnection
from taskengine.domain.errors import BrokerUnavailable
from taskengine.ports import Address

T = TypeVar("T")

log = structlog.get_logger(__name__)
_told_by_us = ("error when creating transport", "Closing channel")  # the library logs these and raises them, too
for _name in ("aiormq.connection", "aiormq.channel"):
    logging.getLogger(_name).addFilter(lambda record: not record.getMessage().startswith(_told_by_us))

ANSWER_S = 10.0  # for everything that the broker is asked
_HEARTBEAT_S = 10
_BLOCKED_LOOK_S = 0.25  # while a publish is not confirmed
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 3.0
_PRIORITIES = 9
_MOST_CHANNELS = 65535  # of a connection, where the broker names no limit: AMQP 0-9-1, 4.2.3
_DELIVERY_LIMIT = 20  # of quorum queues: then it is a dead letter


class QueueType(StrEnum):
    """Of which kind new queues are; those that exist are taken as they are."""

    AUTO = "auto"  # what the virtual host's default says
    CLASSIC = "classic"
    QUORUM = "quorum"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the broker is, and how it is named in messages."""

    url: URL

    @property
    def name(self) -> str:
        """Host and port: never the credentials."""
        return f"{self.url.host}:{self.url.port or (5671 if self.url.scheme == 'amqps' else 5672)}"

    def unavailable(self, error: BaseException) -> BrokerUnavailable:
        """A fault in our words, without the URL's secrets."""
        text = " ".join(str(part) for part in error.args if part) or type(error).__name__
        if self.url.password:
            text = text.replace(self.url.password, "***")
        return BrokerUnavailable(f"the broker at {self.name}: {text[:300]}")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What the library raises becomes BrokerUnavailable. It ends futures of a closed connection by a cancellation
        that nobody asked for: that one too. One that was asked for is raised, also where the library swallowed it, as
        `asyncio.wait_for` does before Python 3.12 when its answer comes in the same moment."""
        before = _cancellations()
        try:
            yield
        except TimeoutError as error:
            raise BrokerUnavailable(f"the broker at {self.name} did not answer in time") from error
        except StopAsyncIteration as error:  # what the library makes of an end amid the greeting
            raise BrokerUnavailable(f"the broker at {self.name} closed the connection") from error
        except (AMQPError, OSError, RuntimeError) as error:
            if _cancellations() > before:
                raise asyncio.CancelledError from error
            raise self.unavailable(error) from error
        except asyncio.CancelledError as error:
            if _cancellations() > before:
                raise
            raise BrokerUnavailable(f"the broker at {self.name} closed the connection") from error
        if _cancellations() > before:
            raise asyncio.CancelledError


def _cancellations() -> int:
    """How often the cancellation of this task was asked for."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class Link:
    """One connection, opened when it is needed; after a failure not before a pause, which grows."""

    def __init__(self, place: Place, purpose: str) -> None:
        self.place = place
        self._purpose = purpose
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._last_channel = 0
        self._failures = 0
        self._not_before = 0.0
        self._last_error = ""
        self._closed = False

    async def connection(self) -> Connection:
        """The open connection; raises BrokerUnavailable."""
        async with self._opening:
            if self._closed:
                raise BrokerUnavailable("the broker was closed by this process")
            if self._connection is None or self._connection.is_closed or not self._connection.is_opened:
                await self._open()
            assert self._connection is not None  # noqa: S101 - for the type checker: it was opened just now
            return self._connection

    @property
    def version(self) -> str:
        """The broker's version; "" where there is no connection."""
        return version_of(self._connection) if self._connection is not None else ""

    async def confirmed(self, asked: Awaitable[T]) -> T:
        """What the broker says to what was published: within ANSWER_S, or the connection is broken off.

        Raises BrokerUnavailable as soon as the broker blocks publishers: what was sent may be taken later.
        """
        answer = asyncio.ensure_future(asked)
        until = asyncio.get_running_loop().time() + ANSWER_S
        try:
            while not (await asyncio.wait({answer}, timeout=_BLOCKED_LOOK_S))[0]:
                self.refuse_where_blocked()
                if asyncio.get_running_loop().time() > until:
                    await self.break_off()
                    raise TimeoutError
            return answer.result()
        finally:
            answer.add_done_callback(_heard)
            answer.cancel()

    def refuse_where_blocked(self) -> None:
        """Raise BrokerUnavailable where the broker has said that it takes no messages now (it lacks memory or disk)."""
        if self._connection is not None and _is_blocked(self._connection):
            raise BrokerUnavailable(f"the broker at {self.place.name} blocks publishers: it is short of memory or disk")

    async def open_channel(self, *, confirms: bool) -> Channel:
        """A channel with the number that was unused for longest: the library would take the last one's again, which the
        broker may not have closed yet."""
        connection = await self.connection()
        highest = connection.connection_tune.channel_max or _MOST_CHANNELS
        for _ in range(highest):
            self._last_channel = self._last_channel % highest + 1
            if self._last_channel not in connection.channels:
                break
        with self.place.translated():
            async with asyncio.timeout(ANSWER_S):
                channel = await connection.channel(self._last_channel, publisher_confirms=confirms)
        assert isinstance(channel, Channel)  # noqa: S101 - for the type checker
        return channel

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        """A channel of its own, closed at the end."""
        channel = await self.open_channel(confirms=False)
        try:
            yield channel
        finally:
            await close_quietly(channel)

    async def break_off(self) -> None:
        """Close the connection: what does not answer is opened anew by whoever needs it next."""
        broken, self._connection = self._connection, None
        if broken is not None:
            await close_quietly(broken)

    async def close(self) -> None:
        """Close it for good."""
        self._closed = True
        await self.break_off()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before:
            raise BrokerUnavailable(self._last_error)
        await self.break_off()
        url = self.place.url.update_query(heartbeat=str(_HEARTBEAT_S), name=f"taskengine {self._purpose}")
        connection = DirectConnection(url)
        try:
            with self.place.translated():
                async with asyncio.timeout(ANSWER_S):
                    await connection.connect()
        except BaseException as error:
            await close_quietly(connection)
            pause = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
            self._failures, self._not_before = self._failures + 1, loop.time() + pause
            self._last_error = str(error)
            raise
        self._failures, self._connection = 0, connection
        log.info("broker_connected", broker=self.place.name, purpose=self._purpose, version=version_of(connection))


def _heard(answer: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more: how it ended is no news."""
    if not answer.cancelled():
        answer.exception()


def _is_blocked(connection: Connection) -> bool:
    """Whether an open connection waits for the broker's word that it goes on."""
    ready = connection.ready()
    try:
        ready.send(None)
    except StopIteration:
        return False
    ready.close()
    return connection.is_opened and not connection.is_closed


def version_of(connection: Connection) -> str:
    """The broker's version, as it says itself in the handshake."""
    return str((connection.server_properties or {}).get("version", ""))


async def close_quietly(what: Connection | Channel) -> None:
    """Close what may be closed or broken already."""
    before = _cancellations()
    try:
        with suppress(AMQPError, OSError, RuntimeError, TimeoutError):
            await what.close(timeout=3.0)
    except asyncio.CancelledError:  # as of `Place.translated`: nobody may have asked for it
        if _cancellations() > before:
            raise


# ----------------------------------------------------------------------------------------------------------- queues


def queue_arguments(address: Address, dead: str, kind: QueueType, broker: str) -> list[dict[str, Any]]:
    """The arguments of a durable queue, the first that the broker (its version) takes: `auto` names no kind, so that the
    virtual host's default decides, and each kind refuses what is the other's alone.

    Priorities order the tasks in a classic queue; a quorum queue has two levels of its own (4.x). Dead letters have
    nowhere left to go: they stay, however often somebody looks at them.
    """
    both: dict[str, Any] = {}
    limit: dict[str, Any] = {"x-delivery-limit": _DELIVERY_LIMIT}
    if address is Address.DEAD:  # 4.x has a limit unless it is told otherwise, 3.x none, and would take -1 for one
        limit = {} if broker.startswith("3.") else {"x-delivery-limit": -1}
    else:
        both = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    priorities = {"x-max-priority": _PRIORITIES} if address is Address.TASKS else {}
    kinds = {QueueType.QUORUM: both | limit, QueueType.CLASSIC: both | priorities}
    if kind is QueueType.AUTO:
        return list(kinds.values())
    return [kinds[kind] | {"x-queue-type": kind.value}]


async def declare_queue(link: Link, name: str, address: Address, dead: str, kind: QueueType) -> None:
    """Take the queue as it is, else make it."""
    with link.place.translated():
        if await _exists(link, name):
            return
        for arguments in queue_arguments(address, dead, kind, link.version):
            if await _made(link, name, arguments):
                return
        if not await _exists(link, name):  # another process may have made it meanwhile, with other arguments
            raise BrokerUnavailable(f"the broker at {link.place.name} refuses to make the queue {name}")


async def declare_exchange(link: Link, name: str) -> None:
    """The durable topic exchange: taken as it is, else made."""
    with link.place.translated():
        try:
            async with link.channel() as channel:
                await channel.exchange_declare(name, passive=True, timeout=ANSWER_S)
        except ChannelNotFoundEntity:
            async with link.channel() as channel:
                await channel.exchange_declare(name, exchange_type="topic", durable=True, timeout=ANSWER_S)


async def declare_entrance(link: Link, queue: str) -> None:
    """An exchange of the queue's own name that leads into it: who may write there alone reaches no other queue, as
    everybody does who may write to the default exchange."""
    await declare_exchange(link, queue)
    with link.place.translated():
        async with link.channel() as channel:
            await channel.queue_bind(queue, queue, "#", timeout=ANSWER_S)


async def ready_messages(link: Link, queue: str) -> int:
    """How many messages wait in a queue; 0 where it is none."""
    with link.place.translated():
        try:
            async with link.channel() as channel:
                answer = await channel.queue_declare(queue, passive=True, timeout=ANSWER_S)
                return int((answer and answer.message_count) or 0)
        except ChannelNotFoundEntity:
            return 0


async def _exists(link: Link, name: str) -> bool:
    try:
        async with link.channel() as channel:
            await channel.queue_declare(name, passive=True, timeout=ANSWER_S)
    except ChannelNotFoundEntity:
        return False
    return True


async def _made(link: Link, name: str, arguments: Mapping[str, Any]) -> bool:
    try:
        async with link.channel() as channel:
            await channel.queue_declare(name, durable=True, arguments=dict(arguments), timeout=ANSWER_S)
    except ChannelPreconditionFailed:
        return False
    return True
