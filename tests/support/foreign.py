"""Messages as clients in other languages may write them: AMQP's texts need not be UTF-8, and its tables hold more kinds of
values than our library writes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import aiormq
from aiormq.abc import ChannelFrame
from pamqp.constants import FRAME_END

_FLAGS = {"headers": 1 << 13, "correlation_id": 1 << 10, "message_id": 1 << 7, "timestamp": 1 << 6}  # in this order
_METHOD, _HEADER, _BODY = 1, 2, 3
_PUBLISH, _BASIC = (60, 40), 60


def text(data: bytes) -> bytes:
    """A short text."""
    return bytes([len(data)]) + data


def long_text(data: bytes) -> bytes:
    """The value of a header that is a text."""
    return b"S" + struct.pack(">I", len(data)) + data


def table(**values: bytes) -> bytes:
    """Headers, by name."""
    data = b"".join(text(name.replace("_", "-").encode()) + value for name, value in values.items())
    return struct.pack(">I", len(data)) + data


@dataclass(frozen=True, slots=True)
class Foreign:
    """Properties of a message, each as the bytes that it is."""

    headers: bytes | None = None
    correlation_id: bytes | None = None
    message_id: bytes | None = None
    timestamp: bytes | None = None

    async def publish(self, beside: aiormq.Channel, exchange: str, key: bytes, body: bytes) -> None:
        """Hand it to the broker on a further channel of this connection: what is confirmed there is not the library's."""
        channel = await beside.connection.channel(publisher_confirms=False)
        assert isinstance(channel, aiormq.Channel)
        method = struct.pack(">HHH", *_PUBLISH, 0) + text(exchange.encode()) + text(key) + b"\x00"
        given = {name: value for name in _FLAGS if (value := getattr(self, name)) is not None}
        flags = sum(_FLAGS[name] for name in given)
        header = struct.pack(">HHQH", _BASIC, 0, len(body), flags) + b"".join(given.values())
        frames = b"".join(
            struct.pack(">BHI", kind, channel.number, len(payload)) + payload + bytes([FRAME_END])
            for kind, payload in ((_METHOD, method), (_HEADER, header), (_BODY, body))
        )
        await channel.write_queue.put(ChannelFrame(payload=frames, should_close=False))
