"""Publishing many messages at one time: written in one piece, each confirmed by its own word of the broker.

`aiormq.Channel.basic_publish` takes a lock, a future and a write of the socket for each message, which together cost more
than the engine's decision about a task. Its bookkeeping is kept: tags, confirmations and returned messages are the
channel's own.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, cast

import pamqp.frame
from aiormq import Channel, spec
from aiormq.abc import ChannelFrame
from aiormq.exceptions import PublishError
from pamqp.body import ContentBody
from pamqp.encode import encode_table_value
from pamqp.header import ContentHeader

from taskengine.brokers.topology import Route
from taskengine.ports import Message


class Batch:
    """Messages that were sent together."""

    def __init__(self, channel: Channel, size: int) -> None:
        self._left = size
        self._over: asyncio.Future[Any] = channel.create_future()  # it fails when the channel ends
        self._returned: list[int] = []
        self._error: BaseException | None = None

    async def confirmed(self) -> Sequence[int]:
        """Wait for the broker's word about each; the places of those that no queue took. Raises what it refused."""
        await self._over
        if self._error is not None:
            raise self._error
        return sorted(self._returned)

    def word(self, place: int, error: BaseException | None) -> None:
        """What the broker says to one of them."""
        if isinstance(error, PublishError):
            self._returned.append(place)
        elif error is not None:
            self._error = error
        self._left -= 1
        if not self._left and not self._over.done():
            self._over.set_result(None)


class _Confirmation:
    """What the channel takes for a message's future."""

    __slots__ = ("_batch", "_done", "_forget", "_place")

    def __init__(self, batch: Batch, place: int, forget: Callable[[], object]) -> None:
        self._batch, self._place, self._forget, self._done = batch, place, forget, False

    def done(self) -> bool:
        return self._done

    def cancelled(self) -> bool:
        return False

    def set_result(self, _: object) -> None:
        self._end(None)

    def set_exception(self, error: BaseException) -> None:
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._done = True
        self._forget()
        self._batch.word(self._place, error)


async def send(channel: Channel, messages: Sequence[tuple[Route, Message]]) -> Batch:
    """Hand all to the connection's writer in one piece. What the channel raises is not translated here."""
    batch = Batch(channel, len(messages))
    async with channel.lock:
        named = [(message.message_id or uuid.uuid4().hex, route, message) for route, message in messages]
        payload = b"".join(_marshalled(channel, *one) for one in named)
        tags = range(channel.delivery_tag + 1, channel.delivery_tag + 1 + len(named))
        for place, (tag, (name, _, _)) in enumerate(zip(tags, named, strict=True)):
            channel.message_id_delivery_tag[name] = tag  # by it a returned message is known
            channel.confirmations[tag] = cast(Any, _Confirmation(batch, place, partial(_forget, channel, name, tag)))
        channel.delivery_tag += len(named)
        try:
            await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        except BaseException:  # the broker has seen none of them: their numbers are used again
            channel.delivery_tag -= len(named)
            for tag, (name, _, _) in zip(tags, named, strict=True):
                channel.confirmations.pop(tag, None)
                _forget(channel, name, tag)
            raise
    return batch


def writable(headers: Mapping[str, Any], room: int) -> dict[str, Any]:
    """Headers that came from others, as they can be sent on: what the library reads and does not write becomes text, and
    what `room` (bytes) is not enough for is left out."""
    kept: dict[str, Any] = {}
    for name, value in headers.items():
        told = value if _size(value) is not None else _text(value)
        size = len(name.encode()) + (_size(told) or 0)
        if size <= room:
            kept[name] = told
            room -= size
    return kept


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _size(value: Any) -> int | None:
    """Bytes of a header's value; None where the library cannot write it."""
    try:
        return len(encode_table_value(value))
    except (TypeError, ValueError, ArithmeticError, struct.error):
        return None


def _forget(channel: Channel, name: str, tag: int) -> None:
    if channel.message_id_delivery_tag.get(name) == tag:
        del channel.message_id_delivery_tag[name]


def _marshalled(channel: Channel, name: str, route: Route, message: Message) -> bytes:
    """The frames of a message, persistent."""
    number, body = channel.number, message.body
    properties = spec.Basic.Properties(
        content_type=message.content_type,
        headers=dict(message.headers),
        delivery_mode=2,
        priority=min(max(message.priority, 0), 9),
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=name,
    )
    header = ContentHeader(body_size=len(body), properties=properties)
    size = channel.max_content_size
    parts = [body] if len(body) <= size else [body[start : start + size] for start in range(0, len(body), size)]
    frames = (pamqp.frame.marshal(ContentBody(part), number) for part in parts if part)
    return b"".join((_method(route, number), pamqp.frame.marshal(header, number), *frames))


@lru_cache(maxsize=1024)
def _method(route: Route, number: int) -> bytes:
    """The frame that says where a message goes: the same one again and again."""
    publish = spec.Basic.Publish(
        exchange=route.exchange, routing_key=route.routing_key, mandatory=route.mandatory, immediate=False
    )
    return bytes(pamqp.frame.marshal(publish, number))
