"""CMAF segments as they lie in an archive: when they begin, how long they last, what is in them.

These functions work on whole files in memory: a segment is a few seconds of one track.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taskengine.media.mp4 import Box, BoxFault, children

_KINDS = {b"vide": "video", b"soun": "audio", b"text": "text", b"subt": "text", b"sbtl": "text"}
_ENTRY_HEADERS = {"video": 78, "audio": 28}  # of a sample entry, before its boxes
_MESSAGES = (b"emsg", b"prft")  # boxes beside the media that packager leaves out


@dataclass(frozen=True, slots=True)
class Init:
    """What an init segment of one track says. `entry`: the type of its samples (avc1, mp4a …); `codecs` as RFC 6381 has it, ""
    where the entry does not tell; `shift`: ticks that its edit list takes off the media's times; `protected`: whether it is
    encrypted."""

    kind: str
    timescale: int
    entry: str
    codecs: str
    shift: int
    default_duration: int
    width: int = 0
    height: int = 0
    channels: int = 0
    sample_rate: int = 0
    protected: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """When a segment is shown and how long it lasts, in ticks; `decoded`: its base media decode time."""

    begin: int
    duration: int
    samples: int
    decoded: int


def header_at(data: bytes, box: Box) -> int:
    """Where a box begins: its type stands before its content, or before a length of 64 bits."""
    return box.start - (8 if data[box.start - 4 : box.start] == box.kind else 16)


def find(data: bytes, *path: bytes, within: Box | None = None) -> Box | None:
    """The first box at this path."""
    start, end = (within.start, within.end) if within else (0, len(data))
    box: Box | None = None
    for kind in path:
        box = next((each for each in children(data, start, end) if each.kind == kind), None)
        if box is None:
            return None
        start, end = box.start, box.end
    return box


def needed(data: bytes, *path: bytes, within: Box | None = None) -> Box:
    """As `find`; BoxFault where there is none."""
    box = find(data, *path, within=within)
    if box is None:
        raise BoxFault(f"it has no box {path[-1]!r}")
    return box


def read_init(data: bytes) -> Init:
    """An init segment. BoxFault where it is none, or has not one track."""
    try:
        movie = needed(data, b"moov")
        tracks = [box for box in children(data, movie.start, movie.end) if box.kind == b"trak"]
        if len(tracks) != 1:
            raise BoxFault(f"it has {len(tracks)} tracks, and CMAF has one")
        return _init(data, tracks[0])
    except (struct.error, IndexError) as error:
        raise BoxFault(f"it cannot be read: {error!r}") from error


def count_tracks(data: bytes) -> int:
    """How many tracks an init segment has. BoxFault where it is none."""
    movie = needed(data, b"moov")
    return sum(1 for box in children(data, movie.start, movie.end) if box.kind == b"trak")


def sample_entry(data: bytes, track: Box) -> Box | None:
    """The first sample entry of a track."""
    samples = needed(data, b"mdia", b"minf", b"stbl", b"stsd", within=track)
    return next(children(data, samples.start + 8, samples.end), None)


def entry_boxes(data: bytes, entry: Box, kind: str) -> Iterator[Box]:
    """The boxes in a sample entry of a picture or a sound."""
    return children(data, entry.start + _ENTRY_HEADERS[kind], entry.end) if kind in _ENTRY_HEADERS else iter(())


def _init(data: bytes, track: Box) -> Init:
    header = needed(data, b"mdia", b"mdhd", within=track).start
    (timescale,) = struct.unpack_from(">I", data, header + (20 if data[header] else 12))
    handler = needed(data, b"mdia", b"hdlr", within=track).start
    kind = _KINDS.get(data[handler + 8 : handler + 12], "")
    entry = sample_entry(data, track)
    if not kind or not timescale or entry is None:
        raise BoxFault("it has neither picture nor sound nor text")
    extends = find(data, b"moov", b"mvex", b"trex")
    default = struct.unpack_from(">I", data, extends.start + 12)[0] if extends else 0
    name = entry.kind.decode("latin-1")
    width, height = struct.unpack_from(">HH", data, entry.start + 24) if kind == "video" else (0, 0)
    channels, rate = 0, 0
    if kind == "audio":
        (channels,) = struct.unpack_from(">H", data, entry.start + 16)
        rate = struct.unpack_from(">I", data, entry.start + 24)[0] >> 16
    return Init(
        kind, timescale, name, _codecs(data, entry, kind), _shift(data, track), default, width, height, channels, rate,
        name in {"encv", "enca"},
    )  # fmt: skip


def _codecs(data: bytes, entry: Box, kind: str) -> str:
    name = entry.kind.decode("latin-1")
    boxes = entry_boxes(data, entry, kind)
    if name in {"avc1", "avc3"} and (box := next((each for each in boxes if each.kind == b"avcC"), None)):
        return f"{name}.{data[box.start + 1 : box.start + 4].hex()}"
    return {"mp4a": "", "avc1": "", "avc3": "", "hvc1": "", "hev1": "", "av01": "", "vp09": ""}.get(name, name)


def _shift(data: bytes, track: Box) -> int:
    """Of the first edit that shows something."""
    edits = find(data, b"edts", b"elst", within=track)
    if edits is None:
        return 0
    (count,) = struct.unpack_from(">I", data, edits.start + 4)
    form, size = (">Qq", 20) if data[edits.start] else (">Ii", 12)
    times = [struct.unpack_from(form, data, edits.start + 8 + index * size)[1] for index in range(count)]
    return next((time for time in times if time >= 0), 0)


def read_times(data: bytes, init: Init) -> Times:
    """When a segment of this track is shown. BoxFault where it is none."""
    decoded: int | None = None
    begin, elapsed, count = None, 0, 0
    try:
        for track in fragments(data):
            (at,) = struct.unpack_from(*decode_time(data, track))
            decoded = at if decoded is None else decoded
            default = _default_duration(data, track, init.default_duration)
            elapsed = at - decoded
            for run in (box for box in children(data, track.start, track.end) if box.kind == b"trun"):
                for duration, offset in samples(data, run.start, default):
                    shown = decoded + elapsed + offset
                    begin = shown if begin is None else min(begin, shown)
                    elapsed += duration
                    count += 1
    except (struct.error, IndexError) as error:
        raise BoxFault(f"it cannot be read: {error!r}") from error
    if decoded is None or begin is None:
        raise BoxFault("it has no samples")
    begin -= init.shift
    early = min(begin, 0)  # priming that is not heard: manifests know no time before the first
    return Times(begin - early, elapsed + early, count, decoded)


def fragments(data: bytes) -> Iterator[Box]:
    """The track fragments of a segment of one track."""
    for fragment in (box for box in children(data, 0, len(data)) if box.kind == b"moof"):
        tracks = [box for box in children(data, fragment.start, fragment.end) if box.kind == b"traf"]
        if len(tracks) != 1:
            raise BoxFault(f"it has fragments of {len(tracks)} tracks, and CMAF has one")
        yield tracks[0]


def decode_time(data: bytes, track: Box) -> tuple[str, bytes, int]:
    """Where the base media decode time of a track fragment stands, as `struct.unpack_from` takes it."""
    box = needed(data, b"tfdt", within=track)
    return (">Q" if data[box.start] else ">I"), data, box.start + 4


def first_decode_time(data: bytes) -> int:
    """When decoding of a segment begins, in ticks. BoxFault where it has no fragment."""
    track = next(fragments(data), None)
    if track is None:
        raise BoxFault("it has no fragment")
    return int(struct.unpack_from(*decode_time(data, track))[0])


def _default_duration(data: bytes, track: Box, default: int) -> int:
    header = needed(data, b"tfhd", within=track).start
    flags = int.from_bytes(data[header + 1 : header + 4], "big")
    if not flags & 0x8:
        return default
    place = header + 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    return int(struct.unpack_from(">I", data, place)[0])


def samples(data: bytes, start: int, default: int) -> Iterator[tuple[int, int]]:
    """(duration, composition offset) of each sample of a run, whose content begins at `start`."""
    flags = int.from_bytes(data[start + 1 : start + 4], "big")
    (count,) = struct.unpack_from(">I", data, start + 4)
    place = start + 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
    fields = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
    for _ in range(count):
        values = dict(zip(fields, struct.unpack_from(f">{len(fields)}I", data, place), strict=True))
        place += 4 * len(fields)
        offset = values.get(0x800, 0)
        yield values.get(0x100, default), offset - (1 << 32) if data[start] and offset >= 1 << 31 else offset


def media_data(data: bytes) -> bytes:
    """The media data of a segment."""
    return b"".join(data[box.start : box.end] for box in children(data, 0, len(data)) if box.kind == b"mdat")


def messages(data: bytes) -> Sequence[bytes]:
    """The boxes of a segment that tell of its time: messages (emsg) and the producer's clock (prft), whole."""
    found = [box for box in children(data, 0, len(data)) if box.kind in _MESSAGES]
    return [data[header_at(data, box) : box.end] for box in found]


def message_schemes(data: bytes) -> frozenset[str]:
    """The schemes of the messages in a segment."""
    found = [box for box in children(data, 0, len(data)) if box.kind == b"emsg"]
    texts = [data[box.start + (4 if data[box.start] == 0 else 24) : box.end] for box in found]
    return frozenset(text.split(b"\0", 1)[0].decode("utf-8", "replace") for text in texts)
