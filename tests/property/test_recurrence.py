"""The times of patterns of cron, around changes of the clocks and leap days."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskengine.engine.recurrence import next_time

_MINUTE = 60_000
_AROUND = [  # changes of the clocks, in UTC, and a leap day
    ("Europe/Berlin", "2027-03-28T01:00:00+00:00"),
    ("Europe/Berlin", "2027-10-31T01:00:00+00:00"),
    ("America/New_York", "2027-11-07T06:00:00+00:00"),
    ("UTC", "2028-02-29T00:00:00+00:00"),
]
FIELD = st.sampled_from(["*", "*/7", "0", "30", "1,31,59"])
HOUR = st.sampled_from(["*", "*/2", "1", "2", "3", "1-3"])
CRONS = st.builds("{} {} * * *".format, FIELD, HOUR)


def ms(text: str) -> int:
    """UTC milliseconds of an ISO time."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def times(cron: str, zone: str, after: str, amount: int) -> list[str]:
    """The pattern's next times, as their zone shows them."""
    at, found = ms(after), []
    for _ in range(amount):
        following = next_time(cron, zone, at)
        assert following is not None
        at = following
        found.append(datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M %Z"))
    return found


@settings(max_examples=60)
@given(CRONS, st.sampled_from(_AROUND), st.integers(-180, 120), st.lists(st.integers(0, 300), max_size=8))
def test_whenever_one_looks_no_time_is_left_out_or_comes_twice(
    cron: str, around: tuple[str, str], start: int, looks: list[int]
) -> None:
    """The next time after any moment is the first of the sequence that lies after it."""
    zone, change = around
    first = ms(change) + start * _MINUTE
    sequence = [first]
    while sequence[-1] <= first + 301 * _MINUTE:
        following = next_time(cron, zone, sequence[-1])
        assert following is not None
        sequence.append(following)
    assert all(before < after for before, after in pairwise(sequence))
    for minutes in looks:
        look = first + minutes * _MINUTE + 17
        assert next_time(cron, zone, look) == next(at for at in sequence if at > look)


def test_a_fixed_time_that_the_clocks_leave_out_comes_right_after_the_gap() -> None:
    """Once, and the next day at its own time again."""
    found = times("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00+00:00", 2)
    assert found == ["03-28 03:00 CEST", "03-29 02:30 CEST"]


def test_a_fixed_time_that_the_clocks_show_twice_comes_once() -> None:
    """The first time; who looks between the two does not see it again."""
    found = times("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00+00:00", 2)
    assert found == ["10-31 02:30 CEST", "11-01 02:30 CET"]
    assert times("30 2 * * *", "Europe/Berlin", "2027-10-31T01:10:00+00:00", 1) == ["11-01 02:30 CET"]


def test_what_comes_every_hour_follows_the_time_that_passes() -> None:
    """Also in the hour that comes twice."""
    found = times("30 * * * *", "Europe/Berlin", "2027-10-31T00:00:00+00:00", 3)
    assert found == ["10-31 02:30 CEST", "10-31 02:30 CET", "10-31 03:30 CET"]


def test_a_leap_day_comes_every_four_years() -> None:
    """2100 has none."""
    at: int | None = ms("2088-03-01T00:00:00+00:00")
    years = []
    for _ in range(3):
        at = next_time("0 0 29 2 *", "UTC", at or 0)
        years.append(datetime.fromtimestamp((at or 0) / 1000, UTC).year)
    assert years == [2092, 2096, 2104]


@pytest.mark.parametrize(("cron", "zone", "reason"), [
    ("* * * *", "UTC", "five fields"), ("0 0 * * * *", "UTC", "five fields"), ("61 * * * *", "UTC", "bad minute"),
    ("0 0 31 2 *", "UTC", "bad day-of-month"), ("* * * * *", "Europe/Berlim", "did you mean"),
    ("* * * * *", "/etc/localtime", "unknown time zone"),
])  # fmt: skip
def test_what_is_no_pattern_is_told(cron: str, zone: str, reason: str) -> None:
    """Both the pattern's fault and the zone's."""
    with pytest.raises(ValueError, match=reason):
        next_time(cron, zone, 0)
