"""Which loops of the engine a decision wakes."""

from __future__ import annotations

import asyncio

import pytest

from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.job import Changes
from taskengine.domain.status import JobState, TaskState
from taskengine.engine.effects import Effects
from taskengine.engine.signals import Signal, Signals
from tests.support.clock import START
from tests.support.stores import a_job, a_task

Q, S, C = JobState.QUEUED, JobState.STARTED, JobState.COMPLETED


@pytest.mark.parametrize(
    ("before", "after", "deadline_at", "woken"),
    [
        (None, Q, None, {"admission"}),
        (Q, Q, None, {"admission"}),  # another priority
        (Q, S, None, set()),  # a slot was taken, none was given back
        (Q, S, START, {"timers"}),
        (S, S, START, set()),  # its deadline is known: a task went on
        (S, C, START, {"admission"}),
        (S, JobState.PAUSED, None, {"admission"}),
        (JobState.PENDING, JobState.SCHEDULED, None, {"admission", "timers"}),
    ],
)
async def test_a_decision_wakes_whom_it_gives_something_to_do(
    before: JobState | None, after: JobState, deadline_at: int | None, woken: set[str]
) -> None:
    """And nobody else: each look is a few statements of the database, beside the next task of the job."""
    assert await followed(Changes(a_job(1, state=after, deadline_at=deadline_at), before)) == woken


async def test_a_task_that_is_to_be_tried_again_wakes_the_timers() -> None:
    """Whenever that will be."""
    tasks = {1: (a_task(1, "a", state=TaskState.RETRY_WAIT), TaskState.RUNNING)}
    assert await followed(Changes(a_job(1, state=S), S, job_changed=False, tasks=tasks)) == {"timers"}


async def followed(changes: Changes) -> set[str]:
    """The loops, of admission and timers, that are woken."""
    signals = Signals()
    async with open_broker("memory://") as broker:
        await Effects(broker, signals, lambda _: None, lambda: None).follow([changes])
    loops = {"admission": signals.admission, "timers": signals.timers}
    return {name for name, signal in loops.items() if await _is_set(signal)}


async def _is_set(signal: Signal) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await signal.wait(SystemClock())
    except TimeoutError:
        return False
    return True
