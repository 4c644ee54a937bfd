"""The parameter sets of H.264 in MP4 files (`avcC`, ISO/IEC 14496-15): read, and written so that several parts share one
description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from taskengine.media import mp4

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"avcC")
_MAX_ID = 31
_IDR = 5


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """What a decoder must know: profile and level (`head`), sequence and picture parameter sets, and what follows them."""

    head: bytes
    sequences: Sequence[bytes]
    pictures: Sequence[bytes]
    tail: bytes

    @property
    def written(self) -> bytes:
        """The content of the box."""
        sequences = b"".join(len(each).to_bytes(2) + each for each in self.sequences)
        pictures = b"".join(len(each).to_bytes(2) + each for each in self.pictures)
        counts = (bytes([0xE0 | len(self.sequences)]), bytes([len(self.pictures)]))
        return self.head + counts[0] + sequences + counts[1] + pictures + self.tail

    @property
    def ids(self) -> frozenset[int]:
        """The ids of all its sets."""
        sequences = {_exp_golomb(each[4:]) for each in self.sequences}
        return frozenset(sequences | {_exp_golomb(each[1:]) for each in self.pictures})

    def free_id(self) -> int | None:
        """An id that no set has; None where all are taken."""
        return next((number for number in range(_MAX_ID, 0, -1) if number not in self.ids), None)


def parse(content: bytes) -> ParameterSets:
    """The content of an `avcC` box. Raises mp4.BoxFault where it is cut short, or lengths are not of 4 bytes."""
    if len(content) < 7 or content[4] & 3 != 3:
        raise mp4.BoxFault("its decoder configuration is not understood")
    sequences, place = _sets(content, 6, content[5] & 31)
    pictures, place = _sets(content, place + 1, content[place])
    return ParameterSets(content[:5], sequences, pictures, content[place:])


def _sets(content: bytes, place: int, count: int) -> tuple[Sequence[bytes], int]:
    found = []
    for _ in range(count):
        length = int.from_bytes(content[place : place + 2])
        found.append(content[place + 2 : place + 2 + length])
        place += 2 + length
    if place > len(content) or not all(found):
        raise mp4.BoxFault("its decoder configuration is cut short")
    return found, place


def _exp_golomb(data: bytes) -> int:
    """The unsigned number that a payload begins with."""
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1] or "1", 2) - 1


def joined(parts: Sequence[ParameterSets]) -> ParameterSets | None:
    """One description for all parts, that of the first with the sets of the others; None where two sets have one id."""
    first = parts[0]
    sequences = list(dict.fromkeys(each for part in parts for each in part.sequences))
    pictures = list(dict.fromkeys(each for part in parts for each in part.pictures))
    for sets, begin in ((sequences, 4), (pictures, 1)):
        ids = [_exp_golomb(each[begin:]) for each in sets]
        if len(set(ids)) < len(ids):
            return None
    tails = {part.tail for part in parts if part.head[1] == first.head[1] and part.tail}  # older files leave it out
    if len(sequences) > _MAX_ID or len(tails) > 1:
        return None
    highest = max(parts, key=lambda part: part.head[3])
    head = first.head[:3] + highest.head[3:4] + first.head[4:]
    return ParameterSets(head, sequences, pictures, next(iter(tails), b""))


def read(path: Path) -> ParameterSets:
    """The parameter sets of a file's one track. Raises mp4.BoxFault."""
    data, places = _places(path)
    start, size = places[-1]
    return parse(data[start + 8 : start + size])


def write(path: Path, sets: ParameterSets) -> None:
    """Give a file, whose movie box lies at its end, other parameter sets. Raises mp4.BoxFault."""
    data, places = _places(path)
    start, size = places[-1]
    content = sets.written
    changed = bytearray(data)
    changed[start + 8 : start + size] = content
    for place, length in places:
        changed[place : place + 4] = (length + len(content) + 8 - size).to_bytes(4)
    layout = mp4.layout(path)
    kind, offset, _ = layout[-1]
    if kind != b"moov":
        raise mp4.BoxFault("its movie box is not the last one")
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(changed)
        file.truncate()


def _places(path: Path) -> tuple[bytes, Sequence[tuple[int, int]]]:
    """The movie box, and (offset, size) of each box down to the parameter sets."""
    data = mp4.movie_box(path)
    places, start, end = [], 0, len(data)
    for kind in _PARENTS:
        box = next((each for each in mp4.children(data, start, end) if each.kind == kind), None)
        if box is None:
            raise mp4.BoxFault(f"it has no box {kind!r}")
        head = {b"stsd": 8, b"avc1": 78}.get(kind, 0)
        places.append((box.start - 8, box.end - box.start + 8))
        start, end = box.start + head, box.end
    return data, places


def begins_anew(path: Path) -> bool:
    """Whether the first picture of a file of one track is one from which decoding begins with other sets: an IDR."""
    offset = next((offset for kind, offset, _ in mp4.layout(path) if kind == b"mdat"), None)
    if offset is None:
        return False
    with path.open("rb") as file:
        file.seek(offset)
        head = file.read(16)
        place = offset + (16 if head[:4] == b"\0\0\0\1" else 8)
        for _ in range(64):
            file.seek(place)
            unit = file.read(5)
            if len(unit) < 5:
                return False
            if 1 <= unit[4] & 31 <= _IDR:
                return unit[4] & 31 == _IDR
            place += 4 + int.from_bytes(unit[:4])
    return False
