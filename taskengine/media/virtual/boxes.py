"""The time stamp of the first picture or sound of an fMP4 segment, from its first bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from taskengine.media.mp4 import Box, BoxFault, children

HEAD_BYTES = 16 * 1024  # of a segment: its boxes before the media
_COMPOSITION = 0x800  # of a run: each sample tells how much later it is shown
_OPTIONAL = ((0x1, 4), (0x4, 4))  # data offset, flags of the first sample
_SAMPLE = ((0x100, 4), (0x200, 4), (0x400, 4))  # duration, size, flags


def first_time(init: bytes, segment: bytes) -> float:
    """Seconds on the media's clock at which the first sample is shown; edit lists left out of account, as DASH does.
    BoxFault where the boxes are not there."""
    timescale = _timescale(init)
    moof = _found(segment, 0, len(segment), b"moof")
    traf = _found(segment, moof.start, moof.end, b"traf")
    tfdt = _found(segment, traf.start, traf.end, b"tfdt")
    wide = segment[tfdt.start] == 1
    (time,) = struct.unpack_from(">Q" if wide else ">I", segment, tfdt.start + 4)
    return (int(time) + _composition(segment, traf)) / timescale


def _timescale(init: bytes) -> int:
    moov = _found(init, 0, len(init), b"moov")
    trak = _found(init, moov.start, moov.end, b"trak")
    mdia = _found(init, trak.start, trak.end, b"mdia")
    mdhd = _found(init, mdia.start, mdia.end, b"mdhd")
    (found,) = struct.unpack_from(">I", init, mdhd.start + (20 if init[mdhd.start] == 1 else 12))
    if not found:
        raise BoxFault("its clock has no ticks")
    return int(found)


def _composition(segment: bytes, traf: Box) -> int:
    run = _found(segment, traf.start, traf.end, b"trun")
    version = segment[run.start]
    flags = int.from_bytes(segment[run.start + 1 : run.start + 4])
    if not flags & _COMPOSITION:
        return 0
    at = run.start + 8 + sum(size for flag, size in _OPTIONAL if flags & flag)
    at += sum(size for flag, size in _SAMPLE if flags & flag)
    (offset,) = struct.unpack_from(">i" if version else ">I", segment, at)
    return int(offset)


def _found(data: bytes, start: int, end: int, kind: bytes) -> Box:
    try:
        for box in _boxes(data, start, end):
            if box.kind == kind:
                return box
    except struct.error as error:
        raise BoxFault("a box is cut off") from error
    raise BoxFault(f"there is no {kind.decode()} box")


def _boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Those that are there whole."""
    try:
        yield from children(data, start, end)
    except BoxFault:
        return
