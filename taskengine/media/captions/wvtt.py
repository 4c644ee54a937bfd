"""WebVTT in fragments of MP4 (`wvtt`, ISO/IEC 14496-30) as cues on the media's clock."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from taskengine.media.archive import boxes
from taskengine.media.captions import vtt
from taskengine.media.captions.cues import Captions, stamp
from taskengine.media.mp4 import Box, BoxFault, children

_FIELDS = (0x100, 0x200, 0x400, 0x800)  # of a sample in a run: duration, size, flags, composition offset
_DEFAULTS = ((0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4))  # of a header: base offset, description, duration, size


def read(init: bytes, segment: bytes) -> Captions:
    """The cues of a segment. BoxFault where it has no samples, CaptionFault where these are no cues."""
    track = boxes.read_init(init)
    try:
        said = [
            f"{stamp(begin * 1000 // track.timescale)} --> {stamp(end * 1000 // track.timescale)} {cue}\n"
            for begin, end, sample in _samples(segment, track.default_duration)
            for cue in _cues(sample)
        ]
    except (struct.error, IndexError) as error:
        raise BoxFault(f"it cannot be read: {error!r}") from error
    return vtt.read("\n".join(["WEBVTT\n", *said]))


def _samples(segment: bytes, duration: int) -> Iterator[tuple[int, int, bytes]]:
    """(begin, end, data) of each sample, in ticks."""
    data = boxes.media_data(segment)
    for track in boxes.fragments(segment):
        (time,) = struct.unpack_from(*boxes.decode_time(segment, track))
        defaults = _defaults(segment, boxes.needed(segment, b"tfhd", within=track))
        for run in (box for box in children(segment, track.start, track.end) if box.kind == b"trun"):
            for lasting, size in _run(segment, run, defaults.get(0x8, duration), defaults.get(0x10, 0)):
                yield time, time + lasting, data[:size]
                time, data = time + lasting, data[size:]


def _defaults(segment: bytes, header: Box) -> dict[int, int]:
    flags, place, found = int.from_bytes(segment[header.start + 1 : header.start + 4]), header.start + 8, {}
    for flag, size in _DEFAULTS:
        if flags & flag:
            found[flag] = int.from_bytes(segment[place : place + size])
            place += size
    return found


def _run(segment: bytes, run: Box, duration: int, size: int) -> Iterator[tuple[int, int]]:
    """(duration, size) of each sample."""
    flags = int.from_bytes(segment[run.start + 1 : run.start + 4])
    (count,) = struct.unpack_from(">I", segment, run.start + 4)
    place = run.start + 8 + sum(4 for flag in (0x1, 0x4) if flags & flag)
    fields = [flag for flag in _FIELDS if flags & flag]
    for _ in range(count):
        values = dict(zip(fields, struct.unpack_from(f">{len(fields)}I", segment, place), strict=True))
        place += 4 * len(fields)
        yield values.get(0x100, duration), values.get(0x200, size)


def _cues(sample: bytes) -> Iterator[str]:
    """Settings and text of each cue that is shown in a sample."""
    for box in children(sample, 0, len(sample)):
        if box.kind == b"vttc":
            parts = {part.kind: sample[part.start : part.end] for part in children(sample, box.start, box.end)}
            settings, text = (parts.get(kind, b"").decode("utf-8", errors="replace") for kind in (b"sttg", b"payl"))
            yield f"{settings}\n{text}"
