"""When a callback is tried again, and when it is given up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from taskengine.engine.callback_policy import CallbackPolicy, Verdict, delay_after, judge, wait_listed
from taskengine.ports import DueCallback, SendResult

NOW = 1_800_000_000_000
HOUR = 3_600_000
POLICY = CallbackPolicy()
WAIT = wait_listed(POLICY.delays_s)
TASK = DueCallback(
    id=1, job_id=1, client="demo", endpoint="http://e/", event="start", webhook_id="msg_1", body="{}", created_at=NOW,
    attempts=0, failures=0, oldest_at=NOW,
)  # fmt: skip
JOB = replace(TASK, event="job")


def _judge(callback: DueCallback, result: SendResult, now: int = NOW) -> Verdict:
    return judge(callback, result, now, POLICY, WAIT)


def test_the_delays_follow_the_published_list_and_then_stay_at_six_hours() -> None:
    """5 s, 30 s, 2 min, 10 min, 30 min, 1 h, 2 h, then every 6 h."""
    delays = [delay_after(failures, WAIT) for failures in range(1, 11)]
    assert delays == [5, 30, 120, 600, 1800, 3600, 7200, 21600, 21600, 21600]


def test_jitter_only_adds() -> None:
    """No try comes before its delay is over."""
    for draw, delay in ((0.0, 5.0), (0.5, 5.25), (1.0, 5.5)):
        assert delay_after(1, wait_listed([5], jitter=0.1, draw=partial(float, draw))) == pytest.approx(delay)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_answer_is_delivery(status: int) -> None:
    """Nothing else is."""
    assert _judge(TASK, SendResult(status)) == Verdict("delivered")


@pytest.mark.parametrize("status", [None, 100, 301, 307, 400, 404, 408, 425, 429, 500, 503])
def test_anything_else_is_tried_again(status: int | None) -> None:
    """The first further try comes after five seconds."""
    assert _judge(TASK, SendResult(status, "no")) == Verdict("pending", next_at=NOW + 5000)


@pytest.mark.parametrize(("asked", "waits"), [(120.0, 120), (0.0, 1), (3600.0, 3600), (86_400.0, 3600)])
def test_retry_after_is_honoured_up_to_an_hour(asked: float, waits: int) -> None:
    """It takes the place of the list's delay; nothing is tried again within a second."""
    verdict = _judge(replace(TASK, failures=3), SendResult(503, "no", retry_after=asked))
    assert verdict == Verdict("pending", next_at=NOW + waits * 1000)


@pytest.mark.parametrize("callback", [TASK, JOB])
def test_410_stops_the_endpoint_for_the_job(callback: DueCallback) -> None:
    """All that the job has for it is dead at the first such answer."""
    verdict = _judge(callback, SendResult(410, "gone"))
    assert (verdict.state, verdict.gone) == ("dead", True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_task_callback_that_is_not_wanted_is_dead_after_retry_limit_tries(status: int) -> None:
    """The line goes on with the next one."""
    result = SendResult(status, "no")
    assert _judge(replace(TASK, attempts=1, failures=1), result).state == "pending"
    verdict = _judge(replace(TASK, attempts=2, failures=2), result)
    assert (verdict.state, verdict.line) == ("dead", False)


@pytest.mark.parametrize("status", [408, 425, 429, 500])
def test_answers_that_may_change_do_not_count_as_unwanted(status: int) -> None:
    """They are tried for the whole time."""
    assert _judge(replace(TASK, attempts=20, failures=20), SendResult(status, "no")).state == "pending"


def test_a_job_callback_keeps_its_time_whatever_the_answer() -> None:
    """Not wanted, it is still tried."""
    assert _judge(replace(JOB, attempts=9, failures=9), SendResult(404, "no")).state == "pending"


def test_the_last_try_comes_at_72_hours_and_then_the_line_is_dead() -> None:
    """Counted from the oldest undelivered event of the line, not from this one."""
    old = replace(TASK, failures=20, attempts=0, oldest_at=NOW - 70 * HOUR)
    assert _judge(old, SendResult(None, "no")) == Verdict("pending", next_at=NOW + 2 * HOUR)
    verdict = _judge(old, SendResult(None, "no"), NOW + 2 * HOUR)
    assert (verdict.state, verdict.line) == ("dead", True)
    assert "72 hours" in verdict.reason
    assert _judge(old, SendResult(200), NOW + 2 * HOUR).state == "delivered"
