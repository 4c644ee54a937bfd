"""A job's life without a store: decisions are applied in memory, one after the other."""

from __future__ import annotations

import copy
import itertools
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import WholeNeeded
from taskengine.domain.execution import Rules, Run
from taskengine.domain.job import Changes, Job, Snapshot, Task
from taskengine.domain.messages import Report, ReportEvent
from taskengine.domain.planning import plan
from taskengine.domain.status import JobState, TaskState
from taskengine.domain.workflow import Step, Workflow
from taskengine.workflows.expressions import CelEvaluator

EVALUATOR = CelEvaluator()


def workflow(
    *steps: Step, on_failure: tuple[Step, ...] = (), job_callback: Mapping[str, Any] | None = None
) -> Workflow:
    """A workflow of these steps."""
    return Workflow(
        name="test",
        version="1",
        description="",
        digest="d",
        source="{}",
        schema={},
        steps={step.name: step for step in steps},
        on_failure={step.name: step for step in on_failure},
        job_callback=job_callback or {},
    )


class Life:
    """A job whose decisions are applied one after the other, as a store would."""

    def __init__(self, definition: Workflow, *, arguments: Mapping[str, Any] | None = None, **fields: Any) -> None:
        self.now = 1_000_000
        self._ids = itertools.count(1)
        ids = itertools.count(1)
        self.rules = Rules(definition, EVALUATOR.evaluate, lambda: 0.5, lambda: f"id{next(ids)}")
        given = {"endpoints": ("http://127.0.0.1:1/",), **fields}
        self.job = Job(
            id=1,
            client="demo",
            workflow="test",
            workflow_digest="d",
            state=JobState.PENDING,
            created_at=self.now,
            updated_at=self.now,
            parameters={},
            arguments=arguments or {},
            **given,
        )
        scope = {"parameters": self.job.arguments, "steps": {}, "job": {}, "client": {}}
        self.tasks = plan(self.job, definition, EVALUATOR.evaluate, EVALUATOR.references, scope)
        for task in self.tasks:
            task.id = next(self._ids)
        self.callbacks: list[tuple[str, str, str]] = []
        self.cancelled: list[int] = []
        self.attempts: list[str] = []
        self.take(lambda run: run.create(pending=bool(self.job.after)))

    def take(self, apply: Any) -> Changes:
        """Decide and keep what was decided."""
        run = Run(Snapshot(self.job, self.tasks), self.rules, self.now)
        apply(run)
        for task in run.changes.new_tasks:
            if task.id is None:
                task.id = next(self._ids)
                self.tasks.append(task)
        for callback in run.changes.callbacks:
            body = json.loads(callback.body)
            self.callbacks.append((body.get("task_name", "job"), callback.event, body["message"]))
        self.cancelled += [cancel.task_id for cancel in run.changes.cancels]
        self.attempts += [attempt.outcome for attempt in run.changes.attempts]
        return run.changes

    def start(self) -> Life:
        """Admit the job."""
        self.take(Run.start)
        return self

    def task(self, step: str, index: int | None = None) -> Task:
        """A task by its step (and item)."""
        return next(task for task in self.tasks if task.step == step and (index is None or task.index == index))

    def states(self) -> dict[str, str]:
        """step → state of its first task."""
        return {task.step: task.state.value for task in reversed(self.tasks)}

    def dispatch(self, task: Task) -> None:
        """As the store dispatches."""
        task.move(TaskState.DISPATCHED)
        task.attempt += 1
        task.token = f"t{task.id}-{task.attempt}"

    def report(self, task: Task, event: str, worker: str = "w1", token: str | None = None, **details: Any) -> Changes:
        """A worker's report of the task's attempt."""
        report = Report(task.id or 0, task.attempt, token or task.token or "", ReportEvent(event), self.now, details)
        in_part = self._in_part(task, lambda run: run.report(worker, worker, report))
        changes = self.take(lambda run: run.report(worker, worker, report))
        assert in_part in (None, _told(changes))
        return changes

    def _in_part(self, about: Task, apply: Any) -> Any:
        """What would be decided by one who read this task and the blocked ones alone; None where all are needed."""
        job, tasks = copy.deepcopy((self.job, self.tasks))
        read = [task for task in tasks if task.id == about.id or task.state is TaskState.BLOCKED]
        rest = Counter((task.step, task.state) for task in tasks if task not in read)
        run = Run(Snapshot(job, read, rest), self.rules, self.now)
        try:
            apply(run)
        except WholeNeeded:
            return None
        return _told(run.changes)

    def complete(self, step: str, index: int | None = None, **outputs: Any) -> None:
        """Run a ready task to its good end."""
        task = self.task(step, index)
        self.dispatch(task)
        self.report(task, "completed", outputs=outputs)

    def fail(self, step: str, kind: str = "input", message: str = "broken") -> None:
        """Run a ready task to a failure."""
        task = self.task(step)
        self.dispatch(task)
        self.report(task, "started")
        self.report(task, "failed", error={"kind": kind, "message": message})


def _told(changes: Changes) -> Any:
    """A decision as it can be compared with another about the same: without what is drawn anew."""
    job = changes.job
    return (
        (job.state, job.failing, job.failed, job.error, job.result, changes.job_changed),
        {
            task_id: (task.state, before, task.inputs, task.ready_at)
            for task_id, (task, before) in changes.tasks.items()
        },
        [(task.step, task.index, task.state, task.inputs) for task in changes.new_tasks],
        [(entry.message, entry.severity) for entry in changes.logs],
        [(callback.endpoint, callback.event) for callback in changes.callbacks],
        [(event.kind, event.name, event.seq) for event in changes.events],
        changes.attempts,
        changes.cancels,
    )


def step(name: str, **fields: Any) -> Step:
    """A step with a handler that nobody calls."""
    return Step(name=name, handler="debug.noop", queue="work", **fields)
