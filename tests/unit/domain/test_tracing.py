"""The header `traceparent`, as the standard reads it."""

from __future__ import annotations

import pytest

from taskengine.domain.tracing import Untraced, read_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("text", [f"00-{TRACE}-{SPAN}-01", f" 00-{TRACE}-{SPAN}-01 ", f"01-{TRACE}-{SPAN}-01-more"])
def test_a_trace_is_gone_on_with(text: str) -> None:
    """Later versions are read as far as they are known."""
    assert read_traceparent(text) == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text",
    [
        None, "", "junk", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01-more", f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
    ],
)  # fmt: skip
def test_what_is_no_trace_counts_as_not_given(text: str | None) -> None:
    """A wrong header is nobody's fault but the caller's tracer's: the call goes on without."""
    assert read_traceparent(text) is None


def test_without_a_tracer_others_traces_are_passed_on() -> None:
    """What a span begins goes on in the trace that was given."""
    with Untraced().span("call", "server", "00-a-b-01", {}) as span:
        assert span.traceparent == "00-a-b-01"
