"""The pure core, decision by decision."""

from __future__ import annotations

import pytest

from taskengine.domain.changing import change_job
from taskengine.domain.errors import Conflict
from taskengine.domain.execution import Run
from taskengine.domain.messages import MAX_TEXT, Report, ReportEvent
from taskengine.domain.retry import RetryDefaults
from taskengine.domain.status import JobState, TaskState
from taskengine.domain.workflow import RetryPolicy
from tests.support.life import Life, step, workflow

CHAIN = workflow(
    step("a"), step("b", needs=("a",)), step("c", needs=("b",)), job_callback={"message": "${{ steps.c.outputs.x }}"}
)


def test_a_chain_runs_step_by_step_and_reports_each_in_order() -> None:
    """Each task becomes ready when its need has completed; the job ends with the last and its message."""
    life = Life(CHAIN).start()
    assert life.states() == {"a": "ready", "b": "blocked", "c": "blocked"}
    life.complete("a")
    assert life.states() == {"a": "completed", "b": "ready", "c": "blocked"}
    life.complete("b")
    life.complete("c", x="done")
    assert (life.job.state, life.job.failed) == (JobState.COMPLETED, False)
    assert life.callbacks == [
        *((name, event, "") for name in "abc" for event in ("start", "complete")),
        ("job", "job", "done"),
    ]


def test_an_input_error_is_not_tried_again_and_fails_the_job() -> None:
    """The job ends failed, names the task, and cancels what is left."""
    life = Life(CHAIN).start()
    life.fail("a", "input", "no such file")
    assert (life.job.state, life.job.failed, life.job.error) == (JobState.COMPLETED, True, "a: no such file")
    assert life.states() == {"a": "failed", "b": "cancelled", "c": "cancelled"}
    assert life.callbacks[-2:] == [("a", "fail", "no such file"), ("job", "job", "a: no such file")]


def test_what_a_worker_says_of_a_failure_is_bounded() -> None:
    """It is in the task, its log, the job and every callback: a worker in any language may send a whole log as message."""
    life = Life(CHAIN).start()
    life.fail("a", "input", "x" * (MAX_TEXT + 1))
    assert life.task("a").error == "x" * MAX_TEXT


def test_a_start_that_is_told_after_the_end_is_ignored() -> None:
    """Nobody is fenced for it; an attempt that is not the last one is."""
    life = Life(CHAIN).start()
    life.complete("a")
    task = life.task("a")
    token = f"t{task.id}-1"
    assert life.report(task, "started", token=token).empty
    assert [cancel.action for cancel in life.report(task, "progress", token=token, progress=0.5).cancels] == ["fenced"]
    task.attempt = 2
    late = Report(task.id or 0, 1, token, ReportEvent.STARTED, life.now)
    assert [cancel.action for cancel in life.take(lambda run: run.report("w1", "w1", late)).cancels] == ["fenced"]


def test_a_worker_says_which_of_its_entries_are_shown_to_all() -> None:
    """Those that it does not hide; what a failed attempt said last is in the attempt's own line, which is hidden."""
    life = Life(CHAIN, max_retries=0).start()
    life.dispatch(life.task("a"))
    entries = [{"message": "open"}, {"message": "inside", "visible": False}]
    logs = life.report(life.task("a"), "log", entries=entries).logs
    assert [(entry.message, entry.visible) for entry in logs] == [("open", True), ("inside", False)]
    error = {"kind": "input", "message": "no sound", "exit_code": 3, "stderr_tail": "last words"}
    [line, *told] = life.report(life.task("a"), "failed", error=error, process_s=0.5).logs
    assert (line.severity, line.visible, line.task) == (0, False, life.task("a"))
    assert line.message.startswith("'a' attempt 1 failed after ")
    assert line.message.endswith(", worker w1, processes 0.500 s, exit code 3: no sound\nlast words")
    assert all(entry.visible for entry in told)


def test_a_dispatch_that_cannot_be_made_is_a_failed_try() -> None:
    """Tried again up to the limit, then the job fails and says why; a token that is not out changes nothing."""
    life = Life(CHAIN, max_retries=1).start()
    for expected in ("retry_wait", "failed"):
        task = life.task("a")
        life.dispatch(task)
        assert life.take(lambda run: run.fail_dispatch(1, "old", "no room")).empty
        life.take(lambda run: run.fail_dispatch(1, life.task("a").token or "", "no room"))
        assert task.state.value == expected
        life.now = task.ready_at or life.now
        life.take(Run.timers)
    assert (life.job.failed, life.job.error, life.attempts) == (True, "a: no room", ["failed"] * 2)


def test_an_internal_error_is_tried_again_up_to_the_limit() -> None:
    """A try that will be repeated makes no callback; the last one fails the job."""
    life = Life(CHAIN, max_retries=2).start()
    for _ in range(2):
        life.fail("a", "internal")
        task = life.task("a")
        assert task.state.value == "retry_wait"
        assert task.ready_at is not None
        life.now = task.ready_at
        life.take(Run.timers)
        assert task.state.value == "ready"
    life.fail("a", "internal")
    assert life.job.failed
    assert [event for _, event, _ in life.callbacks] == ["start", "fail", "job"]
    assert life.attempts == ["failed"] * 3


def test_a_timeout_is_given_one_more_chance() -> None:
    """Whatever the limit, a second timeout is final."""
    life = Life(CHAIN, max_retries=9).start()
    life.fail("a", "timeout")
    life.now += 60_000
    life.take(Run.timers)
    life.fail("a", "timeout")
    assert life.job.failed


def test_the_delay_grows_by_the_steps_policy() -> None:
    """Delay, backoff and limit of the step win over the settings."""
    policy = RetryPolicy(limit=5, delay_s=10, backoff=3, max_delay_s=50)
    life = Life(workflow(step("a", retry=policy))).start()
    delays = []
    for _ in range(3):
        life.fail("a", "internal")
        task = life.task("a")
        delays.append(((task.ready_at or 0) - life.now) / 1000)
        life.now = task.ready_at or 0
        life.take(Run.timers)
    assert delays == [10, 30, 50]
    assert life.rules.retry == RetryDefaults()


def test_a_false_condition_skips_and_satisfies_dependants() -> None:
    """The skipped task's dependant runs, and sees empty outputs."""
    life = Life(
        workflow(
            step("a", condition="${{ parameters.go }}"),
            step("b", needs=("a",), inputs={"has": "${{ has(steps.a.outputs.x) }}", "state": "${{ steps.a.state }}"}),
        ),
        arguments={"go": False},
    ).start()
    assert life.states() == {"a": "skipped", "b": "ready"}
    assert life.task("b").inputs == {"has": False, "state": "skipped"}


def test_a_condition_that_is_no_boolean_fails_the_task() -> None:
    """A number is no condition."""
    life = Life(workflow(step("a", condition="${{ 1 + 1 }}"))).start()
    assert life.job.error == "a: if: true or false was expected, not 2"


def test_a_foreach_over_parameters_is_expanded_at_submission_and_joined() -> None:
    """One task per item with its item and index; the dependant waits for all and gets the list."""
    life = Life(
        workflow(
            step("each", foreach="${{ parameters.sizes }}", inputs={"size": "${{ item }}", "at": "${{ index }}"}),
            step("join", needs=("each",), inputs={"all": "${{ steps.each.outputs }}"}),
        ),
        arguments={"sizes": [720, 360]},
    )
    assert [(task.step, task.index) for task in life.tasks] == [("each", 0), ("each", 1), ("join", None)]
    life.start()
    assert [life.task("each", index).inputs for index in (0, 1)] == [{"size": 720, "at": 0}, {"size": 360, "at": 1}]
    life.complete("each", 1, got="b")
    assert life.task("join").state is TaskState.BLOCKED
    life.complete("each", 0, got="a")
    assert life.task("join").inputs == {"all": [{"got": "a"}, {"got": "b"}]}


def test_a_foreach_over_outputs_is_expanded_when_they_are_known() -> None:
    """The placeholder becomes the first item; an empty list is skipped."""
    definition = workflow(
        step("list"),
        step("each", needs=("list",), foreach="${{ steps.list.outputs.names }}", inputs={"name": "${{ item }}"}),
        step("after", needs=("each",), inputs={"n": "${{ size(steps.each.outputs) }}"}),
    )
    life = Life(definition).start()
    assert len(life.tasks) == 3
    life.complete("list", names=["x", "y", "z"])
    assert [task.inputs["name"] for task in life.tasks if task.step == "each"] == ["x", "y", "z"]
    for index in range(3):
        life.complete("each", index)
    assert life.task("after").inputs == {"n": 3}
    empty = Life(definition).start()
    empty.complete("list", names=[])
    assert (empty.states()["each"], empty.task("after").inputs) == ("skipped", {"n": 0})


def test_an_optional_tasks_failure_does_not_fail_the_job() -> None:
    """Its dependants run."""
    life = Life(workflow(step("a", optional=True), step("b", needs=("a",)))).start()
    life.fail("a")
    assert life.states() == {"a": "failed", "b": "ready"}
    life.complete("b")
    assert (life.job.state, life.job.failed) == (JobState.COMPLETED, False)


def test_on_failure_steps_run_before_the_job_callback() -> None:
    """The job ends after its clean-up, with the first error; a failing clean-up changes nothing."""
    definition = workflow(step("a"), on_failure=(step("tidy", on_failure=True), step("more", on_failure=True)))
    life = Life(definition).start()
    life.fail("a", message="no")
    assert life.job.state.value == "started"
    assert life.states() == {"a": "failed", "tidy": "ready", "more": "ready"}
    life.fail("tidy")
    life.complete("more")
    assert (life.job.state, life.job.failed, life.job.error) == (JobState.COMPLETED, True, "a: no")
    assert life.callbacks[-1] == ("job", "job", "a: no")


def test_a_failing_job_ends_its_running_tasks() -> None:
    """What runs beside the failed task is cancelled, and who heard of its start hears of its end."""
    life = Life(workflow(step("a"), step("b"))).start()
    life.dispatch(life.task("b"))
    life.report(life.task("b"), "started")
    life.fail("a")
    assert life.cancelled == [life.task("b").id]
    assert ("b", "fail", "cancelled: a: broken") in life.callbacks
    assert life.callbacks[-1][1] == "job"


def test_old_tokens_are_refused() -> None:
    """A late report of a lost attempt has no effect, and its worker is told."""
    life = Life(CHAIN).start()
    task = life.task("a")
    life.dispatch(task)
    life.report(task, "started")
    old = task.token or ""
    life.take(lambda run: run.lose(task.id or 0, old, run.now + 1))
    assert task.state.value == "retry_wait"
    changes = life.report(task, "completed", token=old, outputs={})
    assert [cancel.action for cancel in changes.cancels] == ["fenced"]
    assert task.state.value == "retry_wait"


def test_what_was_heard_of_since_the_look_that_missed_it_is_not_lost() -> None:
    """A start, or a heartbeat, that came while the reaper looked: its task goes on."""
    life = Life(CHAIN).start()
    task = life.task("a")
    life.dispatch(task)
    life.report(task, "started")
    life.take(lambda run: run.lose(task.id or 0, task.token or ""))
    life.take(lambda run: run.lose(task.id or 0, task.token or "", run.now))
    assert task.state.value == "running"


def test_a_second_worker_with_the_same_token_is_fenced() -> None:
    """A token is run once."""
    life = Life(CHAIN).start()
    task = life.task("a")
    life.dispatch(task)
    life.report(task, "started", worker="w1")
    changes = life.report(task, "completed", worker="w2", outputs={})
    assert [(cancel.action, cancel.worker_id) for cancel in changes.cancels] == [("fenced", "w2")]
    assert task.state.value == "running"


def test_a_release_costs_no_try_and_a_redelivery_of_a_running_task_says_nothing() -> None:
    """Handed back at a drain, the task is ready again; a redelivered hint leaves the running attempt alone."""
    life = Life(CHAIN).start()
    task = life.task("a")
    life.dispatch(task)
    life.report(task, "started")
    life.report(task, "released", reason="redelivered")
    assert task.state.value == "running"
    life.report(task, "released", reason="drain")
    assert (task.state, task.tries) == (TaskState.READY, 0)


def test_a_poison_task_is_given_up_after_ten_losses() -> None:
    """Losses have a cap of their own, beyond any retry limit."""
    life = Life(CHAIN, max_retries=0).start()
    task = life.task("a")
    for _ in range(10):
        life.now += 100_000
        life.take(Run.timers)
        life.dispatch(task)
        life.report(task, "started")
        life.take(lambda run: run.lose(task.id or 0, task.token or "", run.now + 1))
    assert (task.state, life.job.failed) == (TaskState.FAILED, True)


def test_a_task_that_loses_its_worker_goes_on_at_once_the_first_times() -> None:
    """Three workers may leave in a row; after that the task waits longer each time: it may be why they do."""
    life = Life(CHAIN).start()
    task = life.task("a")
    waits = []
    for _ in range(9):
        life.dispatch(task)
        life.report(task, "started")
        life.take(lambda run: run.lose(task.id or 0, task.token or "", run.now + 1))
        waits.append(0 if task.state is TaskState.READY else (task.ready_at or 0) - life.now)
        life.now += 100_000
        life.take(Run.timers)
    assert waits == [0, 0, 0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000]


def test_pause_and_resume_run_the_interrupted_task_again() -> None:
    """A pause takes back what runs, reports nothing, and the resumed job goes on after admission."""
    life = Life(CHAIN).start()
    life.complete("a")
    task = life.task("b")
    life.dispatch(task)
    life.report(task, "started")
    heard = len(life.callbacks)
    life.take(lambda run: change_job(run, {"queue_state": "paused"}, "demo"))
    assert (life.job.state, task.state) == (JobState.PAUSED, TaskState.BLOCKED)
    assert life.cancelled == [task.id]
    life.take(lambda run: change_job(run, {"queue_state": "queued"}, "demo"))
    assert life.job.state is not JobState.SCHEDULED
    life.start()
    assert task.state.value == "ready"
    life.complete("b")
    life.complete("c", x="end")
    assert [(name, event) for name, event, _ in life.callbacks[heard:]] == [
        ("b", "complete"), ("c", "start"), ("c", "complete"), ("job", "job"),
    ]  # fmt: skip


def test_breaking_reports_failed_by_whom() -> None:
    """Tasks are cancelled and the job callback names the client."""
    life = Life(CHAIN).start()
    life.take(lambda run: change_job(run, {"queue_state": "broken"}, "demo"))
    assert life.job.state.value == "broken"
    assert life.callbacks == [("job", "job", "broken by demo")]
    with pytest.raises(Conflict, match="the job is broken"):
        life.take(lambda run: change_job(run, {"queue_state": "queued"}, "demo"))


def test_a_scheduled_job_waits_for_its_time() -> None:
    """It is queued by the timer, not before."""
    life = Life(CHAIN, run_at=1_060_000)
    assert life.job.state.value == "scheduled"
    life.take(Run.timers)
    assert life.job.state.value == "scheduled"
    life.now = 1_060_000
    life.take(Run.timers)
    assert life.job.state is not JobState.SCHEDULED


def test_a_new_run_at_moves_a_queued_job_back_to_scheduled() -> None:
    """And a past one frees a scheduled job at once."""
    life = Life(CHAIN)
    life.take(lambda run: change_job(run, {"run_at": 2_000_000}, "demo"))
    assert life.job.state.value == "scheduled"
    life.take(lambda run: change_job(run, {"run_at": None}, "demo"))
    assert life.job.state is not JobState.SCHEDULED


def test_the_jobs_time_limit_fails_it() -> None:
    """The deadline starts with the first admission."""
    life = Life(CHAIN, timeout_s=10.0).start()
    life.now += 10_000
    life.take(Run.timers)
    assert (life.job.failed, life.job.error) == (True, "the job's time limit of 10 s is over")


def test_a_job_callback_that_does_not_resolve_fails_the_job() -> None:
    """The job still ends, and says why."""
    life = Life(workflow(step("a"), job_callback={"message": "${{ steps.a.outputs.none }}"})).start()
    life.complete("a")
    assert (life.job.state, life.job.failed) == (JobState.COMPLETED, True)
    assert "job_callback" in (life.job.error or "")


def test_a_lost_process_voids_its_attempts_at_no_cost() -> None:
    """After a restart of the embedded engine, what was held is ready again."""
    life = Life(CHAIN).start()
    task = life.task("a")
    life.dispatch(task)
    life.report(task, "started")
    life.take(Run.void)
    assert (task.state, task.tries, task.losses, life.attempts) == (TaskState.READY, 0, 0, ["interrupted"])
    life.complete("a")
    assert life.task("b").state is TaskState.READY


def test_a_workflow_without_steps_to_run_ends_at_once() -> None:
    """Nothing to do is done."""
    life = Life(workflow(step("a", condition="${{ false }}"))).start()
    assert (life.job.state, life.job.failed) == (JobState.COMPLETED, False)
