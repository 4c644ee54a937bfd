"""The progress of running attempts: in memory at once, in the tasks' rows at most once a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskengine.domain.messages import Report
from taskengine.engine.signals import Signal
from taskengine.ports import Clock, JobStore

_FLUSH_S = 1.0
_KEPT = 10_000
_GREATEST = 1e15  # beyond it a speed or a time left is none


@dataclass(frozen=True, slots=True)
class Progress:
    """The last word of a running attempt; `speed` in media seconds per second, `eta_s` in seconds."""

    token: str
    fraction: float
    message: str = ""
    speed: float | None = None
    eta_s: float | None = None


class ProgressBook:
    """What this engine heard of running attempts."""

    def __init__(self, store: JobStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._live: dict[int, Progress] = {}
        self._dirty: set[int] = set()
        self._signal = Signal()

    def note(self, report: Report) -> None:
        """Take a progress report; a value beyond 0–1 is cut."""
        details = report.details
        self._live.pop(report.task_id, None)
        self._live[report.task_id] = Progress(
            report.token,
            min(max(float(details["progress"]), 0.0), 1.0),
            str(details.get("message") or ""),
            _number(details, "speed"),
            _number(details, "eta_s"),
        )
        if len(self._live) > _KEPT:
            self._live.pop(next(iter(self._live)))
        self._dirty.add(report.task_id)
        self._signal.set()

    def live(self, task_id: int, token: str | None) -> Progress | None:
        """The last word of the attempt that is out; None where this engine has heard nothing of it."""
        progress = self._live.get(task_id)
        return progress if progress is not None and progress.token == token else None

    def forget(self, task_id: int) -> None:
        """The attempt has ended."""
        self._live.pop(task_id, None)

    async def run(self) -> None:
        """Write what is new to the rows, at most once a second."""
        while True:
            await self._signal.wait(self._clock)
            await self.flush()
            await self._clock.sleep(_FLUSH_S)

    async def flush(self) -> None:
        """Write what is new."""
        dirty, self._dirty = self._dirty, set()
        rows = [(task, live.token, live.fraction) for task in dirty if (live := self._live.get(task))]
        if rows:
            await self._store.save_progress(rows, self._clock.now())


def _number(details: Mapping[str, Any], name: str) -> float | None:
    value = details.get(name)
    return float(value) if isinstance(value, int | float) and abs(value) < _GREATEST else None
