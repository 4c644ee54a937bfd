"""The times of a cron pattern in a time zone, as Debian's cron has them.

Around a change of the clocks, a pattern with a fixed hour and minute runs once a day: one whose time is left out runs at
once after the gap, one whose time comes twice runs the first time. A pattern whose hour or minute begins with a star
follows the time that passes. (In the one zone whose clocks change by half an hour, Australia/Lord_Howe, the library passes
over the half hour that comes twice.)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from taskengine.domain.words import nearest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = 5  # minute, hour, day of month, month, day of week
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}  # crontab(5)


@cache
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name; ValueError where there is none."""
    if name not in available_timezones():
        raise ValueError(f"unknown time zone {name[:60]!r}{nearest(name[:60], sorted(available_timezones()))}")
    return ZoneInfo(name)


def next_time(cron: str, time_zone: str, after: int) -> int | None:
    """The pattern's first time after `after` (UTC ms); None where there is none within fifty years.

    ValueError where the pattern is none or the zone is not known.
    """
    pattern = _SHORTHANDS.get(cron.strip().lower(), cron)
    if len(pattern.split()) != _FIELDS:
        raise ValueError("must have five fields: minute, hour, day of month, month, day of week")
    tz = zone(time_zone)
    moment = (_EPOCH + timedelta(milliseconds=after)).astimezone(UTC if time_zone == "UTC" else tz)
    try:
        times = CronSim(pattern, moment)
    except CronSimError as error:
        raise ValueError(f"is no pattern of cron: {str(error).lower()}") from None
    for time in times:
        at = (time.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
        if at > after:  # in the hour that comes twice, the library begins with the first one
            return at
    return None
