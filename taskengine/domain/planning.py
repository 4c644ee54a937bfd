"""The tasks of a job as far as they are known at its submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskengine.domain.errors import ExpressionError
from taskengine.domain.job import Job, Task
from taskengine.domain.status import TaskState
from taskengine.domain.workflow import Step, Workflow

Evaluate = Callable[[Any, Mapping[str, Any]], Any]
References = Callable[[Any], set[tuple[str, ...]]]

MAX_ITEMS = 10_000


def plan(
    job: Job, workflow: Workflow, evaluate: Evaluate, references: References, scope: Mapping[str, Any]
) -> list[Task]:
    """One task per step, in topological order; a `foreach` that needs only parameters is expanded now.

    A `foreach` whose expression fails is left whole: the task fails with the reason once its turn comes.
    """
    tasks: list[Task] = []
    for step in workflow.steps.values():
        items = _early_items(step, evaluate, references, scope)
        if items is None:
            tasks.append(new_task(job, step))
        else:
            tasks.extend(new_task(job, step, index=index, item=item) for index, item in enumerate(items))
    return tasks


def _early_items(
    step: Step, evaluate: Evaluate, references: References, scope: Mapping[str, Any]
) -> Sequence[Any] | None:
    """The items where they are known and at least one; None where the task stays whole."""
    if step.foreach is None or step.condition is not None:
        return None
    if any(name[0] not in {"parameters", "job", "client"} for name in references(step.foreach)):
        return None
    try:
        items = items_of(evaluate(step.foreach, scope))
    except ExpressionError:
        return None
    return items or None


def items_of(value: Any) -> list[Any]:
    """The list that a `foreach` gave; ExpressionError where it is none."""
    if not isinstance(value, list):
        raise ExpressionError(f"foreach: a list was expected, not {type(value).__name__}")
    if len(value) > MAX_ITEMS:
        raise ExpressionError(f"foreach: {len(value)} items; at most {MAX_ITEMS} are allowed")
    return value


def new_task(job: Job, step: Step, *, index: int | None = None, item: Any = None) -> Task:
    """A blocked task of a step."""
    return Task(
        id=None,
        job_id=job.id,
        step=step.name,
        index=index,
        item=item,
        handler=step.handler,
        queue=step.queue,
        state=TaskState.BLOCKED,
        created_at=job.updated_at,
        on_failure=step.on_failure,
        priority=job.priority,
        top_of_queue=job.top_of_queue,
        timeout_s=step.timeout_s,
        weight=step.weight,
    )
