"""Reading MP4 boxes: enough to know that a file is whole, what its tracks are and how long its fragments last."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"edts"}
_UPRIGHT = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_MAX_BOX = 256 * 1024 * 1024  # of metadata that is read whole


class BoxFault(ValueError):
    """A file that is no whole MP4, and why."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box in a buffer: its type and where its content lies."""

    kind: bytes
    start: int  # of the content
    end: int


@dataclass(frozen=True, slots=True)
class MovieTrack:
    """A track of a movie box; `duration` in its own timescale, edits left out of account."""

    id: int
    handler: str  # vide, soun, text …
    timescale: int
    samples: int
    duration: int
    default_duration: int  # of its fragments' samples (trex)

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.duration / self.timescale


@dataclass(frozen=True, slots=True)
class Movie:
    """What the movie box says. `index_first`: it lies before the media data, so that players can begin at once."""

    tracks: Sequence[MovieTrack]
    index_first: bool


@dataclass(frozen=True, slots=True)
class Fragment:
    """One track fragment: when it begins, how long it lasts (in the track's timescale), how many samples it has."""

    track: int
    begin: int
    duration: int
    samples: int


def layout(path: Path) -> Sequence[tuple[bytes, int, int]]:
    """(type, offset, size) of the boxes at the top of a file, which they must fill exactly."""
    size = path.stat().st_size
    boxes: list[tuple[bytes, int, int]] = []
    offset = 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            kind, _, length = box_header(file.read(16), size - offset)
            boxes.append((kind, offset, length))
            offset += length
    if not boxes:
        raise BoxFault("it is empty")
    return boxes


def box_header(data: bytes, rest: int) -> tuple[bytes, int, int]:
    """(type, header's length, whole length) of the box that `data` (16 bytes of it) begins with, where `rest` bytes are left.
    Raises BoxFault."""
    if len(data) < 8:
        raise BoxFault("it ends within a box")
    length, kind = struct.unpack_from(">I4s", data)
    head = 8
    if length == 1:
        if len(data) < 16:
            raise BoxFault("it ends within a box")
        (length,), head = struct.unpack_from(">Q", data, 8), 16
    elif length == 0:
        length = rest
    if length < head or length > rest:
        raise BoxFault(f"its box {kind!r} says {length} bytes where {rest} are left")
    return kind, head, length


def written(kind: bytes, *contents: bytes) -> bytes:
    """A box."""
    content = b"".join(contents)
    return struct.pack(">I4s", len(content) + 8, kind) + content


def children(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes in a part of a buffer."""
    offset = start
    while offset < end:
        kind, head, length = box_header(data[offset : offset + 16], end - offset)
        yield Box(kind, offset + head, offset + length)
        offset += length


def _walk(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Every box, containers before what they contain."""
    for box in children(data, start, end):
        yield box
        if box.kind in _CONTAINERS:
            yield from _walk(data, box.start, box.end)


def _read(path: Path, kind: bytes) -> Iterator[bytes]:
    for found, offset, length in layout(path):
        if found == kind:
            if length > _MAX_BOX:
                raise BoxFault(f"its box {kind!r} is {length} bytes large")
            with path.open("rb") as file:
                file.seek(offset)
                yield file.read(length)


def read_movie(path: Path) -> Movie:
    """The movie box of a file (an init segment too). Raises BoxFault."""
    kinds = [kind for kind, _, _ in layout(path)]
    data = movie_box(path)
    try:
        return Movie(_tracks(data), b"mdat" not in kinds or kinds.index(b"moov") < kinds.index(b"mdat"))
    except (struct.error, IndexError, StopIteration, KeyError) as error:
        raise BoxFault(f"its movie box cannot be read: {error!r}") from error


def _tracks(data: bytes) -> Sequence[MovieTrack]:
    defaults: dict[int, int] = {}
    traks: list[Mapping[bytes, Box]] = []
    for box in _walk(data, 0, len(data)):
        if box.kind == b"trex":
            track, _, duration = struct.unpack_from(">III", data, box.start + 4)
            defaults[track] = duration
        elif box.kind == b"trak":
            traks.append({inner.kind: inner for inner in _walk(data, box.start, box.end)})
    return [_track(data, boxes, defaults) for boxes in traks]


def _track(data: bytes, boxes: Mapping[bytes, Box], defaults: Mapping[int, int]) -> MovieTrack:
    header, media, handler = boxes[b"tkhd"].start, boxes[b"mdhd"].start, boxes[b"hdlr"].start
    (track,) = struct.unpack_from(">I", data, header + (20 if data[header] else 12))
    timescale, duration = (
        struct.unpack_from(">IQ", data, media + 20) if data[media] else struct.unpack_from(">II", data, media + 12)
    )
    samples = struct.unpack_from(">I", data, boxes[b"stsz"].start + 8)[0] if b"stsz" in boxes else 0
    kind = data[handler + 8 : handler + 12].decode("ascii", "replace")
    return MovieTrack(track, kind, timescale, samples, duration, defaults.get(track, 0))


def movie_box(path: Path) -> bytes:
    """The movie box of a file as it is. Raises BoxFault."""
    data = next(_read(path, b"moov"), None)
    if data is None:
        raise BoxFault("it has no movie box")
    return data


def display_matrix(path: Path) -> bytes | None:
    """How players turn the pictures of the first video track; None where they do not. Raises BoxFault."""
    place = _matrix_place(path)
    if place is None:
        return None
    with path.open("rb") as file:
        file.seek(place)
        matrix = file.read(len(_UPRIGHT))
    return None if matrix == _UPRIGHT else matrix


def quarter_turned(matrix: bytes) -> bool:
    """Whether it makes the width of a picture its height."""
    across, _, _, _, down = struct.unpack_from(">5i", matrix)
    return not across and not down


def set_display_matrix(path: Path, matrix: bytes) -> None:
    """Have players turn the pictures of the first video track, which is there. Raises BoxFault."""
    place = _matrix_place(path)
    if place is None:
        raise BoxFault("it has no video track")
    with path.open("r+b") as file:
        file.seek(place)
        file.write(matrix)


def _matrix_place(path: Path) -> int | None:
    offset = next((offset for kind, offset, _ in layout(path) if kind == b"moov"), 0)
    data = next(_read(path, b"moov"), b"")
    movie = list(_walk(data, 0, len(data)))
    for track in (box for box in movie if box.kind == b"trak"):
        inner = list(_walk(data, track.start, track.end))
        header = next((box for box in inner if box.kind == b"tkhd"), None)
        handler = next((box for box in inner if box.kind == b"hdlr"), None)  # QuickTime has one for the data, too
        if header and handler and data[handler.start + 8 : handler.start + 12] == b"vide":
            place = header.start + (52 if data[header.start] == 1 else 40)
            if place + len(_UPRIGHT) > header.end:
                raise BoxFault("its track header is cut short")
            return offset + place
    return None


def sample_durations(path: Path) -> frozenset[int]:
    """The different lengths that the samples of the first track have, in its timescale."""
    data, box = _table(path, b"stts")
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    return frozenset(struct.unpack_from(">II", data, box.start + 8 + 8 * index)[1] for index in range(count))


def sample_description(path: Path) -> bytes:
    """What the first track says that a decoder must know: its parameter sets."""
    data, box = _table(path, b"stsd")
    return data[box.start : box.end]


def _table(path: Path, kind: bytes) -> tuple[bytes, Box]:
    data = next(_read(path, b"moov"), b"")
    box = next((box for box in _walk(data, 0, len(data)) if box.kind == kind), None)
    if box is None:
        raise BoxFault(f"it has no box {kind!r}")
    return data, box


def read_fragments(path: Path, defaults: Mapping[int, int]) -> Sequence[Fragment]:
    """The fragments of a segment; `defaults`: track id → duration of a sample (from the init segment)."""
    try:
        found = [
            _fragment(data, list(children(data, box.start, box.end)), defaults)
            for data in _read(path, b"moof")
            for box in _walk(data, 0, len(data))
            if box.kind == b"traf"
        ]
    except (struct.error, IndexError) as error:
        raise BoxFault(f"its fragment cannot be read: {error!r}") from error
    if not found:
        raise BoxFault("it has no fragment")
    return found


def _fragment(data: bytes, boxes: Sequence[Box], defaults: Mapping[int, int]) -> Fragment:
    track, default, begin, duration, samples = 0, 0, 0, 0, 0
    for box in boxes:
        if box.kind == b"tfhd":
            track, default = _fragment_header(data, box.start, defaults)
        elif box.kind == b"tfdt":
            (begin,) = struct.unpack_from(">Q" if data[box.start] else ">I", data, box.start + 4)
        elif box.kind == b"trun":
            count, lasting = _run(data, box.start, default)
            duration += lasting
            samples += count
    return Fragment(track, begin, duration, samples)


def _fragment_header(data: bytes, start: int, defaults: Mapping[int, int]) -> tuple[int, int]:
    flags = int.from_bytes(data[start + 1 : start + 4], "big")
    (track,) = struct.unpack_from(">I", data, start + 4)
    offset = start + 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    if flags & 0x8:
        return track, int(struct.unpack_from(">I", data, offset)[0])
    return track, defaults.get(track, 0)


def _run(data: bytes, start: int, default: int) -> tuple[int, int]:
    """(samples, their duration) of a run."""
    flags = int.from_bytes(data[start + 1 : start + 4], "big")
    (count,) = struct.unpack_from(">I", data, start + 4)
    if not flags & 0x100:
        return count, count * default
    offset = start + 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
    fields = sum(1 for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag)
    if offset + 4 * count * fields > len(data):
        raise BoxFault("its run ends within a sample")
    return count, sum(struct.unpack_from(f">{count * fields}I", data, offset)[::fields])


@dataclass(frozen=True, slots=True)
class TrackProtection:
    """How the one track of an init segment is encrypted: scheme, default key id, and whole PSSH boxes; `scheme` is None
    where it is clear."""

    scheme: str | None
    key_id: bytes | None
    pssh: Sequence[bytes]


_ENTRY_HEADERS = {b"encv": 78, b"enca": 28}  # of a sample entry, before its boxes


def read_protection(path: Path) -> TrackProtection:
    """What an init segment says of encryption. Raises BoxFault."""
    data = movie_box(path)
    try:
        boxes = list(_walk(data, 0, len(data)))
        pssh = [data[box.start - 8 : box.end] for box in boxes if box.kind == b"pssh"]
        scheme, key_id = _scheme(data, next(box for box in boxes if box.kind == b"stsd"))
    except (struct.error, IndexError, StopIteration) as error:
        raise BoxFault(f"its sample descriptions cannot be read: {error!r}") from error
    return TrackProtection(scheme, key_id, pssh)


def _scheme(data: bytes, descriptions: Box) -> tuple[str | None, bytes | None]:
    for entry in children(data, descriptions.start + 8, descriptions.end):
        head = _ENTRY_HEADERS.get(entry.kind)
        if head is None:
            continue
        for box in children(data, entry.start + head, entry.end):
            if box.kind == b"sinf":
                found = {inner.kind: inner for inner in _inner(data, box)}
                scheme = data[found[b"schm"].start + 4 : found[b"schm"].start + 8].decode("ascii", "replace")
                return scheme, data[found[b"tenc"].start + 8 : found[b"tenc"].start + 24]
    return None, None


def _inner(data: bytes, box: Box) -> Iterator[Box]:
    for each in children(data, box.start, box.end):
        yield each
        if each.kind == b"schi":
            yield from children(data, each.start, each.end)


def media_data(path: Path) -> bytes:
    """The media data of a file, all of them. Raises BoxFault."""
    found = []
    for kind, offset, length in layout(path):
        if kind == b"mdat":
            with path.open("rb") as file:
                file.seek(offset)
                box = file.read(length)
            found.append(box[box_header(box[:16], length)[1] :])
    return b"".join(found)
