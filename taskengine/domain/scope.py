"""What expressions see: the scope of `workflow-format.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.job import Job, Task
from taskengine.domain.status import TaskState
from taskengine.domain.times import format_utc
from taskengine.domain.workflow import Workflow


def scope_of(job: Job, workflow: Workflow, tasks: Sequence[Task], client: Mapping[str, Any]) -> dict[str, Any]:
    """Names for the expressions of a job: parameters, steps, job, client (its public configuration)."""
    by_step: dict[str, list[Task]] = {}
    for task in tasks:
        by_step.setdefault(task.step, []).append(task)
    steps = {
        name: _step_scope(step_tasks, foreach=workflow.step(name).foreach is not None)
        for name, step_tasks in by_step.items()
    }
    return {"parameters": job.arguments, "steps": steps, "job": job_scope(job), "client": client}


def job_scope(job: Job) -> dict[str, Any]:
    """The `job` of the scope."""
    return {
        "id": job.id,
        "client": job.client,
        "workflow": job.workflow,
        "priority": job.priority,
        "created_at": format_utc(job.created_at),
    }


def _step_scope(tasks: Sequence[Task], *, foreach: bool) -> dict[str, Any]:
    if not foreach:
        return {"outputs": tasks[0].outputs, "state": tasks[0].state.value}
    items = sorted((task for task in tasks if task.index is not None), key=lambda task: task.index or 0)
    return {"outputs": [task.outputs for task in items], "state": _overall(tasks)}


def _overall(tasks: Sequence[Task]) -> str:
    states = {task.state for task in tasks}
    if len(states) == 1:
        return states.pop().value
    for state in (TaskState.FAILED, TaskState.CANCELLED, TaskState.RUNNING, TaskState.READY):
        if state in states:
            return state.value
    return TaskState.COMPLETED.value if all(task.ended for task in tasks) else TaskState.BLOCKED.value
