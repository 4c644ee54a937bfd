"""Times as the published contract writes them, and as clients may write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?"
    r" ?(?:([Zz])|([+-])(\d{2})(?::?([0-5]\d))?)?)?",
    re.ASCII,
)


@lru_cache(maxsize=4096)  # each decision about a job tells the same time of its creation
def format_utc(at: int) -> str:
    """UTC milliseconds as `yyyy-MM-ddTHH:mm:ss.fffZ`."""
    return f"{(_EPOCH + timedelta(milliseconds=at)).isoformat(timespec='milliseconds')[:-6]}Z"  # without +00:00


def parse_utc(text: str) -> int:
    """An ISO 8601 time as UTC milliseconds; ValueError where it is none.

    Without a zone it is UTC; a date alone is its midnight; a fraction of any length is cut to milliseconds.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a time such as 2040-06-06T10:00:00.000Z: {text[:60]!r}")
    year, month, day, hour, minute, second, fraction = match.groups()[:7]
    milliseconds = int(((fraction or "") + "000")[:3])
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=_zone(match)
        )
        return (moment - _EPOCH) // timedelta(milliseconds=1) + milliseconds
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time: {text[:60]!r}: {error}") from error


def _zone(match: re.Match[str]) -> timezone:
    sign, hours, minutes = match.group(9, 10, 11)
    if sign is None:
        return UTC
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset)
