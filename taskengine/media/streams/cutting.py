"""Cutting pictures at exact frames: which of them are copied, which are encoded again. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

from taskengine.media.streams.model import StreamFault

NEAR = Fraction(1, 1000)  # seconds: clients and playlists count milliseconds
_GAP = Fraction(3, 2)  # of a frame's length


@dataclass(frozen=True, slots=True)
class Frames:
    """The pictures of a piece. `ticks`: when they are shown, in ticks of `tick` seconds, in that order; `first`: the time
    stamp of the first packet; `clean`: the numbers of the key frames before which nothing comes that is shown after them,
    and behind which nothing that is shown before; `delay`: ticks that decoding must be ahead of showing; `early`: by which it
    is so without need."""

    ticks: Sequence[int]
    tick: Fraction
    first: int
    clean: Sequence[int]
    delay: int
    early: int = 0

    @property
    def step(self) -> int:
        """Ticks from one frame to the next, as most have it."""
        steps = [after - before for before, after in pairwise(self.ticks)]
        return max(1, median_low(steps)) if steps else max(1, round(Fraction(1, 25) / self.tick))

    def begin(self, number: int) -> Fraction:
        """When a frame is shown, in seconds of the media's clock; of the one behind the last: when that ends."""
        if number < len(self.ticks):
            return self.ticks[number] * self.tick
        return (self.ticks[-1] + self.step) * self.tick

    def number(self, time: Fraction) -> int:
        """The first frame that is shown at a time or later, with a millisecond's grace."""
        return bisect_left(self.ticks, (time - NEAR) / self.tick)

    def whole(self, first: int, last: int) -> bool:
        """Whether no frame is missing between two."""
        return all(after - before < _GAP * self.step for before, after in pairwise(self.ticks[first:last]))


@dataclass(frozen=True, slots=True)
class Cut:
    """Frames [first, last), of which [begin, end) are copied; none where these are equal."""

    first: int
    last: int
    begin: int
    end: int

    @property
    def parts(self) -> Sequence[tuple[int, int, bool]]:
        """(first frame, last one behind, whether it is copied) of what comes after one another."""
        if self.begin >= self.end:
            return [(self.first, self.last, False)]
        parts = [(self.first, self.begin, False), (self.begin, self.end, True), (self.end, self.last, False)]
        return [part for part in parts if part[0] < part[1]]


class FrameScan:
    """Takes ffprobe's lines, the answer to `cut_argv.packets`, one by one."""

    def __init__(self) -> None:
        self._tick: Fraction | None = None
        self._shown: array[int] = array("q")
        self._decoded: array[int] = array("q")
        self._keys = bytearray()

    def line(self, text: str) -> bool:
        """One line of CSV; whether it told something."""
        kind, _, rest = text.strip().partition(",")
        fields = rest.split(",")
        if kind == "stream" and "/" in fields[0]:
            self._tick = Fraction(fields[0])
        if kind != "packet" or len(fields) < 3:
            return kind == "stream"
        shown, decoded = _whole(fields[0]), _whole(fields[1])
        time = decoded if shown is None else shown
        if time is not None:
            self._shown.append(time)
            self._decoded.append(time if decoded is None else decoded)
            self._keys.append("K" in fields[2])
        return True

    def frames(self) -> Frames:
        """What they told. StreamFault where there are no pictures with times."""
        if not self._shown or not self._tick:
            raise StreamFault("it has no picture, or its pictures have no times")
        first = self._shown[0] if self._keys[0] else min(self._shown)  # what is shown before it needs what is not here
        ticks = array("q", sorted(time for time in self._shown if time >= first))
        clean = [bisect_left(ticks, self._shown[place]) for place in _clean(self._shown, self._keys)]
        first_key = self._keys.find(1)
        delay = self._shown[first_key] - self._decoded[first_key] if first_key >= 0 else 0
        early = max(0, min(shown - decoded for shown, decoded in zip(self._shown, self._decoded, strict=True)))
        return Frames(ticks, self._tick, self._shown[0], clean, max(0, delay - early), early)


def read(answer: str) -> Frames:
    """ffprobe's whole answer. StreamFault where there are no pictures with times."""
    scan = FrameScan()
    for line in answer.splitlines():
        scan.line(line)
    return scan.frames()


def _clean(times: Sequence[int], keys: Sequence[int]) -> Sequence[int]:
    """The places of packets, in the order of decoding, that part what is before from what comes after."""
    least, after = array("q", bytes(8 * len(times))), times[-1] + 1
    for place in range(len(times) - 1, -1, -1):
        least[place] = after
        after = min(after, times[place])
    found, most = [], None
    for place, time in enumerate(times):
        if keys[place] and (most is None or most < time) and least[place] > time:
            found.append(place)
        most = time if most is None else max(most, time)
    return found


def _whole(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdigit() else None


def cut(frames: Frames, begin: Fraction, end: Fraction, *, exact: bool, edges: bool) -> Cut | None:
    """The frames of [begin, end) seconds on the media's clock; None where there are none.

    Not `exact`: from the clean key frame at or before it, to the one at or behind it. `edges`: whether some frames can be
    encoded beside others that are copied; where they cannot, all are copied or none.
    """
    first, last = frames.number(begin), frames.number(end)
    if not exact:
        first = max((key for key in frames.clean if key <= first), default=first)
        last = min((key for key in frames.clean if key >= last), default=len(frames.ticks))
    if first >= last:
        return None
    keys = [key for key in [*frames.clean, len(frames.ticks)] if first <= key <= last]
    if len(keys) < 2 or not (edges or (keys[0], keys[-1]) == (first, last)):
        return Cut(first, last, first, first)
    return Cut(first, last, keys[0], keys[-1])
