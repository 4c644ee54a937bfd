"""What a task may write into its job's log."""

from __future__ import annotations

from taskengine.domain.messages import Report, ReportEvent
from taskengine.engine.log_caps import FULL, LogCaps


def said(*messages: str, task: int = 1) -> Report:
    """A report of log entries."""
    entries = [{"severity": 1, "message": message, "at": 5} for message in messages]
    return Report(task, 1, "t", ReportEvent.LOG, 5, {"entries": entries})


def kept(caps: LogCaps, report: Report) -> list[str] | None:
    """The messages that are written."""
    cut = caps.cut(report)
    return None if cut is None else [entry["message"] for entry in cut.details["entries"]]


def test_a_log_is_full_after_so_many_entries() -> None:
    """The last one says so, once; other tasks have room of their own."""
    caps = LogCaps(entries=3)
    assert kept(caps, said("a", "b")) == ["a", "b"]
    assert kept(caps, said("c", "d", "e")) == ["c", FULL]
    assert kept(caps, said("f")) is None
    assert kept(caps, said("f", task=2)) == ["f"]


def test_a_log_is_full_after_so_many_characters() -> None:
    """A few long entries fill it as many short ones do."""
    caps = LogCaps(chars=10)
    assert kept(caps, said("12345", "6789")) == ["12345", "6789"]
    assert kept(caps, said("1", "23", "4")) == ["1", FULL]
    assert kept(caps, said("5")) is None
