"""SCTE-35 messages: splice_insert as a splice_info_section, the binary that HLS and DASH carry. Pure.

The layout is that of ANSI/SCTE 35 2023r1, tables 9.6 (splice_info_section) and 10 (splice_insert); the checksum is the
CRC-32 of MPEG-2 systems (ISO/IEC 13818-1, annex A).
"""

from __future__ import annotations

from dataclasses import dataclass

TICKS = 90_000  # of a second, in every time of a message
SCHEME = "urn:scte:scte35:2014:xml+bin"  # of DASH events that carry the binary
_TIME_BITS = 33
_TABLE, _SPLICE_INSERT = 0xFC, 0x05
_POLYNOMIAL = 0x04C11DB7


@dataclass(slots=True)
class _Bits:
    """Fields after one another, the most significant bit first."""

    value: int = 0
    count: int = 0

    def put(self, value: int, bits: int) -> _Bits:
        self.value = (self.value << bits) | (value & ((1 << bits) - 1))
        self.count += bits
        return self

    def ones(self, bits: int) -> _Bits:
        """Bits that the standard reserves."""
        return self.put(-1, bits)

    def data(self) -> bytes:
        return self.value.to_bytes(self.count // 8, "big")


def splice_insert(event: int, *, out: bool, at: float, duration: float | None = None) -> bytes:
    """A message of a break's begin (`out`, which ends by itself after `duration`) or end, `at` seconds of the asset's time
    line. `event` (32 bits) is the same for both. Times wrap as the clock of MPEG-2 does, every 26.5 hours."""
    command = _Bits().put(event, 32).put(0, 1).ones(7)  # not cancelled
    command.put(out, 1).put(1, 1).put(duration is not None, 1).put(0, 1).ones(4)  # of all components, not at once
    command.put(1, 1).ones(6).put(_ticks(at), _TIME_BITS)
    if duration is not None:
        command.put(1, 1).ones(6).put(_ticks(duration), _TIME_BITS)
    command.put(0, 16).put(0, 8).put(0, 8)  # unique_program_id, avail_num, avails_expected
    return _section(command.data())


def _section(command: bytes) -> bytes:
    body = _Bits().put(0, 8).put(0, 1).put(0, 6).put(0, _TIME_BITS)  # version, clear, no adjustment
    body.put(0xFF, 8).put(0xFFF, 12).put(len(command), 12).put(_SPLICE_INSERT, 8)
    content = body.data() + command + bytes(2)  # no descriptors
    head = _Bits().put(_TABLE, 8).put(0, 2).put(3, 2).put(len(content) + 4, 12)  # no stream access point is told
    section = head.data() + content
    return section + crc32(section).to_bytes(4, "big")


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS) % (1 << _TIME_BITS)


def crc32(data: bytes) -> int:
    """Of a section; over a section with its own checksum it is 0."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte << 24
        for _ in range(8):
            register = ((register << 1) ^ _POLYNOMIAL if register & 0x80000000 else register << 1) & 0xFFFFFFFF
    return register
