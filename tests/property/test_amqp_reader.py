"""What comes in over AMQP is taken as it was sent, however the network cuts it into pieces."""

from __future__ import annotations

import asyncio
from typing import Any

import pamqp.frame
import pytest
from aiormq import spec
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from taskengine.brokers.amqp_reader import Delivered, _Frames

OURS, OTHERS = 3, 4  # channels: of a consumer, and of whoever else

messages = st.tuples(st.sampled_from([OURS, OTHERS]), st.lists(st.binary(min_size=1, max_size=40), max_size=3))
acks = st.tuples(st.sampled_from([OURS, OTHERS]), st.none())


def frames_of(number: int, channel: int, parts: list[bytes] | None) -> list[bytes]:
    """A delivery with its body in these parts; an acknowledgement where there are none."""
    if parts is None:
        return [pamqp.frame.marshal(spec.Basic.Ack(delivery_tag=number), channel)]
    deliver = spec.Basic.Deliver("c", number, redelivered=number % 2 == 0, exchange="", routing_key="q")
    header = ContentHeader(body_size=sum(map(len, parts)), properties=spec.Basic.Properties(message_id=f"m{number}"))
    frames: list[Any] = [deliver, header, *map(ContentBody, parts)]
    return [pamqp.frame.marshal(frame, channel) for frame in frames]


async def read(pieces: list[bytes]) -> tuple[list[Delivered], list[tuple[int, Any]]]:
    """(deliveries of our channel, (channel, frame) of all others) of a stream that comes in these pieces and ends."""
    taken: list[Delivered] = []
    reader = asyncio.StreamReader()
    frames = _Frames(reader, {OURS: taken.append})
    others: list[tuple[int, Any]] = []

    async def take() -> None:
        async for _, channel, frame in frames:
            others.append((channel, frame))

    reading = asyncio.ensure_future(take())
    for piece in pieces:
        reader.feed_data(piece)
        await asyncio.sleep(0)
    reader.feed_eof()
    with pytest.raises(AMQPConnectionError, match="unexpectedly closed"):
        await reading
    return taken, others


@given(sent=st.lists(messages | acks, max_size=8), cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_frames_are_taken_however_they_are_cut(sent: list[Any], cuts: list[int]) -> None:
    """Deliveries of our channel whole and in order; all else in the order of its coming, beside signs of life."""
    stream = b"".join(b"".join(frames_of(number, *one)) for number, one in enumerate(sent, 1))
    pieces: list[bytes] = []
    at = 0
    while at < len(stream):
        pieces.append(stream[at : at + cuts[len(pieces) % len(cuts)]])
        at += len(pieces[-1])
    taken, others = asyncio.run(read(pieces))
    ours = [(n, b"".join(parts)) for n, (channel, parts) in enumerate(sent, 1) if channel == OURS and parts is not None]
    assert [(one.tag, one.body) for one in taken] == ours
    assert [one.redelivered for one in taken] == [number % 2 == 0 for number, _ in ours]
    assert [one.properties.message_id for one in taken] == [f"m{number}" for number, _ in ours]
    rest: list[tuple[int, type]] = [
        (channel, type(frame)) for channel, frame in others if not isinstance(frame, Heartbeat)
    ]
    expected: list[tuple[int, type]] = []
    for channel, parts in sent:
        if parts is None:
            expected.append((channel, spec.Basic.Ack))
        elif channel == OTHERS:
            expected += [
                (channel, spec.Basic.Deliver),
                (channel, ContentHeader),
                *[(channel, ContentBody)] * len(parts),
            ]
    assert rest == expected
    assert bool(ours) <= any(isinstance(frame, Heartbeat) for _, frame in others)


async def test_a_frame_without_its_end_mark_is_refused() -> None:
    """The stream is out of step: nothing after it can be believed."""
    stream = b"".join(frames_of(1, OURS, [b"body"]))
    reader = asyncio.StreamReader()
    reader.feed_data(stream[:-1] + b"\x00")
    with pytest.raises(InvalidFrameError, match="end mark"):
        await anext(_Frames(reader, {OURS: lambda _: None}))
