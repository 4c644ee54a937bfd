"""What a rerun from what failed keeps."""

from __future__ import annotations

from dataclasses import replace

from taskengine.domain.planning import new_task
from taskengine.domain.rerunning import files_of, replan
from taskengine.domain.status import TaskState
from tests.support.life import Life, step, workflow

DONE, FAILED, CANCELLED = TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED
FAN = workflow(
    step("list"), step("each", needs=("list",), foreach="${{ steps.list.outputs.items }}"), step("join", needs=("each",)),
    on_failure=(step("tidy", on_failure=True),),
)  # fmt: skip
OPTIONAL = workflow(
    step("a"), step("b", needs=("a",), optional=True), step("c", needs=("b",)), step("d", needs=("a",)),
    step("e", needs=("c", "d")),
)  # fmt: skip


def test_of_a_fan_the_items_that_were_completed_are_kept() -> None:
    """The others come again as they were, without a further expansion; a clean-up step does not."""
    life = Life(FAN)
    ended = [
        ("list", None, DONE),
        ("each", 0, DONE),
        ("each", 1, FAILED),
        ("each", 2, CANCELLED),
        ("join", None, CANCELLED),
    ]
    former = [
        replace(new_task(life.job, FAN.step(name), index=index, item=index), state=state, outputs={"of": index}, attempt=2)
        for name, index, state in [*ended, ("tidy", None, DONE)]
    ]  # fmt: skip
    tasks = replan(life.job, FAN, life.tasks, former)
    assert [(task.step, task.index, task.state.value, task.outputs, task.attempt) for task in tasks] == [
        ("list", None, "completed", {"of": None}, 0), ("each", 0, "completed", {"of": 0}, 0),
        ("each", 1, "blocked", {}, 0), ("each", 2, "blocked", {}, 0), ("join", None, "blocked", {}, 0),
    ]  # fmt: skip
    assert tasks[3].item == 2


def test_what_came_of_a_step_that_failed_is_made_again() -> None:
    """`b` was optional: `c` was completed without what it gives; `d` has nothing to do with it."""
    life = Life(OPTIONAL)
    former = [replace(task, state=FAILED if task.step in "be" else DONE) for task in life.tasks]
    tasks = replan(life.job, OPTIONAL, life.tasks, former)
    assert {task.step: task.state.value for task in tasks} == {
        "a": "completed", "b": "blocked", "c": "blocked", "d": "completed", "e": "blocked",
    }  # fmt: skip


def test_the_files_are_those_of_what_is_kept() -> None:
    """Wherever they stand in the outputs, each once."""
    life = Life(FAN)
    outputs = {"a": {"$file": "ws://1/x"}, "b": [{"c": {"$file": "ws://1/y", "size": 1}}, {"$file": "ws://1/x"}]}
    kept = replace(life.tasks[0], state=DONE, outputs=outputs)
    assert files_of([kept, replace(life.tasks[1], outputs={"$file": "ws://1/z"})]) == ["ws://1/x", "ws://1/y"]
