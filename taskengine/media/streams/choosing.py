"""Which rendition of a stream, and which of its segments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from taskengine.domain.times import parse_utc
from taskengine.media.streams.model import Rendition, Segment, Stream, StreamFault
from taskengine.media.thumbnails import seconds_of

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
SLACK = 0.5  # seconds by which playlists round what their segments last


def lowest_that_suffices(variants: Sequence[Rendition], *, width: int = 0, height: int = 0) -> Rendition:
    """The one of the fewest bits whose picture is at least so large; the largest where none is."""
    enough = [each for each in variants if each.width >= width and each.height >= height]
    if enough:
        return min(enough, key=lambda each: each.bandwidth)
    return max(variants, key=lambda each: (each.width * each.height, each.bandwidth))


def nearest_bitrate(variants: Sequence[Rendition], bitrate: int) -> Rendition:
    """The one whose bandwidth is nearest; of two the lower."""
    return min(variants, key=lambda each: (abs(each.bandwidth - bitrate), each.bandwidth))


def largest(variants: Sequence[Rendition]) -> Rendition:
    """The largest picture with the most bits."""
    return max(variants, key=lambda each: (each.width * each.height, each.bandwidth))


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in a stream: `seconds` from its beginning, and exactly: `after` seconds after the first picture of `anchor`."""

    seconds: float
    anchor: Segment
    after: float


def moment(stream: Stream, time: object, field: str) -> Moment:
    """Where an offset or a UTC time is. StreamFault where it is not in the stream."""
    text = str(time).strip()
    if _DATE.match(text):
        return _of_day(stream, text, field)
    seconds = seconds_of(time, field)
    here = next((each for each in stream.segments if each.start <= seconds < each.end), None)
    if here is None:
        raise StreamFault(f"{field}: {text} is not in the stream, which lasts {stream.duration:.3f} s")
    anchor = next(each for each in stream.segments if each.run == here.run and each.init == here.init)
    return Moment(seconds, anchor, seconds - anchor.start)


def _of_day(stream: Stream, text: str, field: str) -> Moment:
    if all(each.at is None for each in stream.segments):
        raise StreamFault(f"{field}: the stream does not tell its time of day: give an offset")
    digits = re.search(r"[.,](\d+)", text)
    fraction = float(f"0.{digits[1]}") if digits else 0.0
    whole = parse_utc(text) // 1000
    for each in stream.segments:
        if each.at is not None:
            after = (whole * 1000 - each.at) / 1000 + fraction
            if 0 <= after < each.duration:
                return Moment(each.start + after, each, after)
    raise StreamFault(f"{field}: the stream has nothing of {text}")


def around(stream: Stream, wanted: Moment) -> Sequence[Segment]:
    """The segments in which the picture of a moment may be, whatever the playlist rounds: one, or two that follow."""
    anchor = wanted.anchor
    run = [each for each in stream.segments if each.run == anchor.run and each.init == anchor.init]
    near = [each for each in run if each.start - SLACK <= wanted.seconds < each.end + SLACK]
    return near or [anchor]


def covering(stream: Stream, start: float, end: float) -> Sequence[Sequence[Segment]]:
    """The segments of [start, end), those that go on from one another together."""
    runs: list[list[Segment]] = []
    for each in stream.segments:
        if each.end <= start or each.start >= end:
            continue
        if runs and (runs[-1][-1].run, runs[-1][-1].init) == (each.run, each.init):
            runs[-1].append(each)
        else:
            runs.append([each])
    return runs


def at_marks(stream: Stream, marks: Sequence[float]) -> Sequence[Segment]:
    """The segment of each mark: the last that begins at or before it."""
    found, index = [], 0
    for mark in marks:
        while index + 1 < len(stream.segments) and stream.segments[index + 1].start <= mark + 1e-6:
            index += 1
        found.append(stream.segments[index])
    return found
