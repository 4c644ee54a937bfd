"""Segments of MPEG-TS with one track each, as packager makes them one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from taskengine.media.mp4 import BoxFault

_PACKET, _SYNC = 188, 0x47
_STARTS, _ADAPTATION, _DISCONTINUITY = 0x40, 0x20, 0x80
_TABLES = 0x20  # the highest PID that packager has tables at


def standing_alone(data: bytes) -> bytes:
    """The same, marked so that players do not take its packets for the next ones of whatever segment is before it: each was
    counted from zero. BoxFault where it has no media."""
    begin = next((at for at in _media(data) if data[at + 1] & _STARTS), None)
    if begin is None or not data[begin + 3] & _ADAPTATION or not data[begin + 4]:
        raise BoxFault("it has no packet with media and a clock")
    marked = bytearray(data)
    marked[begin + 5] |= _DISCONTINUITY
    return bytes(marked)


def samples(data: bytes) -> int:
    """How many pictures, or frames of sound: packager begins each in a packet of its own. BoxFault where it is no MPEG-TS."""
    return sum(1 for at in _media(data) if data[at + 1] & _STARTS)


def _media(data: bytes) -> Iterator[int]:
    """Where the packets begin that carry no tables."""
    if not data or len(data) % _PACKET:
        raise BoxFault("it is not made of whole packets of MPEG-TS")
    for at in range(0, len(data), _PACKET):
        if data[at] != _SYNC:
            raise BoxFault("a packet of MPEG-TS does not begin where it should")
        if ((data[at + 1] & 0x1F) << 8 | data[at + 2]) > _TABLES:
            yield at
