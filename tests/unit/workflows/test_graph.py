"""The pure helpers of workflows: graphs of needs, and durations."""

import pytest

from taskengine.domain.durations import DurationFault, format_duration, parse_duration
from taskengine.domain.graph import ancestors, cycle, order

NEEDS = {"d": ["b", "c"], "a": [], "c": ["a"], "b": ["a"], "e": []}


def test_the_order_follows_the_needs_and_else_the_file() -> None:
    """Each after what it needs; ties as written."""
    assert order(NEEDS) == ["a", "e", "c", "b", "d"]


def test_unknown_needs_are_passed_over() -> None:
    """They are a fault of their own."""
    assert order({"a": ["gone"]}) == ["a"]


def test_ancestors_are_direct_and_indirect() -> None:
    """And not the step itself, but in a circle."""
    assert ancestors(NEEDS, "d") == {"a", "b", "c"}
    assert ancestors(NEEDS, "a") == set()
    assert ancestors({"a": ["b"], "b": ["a"]}, "a") == {"a", "b"}


def test_a_cycle_is_named_along_its_needs() -> None:
    """Each name needs the next."""
    assert cycle(NEEDS) == []
    found = cycle({"a": ["b"], "b": ["c"], "c": ["a"]})
    assert found[0] == found[-1]
    assert set(found) == {"a", "b", "c"}
    assert (found + found[1:]).index("b") == (found + found[1:]).index("a") + 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("6h", 21600), ("2d", 172800), ("5", 5), (7, 7), (1.5, 1.5), ("1.5h", 5400)],
)
def test_durations_have_units(text: object, seconds: float) -> None:
    """Seconds where there is none."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "5x", "-1s", -1, True, None, float("nan"), float("inf"), "1h30m", []])
def test_what_is_no_duration_is_refused(text: object) -> None:
    """With what would be one."""
    with pytest.raises(DurationFault, match="is no duration"):
        parse_duration(text)


def test_durations_are_spelled_short() -> None:
    """The largest unit that divides."""
    assert [format_duration(seconds) for seconds in (0, 1.5, 90, 5400, 7200, 172800)] == [
        "0s", "1.5s", "90s", "90m", "2h", "2d",
    ]  # fmt: skip
