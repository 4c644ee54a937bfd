"""The index of a file with many segments: the `sidx` box of ISO/IEC 14496-12."""

from __future__ import annotations

from collections.abc import Sequence

from taskengine.media.streams.model import Resource, StreamFault


def read(data: bytes, where: Resource) -> Sequence[tuple[Resource, float, float]]:
    """(bytes, seconds of the media's clock, duration) of each segment that the index at `where` tells. StreamFault."""
    place = data.find(b"sidx") - 4
    if place < 0:
        raise StreamFault("its index has no sidx box")
    try:
        return _read(data, place, where)
    except (IndexError, ArithmeticError) as error:
        raise StreamFault("its index is damaged") from error


def _read(data: bytes, place: int, where: Resource) -> Sequence[tuple[Resource, float, float]]:
    size = _number(data, place, 4)
    wide = 8 if data[place + 8] else 4
    timescale = _number(data, place + 16, 4)
    time = _number(data, place + 20, wide)
    offset = where.offset + place + size + _number(data, place + 20 + wide, wide)
    count = _number(data, place + 22 + 2 * wide, 2)
    found = []
    for entry in range(count):
        at = place + 24 + 2 * wide + 12 * entry
        length, ticks = _number(data, at, 4), _number(data, at + 4, 4)
        if length >> 31:
            raise StreamFault("its index points to further indexes, which is not supported")
        found.append((Resource(where.url, offset, length), time / timescale, ticks / timescale))
        offset, time = offset + length, time + ticks
    return found


def _number(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + length])
