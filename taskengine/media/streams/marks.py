"""From when to when a clip of a stream lasts, as clients say it: by time of day, by offset, or from and to its ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from taskengine.domain.times import format_utc, parse_utc
from taskengine.media.streams.choosing import SLACK
from taskengine.media.streams.model import Segment, StreamFault
from taskengine.media.thumbnails import seconds_of

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Mark:
    """A time in a stream: UTC milliseconds (with their fractions), or seconds from its beginning. `text`: as it was given."""

    text: str
    utc: float | None = None
    seconds: float = 0.0

    def within(self, segment: Segment) -> float:
        """Seconds from the stream's beginning, counted from a segment whose time of day is told."""
        if self.utc is None or segment.at is None:
            return self.seconds
        return segment.start + (self.utc - segment.at) / 1000


@dataclass(frozen=True, slots=True)
class Window:
    """[start, end) of a clip; None: from the beginning, to the end."""

    start: Mark | None
    end: Mark | None

    @property
    def by_day(self) -> bool:
        """Whether it is told by times of day."""
        return any(mark is not None and mark.utc is not None for mark in (self.start, self.end))

    @property
    def lasts(self) -> bool:
        """Whether it ends after its start, as far as that can be told without the stream."""
        start, end = self.start, self.end
        if start is None or end is None or (start.utc is None) != (end.utc is None):
            return True
        return (start.utc or 0.0, start.seconds) < (end.utc or 0.0, end.seconds)


def mark(value: object, field: str) -> Mark | None:
    """What a parameter says. StreamFault where it is no time."""
    if value is None:
        return None
    text = str(value).strip()
    try:
        if not _DATE.match(text):
            return Mark(text, None, seconds_of(value, field))
        digits = re.search(r"[.,](\d+)", text)
        fraction = float(f"0.{digits[1]}") if digits else 0.0
        return Mark(text, parse_utc(text) // 1000 * 1000 + fraction * 1000)
    except ValueError as error:
        raise StreamFault(f"{field}: {error}") from error


def window(begin: object, until: object, where: str) -> Window:
    """The window of a clip, whose parameters are called `where`. StreamFault where it lasts no time."""
    found = Window(mark(begin, f"{where}.start"), mark(until, f"{where}.end"))
    if found.start and found.end and not found.lasts:
        raise StreamFault(f"{where}.end: {found.end.text} is not after the start, {found.start.text}")
    return found


def place(segments: Sequence[Segment], wanted: Mark, field: str) -> float:
    """Seconds from the stream's beginning, as exactly as the manifest tells; beyond the last segment where it is later.
    StreamFault where the stream does not tell its time of day."""
    if wanted.utc is None:
        return wanted.seconds
    told = [each for each in segments if each.at is not None]
    if not told:
        raise StreamFault(f"{field}: the stream does not tell its time of day: give an offset")
    before = [each for each in told if (each.at or 0) <= wanted.utc]
    if not before:
        return wanted.within(told[0])
    holding = max(before, key=lambda each: each.at or 0)
    return wanted.within(holding)


def bounds(segments: Sequence[Segment], wanted: Window, where: str, *, ended: bool) -> tuple[float, float]:
    """(start, end) in seconds from the stream's beginning; the end may be still to come where the stream has not ended.
    StreamFault where the stream has not what is wanted."""
    first, last = segments[0].start, segments[-1].end
    start = place(segments, wanted.start, f"{where}.start") if wanted.start else first
    end = place(segments, wanted.end, f"{where}.end") if wanted.end else last
    if start < first - SLACK or (ended and start >= last):
        said = wanted.start.text if wanted.start else "the beginning"
        raise StreamFault(f"{where}.start: {said} is not in the stream, which has {_told(segments)}")
    if ended and end > last + SLACK:
        said = wanted.end.text if wanted.end else "the end"
        raise StreamFault(f"{where}.end: {said} is not in the stream, which has {_told(segments)}")
    if end <= start:
        raise StreamFault(f"{where}: it lasts no time: from {start:.3f} s to {end:.3f} s of the stream")
    return start, end


def _told(segments: Sequence[Segment]) -> str:
    first, last = segments[0], segments[-1]
    offsets = f"{first.start:.3f} s to {last.end:.3f} s"
    if first.at is None or last.at is None:
        return offsets
    return f"{offsets}, that is {format_utc(first.at)} to {format_utc(last.at + round(last.duration * 1000))}"
