"""Whether attempts that were called off are over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from taskengine.domain.messages import Report, ReportEvent, Running, WorkerInfo, WorkerMessage
from taskengine.engine.effects import _FAREWELL_S, _LONGEST_FAREWELL_S, _hear_out
from taskengine.engine.farewells import Expected, Farewells
from tests.support.clock import MovedClock


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


async def test_workers_that_are_heard_are_waited_for_and_silent_ones_are_not() -> None:
    """Each word of theirs gives them as long again, up to a limit; one of another worker does not."""
    clock = MovedClock()

    async def waited(worker: str, every_s: float) -> float:
        """How long is waited while this worker, that names the attempt, is heard so often."""
        expected, begun = farewells.expect({"t1": "w1"}), clock.now()
        waiting = asyncio.ensure_future(_hear_out(expected, clock))
        while not waiting.done():
            await clock.advance(every_s)
            farewells.note(says(worker, running=["t1"] if worker == "w1" else []))
        return (clock.now() - begun) / 1000

    farewells = Farewells()
    assert await waited("w2", 1.0) == _FAREWELL_S
    assert await waited("w1", 5.0) == 5.0, "it was silent for too long"
    assert _LONGEST_FAREWELL_S <= await waited("w1", 1.0) <= _LONGEST_FAREWELL_S + _FAREWELL_S


async def test_who_has_told_the_end_is_waited_for_until_it_is_decided_on() -> None:
    """However long the store takes."""
    clock, farewells = MovedClock(), Farewells()
    expected = farewells.expect({"t1": "w1"})
    waiting = asyncio.ensure_future(_hear_out(expected, clock))
    farewells.note(says("w1", ends=["t1"]))
    await clock.advance(2 * _FAREWELL_S)
    assert not waiting.done()
    farewells.decided(["t1"])
    await clock.settle()
    assert waiting.done()


def test_nobody_is_told_who_waits_no_more() -> None:
    """Each who waits has its own."""
    farewells = Farewells()
    first, second = farewells.expect({"t1": "w1"}), farewells.expect({"t1": "w1"})
    farewells.forget(first)
    farewells.note(says("w1"))
    assert (over(first), over(second)) == (False, True)
