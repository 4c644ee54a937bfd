"""When a capture may begin: its clips must have been broadcast, unless it captures while they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskengine.domain.times import parse_utc
from taskengine.domain.workflow import Workflow

_SHORT_MS = 60_000  # a shorter broadcast is captured from its start
_SHARE = 0.8  # of a longer one goes by before


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a broadcast: UTC ms, None where it is not given as a time of day (an offset, or not at all)."""

    start: int | None
    end: int | None


def begin(clips: Sequence[Clip], *, continuous: bool, run_at: int | None, now: int) -> int | None:
    """The time before which the capture must not begin; None: at once.

    It begins when the last clip has ended, or at `run_at` where that is later. A continuous one begins at `run_at`; where
    there is none, when 80 % of the time from the earliest start (where no clip tells one: from now) to the latest end are
    over, or at the start where that time is under a minute.
    """
    end = max((clip.end for clip in clips if clip.end is not None), default=None)
    if continuous and run_at is not None:
        return run_at
    if end is None or end <= now:
        return run_at
    if not continuous:
        return max(end, run_at or end)
    start = min((clip.start for clip in clips if clip.start is not None), default=now)
    length = end - start
    at = min(start, end) if length < _SHORT_MS else start + round(length * _SHARE)
    return at if at > now else None


def begin_of(
    workflow: Workflow,
    run_at: int | None,
    now: int,
    evaluate: Callable[[Any, Mapping[str, Any]], Any],
    scope: Mapping[str, Any],
) -> int | None:
    """`run_at` as it holds for a job of this workflow. Raises ExpressionError."""
    if workflow.capture is None:
        return run_at
    rule = evaluate(workflow.capture, scope)
    return begin(clips_of(rule.get("clips") or ()), continuous=rule.get("continuous") is True, run_at=run_at, now=now)


def clips_of(values: Iterable[Any]) -> list[Clip]:
    """The clips of a job's parameters, which were judged at its submission."""
    return [Clip(_time(clip.get("start")), _time(clip.get("end"))) for clip in values if isinstance(clip, Mapping)]


def _time(value: Any) -> int | None:
    """A UTC time; None for offsets and what is not there."""
    try:
        return parse_utc(value) if isinstance(value, str) else None
    except ValueError:
        return None
