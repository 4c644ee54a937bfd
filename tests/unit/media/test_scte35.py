"""SCTE-35 messages, held against the example of the standard."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from taskengine.media.scte35 import TICKS, crc32, splice_insert

# ANSI/SCTE 35, 14.2: a splice_insert with an avail_descriptor behind it.
EXAMPLE = base64.b64decode("/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=")
EVENT, AT, DURATION = 0x4800008F, 0x07369C02E / TICKS, 0x00052CCF5 / TICKS


def test_the_example_of_the_standard_comes_out() -> None:
    """The command is the same to the bit; ours has no descriptor and so another length and checksum."""
    made = splice_insert(EVENT, out=True, at=AT, duration=DURATION)
    assert crc32(EXAMPLE) == 0
    assert crc32(made) == 0
    command = slice(10, 14 + 20)
    assert made[command] == EXAMPLE[command]
    assert made[:2] == EXAMPLE[:2]
    assert made[2] == len(made) - 3
    assert made[-6:-4] == b"\0\0"  # the length of the descriptors


@given(st.integers(0, 2**32 - 1), st.floats(0, 200_000), st.booleans(), st.none() | st.floats(0, 3600))
def test_every_message_is_whole(event: int, at: float, out: bool, duration: float | None) -> None:  # noqa: FBT001
    """Its length is told, its checksum is right, and event, direction and time are where the standard has them."""
    made = splice_insert(event, out=out, at=at, duration=duration)
    assert (crc32(made), int.from_bytes(made[1:3], "big") & 0xFFF) == (0, len(made) - 3)
    assert int.from_bytes(made[14:18], "big") == event
    assert (made[19] >> 7, (made[19] >> 5) & 1) == (out, duration is not None)
    assert int.from_bytes(made[20:25], "big") & (2**33 - 1) == round(at * TICKS) % 2**33
