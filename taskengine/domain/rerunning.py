"""What a rerun from what failed keeps of the job before it, and which files it needs for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain.errors import Conflict
from taskengine.domain.job import Job, Task
from taskengine.domain.planning import new_task
from taskengine.domain.status import JobState, TaskState
from taskengine.domain.workflow import Step, Workflow

_DONE = frozenset({TaskState.COMPLETED, TaskState.SKIPPED})


def check_failed(job: Job) -> None:
    """Conflict where the job is not one that ended by itself and failed: there is nothing to go on from."""
    if job.state is JobState.COMPLETED and job.failed:
        return
    word = "completed and did not fail" if job.state is JobState.COMPLETED else f"is {job.state.value}"
    raise Conflict(f"the job {word}: only one that has failed can be rerun from what failed")


def replan(job: Job, workflow: Workflow, planned: Sequence[Task], former: Sequence[Task]) -> list[Task]:
    """The tasks of a rerun: those that were completed (or skipped) before it as they ended, the rest to be run.

    `planned` are the tasks as of a submission, `former` those of the job that is rerun; both are of this definition. A
    step whose needs are not all kept is run again whole: what it gave may have come from what they gave. Of a `foreach`
    that was expanded, the items that were completed are kept.
    """
    kept: set[str] = set()
    tasks: list[Task] = []
    for step in workflow.steps.values():
        before = [task for task in former if task.step == step.name and not task.on_failure]
        if not before or not kept.issuperset(step.needs):
            tasks += [task for task in planned if task.step == step.name]
            continue
        tasks += [_again(job, step, task) for task in before]
        if all(task.state in _DONE for task in before):
            kept.add(step.name)
    return tasks


def _again(job: Job, step: Step, task: Task) -> Task:
    """A task of the job before, as the new job has it."""
    fresh = new_task(job, step, index=task.index, item=task.item)
    if task.state not in _DONE:
        return fresh
    return replace(
        fresh, state=task.state, inputs=task.inputs, outputs=task.outputs, timeout_s=task.timeout_s,
        started_at=task.started_at, ended_at=task.ended_at, progress=1.0,
    )  # fmt: skip


def is_kept(task: Task) -> bool:
    """Whether a task of a new job was completed by the job before it: none of its own attempts did."""
    return task.state is TaskState.COMPLETED and task.attempt == 0


def files_of(tasks: Sequence[Task]) -> list[str]:
    """The `$file` references in the outputs of the tasks that are kept."""
    return sorted({url for task in tasks if is_kept(task) for url in _references(task.outputs)})


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(url := value.get("$file"), str):
            yield url
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)
