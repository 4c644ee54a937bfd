"""One stream from several origins: which segments of theirs are the same one, and what fills the gaps of which."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from taskengine.media.streams.model import Presentation, Rendition, Segment, Stream, later

_HOLE_S = 0.25  # less is rounding
_HOLE_SHARE = 0.5  # of a segment


@dataclass(frozen=True, slots=True)
class Slot:
    """A place on the time line of a rendition, and what may fill it: (origin, segment), the best first; none where it is
    missing everywhere."""

    start: float
    duration: float
    choices: Sequence[tuple[int, Segment]]

    @property
    def end(self) -> float:
        """Seconds from the stream's beginning."""
        return self.start + self.duration


def leap(before: Segment, after: Segment) -> float:
    """Seconds that are missing between two segments, one after the other in their playlist; 0.0 where nothing is."""
    told = before.at is not None and after.at is not None
    missing = (after.at - before.at) / 1000 - before.duration if told else after.start - before.end  # type: ignore[operator]
    return missing if missing > max(_HOLE_S, _HOLE_SHARE * before.duration) else 0.0


def missing_s(stream: Stream) -> float:
    """Seconds that a stream lacks within itself: gaps, and holes of its time of day."""
    pairs = pairwise(stream.segments)
    holes = sum(leap(before, after) for before, after in pairs if before.run == after.run)
    return holes + sum(each.duration for each in stream.segments if each.gap)


def by_time_of_day(presentations: Sequence[Presentation]) -> Sequence[Presentation]:
    """Several presentations of one stream on one time line, where all tell the time of day: it begins with the earliest
    segment of all. Else they are as they were: their beginnings are taken to be the same. Origins of Smooth Streaming have one
    clock."""
    shifts = [each.shift for one in presentations if one.form == "smooth" for each in one.reference.segments[:1]]
    if len(shifts) == len(presentations):
        first = max(shift for shift in shifts if shift is not None)
        moved = zip(presentations, shifts, strict=True)
        return [
            replace(one, renditions=[later(each, first - (by or 0.0)) for each in one.renditions]) for one, by in moved
        ]
    segments = [each for one in presentations for rendition in one.renditions for each in rendition.segments]
    if not segments or any(each.at is None for each in segments):
        return presentations
    zero = min(each.at or 0 for each in segments)
    return [replace(one, renditions=[_dated(rendition, zero) for rendition in one.renditions]) for one in presentations]


def _dated(rendition: Rendition, zero: int) -> Rendition:
    moved = []
    for each in rendition.segments:
        start = ((each.at or 0) - zero) / 1000
        shift = None if each.shift is None else each.shift + start - each.start
        moved.append(replace(each, start=start, shift=shift))
    stream = rendition.stream
    return replace(rendition, stream=replace(stream, segments=moved)) if stream else rendition


def match(wanted: Rendition, among: Presentation) -> Rendition | None:
    """The same rendition of another origin: of the same kind, size, language and role, the nearest in bit rate."""
    alike = [
        each
        for each in among.renditions
        if (each.kind, each.width, each.height, each.language.lower(), each.role, each.codecs)
        == (wanted.kind, wanted.width, wanted.height, wanted.language.lower(), wanted.role, wanted.codecs)
    ]
    return min(alike, key=lambda each: abs(each.bandwidth - wanted.bandwidth), default=None)


def slots(candidates: Sequence[tuple[int, Rendition]]) -> Sequence[Slot]:
    """The places of a rendition by what its origins have; those named first are preferred."""
    found: list[Slot] = []
    for origin, rendition in candidates:
        for each in rendition.segments:
            _put(found, Slot(each.start, each.duration, [] if each.gap else [(origin, each)]))
    return found


def _put(found: list[Slot], slot: Slot) -> None:
    """Into the place that is its own, else into a hole that it fits into."""
    index = bisect_left(found, slot.start, key=lambda each: each.start)
    for near in (index - 1, index):
        if 0 <= near < len(found) and abs(found[near].start - slot.start) < _HOLE_SHARE * max(slot.duration, _HOLE_S):
            if near == index - 1 or slot.choices:
                found[near] = replace(found[near], choices=[*found[near].choices, *slot.choices])
            return
    ends_before = index == 0 or found[index - 1].end <= slot.start + _HOLE_S
    begins_after = index == len(found) or slot.end <= found[index].start + _HOLE_S
    if ends_before and begins_after:
        found.insert(index, slot)
