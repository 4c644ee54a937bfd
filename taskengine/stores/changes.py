"""The one path by which decisions are written: set after set, each row guarded by the state that it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taskengine.domain.errors import UnknownState
from taskengine.domain.job import Changes, Snapshot, Task
from taskengine.domain.status import TaskState
from taskengine.ports import Decide
from taskengine.stores import rows
from taskengine.stores.tally import Standing, Tally
from taskengine.stores.units import Session

PATIENCE_MS = 5 * 60 * 1000  # how long a job event waits for undelivered task events of its endpoint


def snapshots(session: Session, job_ids: Sequence[int]) -> dict[int, Snapshot]:
    """The jobs that exist, with their tasks, in the order of the ids."""
    ids = rows.dump(list(job_ids))
    found = {row[0]: Snapshot(rows.job_from(row), []) for row in session.all("snapshot_jobs", (ids,))}
    for row in session.all("snapshot_tasks", (ids,)):
        found[row[1]].tasks.append(rows.task_from(row))
    return {job_id: found[job_id] for job_id in job_ids if job_id in found}


def decide(session: Session, job_ids: Sequence[int], decision: Decide) -> list[Changes]:
    """Read the jobs, decide each, write what was decided."""
    before: dict[int, Standing] = {}
    decided: list[Changes] = []
    for job_id, snapshot in snapshots(session, job_ids).items():
        before[job_id] = Standing.of(snapshot.job)  # the decision may change the record itself
        changes = decision(snapshot)
        if changes is not None and not changes.empty:
            decided.append(changes)
    write(session, decided, before)
    return decided


def write(session: Session, decided: Sequence[Changes], before: Mapping[int, Standing]) -> None:
    """Write decisions; UnknownState where a row is not in the state that its change names."""
    if not decided:
        return
    tally = Tally()
    _jobs(session, decided, before, tally)
    _tasks(session, decided, tally)
    _history(session, decided)
    _callbacks(session, decided, tally)
    tally.write(session)


def _jobs(session: Session, decided: Sequence[Changes], before: Mapping[int, Standing], tally: Tally) -> None:
    new = [changes.job for changes in decided if changes.job_before is None]
    if new:
        session.many("insert_job", map(rows.job_values, new))
        session.many("insert_job_body", map(rows.job_body, new))
    moved = [
        (changes.job, changes.job_before)
        for changes in decided
        if changes.job_before is not None and changes.job_changed
    ]
    if moved:
        _guarded(
            session.many("update_job", [rows.job_update(job, state) for job, state in moved]),
            (f"job {job.id} in state {state}" for job, state in moved),
        )
    after = {job.id: Standing.of(job) for job in [*new, *(job for job, _ in moved)]}
    for job_id, standing in after.items():
        tally.job(before.get(job_id), standing)
    wishes = [after[job.id].wishes for job, _ in moved if after[job.id].wishes != before[job.id].wishes]
    if wishes:
        session.many("update_job_wishes", wishes)


def _tasks(session: Session, decided: Sequence[Changes], tally: Tally) -> None:
    new = [task for changes in decided for task in changes.new_tasks]
    if new:
        unnamed = [task for task in new if task.id is None]
        for task, task_id in zip(unnamed, session.take("tasks", len(unnamed)), strict=True):
            task.id = task_id
        session.many("insert_task", map(rows.task_values, new))
        for task in new:
            tally.task(task.queue, None, task.state)
    _move(session, [pair for changes in decided for pair in changes.tasks.values()], tally)


def write_tasks(session: Session, moved: Sequence[tuple[Task, TaskState]]) -> None:
    """Write tasks alone, each with the state that it leaves."""
    tally = Tally()
    _move(session, moved, tally)
    tally.write(session)


def _move(session: Session, moved: Sequence[tuple[Task, TaskState]], tally: Tally) -> None:
    if not moved:
        return
    _guarded(
        session.many("update_task", [rows.task_update(task, state) for task, state in moved]),
        (f"task {task.id} in state {state}" for task, state in moved),
    )
    for task, state in moved:
        tally.task(task.queue, state, task.state)


def _guarded(changed: int, expected: Iterable[str]) -> None:
    names = list(expected)
    if changed != len(names):
        raise UnknownState(
            f"{len(names) - changed} of {len(names)} rows were not as the decision had them: {'; '.join(names[:10])}"
        )


def _history(session: Session, decided: Sequence[Changes]) -> None:
    if attempts := [rows.attempt_values(attempt) for changes in decided for attempt in changes.attempts]:
        session.many("insert_attempt", attempts)
    logs = [
        rows.log_values(changes.job.id, entry.task.id if entry.task else None, entry)
        for changes in decided
        for entry in changes.logs
    ]
    if logs:
        session.many("insert_log", logs)
    if events := [rows.event_values(changes.job, event) for changes in decided for event in changes.events]:
        session.many("insert_event", events)


def _callbacks(session: Session, decided: Sequence[Changes], tally: Tally) -> None:
    values = [rows.callback_values(changes.job.id, callback) for changes in decided for callback in changes.callbacks]
    if not values:
        return
    session.many("insert_callback", values)
    open_lines(session, ((job_id, endpoint, lane, at) for job_id, endpoint, lane, *_, at in values))
    tally.callbacks(len(values))


def open_lines(session: Session, wanted: Iterable[tuple[int, str, int, int]]) -> None:
    """See that each (job, endpoint, lane, since) has its line; those of task events come first."""
    earliest: dict[tuple[int, str, int], int] = {}
    for job_id, endpoint, lane, since in wanted:
        earliest.setdefault((job_id, endpoint, lane), since)
    in_order = sorted(earliest.items(), key=lambda line: line[0][2])
    session.many("open_line", [(*line, since, PATIENCE_MS) for line, since in in_order])
