"""The one path by which decisions are written: set after set, each row guarded by the state that it leaves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, compress, groupby
from operator import itemgetter, not_

from taskengine.domain.errors import UnknownState, WholeNeeded
from taskengine.domain.job import Changes, Job, Snapshot
from taskengine.domain.status import JobState
from taskengine.ports import Decide, DispatchPlan
from taskengine.stores import rows
from taskengine.stores.dispatching import Handed, Moved, hand_out
from taskengine.stores.session import Overtaken, Seen, Session, Turn
from taskengine.stores.tally import Standing, Tally

_MANY_TASKS = 100  # of a job: reading them all would cost more than the decision
_MOST_LARGE_JOBS = 10_000  # that are kept in mind


class LargeJobs:
    """Jobs that were seen to have many tasks: of these a decision is first given what it is about."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._seen

    def see(self, job_id: int, tasks: int) -> None:
        """A job was read whole."""
        if tasks >= _MANY_TASKS:
            self._seen[job_id] = None
            if len(self._seen) > _MOST_LARGE_JOBS:
                self._seen.popitem(last=False)


async def snapshots(
    session: Session, job_ids: Sequence[int], about: Mapping[int, Collection[int]] | None = None
) -> dict[int, Snapshot]:
    """The jobs that exist, with their tasks, in the order of the ids; they are held. Of those in `about` these tasks are
    read, and the blocked ones."""
    about = about or {}
    whole = [job_id for job_id in job_ids if job_id not in about]
    parts = [("snapshot_jobs", [session.array(job_ids)]), ("snapshot_tasks", [session.array(whole)])]
    if about:
        parameters = [session.array(sorted(about)), session.array(sorted({*chain(*about.values())}))]
        parts += [("snapshot_some_tasks", parameters), ("snapshot_rest", parameters)]
    jobs, tasks, *large = await session.all_of(parts)
    found = {row[0]: Snapshot(rows.job_from(row), []) for row in jobs}
    if large:
        tasks += large[0]
        for job_id, rest in groupby(large[1], itemgetter(0)):
            found[job_id].rest = {(step, rows.task_state(state)): count for _, step, state, count in rest}
    for row in tasks:
        found[row[1]].tasks.append(rows.task_from(row))
    return {job_id: found[job_id] for job_id in job_ids if job_id in found}


async def decide(
    session: Session, job_ids: Sequence[int], decision: Decide, beside: Sequence[Changes] = ()
) -> list[Changes]:
    """Read the jobs, which are held, decide each, write what was decided; `beside` it the changes of new jobs."""
    decided, before = await _judge(session, job_ids, decision)
    decided += beside
    await write(session, decided, before)
    return decided


async def advance(
    session: Session,
    tasks: Mapping[int, Collection[int]],
    decision: Decide,
    plan: DispatchPlan,
    large: LargeJobs,
    clear: AbstractSet[str],
    seen: Seen | None = None,
) -> tuple[list[Changes], Handed]:
    """As `decide` about these tasks, and hand out what is next in the queues that the decisions touch. Overtaken where
    one of them that was believed to be `clear` is not. In `seen` it is noted what was gone by, where it is not held."""
    about = {job_id: some for job_id, some in tasks.items() if job_id in large}
    known = seen.take_known() if seen is not None else {}
    decided, before = await _judge(session, sorted(tasks), decision, about, large, seen, known)
    if known and all(changes.tells_only for changes in decided):
        raise Overtaken  # nothing would be written, so nobody would judge what is known
    return decided, await write(session, decided, before, plan, clear, seen)


async def dispatch(session: Session, queue: str, plan: DispatchPlan) -> Handed:
    """Hand out what is next in a queue."""
    handed = await hand_out(session, (), [queue], plan)
    tally = Tally()
    await _write(session, _tasks((), handed.moved, tally), tally)
    return handed


async def _judge(
    session: Session,
    job_ids: Sequence[int],
    decision: Decide,
    about: Mapping[int, Collection[int]] | None = None,
    large: LargeJobs | None = None,
    seen: Seen | None = None,
    known: Mapping[int, Snapshot] | None = None,
) -> tuple[list[Changes], Mapping[int, Standing]]:
    """What is decided of each job, and how each stood before. What is `known` is not read."""
    before: dict[int, Standing] = {}
    decided: list[Changes] = []
    for job_id, snapshot in (known or await snapshots(session, job_ids, about)).items():
        before[job_id] = Standing.of(snapshot.job)  # the decision may change the record itself
        if seen is not None:
            seen.add(snapshot)
        if large is not None and not snapshot.rest:
            large.see(job_id, len(snapshot.tasks))
        try:
            changes = decision(snapshot)
        except WholeNeeded:
            changes = decision((await snapshots(session, [job_id]))[job_id])
        if changes is not None and not changes.empty:
            decided.append(changes)
    return decided, before


async def write(
    session: Session,
    decided: Sequence[Changes],
    before: Mapping[int, Standing],
    plan: DispatchPlan | None = None,
    clear: AbstractSet[str] = frozenset(),
    seen: Seen | None = None,
) -> Handed:
    """Write decisions; UnknownState where a row is not in the state that its change names. With a plan, hand out what is
    next after them; Overtaken where a queue that was believed to be `clear` is not."""
    handed = Handed()
    if not decided:
        return handed
    tally = Tally()
    await _name(session, decided)
    await _wishes(session, decided, before)
    called = [rows.callback_values(changes.job.id, callback) for changes in decided for callback in changes.callbacks]
    tally.callbacks(len(called))
    if plan is not None:  # from here on others may wait for this transaction: little is left
        handed = await hand_out(session, decided, (), plan, clear)
    parts = [*_jobs(decided, before, tally), *_tasks(decided, handed.moved, tally), *_history(decided)]
    parts += [_Part("insert_callback", called), _Part("open_line", first_lines(_lines(decided)))]
    await _write(session, parts, tally, _Part("insert_event", _events(decided)), turn=handed.turn, seen=seen)
    return handed


@dataclass(frozen=True, slots=True)
class _Part:
    """A statement with its rows. `must_find`: what they are, where each ends with the id and the state of one that must be
    there."""

    statement: str
    rows: Sequence[rows.Row]
    must_find: str | None = None


async def _write(
    session: Session,
    parts: Iterable[_Part],
    tally: Tally,
    *last: _Part,
    turn: Turn | None = None,
    seen: Seen | None = None,
) -> None:
    """Write it all in one piece, the counters with it, so that others wait for them no longer than the commit takes;
    `last` what they wait for too: whoever writes events takes turns with others that do."""
    written = [*parts]  # only now the tally knows it all
    counted = [_Part(statement, some) for statement, some in tally.parts()]
    written = [part for part in (*written, *counted, *last) if part.rows]
    changed = await session.many_apart([(part.statement, part.rows) for part in written], turn, seen)
    for part, count in zip(written, changed, strict=True):
        if part.must_find and count != len(part.rows):
            names = [f"{part.must_find} {id_} in state {state}" for *_, id_, state in part.rows]
            raise UnknownState(
                f"{len(names) - count} of {len(names)} rows were not as the decision had them: {'; '.join(names[:10])}"
            )


def _jobs(decided: Sequence[Changes], before: Mapping[int, Standing], tally: Tally) -> Iterator[_Part]:
    new = [changes.job for changes in decided if changes.job_before is None]
    yield _Part("insert_job", [rows.job_values(job) for job in new])
    yield _Part("insert_job_body", [rows.job_body(job) for job in new])
    moved = _moved(decided)
    yield _Part("update_job", [rows.job_update(job, state) for job, state in moved], "job")
    for job in [*new, *(job for job, _ in moved)]:
        tally.job(before.get(job.id), Standing.of(job))


def _moved(decided: Sequence[Changes]) -> list[tuple[Job, JobState]]:
    return [
        (changes.job, changes.job_before)
        for changes in decided
        if changes.job_before is not None and changes.job_changed
    ]


async def _wishes(session: Session, decided: Sequence[Changes], before: Mapping[int, Standing]) -> None:
    """What was changed of jobs by hand: seldom, and apart from the rest (a row is written once by a statement)."""
    changed = [job for job, _ in _moved(decided) if rows.wishes_of(job) != before[job.id].wishes]
    if changed:
        await session.many("update_job_wishes", map(rows.job_wishes, changed))


async def _name(session: Session, decided: Sequence[Changes]) -> None:
    """Give the new tasks their ids: their log entries have them too."""
    unnamed = [task for changes in decided for task in changes.new_tasks if task.id is None]
    if unnamed:
        for task, task_id in zip(unnamed, (await session.take({"tasks": len(unnamed)}))["tasks"], strict=True):
            task.id = task_id


def _tasks(decided: Sequence[Changes], others: Sequence[Moved], tally: Tally) -> Iterator[_Part]:
    new = [task for changes in decided for task in changes.new_tasks]
    yield _Part("insert_task", [rows.task_values(task) for task in new])
    for task in new:
        tally.task(task.queue, None, task.state)
    moved = [*(pair for changes in decided for pair in changes.tasks.values()), *others]
    on_course = [rows.takes_its_course(task, state) for task, state in moved]
    yield _Part("move_task", [rows.task_move(*one) for one in compress(moved, on_course)], "task")
    yield _Part("update_task", [rows.task_update(*one) for one in compress(moved, map(not_, on_course))], "task")
    for task, state in moved:
        tally.task(task.queue, state, task.state)


def _history(decided: Sequence[Changes]) -> Iterator[_Part]:
    yield _Part("insert_attempt", [rows.attempt_values(attempt) for changes in decided for attempt in changes.attempts])
    yield _Part(
        "insert_log",
        [
            rows.log_values(changes.job.id, entry.task.id if entry.task else None, entry)
            for changes in decided
            for entry in changes.logs
        ],
    )


def _events(decided: Sequence[Changes]) -> list[rows.Row]:
    return [rows.event_values(changes.job, event) for changes in decided for event in changes.events]


Line = tuple[int, str, int, int, int]  # job, endpoint, lane, since when, and the patience of a job event


def _lines(decided: Sequence[Changes]) -> Iterator[Line]:
    for changes in decided:
        for callback in changes.callbacks:
            lane = rows.lane_of(callback.event)
            yield changes.job.id, callback.endpoint, lane, callback.created_at, callback.patience_ms


def first_lines(wanted: Iterable[Line]) -> list[Line]:
    """The rows of `open_line`: each (job, endpoint, lane) once; those of task events come first."""
    earliest: dict[tuple[int, str, int], Line] = {}
    for line in wanted:
        earliest.setdefault(line[:3], line)
    return sorted(earliest.values(), key=lambda line: line[2])
