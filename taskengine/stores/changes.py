"""The one path by which decisions are written: set after set, each row guarded by the state that it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from taskengine.domain.errors import UnknownState
from taskengine.domain.job import Changes, Snapshot, Task
from taskengine.domain.status import TaskState
from taskengine.ports import Decide
from taskengine.stores import rows
from taskengine.stores.session import Session
from taskengine.stores.tally import Standing, Tally

PATIENCE_MS = 5 * 60 * 1000  # how long a job event waits for undelivered task events of its endpoint


async def snapshots(session: Session, job_ids: Sequence[int]) -> dict[int, Snapshot]:
    """The jobs that exist, with their tasks, in the order of the ids."""
    ids = session.array(job_ids)
    found = {row[0]: Snapshot(rows.job_from(row), []) for row in await session.all("snapshot_jobs", (ids,))}
    for row in await session.all("snapshot_tasks", (ids,)):
        found[row[1]].tasks.append(rows.task_from(row))
    return {job_id: found[job_id] for job_id in job_ids if job_id in found}


async def decide(session: Session, job_ids: Sequence[int], decision: Decide) -> list[Changes]:
    """Read the jobs, decide each, write what was decided."""
    before: dict[int, Standing] = {}
    decided: list[Changes] = []
    for job_id, snapshot in (await snapshots(session, job_ids)).items():
        before[job_id] = Standing.of(snapshot.job)  # the decision may change the record itself
        changes = decision(snapshot)
        if changes is not None and not changes.empty:
            decided.append(changes)
    await write(session, decided, before)
    return decided


async def write(session: Session, decided: Sequence[Changes], before: Mapping[int, Standing]) -> None:
    """Write decisions; UnknownState where a row is not in the state that its change names."""
    if not decided:
        return
    tally = Tally()
    await _jobs(session, decided, before, tally)
    await _tasks(session, decided, tally)
    await _history(session, decided)
    await _callbacks(session, decided, tally)
    await tally.write(session)
    await _events(session, decided)  # last: whoever writes events may have to wait for others that do


async def _jobs(session: Session, decided: Sequence[Changes], before: Mapping[int, Standing], tally: Tally) -> None:
    new = [changes.job for changes in decided if changes.job_before is None]
    if new:
        await session.many("insert_job", map(rows.job_values, new))
        await session.many("insert_job_body", map(rows.job_body, new))
    moved = [
        (changes.job, changes.job_before)
        for changes in decided
        if changes.job_before is not None and changes.job_changed
    ]
    if moved:
        _guarded(
            await session.many("update_job", [rows.job_update(job, state) for job, state in moved]),
            (f"job {job.id} in state {state}" for job, state in moved),
        )
    after = {job.id: Standing.of(job) for job in [*new, *(job for job, _ in moved)]}
    for job_id, standing in after.items():
        tally.job(before.get(job_id), standing)
    wishes = [after[job.id].wishes for job, _ in moved if after[job.id].wishes != before[job.id].wishes]
    if wishes:
        await session.many("update_job_wishes", wishes)


async def _tasks(session: Session, decided: Sequence[Changes], tally: Tally) -> None:
    new = [task for changes in decided for task in changes.new_tasks]
    if new:
        unnamed = [task for task in new if task.id is None]
        for task, task_id in zip(unnamed, await session.take("tasks", len(unnamed)), strict=True):
            task.id = task_id
        await session.many("insert_task", map(rows.task_values, new))
        for task in new:
            tally.task(task.queue, None, task.state)
    await _move(session, [pair for changes in decided for pair in changes.tasks.values()], tally)


async def write_tasks(session: Session, moved: Sequence[tuple[Task, TaskState]]) -> None:
    """Write tasks alone, each with the state that it leaves."""
    tally = Tally()
    await _move(session, moved, tally)
    await tally.write(session)


async def _move(session: Session, moved: Sequence[tuple[Task, TaskState]], tally: Tally) -> None:
    if not moved:
        return
    _guarded(
        await session.many("update_task", [rows.task_update(task, state) for task, state in moved]),
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


async def _history(session: Session, decided: Sequence[Changes]) -> None:
    if attempts := [rows.attempt_values(attempt) for changes in decided for attempt in changes.attempts]:
        await session.many("insert_attempt", attempts)
    logs = [
        rows.log_values(changes.job.id, entry.task.id if entry.task else None, entry)
        for changes in decided
        for entry in changes.logs
    ]
    if logs:
        await session.many("insert_log", logs)


async def _events(session: Session, decided: Sequence[Changes]) -> None:
    if events := [rows.event_values(changes.job, event) for changes in decided for event in changes.events]:
        await session.many("insert_event", events)


async def _callbacks(session: Session, decided: Sequence[Changes], tally: Tally) -> None:
    values = [rows.callback_values(changes.job.id, callback) for changes in decided for callback in changes.callbacks]
    if not values:
        return
    await session.many("insert_callback", values)
    await open_lines(session, ((job_id, endpoint, lane, at) for job_id, endpoint, lane, *_, at in values))
    tally.callbacks(len(values))


async def open_lines(session: Session, wanted: Iterable[tuple[int, str, int, int]]) -> None:
    """See that each (job, endpoint, lane, since) has its line; those of task events come first."""
    earliest: dict[tuple[int, str, int], int] = {}
    for job_id, endpoint, lane, since in wanted:
        earliest.setdefault((job_id, endpoint, lane), since)
    in_order = sorted(earliest.items(), key=lambda line: line[0][2])
    await session.many("open_line", [(*line, since, PATIENCE_MS) for line, since in in_order])
