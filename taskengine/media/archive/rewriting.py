"""Segments that were packaged again, made like those that they come from: clocks, messages, and nothing by chance."""

from __future__ import annotations

import struct

from taskengine.media.archive.boxes import (
    decode_time,
    entry_boxes,
    find,
    fragments,
    header_at,
    messages,
    needed,
    read_init,
    sample_entry,
)
from taskengine.media.mp4 import Box, BoxFault, children

_TIMES = {b"mvhd", b"tkhd", b"mdhd"}  # boxes that begin with when they were made
_DECODER = 0x04  # the tag of a DecoderConfigDescriptor


def like(encrypted: bytes, clear: bytes) -> bytes:
    """An encrypted segment as packager wrote it, with the clock and the messages of the clear one: it takes edit lists off
    the times of some tracks, and leaves messages out."""
    (time,) = struct.unpack_from(*decode_time(clear, next(fragments(clear))))
    made = with_decode_time(encrypted, time)
    first = next(header_at(encrypted, box) for box in children(encrypted, 0, len(encrypted)) if box.kind == b"moof")
    return made[:first] + b"".join(messages(clear)) + made[first:]


def init_like(encrypted: bytes, clear: bytes) -> bytes:
    """An encrypted init segment with the edit list of the clear one."""
    source = find(clear, b"moov", b"trak", b"edts")
    return _with_edits(encrypted, clear[header_at(clear, source) : source.end] if source else b"")


def without_edits(init: bytes) -> bytes:
    """An init segment whose times are those of the media: packager writes edit lists that differ by where a segment lies."""
    return _with_edits(init, b"")


def _with_edits(init: bytes, edits: bytes) -> bytes:
    """After the header of the track, wherever packager had its own."""
    movie = needed(init, b"moov")
    track = needed(init, b"trak", within=movie)
    place = needed(init, b"tkhd", within=track).end
    own = find(init, b"edts", within=track)
    begin, end = (header_at(init, own), own.end) if own else (place, place)
    made = bytearray(init[:place] + edits + init[place:begin] + init[end:])
    for box in (movie, track):
        at = header_at(init, box)
        struct.pack_into(">I", made, at, box.end - at + len(edits) - (end - begin))
    return bytes(made)


def with_decode_time(segment: bytes, time: int) -> bytes:
    """A segment with another base media decode time of its first fragment, in ticks."""
    made = bytearray(segment)
    form, _, place = decode_time(segment, next(fragments(segment)))
    if not 0 <= time < (1 << (64 if form == ">Q" else 32)):
        raise BoxFault(f"its clock has no room for {time}")
    struct.pack_into(form, made, place, time)
    return bytes(made)


def moved(segment: bytes, ticks: int) -> bytes:
    """A segment that is so much later; all of its fragments."""
    made = bytearray(segment)
    for track in fragments(segment):
        form, _, place = decode_time(segment, track)
        (time,) = struct.unpack_from(form, made, place)
        if not 0 <= time + ticks < (1 << (64 if form == ">Q" else 32)):
            raise BoxFault(f"its clock has no room for {time + ticks}")
        struct.pack_into(form, made, place, time + ticks)
    return bytes(made)


def normalised(init: bytes) -> bytes:
    """An init segment without what differs each time that it is made: when that was, how long the first
    segment was, and bit rates that were measured. So the same track has the same one."""
    made = bytearray(init)
    movie = needed(init, b"moov")
    track = needed(init, b"trak", within=movie)
    media = needed(init, b"mdia", within=track)
    for parent in (movie, track, media):
        for box in children(init, parent.start, parent.end):
            if box.kind in _TIMES:
                length = 16 if init[box.start] else 8
                made[box.start + 4 : box.start + 4 + length] = bytes(length)
    whole = find(init, b"mvex", b"mehd", within=movie)
    if whole is not None:
        made[whole.start + 4 : whole.end] = bytes(whole.end - whole.start - 4)
    entry = sample_entry(init, track)
    for box in entry_boxes(init, entry, read_init(init).kind) if entry else ():
        if box.kind == b"btrt":
            made[box.start : box.end] = bytes(box.end - box.start)
        elif box.kind == b"esds" and (place := _rates(init, box)):
            made[place : place + 11] = bytes(11)
    return bytes(made)


def _rates(data: bytes, box: Box) -> int | None:
    """Where a decoder's buffer size and bit rates stand."""
    place = box.start + 4
    while place < box.end:
        tag, place = data[place], place + 1
        while data[place] & 0x80:
            place += 1
        place += 1  # the last byte of the length
        if tag == _DECODER:
            return place + 2 if place + 13 <= box.end else None
        flags = data[place + 2]
        place += 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
        if flags & 0x40:
            return None
    return None


def description(init: bytes) -> bytes:
    """What decoders must know of the track: its sample descriptions."""
    box = needed(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    return init[box.start : box.end]
