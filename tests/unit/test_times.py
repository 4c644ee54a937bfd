"""Times of the published contract."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskengine.domain.times import format_utc, parse_utc


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2_222_589_600_120, "2040-06-06T10:00:00.120Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_written_with_three_digits_of_milliseconds_and_z(at: int, text: str) -> None:
    """The form is the same for every time, and is read back as the same time."""
    assert format_utc(at) == text
    assert parse_utc(text) == at


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2040-06-06T10:00:00.000", "2040-06-06T10:00:00.000Z"),
        ("2040-06-06T10:00:00", "2040-06-06T10:00:00.000Z"),
        ("2040-06-06T10:00", "2040-06-06T10:00:00.000Z"),
        ("2040-06-06 10:00:00Z", "2040-06-06T10:00:00.000Z"),
        ("2040-06-06", "2040-06-06T00:00:00.000Z"),
        ("2040-06-06T10:00:00.1234567", "2040-06-06T10:00:00.123Z"),
        ("2040-06-06T10:00:00.9999999999Z", "2040-06-06T10:00:00.999Z"),
        ("2040-06-06T10:00:00.5z", "2040-06-06T10:00:00.500Z"),
        ("2040-06-06T10:00:00,25+02:00", "2040-06-06T08:00:00.250Z"),
        ("2040-06-06T10:00:00-0130", "2040-06-06T11:30:00.000Z"),
        ("2040-06-06T23:30:00-01", "2040-06-07T00:30:00.000Z"),
        (" 2040-02-29T10:00:00Z ", "2040-02-29T10:00:00.000Z"),
    ],
)
def test_a_time_is_read_in_every_iso_form(text: str, same_as: str) -> None:
    """Without a zone it is UTC, a fraction of any length is cut, a date alone is its midnight."""
    assert format_utc(parse_utc(text)) == same_as


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2040", "2040-13-01", "2041-02-29", "2040-06-06T24:00:00", "2040-06-06T10:60", "2040-06-06T10:00:61",
        "2040-06-06T10:00:00+25:00", "2040-06-06T10:00:00+01:60", "2040-06-06T10:00:00.", "2040-06-06T10:00:00Z junk",
        "\uff12\uff10\uff14\uff10-06-06", "2040-06-06T10:00:00 UTC", "0001-01-01T00:00:00+14:00x", "1700000000000",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    """The message repeats the text, so that a client finds it."""
    with pytest.raises(ValueError, match="not a time"):
        parse_utc(text)


def test_a_zone_may_reach_over_the_first_year() -> None:
    """A time before year 1 in UTC is still a number of milliseconds."""
    assert parse_utc("0001-01-01T00:00:00+14:00") == parse_utc("0001-01-01") - 14 * 3_600_000


def test_the_parser_agrees_with_the_standard_library() -> None:
    """A moment given in both ways is the same."""
    moment = datetime(2033, 5, 18, 3, 33, 20, 123000, tzinfo=UTC)
    assert parse_utc(moment.isoformat()) == int(moment.timestamp() * 1000)
