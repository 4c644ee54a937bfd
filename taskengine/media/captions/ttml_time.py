"""When the elements of a TTML document are active: its clocks, its offsets, and one time within another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from taskengine.media.captions.cues import CaptionFault

_CLOCK = re.compile(r"(\d{1,4}):(\d{2}):(\d{2})(?:\.(\d+)|[:;](\d{2,})(?:\.(\d+))?)?")
_OFFSET = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|f|t)")
_UNITS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}


@dataclass(frozen=True, slots=True)
class TimeBase:
    """How a document counts."""

    frame_rate: Fraction = Fraction(30)
    sub_frames: int = 1
    tick_rate: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds from the document's beginning; `end` None: as long as it likes."""

    begin: Fraction = Fraction(0)
    end: Fraction | None = None


def time_base(parameters: Mapping[str, str], line: int | None) -> TimeBase:
    """The time base by the parameters of `tt` (frameRate, frameRateMultiplier, subFrameRate, tickRate)."""
    try:
        whole = int(parameters.get("frameRate", "30"))
        over, under = re.split(r"[\s:]+", parameters.get("frameRateMultiplier", "1 1").strip(), maxsplit=1)
        rate = whole * Fraction(int(over), int(under))
        sub_frames = int(parameters.get("subFrameRate", "1"))
        ticks = parameters.get("tickRate")
        tick_rate = Fraction(int(ticks)) if ticks else rate * sub_frames if "frameRate" in parameters else Fraction(1)
    except (ValueError, ZeroDivisionError) as error:
        raise CaptionFault(f"its time parameters cannot be read: {error}", line) from error
    if rate <= 0 or tick_rate <= 0 or sub_frames <= 0:
        raise CaptionFault("its frame rate or its tick rate is not above zero", line)
    return TimeBase(rate, sub_frames, tick_rate)


def seconds(text: str, base: TimeBase, line: int | None) -> Fraction:
    """A time expression. Raises CaptionFault."""
    text = text.strip()
    if match := _CLOCK.fullmatch(text):
        hours, minutes, whole, fraction, frames, sub = match.groups()
        time = Fraction(int(hours) * 3600 + int(minutes) * 60 + int(whole))
        if fraction:
            return time + Fraction(int(fraction), 10 ** len(fraction))
        part = int(frames or 0) + Fraction(int(sub or 0), base.sub_frames)
        return time + part / base.frame_rate
    if match := _OFFSET.fullmatch(text):
        count = Fraction(match[1])
        if match[2] == "f":
            return count / base.frame_rate
        return count / base.tick_rate if match[2] == "t" else count * _UNITS[match[2]]
    raise CaptionFault(f"its time cannot be read: {text[:40]!r}; expected such as 00:00:01.500 or 1.5s", line)


def interval(
    attributes: Mapping[str, str], base: TimeBase, outer: Interval, at: Fraction, line: int | None
) -> Interval:
    """The interval of an element within `outer`; its times count from `at`."""
    begin = at + seconds(attributes["begin"], base, line) if "begin" in attributes else at
    ends = [outer.end] if outer.end is not None else []
    if "end" in attributes:
        ends.append(at + seconds(attributes["end"], base, line))
    if "dur" in attributes:
        ends.append(begin + seconds(attributes["dur"], base, line))
    end = min(ends) if ends else None
    if "end" in attributes and end is not None and at + seconds(attributes["end"], base, line) < begin:
        raise CaptionFault("it ends before it begins", line)
    return Interval(begin, end)
