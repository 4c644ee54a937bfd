"""Which ready tasks go out now: within the window of their queue, in the order of dispatch, whoever made them ready.

A decision that frees tasks hands them out in its own transaction, where they are next: each is then written once, from
`blocked` to `dispatched`. The queue's lock is taken after the jobs' and held to the commit; who holds it waits for no row
of a job or task (what is locked is passed over), so that nobody waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from taskengine.domain.job import Changes, Job, Task
from taskengine.domain.status import TaskState
from taskengine.ports import Dispatched, DispatchPlan
from taskengine.stores import rows
from taskengine.stores.session import Session, Turn

Moved = tuple[Task, TaskState]  # with the state that it leaves
_Place = tuple[bool, int, int, int]


@dataclass(slots=True)
class Handed:
    """What goes out. `moved` are tasks to write that no decision has; in the queues `passed_over`, some that would have
    been next were being decided on elsewhere; in those `clear` nothing waits any more. What is written must have the
    `turn`, where there is one."""

    sent: list[Dispatched] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    passed_over: set[str] = field(default_factory=set)
    clear: set[str] = field(default_factory=set)
    turn: Turn | None = None


async def hand_out(
    session: Session,
    decided: Sequence[Changes],
    queues: Iterable[str],
    plan: DispatchPlan,
    clear: AbstractSet[str] = frozenset(),
) -> Handed:
    """Fill the windows of these queues, and of those that the decisions touch, from what is ready and what they freed. A
    queue that was `clear` is believed to be so still, where it is the only one: that is judged as all is written, which
    saves a round trip."""
    freed, left = _of_decisions(decided)
    touched = sorted({*queues, *freed, *left})  # in one order, whoever locks several
    if len(touched) == 1 and touched[0] in clear:
        return _believing(touched[0], freed.get(touched[0], []), left[touched[0]], plan)
    handed = Handed()
    for queue in touched:
        await _fill(session, queue, freed.get(queue, []), left[queue], plan, handed)
    return handed


def _believing(queue: str, freed: Sequence[tuple[Task, Changes]], left: int, plan: DispatchPlan) -> Handed:
    """All that the decisions freed goes out."""
    most = plan.window(queue) + left
    handed = Handed(clear={queue}, turn=Turn(queue, most - len(freed), most))
    for task, changes in sorted(freed, key=lambda one: _place(one[0])):
        _send(task, plan)
        handed.sent.append(_dispatched(task, changes.job))
    return handed


def _of_decisions(decided: Sequence[Changes]) -> tuple[dict[str, list[tuple[Task, Changes]]], Counter[str]]:
    """By queue: the tasks that decisions leave ready, and how many are on their way no more."""
    freed: dict[str, list[tuple[Task, Changes]]] = {}
    left: Counter[str] = Counter()
    for changes in decided:
        for task, before in changes.tasks.values():
            if task.state is TaskState.READY:
                freed.setdefault(task.queue, []).append((task, changes))
            left[task.queue] += before is TaskState.DISPATCHED and task.state is not TaskState.DISPATCHED
        for task in changes.new_tasks:
            if task.state is TaskState.READY:
                freed.setdefault(task.queue, []).append((task, changes))
    return freed, +left


async def _fill(
    session: Session,
    queue: str,
    freed: Sequence[tuple[Task, Changes]],
    left: int,
    plan: DispatchPlan,
    handed: Handed,
) -> None:
    most = plan.window(queue) + left  # the counters have not heard of those that left
    # From here on the queue is locked: what is out is counted by one at a time.
    heads = await session.all("waiting_heads", Turn(queue, most, most).parameters)
    room = most - (heads[0][0] or 0)
    ours = {_place(task): (task, changes) for task, changes in freed}
    decided = {task_id for _, changes in freed for task_id in changes.tasks}
    others = {(not top, priority, job, id_) for _, top, priority, job, id_ in heads if id_ is not None} - ours.keys()
    next_ones = sorted({*ours, *(place for place in others if place[3] not in decided)})[: max(room, 0)]
    for place in next_ones:
        if place in ours:
            task, changes = ours[place]
            _send(task, plan)
            handed.sent.append(_dispatched(task, changes.job))
    if room > 0 and not others and len(next_ones) == len(ours):
        handed.clear.add(queue)
    wanted = [place[3] for place in next_ones if place not in ours]
    if wanted:
        taken = await session.all("take_ready", (session.array(wanted),))
        for *columns, client, workflow, workspace, traceparent in taken:
            task = rows.task_from(tuple(columns))
            _send(task, plan)
            handed.sent.append(Dispatched(task, client, workflow, workspace, traceparent))
            handed.moved.append((task, TaskState.READY))
        if len(taken) < len(wanted):
            handed.passed_over.add(queue)


def _dispatched(task: Task, job: Job) -> Dispatched:
    return Dispatched(task, job.client, job.workflow, job.workspace, job.traceparent)


def _place(task: Task) -> _Place:
    return not task.top_of_queue, task.priority, task.job_id, task.id or 0


def _send(task: Task, plan: DispatchPlan) -> None:
    """A new attempt under a new token; nothing of the last attempt stays."""
    task.move(TaskState.DISPATCHED)
    task.attempt += 1
    task.token, task.dispatched_at, task.published = plan.token(), plan.now, False
    task.worker_id = task.worker = task.seen_at = task.attempt_started_at = None
