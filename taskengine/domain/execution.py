"""The pure core: what becomes of a job when something happens to it.

A `Run` is one decision about one job: it takes the job and its tasks as read under the job's lock, is told what happened,
and collects in `changes` everything that must be written in the same transaction. It does no I/O and knows no clock: the
time, the chance and the ids are given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain import emission
from taskengine.domain.composing import CallbackRules
from taskengine.domain.errors import ErrorKind, ExpressionError, WholeNeeded
from taskengine.domain.job import Attempt, Cancel, Changes, Job, Snapshot, Task
from taskengine.domain.masking import MASK
from taskengine.domain.messages import MAX_INPUT_BYTES, MAX_TEXT, Report, ReportEvent, encode
from taskengine.domain.planning import Evaluate, items_of, new_task
from taskengine.domain.retry import RetryDefaults, retry_delay
from taskengine.domain.scope import scope_of
from taskengine.domain.sealed import veiled
from taskengine.domain.status import TASK_ENDED, TASK_HELD, JobState, TaskState
from taskengine.domain.workflow import Step, Workflow

_SATISFIED = frozenset({TaskState.COMPLETED, TaskState.SKIPPED})


@dataclass(frozen=True, slots=True)
class Rules:
    """What a decision needs beside the job: its definition, its client's configuration, and the world's chance."""

    workflow: Workflow
    evaluate: Evaluate
    chance: Callable[[], float]  # [0, 1)
    new_id: Callable[[], str]  # unique
    client: Mapping[str, Any] = field(default_factory=dict)  # public configuration
    retry: RetryDefaults = RetryDefaults()
    callbacks: CallbackRules = field(default_factory=CallbackRules)
    events: bool = True  # whether anybody follows what happens to jobs
    unusable: str | None = None  # why the definition cannot be gone by (any more): the job is given up


class Run:
    """One decision about one job."""

    def __init__(self, snapshot: Snapshot, rules: Rules, now: int) -> None:
        self.job: Job = snapshot.job
        self.tasks: list[Task] = list(snapshot.tasks)
        self._rest = snapshot.rest
        self.rules = rules
        self.now = now
        self.changes = Changes(self.job, self.job.state, job_changed=False)
        self._by_id = {task.id: task for task in self.tasks if task.id is not None}

    @property
    def all_tasks(self) -> list[Task]:
        """Every task of the job; WholeNeeded where some were not read."""
        if self._rest:
            raise WholeNeeded(f"some tasks of job {self.job.id} were not read")
        return self.tasks

    # ------------------------------------------------------------------------------------------- what happens to a job

    def create(self, *, pending: bool) -> Changes:
        """The job is new: wait at its first gate. Its tasks are planned and have their ids."""
        self.changes.job_before, self.changes.job_changed = None, True
        self.changes.new_tasks.extend(self.tasks)
        if pending:
            emission.job_event(self)
        else:
            self.open_gate()
        return self.changes

    def open_gate(self) -> None:
        """No job is awaited (any more): to the time or the semaphore, else to the queue."""
        if self.job.semaphore_url or (self.job.run_at or 0) > self.now:
            self.schedule()
        else:
            self.enqueue()

    def enqueue(self) -> None:
        """The gate is open (or never was): wait for a slot."""
        self._move_job(JobState.QUEUED)

    def schedule(self) -> None:
        """Wait for the time or the semaphore."""
        self._move_job(JobState.SCHEDULED)
        self.tell_time()

    def tell_time(self) -> None:
        """In the words that operators search the log for, when the job will run; nothing where it has no time."""
        if self.job.run_at is not None:
            emission.log(self, "scheduler", f'Job will run at: "{emission.utc(self.job.run_at)}"')

    def start(self) -> None:
        """A slot is given: go on from where the job is."""
        job = self.job
        self._move_job(JobState.STARTED)
        if job.started_at is None:
            job.started_at = self.now
            if job.timeout_s is not None:
                job.deadline_at = self.now + round(job.timeout_s * 1000)
        emission.log(self, "scheduler", "job started")
        self._advance()

    def pause(self) -> None:
        """Stop what runs; everything that has not ended waits for the resumption, from its own start."""
        for task in self._open_tasks():
            if task.state is not TaskState.BLOCKED:
                self._withdraw(task, TaskState.BLOCKED, "interrupted")
        self._move_job(JobState.PAUSED)

    def resume(self, *, pending: bool) -> None:
        """Back to the gate that still holds; `pending` says that awaited jobs have not ended."""
        if pending:
            self._move_job(JobState.PENDING)
        elif self.job.started_at is None:
            self.open_gate()
        else:
            self._move_job(JobState.QUEUED)

    def break_off(self, reason: str) -> None:
        """Taken out by hand or by a rerun: never runs again. Reported as failed, unless it has been reported."""
        reported = self.job.state is JobState.COMPLETED
        self._cancel_open(reason)
        self._move_job(JobState.BROKEN, tell=reported)
        emission.log(self, "api", f"job is {reason}", severity=2)
        if not reported:
            self.job.error, self.job.failed, self.job.completed_at = reason, True, self.now
            emission.job_ended(self)

    def reprioritise(self, priority: int, *, top_of_queue: bool) -> None:
        """Another place in the order, for the job and what of its tasks has not ended."""
        self.job.priority, self.job.top_of_queue = priority, top_of_queue
        for task in self._open_tasks():
            task.priority, task.top_of_queue = priority, top_of_queue
            if task.id is not None:
                self.changes.tasks.setdefault(task.id, (task, task.state))

    def touch(self) -> None:
        """The job's row is written, whatever else changed."""
        self.job.updated_at = self.now
        self.changes.job_changed = True

    def fail(self, reason: str) -> None:
        """Give the job up (its deadline passed, a job that it waits for failed)."""
        if self.job.state is JobState.STARTED and not self.job.failing:
            self._give_up(reason)
            self._advance()
        elif not self.job.ended:
            self._cancel_open(reason)
            self.job.error, self.job.failed = reason, True
            self._finish()

    def timers(self) -> None:
        """Whatever was due by now: retries, the time of a scheduled job, the job's deadline."""
        job = self.job
        if job.state is JobState.SCHEDULED and not job.semaphore_url and (job.run_at or 0) <= self.now:
            self.enqueue()
        if job.state is not JobState.STARTED:
            return
        if job.deadline_at is not None and job.deadline_at <= self.now:
            self._give_up(f"the job's time limit of {job.timeout_s:g} s is over")
        for task in self.all_tasks:
            if task.state is TaskState.RETRY_WAIT and (task.ready_at or 0) <= self.now:
                task.ready_at = None
                self._move(task, TaskState.READY)
        self._advance()

    # ------------------------------------------------------------------------------------------ what happens to a task

    def report(self, worker_id: str, worker: str, report: Report) -> None:
        """What a worker says of an attempt. A token that is not out any more is refused: the worker is told so."""
        task = self._by_id.get(report.task_id)
        if task is None or task.state not in TASK_HELD or (task.token, task.attempt) != (report.token, report.attempt):
            if report.event is not ReportEvent.RELEASED and not _is_late_start(task, report):
                self._fence(report, worker_id)
            return
        if task.state is TaskState.RUNNING and task.worker_id != worker_id:
            if report.event is not ReportEvent.RELEASED:
                self._fence(report, worker_id)
            return
        self._apply(task, worker_id, worker, report)
        self._advance()

    def lose(self, task_id: int, token: str, seen_before: int = 0) -> None:
        """Take a task back that has not started, and one that runs where its worker was last heard before `seen_before`:
        it may have been heard since the look that missed it."""
        task = self._by_id.get(task_id)
        if task is None or task.token != token:
            return
        if task.state is TaskState.DISPATCHED:
            self._withdraw(task, TaskState.READY, "released")
        elif task.state is TaskState.RUNNING and (task.seen_at or task.attempt_started_at or 0) < seen_before:
            emission.log(self, "controller", f"worker {task.worker} is lost", task, severity=2)
            self._fail_attempt(task, ErrorKind.LOST, f"the worker {task.worker} was lost", outcome="lost")
        self._advance()

    def fail_dispatch(self, task_id: int, token: str, reason: str) -> None:
        """What was to be handed to a worker cannot be: a try that failed for want of a resource."""
        task = self._by_id.get(task_id)
        if task is not None and task.state is TaskState.DISPATCHED and task.token == token:
            self._fail_attempt(task, ErrorKind.RESOURCE, reason)
            self._advance()

    def abandon(self, reason: str) -> None:
        """The engine cannot decide about this job: end it with what is certain."""
        if not self.job.ended:
            self._cancel_open(reason)
            self._move_job(JobState.BROKEN, tell=False)
            self.job.error, self.job.failed, self.job.completed_at = reason, True, self.now
            emission.log(self, "controller", f"job has failed: {reason}", severity=4)
            emission.job_ended(self)

    def void(self) -> None:
        """The process that ran the attempts is gone with them: dispatch them again, at no try's cost."""
        for task in self.all_tasks:
            if task.state in TASK_HELD:
                self._withdraw(task, TaskState.READY, "interrupted", tell=False)
        if self.job.state is JobState.STARTED:
            self._advance()

    # ------------------------------------------------------------------------------------------------------- reports

    def _fence(self, report: Report, worker_id: str) -> None:
        self.changes.cancels.append(Cancel(report.task_id, report.token, worker_id, "fenced"))

    def _apply(self, task: Task, worker_id: str, worker: str, report: Report) -> None:
        event, details = report.event, report.details
        if event is ReportEvent.RELEASED:
            # A redelivered hint of a running attempt says nothing: its worker is alive, or the reaper finds out.
            if task.state is TaskState.DISPATCHED or details.get("reason") != "redelivered":
                self._withdraw(task, TaskState.READY, "released", tell=False)
            return
        if task.state is TaskState.DISPATCHED:
            self._begin(task, worker_id, worker)
        task.seen_at = self.now
        if event is ReportEvent.LOG:
            emission.worker_log(self, task, details["entries"])
        elif event is ReportEvent.COMPLETED:
            self._complete(task, report)
        elif event is ReportEvent.FAILED:
            error = details["error"]
            task.exit_code = error.get("exit_code")
            self._fail_attempt(
                task,
                ErrorKind(error["kind"]),
                str(error["message"])[:MAX_TEXT],
                process_s=details.get("process_s"),
                stderr_tail=str(error.get("stderr_tail") or ""),
            )

    def _begin(self, task: Task, worker_id: str, worker: str) -> None:
        self._move(task, TaskState.RUNNING)
        task.worker_id, task.worker, task.attempt_started_at = worker_id, worker, self.now
        if task.started_at is None:
            task.started_at = self.now
            emission.task_event(self, task, "start")

    def _complete(self, task: Task, report: Report) -> None:
        task.outputs = report.details.get("outputs") or {}
        task.error = task.error_kind = task.exit_code = None
        self._record(task, "completed", process_s=report.details.get("process_s"))
        self._end(task, TaskState.COMPLETED)
        emission.log(self, "controller", f"'{task.name}' completed successfully", task)
        emission.task_event(self, task, "complete")

    def _fail_attempt(
        self,
        task: Task,
        kind: ErrorKind,
        message: str,
        *,
        outcome: str = "failed",
        process_s: float | None = None,
        stderr_tail: str = "",
    ) -> None:
        task.error, task.error_kind = message, kind.value
        policy = self._step(task).retry
        delay = retry_delay(kind, task, self.job, policy, self.rules.retry, self.rules.chance())
        if kind is ErrorKind.LOST:
            task.losses += 1
        else:
            task.tries += 1
            task.timeouts += kind is ErrorKind.TIMEOUT
        self._record(task, outcome, process_s=process_s, stderr_tail=stderr_tail)
        if delay is None:
            self._fail_task(task, message)
            return
        self._release(task)
        self._move(task, TaskState.RETRY_WAIT)
        task.ready_at = self.now + round(delay * 1000)
        emission.log(
            self, "controller", f"'{task.name}' failed, next try in {delay:.1f} s: {message}", task, severity=2
        )

    def _fail_task(self, task: Task, message: str) -> None:
        """Given up."""
        task.error = message
        self._end(task, TaskState.FAILED)
        emission.log(self, "controller", f"'{task.name}' failed: {message}", task, severity=3)
        emission.task_event(self, task, "fail", message)
        if not (task.on_failure or self.job.failing or self._step(task).optional):
            self._give_up(f"{task.name}: {message}")

    # ------------------------------------------------------------------------------------------------- the job's course

    def _advance(self) -> None:
        """Free what has waited for what ended, and end the job when nothing is left."""
        if self.job.state is not JobState.STARTED:
            return
        if self.rules.unusable is not None:
            self._leave(self.rules.unusable)
        while self._unblock():
            pass
        if self._rest_is_open() or any(not task.ended and task.state is not TaskState.BLOCKED for task in self.tasks):
            return
        if not self.job.failing and any(not task.ended for task in self.tasks):
            self._give_up("no task of the job can start")
            self._advance()
        else:
            self._cancel_open("what it needs was given up")  # clean-up behind a clean-up step that failed
            self._finish()

    def _leave(self, reason: str) -> None:
        """There is no definition to go by: neither to go on nor to clean up."""
        if self.job.failing:
            self._cancel_open(reason)
        else:
            self._give_up(reason)

    def _unblock(self) -> bool:
        """Judge every blocked task whose needs are satisfied; whether any task ended by it (then others may be free)."""
        ended = False
        scope: dict[str, Any] | None = None
        satisfied = self._satisfied_steps()
        for task in [task for task in self.tasks if task.state is TaskState.BLOCKED]:
            if task.state is not TaskState.BLOCKED or not satisfied.issuperset(self._step(task).needs):
                continue
            scope = scope or scope_of(self.job, self.rules.workflow, self.all_tasks, self.rules.client)
            self._judge(task, self._step(task), scope)
            ended = ended or task.ended
        return ended

    def _satisfied_steps(self) -> set[str]:
        standing = [*((task.step, task.state) for task in self.tasks), *self._rest]
        satisfied = {step for step, _ in standing}
        for step, state in standing:
            if state not in _SATISFIED and not (state is TaskState.FAILED and self.rules.workflow.step(step).optional):
                satisfied.discard(step)
        return satisfied

    def _judge(self, task: Task, step: Step, scope: Mapping[str, Any]) -> None:
        """A blocked task's turn: skipped, expanded and made ready, or failed because an expression does."""
        try:
            if step.condition is not None and not self._condition(step, scope):
                self._end(task, TaskState.SKIPPED)
                emission.log(self, "controller", f"'{task.name}' is skipped", task, severity=0)
                return
            siblings = [task, *self._expand(task, step, scope)]
            if step.foreach is not None and task.index is None:
                self._end(task, TaskState.SKIPPED)  # a foreach over nothing
                return
            for sibling in siblings:
                sibling.inputs = self._inputs(sibling, step, scope)
        except ExpressionError as error:
            task.error_kind = ErrorKind.INPUT.value
            self._fail_task(task, str(error))
            return
        self._move(task, TaskState.READY)
        for sibling in siblings[1:]:
            sibling.state = TaskState.READY
            self.tasks.append(sibling)
            self.changes.new_tasks.append(sibling)

    def _condition(self, step: Step, scope: Mapping[str, Any]) -> bool:
        value = self.rules.evaluate(step.condition, scope)
        if not isinstance(value, bool):
            raise ExpressionError(f"if: true or false was expected, not {value!r:.80}")
        return value

    def _expand(self, task: Task, step: Step, scope: Mapping[str, Any]) -> list[Task]:
        """A foreach that was left whole: the task becomes its first item, and the others are returned."""
        if step.foreach is None or task.index is not None:
            return []
        items = items_of(self.rules.evaluate(step.foreach, scope))
        if not items:
            return []
        task.index, task.item = 0, items[0]
        return [new_task(self.job, step, index=index, item=item) for index, item in enumerate(items) if index]

    def _inputs(self, task: Task, step: Step, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        if task.index is not None:
            scope = {**scope, "item": task.item, "index": task.index}
        inputs = dict(self.rules.evaluate(step.inputs, scope))
        try:
            size = len(encode(inputs))
        except (TypeError, ValueError, RecursionError) as error:
            raise ExpressionError(f"with: the inputs are no JSON: {error}") from error
        if size > MAX_INPUT_BYTES:
            raise ExpressionError(f"with: the inputs are {size} bytes of JSON; at most {MAX_INPUT_BYTES} are allowed")
        return inputs

    def _give_up(self, reason: str) -> None:
        """The job fails: end what is left of it, then run its on_failure steps. Its deadline has had its say."""
        self.changes.job_changed = True
        self.job.deadline_at = None
        if self.job.failing:
            return
        self.job.failing, self.job.error = True, reason
        self._cancel_open(f"cancelled: {reason}")
        for step in self.rules.workflow.on_failure.values():
            task = new_task(self.job, step)
            self.tasks.append(task)
            self.changes.new_tasks.append(task)

    def _finish(self) -> None:
        """Everything has ended: so does the job."""
        job = self.job
        job.failed = job.failing or job.failed
        if not job.failed:
            try:
                scope = scope_of(job, self.rules.workflow, self.all_tasks, self.rules.client)
                job.result = veiled(self.rules.evaluate(self.rules.workflow.job_callback, scope), MASK)
            except ExpressionError as error:
                job.failed, job.error = True, f"job_callback: {error}"
        job.completed_at = self.now
        self._move_job(JobState.COMPLETED, tell=False)
        if job.failed:
            emission.log(self, "controller", f"job has failed: {job.error}", severity=3)
        else:
            emission.log(self, "controller", "job has completed successfully")
        emission.job_ended(self)

    # ------------------------------------------------------------------------------------------------------- helpers

    def _step(self, task: Task) -> Step:
        return self.rules.workflow.step(task.step)

    def _open_tasks(self) -> Iterable[Task]:
        tasks = self.all_tasks if self._rest_is_open() else self.tasks
        return [task for task in tasks if not task.ended]

    def _rest_is_open(self) -> bool:
        return any(state not in TASK_ENDED for _, state in self._rest)

    def _cancel_open(self, reason: str) -> None:
        for task in self._open_tasks():
            self._withdraw(task, TaskState.CANCELLED, "cancelled")
            task.ended_at = self.now
            if task.started_at is not None:  # who heard of its start hears of its end
                emission.task_event(self, task, "fail", reason)

    def _withdraw(self, task: Task, state: TaskState, outcome: str, *, tell: bool = True) -> None:
        """Take an attempt that is out back (or a task that waits), at no try's cost; `tell` its worker to end it."""
        if task.state in TASK_HELD and task.token is not None:
            if task.state is TaskState.RUNNING or outcome == "released":
                self._record(task, outcome)
            if tell and task.id is not None:
                self.changes.cancels.append(Cancel(task.id, task.token, task.worker_id))
        self._release(task)
        task.ready_at = None
        self._move(task, state)

    def _release(self, task: Task) -> None:
        """No token is out any more."""
        task.token = task.worker_id = task.worker = task.seen_at = task.dispatched_at = task.attempt_started_at = None
        task.published = False
        task.progress = 0.0

    def _end(self, task: Task, state: TaskState) -> None:
        worker = task.worker
        self._release(task)
        task.worker = worker
        task.progress = 1.0 if state in _SATISFIED else 0.0
        task.ended_at = self.now
        self._move(task, state)

    def _record(self, task: Task, outcome: str, *, process_s: float | None = None, stderr_tail: str = "") -> None:
        """Write the attempt's line of history, and of the log."""
        if task.id is None or task.token is None:
            return
        failed = outcome in {"failed", "lost"}
        attempt = Attempt(
            task_id=task.id, attempt=task.attempt, token=task.token, worker=task.worker,
            started_at=task.attempt_started_at, ended_at=self.now, outcome=outcome, process_s=process_s,
            error=task.error if failed else None, error_kind=task.error_kind if failed else None,
            exit_code=task.exit_code if failed else None,
        )  # fmt: skip
        self.changes.attempts.append(attempt)
        emission.attempt_ended(self, task, attempt, stderr_tail)

    def _move(self, task: Task, state: TaskState) -> None:
        if task.id is not None:
            self.changes.tasks.setdefault(task.id, (task, task.state))
        task.move(state)

    def _move_job(self, state: JobState, *, tell: bool = True) -> None:
        self.job.move(state)
        self.job.updated_at = self.now
        self.changes.job_changed = True
        if tell:
            emission.job_event(self)


def _is_late_start(task: Task | None, report: Report) -> bool:
    """Whether a report says of an attempt that it began, and its end is known already: its messages changed places."""
    return report.event is ReportEvent.STARTED and task is not None and task.ended and task.attempt == report.attempt
