"""Jobs as this engine's last decisions left them, for decisions that are judged as they are written (`postgres_at_once`)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field

from taskengine.domain.job import Changes, Snapshot

_DOUBTED = 100  # decisions: what an overtaken one costs more is less than a hundredth of them


@dataclass(slots=True)
class Recent:
    """Spares a decision what it would read: that it is so still is judged as it is written.

    Heartbeats, progress and confirmations, which come past the job's lock, are not in what is kept: whoever decides by them
    reads the job. Who takes a job has it alone, and what is kept of it is in nobody else's hands.
    """

    most: int  # jobs; a job may carry a megabyte
    _kept: OrderedDict[int, Snapshot] = field(default_factory=OrderedDict)
    _doubted: int = 0  # decisions of which nothing is kept yet

    def take(self, job_ids: Collection[int]) -> Mapping[int, Snapshot]:
        """These jobs, by id; empty where one of them is not known."""
        taken = {job_id: self._kept.pop(job_id, None) for job_id in job_ids}
        found = {job_id: snapshot for job_id, snapshot in taken.items() if snapshot is not None}
        return found if len(found) == len(taken) else {}

    def keep(self, snapshots: Sequence[Snapshot], decided: Sequence[Changes]) -> None:
        """What a decision about one job left, as it is written: in a crowd it costs more than it spares. Not what a foreach
        made: an item is read as the JSON that was written of it."""
        if self._doubted:
            self._doubted -= 1
            return
        if not (self.most and len(snapshots) == len(decided) == 1):
            return
        [snapshot], [changes] = snapshots, decided
        job, tasks = snapshot.job, snapshot.tasks
        if job.ended or changes.new_tasks or any(task.item is not None for task in tasks):
            return
        self._kept[job.id] = Snapshot(copy(job), [task if task.ended else copy(task) for task in tasks])
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def forget(self, job_ids: Iterable[int]) -> None:
        """These are decided about under their locks."""
        for job_id in job_ids:
            self._kept.pop(job_id, None)

    def doubt(self) -> None:
        """What was kept was not so any more: others decide about the same jobs, as where workers report to several engines.
        For a while nothing is."""
        self._kept.clear()
        self._doubted = _DOUBTED
