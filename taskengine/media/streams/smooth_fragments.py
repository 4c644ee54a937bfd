"""Fragments of Smooth Streaming as the segments of fMP4 that they nearly are: with their times and the id of the one track."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from taskengine.media.archive.boxes import header_at, needed, samples
from taskengine.media.mp4 import Box, BoxFault, children, written
from taskengine.media.streams.smooth_init import TRACK

_ENCRYPTION = bytes.fromhex("a2394f525a9b4f14a2446c427c648df4")  # PIFF's name of `senc`
_LEFT_OUT = {b"uuid", b"tfdt", b"saiz", b"saio"}  # times are told here; where the vectors lie, `senc` says itself
_AHEAD_S = 0.4  # by which decoding is ahead of showing: ffmpeg moves all times where an offset is below zero
_OFFSETS = 0x800  # of a run: each sample tells how much later than decoded it is shown
_OVERRIDES = 0x1  # of `senc`: algorithm, size of vectors and key, which are the track's


def timed(data: bytes, time: int, timescale: int) -> bytes:
    """A fragment whose first sample is shown at `time` (ticks of `timescale` in a second). BoxFault where it is none."""
    ahead = round(_AHEAD_S * timescale)
    try:
        return b"".join(
            _fragment(data, box, time, ahead) if box.kind == b"moof" else data[header_at(data, box) : box.end]
            for box in children(data, 0, len(data))
        )
    except (struct.error, IndexError, OverflowError) as error:
        raise BoxFault(f"its fragment cannot be read: {error!r}") from error


def _fragment(data: bytes, moof: Box, time: int, ahead: int) -> bytes:
    track = needed(data, b"traf", within=moof)
    parts = list(_track(data, track, time, ahead))
    others = [
        data[header_at(data, box) : box.end] for box in children(data, moof.start, moof.end) if box.kind == b"mfhd"
    ]
    size = 8 + sum(map(len, others)) + 8 + sum(map(len, parts))
    by = size - (moof.end - header_at(data, moof))
    parts = [_moved(part, by) if part[4:8] == b"trun" else part for part in parts]
    return written(b"moof", *others, written(b"traf", *parts))


def _track(data: bytes, track: Box, time: int, ahead: int) -> Iterator[bytes]:
    """The boxes of a track fragment."""
    run = needed(data, b"trun", within=track)
    reordered = bool(data[run.start + 2] & _OFFSETS >> 8)
    first = next(samples(data, run.start, 0), (0, 0))[1] + (ahead if reordered else 0)
    for box in children(data, track.start, track.end):
        content = data[box.start : box.end]
        if box.kind == b"tfhd":
            yield written(b"tfhd", content[:4] + TRACK.to_bytes(4) + content[8:])
            yield written(b"tfdt", struct.pack(">IQ", 1 << 24, time - first))
        elif box.kind == b"trun" and reordered:
            yield written(b"trun", _later(content, ahead))
        elif box.kind == b"uuid" and content[:16] == _ENCRYPTION:
            flags = int.from_bytes(content[17:20])
            rest = content[20 + (20 if flags & _OVERRIDES else 0) :]
            yield written(b"senc", (flags & ~_OVERRIDES).to_bytes(4) + rest)
        elif box.kind not in _LEFT_OUT:
            yield data[header_at(data, box) : box.end]


def _later(run: bytes, by: int) -> bytes:
    """A run whose samples are shown so much later after they are decoded."""
    flags = int.from_bytes(run[1:4])
    place = 8 + sum(4 for flag in (0x1, 0x4) if flags & flag)
    fields = sum(1 for flag in (0x100, 0x200, 0x400, _OFFSETS) if flags & flag)
    changed = bytearray(run)
    for at in range(place + 4 * (fields - 1), len(run), 4 * fields):
        offset = int.from_bytes(run[at : at + 4], signed=run[0] == 1) + by
        changed[at : at + 4] = offset.to_bytes(4, signed=True)
    return bytes(changed)


def _moved(run: bytes, by: int) -> bytes:
    """A run whose media data lie so many bytes further from the fragment's beginning."""
    if not run[11] & 1:
        return run
    offset = int.from_bytes(run[16:20], signed=True) + by
    return run[:16] + offset.to_bytes(4, signed=True) + run[20:]
