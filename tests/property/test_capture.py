"""When captures begin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.capture import Clip, begin, clips_of
from taskengine.domain.times import parse_utc

NOW = 10_000_000
TIMES = st.none() | st.integers(0, 2 * NOW)
CLIPS = st.lists(st.builds(Clip, TIMES, TIMES), max_size=5)
MINUTE = 60_000


@given(clips=CLIPS, run_at=TIMES, continuous=st.booleans())
def test_no_capture_begins_before_what_its_rule_says(
    *, clips: list[Clip], run_at: int | None, continuous: bool
) -> None:
    """Never before `run_at`; one that is not continuous never before an end; a continuous one never after the last."""
    at = begin(clips, continuous=continuous, run_at=run_at, now=NOW)
    ends = [clip.end for clip in clips if clip.end is not None and clip.end > NOW]
    begins = NOW if at is None else max(at, NOW)
    assert begins >= (run_at or 0)
    if not continuous:
        assert begins == max(NOW, *ends, run_at or 0, 0)
    elif run_at is not None:
        assert at == run_at
    else:
        assert begins <= max(ends, default=NOW)


@pytest.mark.parametrize(
    ("clips", "run_at", "expected"),
    [
        ([(0, 100)], None, 80),  # minutes from now
        ([(0, 100)], 10, 10),
        ([(0, 100)], 200, 200),
        ([(50, 100), (20, 60)], None, 84),
        ([(-100, 10)], None, None),  # 80 % are over
        ([(-10, 90)], None, 70),
        ([(5, 5.5)], None, 5),  # under a minute: at its start
        ([(5, 6)], None, 5.8),
        ([(None, 10)], None, 8),  # no start: from now
        ([(-20, -10)], None, None),
        ([(-20, -10)], -5, -5),
        ([], None, None),
    ],
)
def test_continuous_captures_begin_at_their_share(
    clips: list[tuple[float | None, float | None]], run_at: float | None, expected: float | None
) -> None:
    """80 % of the time between the earliest start and the latest end; the start of a short one; or `run_at`."""
    made = [Clip(*(None if at is None else NOW + round(at * MINUTE) for at in clip)) for clip in clips]
    at = begin(made, continuous=True, run_at=None if run_at is None else NOW + round(run_at * MINUTE), now=NOW)
    assert at == (None if expected is None else NOW + round(expected * MINUTE))


def test_offsets_are_no_times_of_day() -> None:
    """Nor are numbers, and what is not there."""
    given_clips = [{"start": "00:10:00.000", "end": "2040-01-01T00:00:00Z"}, {"start": 5, "end": "90"}, {"source": "x"}]
    assert clips_of(given_clips) == [Clip(None, parse_utc("2040-01-01")), Clip(None, None), Clip(None, None)]
