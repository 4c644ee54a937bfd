"""One rendition of some runs as a line of segments: when each begins, when it is whole, which cues stand before it.

Times are whole microseconds of a pass, so that every engine computes the same whatever the pass.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from taskengine.media.virtual.model import Mark, Pieces, Run

MICRO = 1_000_000


class Side(Enum):
    """Of a break."""

    OUT = auto()
    WITHIN = auto()
    IN = auto()


@dataclass(frozen=True, slots=True)
class Cue:
    """What stands before a segment about a break: the mark, its number in the pass, when the break begins, and how far
    into it the segment is. `wrapped`: the break began in the pass before."""

    side: Side
    mark: Mark
    number: int
    begins: int
    elapsed: int = 0
    wrapped: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """The segments of one rendition in a pass; `length` is the pass's."""

    runs: Sequence[Pieces]
    firsts: Sequence[int]  # the index of each run's first segment
    starts: Sequence[int]
    whole: Sequence[int]  # when each has ended, in order, at most the run's end
    length: int
    marks: int  # how many a pass has
    cues: Mapping[int, Sequence[Cue]] = field(default_factory=dict)
    longest: float = 0.0  # seconds of the longest segment

    @property
    def count(self) -> int:
        """Of its segments."""
        return len(self.starts)

    def place(self, index: int) -> tuple[int, int]:
        """The run of a segment, and its place in it."""
        run = bisect_right(self.firsts, index) - 1
        return run, index - self.firsts[run]

    def duration(self, index: int) -> float:
        """Seconds of a segment."""
        run, place = self.place(index)
        return self.runs[run].durations[place]

    def whole_by(self, at: int) -> int:
        """How many segments of endless passes have ended `at` microseconds after the first one's begin."""
        if at < 0 or self.length <= 0:
            return 0
        passes, rest = divmod(at, self.length)
        return passes * self.count + bisect_right(self.whole, rest)


def line_of(runs: Sequence[Run], rendition: str) -> Line:
    """The line of a rendition."""
    starts: list[int] = []
    whole: list[int] = []
    firsts: list[int] = []
    begins: list[int] = []
    begin = 0
    for run in runs:
        pieces = run.pieces[rendition]
        end = begin + micro(run.duration)
        firsts.append(len(starts))
        begins.append(begin)
        at = begin + micro(pieces.offset)
        for seconds in pieces.durations:
            starts.append(at)
            at += micro(seconds)
            whole.append(max(begin + 1, min(at, end)))
        whole[-1] = end  # what is after it in the run is the picture's
        begin = end
    marks = [(mark, start + micro(mark.at)) for run, start in zip(runs, begins, strict=True) for mark in run.marks]
    pieces_of = [run.pieces[rendition] for run in runs]
    longest = max((max(pieces.durations) for pieces in pieces_of), default=0.0)
    return Line(pieces_of, firsts, starts, whole, begin, len(marks), _cues(marks, starts, begin), longest)


def micro(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * MICRO)


def _cues(marks: Sequence[tuple[Mark, int]], starts: Sequence[int], length: int) -> Mapping[int, Sequence[Cue]]:
    """By segment. A break begins and ends at the borders of segments that are nearest; it has one segment at least."""
    found: dict[int, list[Cue]] = {}
    edges = [*starts, length]
    for number, (mark, begins) in enumerate(marks):
        first = min(_nearest(edges, begins), len(starts) - 1)
        found.setdefault(first, []).append(Cue(Side.OUT, mark, number, begins))
        last = first if mark.insert else max(first + 1, _nearest(edges, begins + micro(mark.duration)))
        for index in range(first + 1, last):
            found.setdefault(index, []).append(Cue(Side.WITHIN, mark, number, begins, edges[index] - begins))
        wrapped = last >= len(starts)
        found.setdefault(0 if wrapped else last, []).append(Cue(Side.IN, mark, number, begins, wrapped=wrapped))
    return {index: sorted(cues, key=_order) for index, cues in found.items()}


def _order(cue: Cue) -> tuple[int, int]:
    """What ends comes before what begins, but for a break without length."""
    rank = {Side.IN: 0 if not cue.mark.insert else 3, Side.OUT: 2, Side.WITHIN: 1}
    return rank[cue.side], cue.number


def _nearest(edges: Sequence[int], at: int) -> int:
    """The index of the border that is nearest; of two the earlier."""
    after = bisect_left(edges, at)
    if after == 0 or after == len(edges):
        return min(after, len(edges) - 1)
    return after if edges[after] - at < at - edges[after - 1] else after - 1
