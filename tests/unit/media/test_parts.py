"""Which bytes of a file a chunk needs."""

from __future__ import annotations

import pytest

from taskengine.media.parts import Span, spans

KIB = 1024


def test_packets_that_are_near_are_fetched_together() -> None:
    """In whatever order they are named; what lies between far ones is left."""
    lines = [f"{KIB},{500 * KIB}", f"{2 * KIB},0", f"{KIB},{10 * KIB}", f"{KIB},{520 * KIB}", f"{KIB},{500 * KIB}"]
    assert spans(lines, 1000 * KIB) == [Span(0, 11 * KIB), Span(500 * KIB, 521 * KIB)]
    assert sum(span.length for span in spans(lines, 1000 * KIB)) == 32 * KIB
    assert spans([], 10) == []


@pytest.mark.parametrize("line", ["", "N/A,5", "5", "5,N/A", "5,-1", "-5,1", "5,6"])
def test_a_packet_that_is_nowhere_is_a_fault(line: str) -> None:
    """The whole file is fetched then."""
    with pytest.raises(ValueError, match=r"."):
        spans(["1,1", line], 10)
