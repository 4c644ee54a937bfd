"""Whether, and when, a failed task is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from taskengine.domain.errors import ErrorKind
from taskengine.domain.job import Job, Task
from taskengine.domain.workflow import RetryPolicy

MAX_LOSSES = 10  # a task that took ten workers with it is poison
MAX_TIMEOUTS = 1  # a deadline that was missed is given one more chance
LOSSES_AT_ONCE = 3  # of workers that leave: a task that was lost more often may be why they do
_LOSS_DELAY_S, _MAX_LOSS_DELAY_S = 1.0, 60.0
_MAX_DELAY_S = 600.0
_JITTER = 0.2


@dataclass(frozen=True, slots=True)
class RetryDefaults:
    """What the settings `retry_limit` and `retry_delay` say for the job's client."""

    limit: int = 3
    delay_s: float = 5.0


def retry_delay(
    kind: ErrorKind, task: Task, job: Job, policy: RetryPolicy, defaults: RetryDefaults, chance: float
) -> float | None:
    """Seconds until the next try of a task that just failed; None where it is given up.

    `task.tries`, `timeouts` and `losses` do not count this failure yet. Precedence of the limit: the job's
    `max_retries`, the step's (with the workflow's defaults), the settings. `chance` is a random number of [0, 1).
    """
    if kind is ErrorKind.INPUT:
        return None
    if kind is ErrorKind.LOST:
        if task.losses + 1 >= MAX_LOSSES:
            return None
        before = task.losses - LOSSES_AT_ONCE
        return 0.0 if before < 0 else min(_LOSS_DELAY_S * 2**before, _MAX_LOSS_DELAY_S)
    limit = next(n for n in (job.max_retries, policy.limit, defaults.limit) if n is not None)
    if task.tries >= limit or (kind is ErrorKind.TIMEOUT and task.timeouts >= MAX_TIMEOUTS):
        return None
    first = defaults.delay_s if policy.delay_s is None else policy.delay_s
    try:
        delay = min(first * policy.backoff**task.tries, policy.max_delay_s, _MAX_DELAY_S * 6)
    except OverflowError:
        delay = min(policy.max_delay_s, _MAX_DELAY_S * 6) if first else 0.0
    return delay * (1 + _JITTER * (2 * chance - 1))
