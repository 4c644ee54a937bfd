"""Reading server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

from taskengine.client.events import Happening, read_events


async def lines(text: str) -> AsyncIterator[bytes]:
    """As they come."""
    for line in text.splitlines(keepends=True):
        yield line.encode()


async def read(text: str) -> list[Happening]:
    """The events of a stream."""
    return [happening async for happening in read_events(lines(text))]


async def test_events_are_read_as_the_standard_has_them() -> None:
    """Comments and unknown fields are passed over; an id stays until there is another; data may have several lines."""
    text = ': ping\n\nid: 1\nevent: job\nretry: 5\ndata: {"a":\r\ndata:1}\n\nevent:log\ndata: 2\n\ndata: 3\n\n'
    assert await read(text) == [Happening("job", {"a": 1}, "1"), Happening("log", 2, "1"), Happening("message", 3, "1")]


async def test_one_that_was_not_sent_whole_is_left_out() -> None:
    """The stream is taken up again after the one before it."""
    assert await read('id: 1\ndata: 1\n\nid: 2\ndata: {"half":') == [Happening("message", 1, "1")]
