from __future__ import annotations

import io

import pytest
from rich.console import Console

from taskengine.cli.progress import JobLine, LineDisplay, TaskLine, eta_text, job_display, speed_text, state_name


def test_live_bars_show_state_speed_and_time_left() -> None:
    """One row a task that has begun, under the job's."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160, no_color=True)
    running = TaskLine(1, "encode[0]", "running", 0.5, "pass [1]", speed=2.5, eta_s=3700)
    failed = TaskLine(2, "package", "failed", error="no [room]\nleft")

    with job_display(console, err=False) as display:
        display.show(JobLine(7, "vodstream", "started"), [running, failed, TaskLine(3, "publish", "blocked")])

    last = screen.getvalue().split("job 7 vodstream")[-1]
    assert "encode[0]" in last
    assert all(text in last for text in ("50 %", "2.5x", "1:01:40 left", "pass [1]", "no [room] left"))
    assert "publish" not in last


def test_lines_tell_retries_and_failures_with_their_reason() -> None:
    """A task that waits for its next try says why."""
    lines: list[str] = []
    display = LineDisplay(lines.append)
    job = JobLine(7, "w", "started")

    display.show(job, [TaskLine(1, "a", "retry_wait", error="disk is full")])
    display.show(job, [TaskLine(1, "a", "failed", error="disk is full")])

    assert lines == ["job 7 w: started", "  a: retry_wait (disk is full)", "  a: failed (disk is full)"]


@pytest.mark.parametrize(("state", "name"), [(0, "queued"), (6, "paused"), ("started", "started"), (9, "9")])
def test_states_are_shown_by_name(state: object, name: str) -> None:
    """Whether the engine gives the number or the name."""
    assert state_name(state) == name


def test_only_a_completed_job_that_did_not_fail_has_succeeded() -> None:
    """Broken is an end, not a success."""
    assert JobLine(1, "w", "completed").succeeded
    assert not JobLine(1, "w", "completed", failed=True).succeeded
    assert not JobLine(1, "w", "broken").succeeded
    assert JobLine(1, "w", "broken").ended


def test_speed_and_time_are_short() -> None:
    """Nothing where nothing is known."""
    assert [speed_text(value) for value in (None, 0, 1.25, 31.4)] == ["", "", "1.2x", "31x"]
    assert [eta_text(value) for value in (None, 0, 61.4, 7322)] == ["", "0:00 left", "1:01 left", "2:02:02 left"]
