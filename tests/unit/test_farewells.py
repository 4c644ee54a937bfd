"""Whether attempts that were called off are over."""

from __future__ import annotations

from collections.abc import Sequence

from taskengine.domain.messages import Report, ReportEvent, Running, WorkerInfo, WorkerMessage
from taskengine.engine.farewells import Expected, Farewells


def says(worker: str, running: Sequence[str] = (), ends: Sequence[str] = ()) -> WorkerMessage:
    """What a worker says: the tokens that it is at, and those whose end it tells."""
    reports = [Report(1, 1, token, ReportEvent.COMPLETED, 0) for token in ends]
    return WorkerMessage(WorkerInfo(worker, worker), [Running(1, 1, token) for token in running], reports)


def over(expected: Expected) -> bool:
    """Whether nobody has to wait any more."""
    return not expected.workers


def test_an_attempt_is_over_when_its_worker_names_it_no_more() -> None:
    """Whatever other workers say."""
    farewells = Farewells()
    expected = farewells.expect({"t1": "w1", "t2": "w2"})
    farewells.note(says("w1", running=["t1"]))
    farewells.note(says("w3"))
    assert expected.workers == {"t1": "w1", "t2": "w2"}
    farewells.note(says("w1"))
    assert expected.workers == {"t2": "w2"}
    farewells.note(says("w2", running=["other"]))
    assert over(expected)


def test_what_it_told_last_is_decided_on_first() -> None:
    """A heartbeat that comes meanwhile does not count."""
    farewells = Farewells()
    expected = farewells.expect({"t1": "w1"})
    farewells.note(says("w1", ends=["t1"]))
    farewells.note(says("w1"))
    assert not over(expected)
    farewells.decided(["other"])
    assert not over(expected)
    farewells.decided(["t1"])
    assert over(expected)


def test_whoever_has_it_is_found_out() -> None:
    """By the first worker that names it, or tells its end; who said nothing of it is waited for no more."""
    farewells = Farewells()
    expected = farewells.expect({"t1": "", "t2": "", "t3": ""})
    farewells.note(says("w1", running=["t1"], ends=["t2"]))
    expected.drop_unknown()
    assert expected.workers == {"t1": "w1", "t2": "w1"}
    farewells.note(says("w2"))
    farewells.decided(["t2"])
    farewells.note(says("w1"))
    assert over(expected)


def test_nobody_is_told_who_waits_no_more() -> None:
    """Each who waits has its own."""
    farewells = Farewells()
    first, second = farewells.expect({"t1": "w1"}), farewells.expect({"t1": "w1"})
    farewells.forget(first)
    farewells.note(says("w1"))
    assert (over(first), over(second)) == (False, True)
