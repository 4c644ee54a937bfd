"""Captions within pictures, made on the spot: CEA-608 pairs in the SEI messages of an H.264 stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.support.media import H264, ffmpeg, picture

_START = re.compile(rb"\x00\x00\x00?\x01")
_SLICES = {1, 5}
_ATSC = b"\xb5\x00\x31GA94\x03"

Triplet = tuple[int, int, int]  # type (0 and 1: fields of CEA-608), two bytes


def odd(byte: int) -> int:
    """The byte with its parity bit."""
    return byte if byte.bit_count() % 2 else byte | 0x80


def pop_on(text: str, row: int = 0x14, second: int = 0x70) -> Sequence[tuple[int, int]]:
    """The pairs that write a line unseen and then show it."""
    codes = [*text.encode("ascii"), *([0] if len(text) % 2 else [])]
    letters = list(zip(codes[::2], codes[1::2], strict=True))
    return [(0x14, 0x20), (0x14, 0x2E), (row, second), *letters, (0x14, 0x2C), (0x14, 0x2F)]


def captioned_video(path: Path, pairs: Sequence[Triplet | None], *, rate: int = 25) -> None:
    """A picture of as many frames as there are pairs, each with its own in its SEI; the container is as the name says."""
    seconds = len(pairs) / rate
    ffmpeg(
        path.parent, *picture("160x90", str(rate), seconds), *H264, "-bf", "0", "-g", "25", "-f", "h264", "plain.h264"
    )
    raw = path.parent / "plain.h264"
    raw.write_bytes(_with_messages(raw.read_bytes(), pairs))
    ffmpeg(path.parent, "-f", "h264", "-r", str(rate), "-i", "plain.h264", "-c", "copy", path.name)
    raw.unlink()


def _with_messages(stream: bytes, pairs: Sequence[Triplet | None]) -> bytes:
    left = iter(pairs)
    parts: list[bytes] = []
    for unit in _START.split(stream)[1:]:
        if unit[0] & 0x1F in _SLICES:
            parts.append(_message(next(left, None)))
        parts.append(unit)
    return b"".join(b"\x00\x00\x00\x01" + part for part in parts)


def _message(pair: Triplet | None) -> bytes:
    kind, first, second = pair or (0, 0, 0)
    triplet = bytes([0xFC | kind, odd(first), odd(second)])
    payload = _ATSC + bytes([0xC1, 0xFF]) + triplet + b"\xff"
    return bytes([0x06, 0x04, len(payload)]) + payload + b"\x80"
