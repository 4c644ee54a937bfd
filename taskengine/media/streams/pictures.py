"""When the pictures of a piece are shown, exactly, and which is shown at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from taskengine.media.streams.model import StreamFault

_DECIMALS = Fraction(5, 10**8)  # half of what the seventh decimal tells
_WRAP_TICKS = 1 << 33  # where the clock of MPEG-TS begins anew


@dataclass(frozen=True, slots=True)
class Pictures:
    """Time stamps in ticks of `tick` seconds, sorted."""

    ticks: Sequence[int]
    tick: Fraction

    @property
    def first(self) -> Fraction:
        """Seconds."""
        return self.ticks[0] * self.tick

    def shown(self, at: Fraction) -> Fraction:
        """The time stamp of the picture that is shown at a time (seconds): the last that has begun, else the first.

        Times are given to the seventh decimal. Where a rate does not fit the clock, each picture is up to half a tick off.
        """
        wrap = _WRAP_TICKS * self.tick
        if at - self.first > wrap / 2:
            at -= wrap
        elif self.first - at > wrap / 2:
            at += wrap
        steps = {after - before for before, after in pairwise(self.ticks)}
        slack = _DECIMALS if len(steps) <= 1 else _DECIMALS + self.tick / 2
        return max((tick * self.tick for tick in self.ticks if tick * self.tick <= at + slack), default=self.first)


def read(answer: str) -> Pictures:
    """ffprobe's answer to `argv.ticks`; StreamFault where there are no pictures with times."""
    tick: Fraction | None = None
    ticks: list[int] = []
    for line in answer.splitlines():
        kind, _, value = line.partition(",")
        value = value.split(",")[0]
        if kind == "stream" and "/" in value:
            tick = Fraction(value)
        elif kind == "packet" and value.lstrip("-").isdigit():
            ticks.append(int(value))
    if not ticks or not tick:
        raise StreamFault("source: it has no picture, or its pictures have no times")
    return Pictures(sorted(ticks), tick)
