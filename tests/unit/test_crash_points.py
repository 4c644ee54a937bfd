"""The points at which processes are killed are read off the code, and none is missed."""

from __future__ import annotations

from tests.support.crashing import points, publishes, writes


def test_every_state_write_and_every_publish_is_a_point() -> None:
    """The writes that a job's course is made of, and the places that publish, each before and after."""
    assert {"submit", "decide", "advance", "replace", "admit", "dispatch", "confirm_published", "heartbeat"} <= {
        method for _, _, method in writes()
    }
    assert {"dispatcher.publish", "effects.tell", "event_bus._round", "reporter._send", "intake._reply"} == set(
        publishes()
    )
    assert {"before store.decide", "after store.decide", "after dispatcher.publish"} <= set(points())
