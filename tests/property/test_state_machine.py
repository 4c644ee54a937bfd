"""A Hypothesis machine walks a job through anything that may happen to it, and holds the promises against it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskengine.domain.changing import change_job
from taskengine.domain.execution import Run
from taskengine.domain.job import Task
from taskengine.domain.status import JOB_ENDED, TASK_HELD, JobState, TaskState
from tests.support.life import Life, step, workflow

_SHAPES = [
    workflow(step("a"), step("b", needs=("a",)), step("c", needs=("b",))),
    workflow(
        step("a"), step("b", optional=True), step("c", needs=("a", "b")), on_failure=(step("d", on_failure=True),)
    ),
    workflow(
        step("a"),
        step("b", needs=("a",), foreach=[1, 2, 3]),
        step("c", needs=("b",), condition="${{ size(steps.b.outputs) > 5 }}"),
        step("e", needs=("c",)),
    ),
    workflow(step("a"), step("b", needs=("a",), inputs={"x": "${{ steps.a.outputs.missing }}"})),
]


class JobMachine(RuleBasedStateMachine):
    """Random reports, losses, pauses, resumptions, breaks and time."""

    @initialize(shape=st.sampled_from(_SHAPES), retries=st.integers(0, 2))
    def begin(self, shape: Any, retries: int) -> None:
        """A job of one of the shapes."""
        self.life = Life(shape, max_retries=retries)
        self.old_tokens: list[tuple[Task, str]] = []
        self.ended_as: JobState | None = None

    def _pick(self, data: Any, *states: TaskState) -> Task | None:
        tasks = [task for task in self.life.tasks if task.state in states]
        return data.draw(st.sampled_from(tasks)) if tasks else None

    @precondition(lambda self: self.life.job.state is JobState.QUEUED)
    @rule()
    def admit(self) -> None:
        """A slot is given."""
        self.life.start()

    @rule(data=st.data())
    def dispatch(self, data: Any) -> None:
        """A ready task gets a token."""
        task = self._pick(data, TaskState.READY)
        if task is not None:
            self.life.dispatch(task)
            self.old_tokens.append((task, task.token or ""))

    @rule(data=st.data(), event=st.sampled_from(["started", "completed", "released"]), worker=st.sampled_from("xy"))
    def report(self, data: Any, event: str, worker: str) -> None:
        """A worker reports, perhaps not the one that began."""
        task = self._pick(data, *TASK_HELD)
        if task is not None:
            self.life.report(task, event, worker=worker, outputs={"n": 1}, reason="drain")

    @rule(data=st.data(), kind=st.sampled_from(["input", "resource", "timeout", "internal"]))
    def fail(self, data: Any, kind: str) -> None:
        """An attempt fails."""
        task = self._pick(data, *TASK_HELD)
        if task is not None:
            worker = task.worker_id or "x"
            self.life.report(task, "failed", worker=worker, error={"kind": kind, "message": "no"})

    @rule(data=st.data(), event=st.sampled_from(["started", "completed", "released"]))
    def late_report(self, data: Any, event: str) -> None:
        """A token that is not out any more has no effect."""
        old = [(task, token) for task, token in self.old_tokens if task.token != token]
        if old:
            task, token = data.draw(st.sampled_from(old))
            before = (task.state, task.token, self.life.job.state, len(self.life.callbacks))
            self.life.report(task, event, token=token, outputs={"n": 2}, reason="drain")
            assert before == (task.state, task.token, self.life.job.state, len(self.life.callbacks))

    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        """A lease runs out."""
        task = self._pick(data, *TASK_HELD)
        if task is not None:
            token = task.token or ""
            self.life.take(lambda run: run.lose(task.id or 0, token, run.now + 1))

    @rule(data=st.data())
    def fail_dispatch(self, data: Any) -> None:
        """A dispatch cannot be made."""
        task = self._pick(data, TaskState.DISPATCHED)
        if task is not None:
            token = task.token or ""
            self.life.take(lambda run: run.fail_dispatch(task.id or 0, token, "no room"))

    @rule(seconds=st.integers(1, 100))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.life.now += seconds * 1000
        self.life.take(Run.timers)

    @precondition(lambda self: self.life.job.state in {JobState.STARTED, JobState.QUEUED})
    @rule()
    def pause(self) -> None:
        """By hand."""
        self.life.take(lambda run: change_job(run, {"queue_state": "paused"}, "demo"))

    @precondition(lambda self: self.life.job.state is JobState.PAUSED)
    @rule()
    def resume(self) -> None:
        """By hand."""
        self.life.take(lambda run: change_job(run, {"queue_state": "queued"}, "demo"))

    @precondition(lambda self: self.life.job.state not in JOB_ENDED and len(self.life.attempts) > 3)
    @rule()
    def break_off(self) -> None:
        """By hand, late enough that jobs also end otherwise."""
        self.life.take(lambda run: change_job(run, {"queue_state": "broken"}, "demo"))

    @rule()
    def restart(self) -> None:
        """The process comes back without its workers."""
        self.life.take(Run.void)

    @invariant()
    def only_started_jobs_have_active_tasks(self) -> None:
        """Ready, held and waiting tasks belong to a started job."""
        if self.life.job.state is not JobState.STARTED:
            assert all(task.ended or task.state is TaskState.BLOCKED for task in self.life.tasks)

    @invariant()
    def a_token_is_out_exactly_where_a_task_is_held(self) -> None:
        """Nothing else carries a fence."""
        assert all((task.token is not None) == (task.state in TASK_HELD) for task in self.life.tasks)

    @invariant()
    def a_started_job_has_something_to_wait_for(self) -> None:
        """It is never stuck: some task is ready, out, or waits for its retry."""
        if self.life.job.state is JobState.STARTED:
            active = {TaskState.READY, TaskState.RETRY_WAIT, *TASK_HELD}
            assert any(task.state in active for task in self.life.tasks)

    @invariant()
    def an_ended_job_stays_ended_and_everything_in_it_has_ended(self) -> None:
        """A terminal state is kept."""
        state = self.life.job.state
        if self.ended_as is not None:
            assert state is self.ended_as
        if state in JOB_ENDED:
            self.ended_as = state
            assert all(task.ended for task in self.life.tasks)

    @invariant()
    def callbacks_come_once_and_in_order(self) -> None:
        """Per task at most one start, then at most one end; one job callback, the last of all."""
        told = self.life.callbacks
        ended = self.life.job.state in JOB_ENDED
        assert [event for _, event, _ in told].count("job") == ended
        if ended:
            assert told[-1][1] == "job"
        starts = Counter(name for name, event, _ in told if event == "start")
        ends = Counter(name for name, event, _ in told if event in {"complete", "fail"})
        sizes = Counter(task.name for task in self.life.tasks)
        assert all(count <= sizes[name] for name, count in starts.items())
        assert all(count <= sizes[name] for name, count in ends.items())

    def teardown(self) -> None:
        """Whatever happened, the job can be brought to an end."""
        if not hasattr(self, "life"):
            return
        life = self.life
        for _ in range(200):
            if life.job.ended:
                return
            if life.job.state is JobState.PAUSED:
                self.resume()
            if life.job.state is JobState.QUEUED:
                life.start()
            life.now += 1_000_000
            life.take(Run.timers)
            for task in list(life.tasks):
                if task.state is TaskState.READY:
                    life.dispatch(task)
                if task.state in TASK_HELD:
                    life.report(task, "completed", worker=task.worker_id or "x", outputs={})
        raise AssertionError(f"the job did not end: {life.states()}")


JobMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
TestJobMachine = JobMachine.TestCase
