"""The published names and numbers: the one place where ours and theirs meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskengine.domain.status import JobState

STATE_NUMBERS: Mapping[JobState, int] = {
    JobState.QUEUED: 0,
    JobState.STARTED: 1,
    JobState.COMPLETED: 2,
    JobState.PENDING: 3,
    JobState.BROKEN: 4,
    JobState.SCHEDULED: 5,
    JobState.PAUSED: 6,
}
ENDED_AND_FAILED = 7  # a filter's state: completed, and failed

SEVERITIES: Sequence[str] = ("debug", "info", "warn", "error", "fatal")

RESUMABLE = (JobState.PAUSED, JobState.BROKEN, JobState.QUEUED)  # the states that PATCH can ask for

_STATES: Mapping[str, JobState] = {
    **{str(number): state for state, number in STATE_NUMBERS.items()},
    **{state.value: state for state in JobState},
}


def read_state(text: str) -> JobState | None:
    """The state that a number or a name stands for; None where it is none of a job."""
    return _STATES.get(text.strip().lower())


def read_severity(text: str) -> int | None:
    """The severity that a number or a name stands for."""
    text = text.strip().lower()
    if text in SEVERITIES:
        return SEVERITIES.index(text)
    return int(text) if text in {str(number) for number in range(len(SEVERITIES))} else None
