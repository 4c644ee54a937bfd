"""Captions in the pictures of a video: the triplets that decoded frames carry (ATSC A/53, part 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from taskengine.media.captions.cea608 import LINGERS_MS, Cea608
from taskengine.media.captions.cea708 import Cea708
from taskengine.media.captions.cues import Cue

_TIME_BASE = re.compile(r"#tb 0: (\d+)/(\d+)")
_VALID, _PACKET, _PACKET_START = 0x04, 2, 3


def read(data: bytes, times: str) -> Mapping[str, Sequence[Cue]]:
    """The cues by channel (CC1 to CC4; where there are none, by service of CEA-708, which says the same a second time), on
    the video's clock. `data`: the triplets of all frames, one after the other;
    `times`: what ffmpeg's `framecrc` says of them, frame by frame."""
    channels, services, last = Cea608(), Cea708(), 0
    for time, triplets in _frames(data, times):
        last = max(last, time)
        for head, first, second in triplets:
            kind = head & 0x03
            if head & _VALID and kind < _PACKET:
                channels.feed(kind, last, first, second)
            elif head & _VALID:
                services.feed(last, first, second, start=kind == _PACKET_START)
    return channels.finish(last + LINGERS_MS) or services.finish(last)


def _frames(data: bytes, times: str) -> Iterator[tuple[int, Sequence[tuple[int, int, int]]]]:
    """(milliseconds, triplets) of each frame."""
    base, place = Fraction(1, 1000), 0
    for line in times.splitlines():
        if match := _TIME_BASE.match(line):
            base = Fraction(int(match[1]), max(1, int(match[2])))
        fields = [field.strip() for field in line.split(",")]
        if line.startswith("#") or len(fields) < 5 or not fields[4].isdigit():
            continue
        size = int(fields[4])
        part = data[place : place + size]
        place += size
        whole = range(0, len(part) - 2, 3)
        yield max(0, round(int(fields[2]) * base * 1000)), [(part[at], part[at + 1], part[at + 2]) for at in whole]
