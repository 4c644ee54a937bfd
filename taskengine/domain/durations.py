"""Durations as people write them: `90s`, `10m`, `6h`, `2d`, or a number of seconds."""

from __future__ import annotations

import math
import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TEXT = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s?([smhd])?", re.ASCII)


class DurationFault(ValueError):
    """A duration that is refused, and why."""


def parse_duration(value: object) -> float:
    """Seconds of a duration; DurationFault where it is none."""
    if isinstance(value, str):
        match = _TEXT.fullmatch(value.strip())
        if not match:
            raise DurationFault(f"{value[:40]!r} is no duration: write 90s, 10m, 6h, 2d or a number of seconds")
        return float(match[1]) * _UNITS[match[2] or "s"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DurationFault(f"{value!r} is no duration: write 90s, 10m, 6h, 2d or a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise DurationFault(f"{value!r} is no duration: it must be 0 or more seconds")
    return float(value)


def format_duration(seconds: float) -> str:
    """The shortest exact spelling: 5400 is `90m`, 7200 is `2h`."""
    for unit in ("d", "h", "m"):
        size = _UNITS[unit]
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
