"""Counters as differences: what a unit of work adds to each, written once at its end, in its own transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from taskengine.domain.job import Job
from taskengine.domain.status import JobState, TaskState
from taskengine.stores.rows import Row, wishes_of
from taskengine.stores.session import Session

BLOCK = 1024  # ids per row of `queued_blocks`
_BY_QUEUE = frozenset({TaskState.READY, TaskState.DISPATCHED, TaskState.RUNNING})
_PROCESSED = frozenset({TaskState.COMPLETED, TaskState.FAILED})


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a job before and after a decision: what counts, and what may be changed by hand."""

    client: str
    state: JobState
    failed: bool
    place: tuple[int, int, int]  # top_of_queue, priority, block
    wishes: Row  # what may be changed by hand

    @classmethod
    def of(cls, job: Job) -> Standing:
        """As the job is now."""
        place = (int(job.top_of_queue), job.priority, job.id // BLOCK)
        return cls(job.client, job.state, job.failed, place, wishes_of(job))


@dataclass(slots=True)
class Tally:
    """What is to be added to the counters."""

    counters: Counter[tuple[str, str]] = field(default_factory=Counter)
    blocks: Counter[tuple[int, int, int]] = field(default_factory=Counter)

    def job(self, before: Standing | None, after: Standing) -> None:
        """A job came (no before) or changed."""
        if before != after:
            self._job(before, -1)
            self._job(after, +1)

    def ended_jobs_gone(self, client: str, state: JobState, *, failed: bool, count: int) -> None:
        """So many ended jobs of a client were deleted."""
        self.counters[f"jobs:{client}", state.value] -= count
        if failed and state is JobState.COMPLETED:
            self.counters[f"jobs:{client}", "failed"] -= count

    def _job(self, job: Standing | None, by: int) -> None:
        if job is None:
            return
        scope = f"jobs:{job.client}"
        self.counters[scope, job.state.value] += by
        if job.failed and job.state is JobState.COMPLETED:
            self.counters[scope, "failed"] += by
        if job.state is JobState.QUEUED:
            self.blocks[job.place] += by

    def task(self, queue: str, before: TaskState | None, after: TaskState) -> None:
        """A task came (no before) or changed its state."""
        if before is after:
            return
        if before in _BY_QUEUE:
            self.counters[f"queue:{queue}", before.value] -= 1
        if after in _BY_QUEUE:
            self.counters[f"queue:{queue}", after.value] += 1
        if before is not None and after in _PROCESSED:
            self.counters["tasks", "processed"] += 1
            self.counters["tasks", "failed"] += after is TaskState.FAILED

    def open_tasks_gone(self, queue: str, state: TaskState, count: int) -> None:
        """So many tasks were deleted with their jobs although they had not ended."""
        if state in _BY_QUEUE:
            self.counters[f"queue:{queue}", state.value] -= count

    def callbacks(self, by: int) -> None:
        """So many callbacks more are undelivered."""
        self.counters["callbacks", "pending"] += by

    async def write(self, session: Session) -> None:
        """Add it all."""
        await session.many_apart(self.parts())

    def parts(self) -> list[tuple[str, list[Row]]]:
        """The statements that add it all, with their rows, in one order whoever writes: nobody waits in a circle."""
        counters = [(*key, value) for key, value in sorted(self.counters.items()) if value]
        blocks = [(*key, value) for key, value in sorted(self.blocks.items()) if value]
        return [(name, some) for name, some in (("count", counters), ("count_queued", blocks)) if some]
