"""What a job would do, before it does it: the dry run, and the graph as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from taskengine.domain.durations import format_duration
from taskengine.domain.errors import ExpressionError
from taskengine.domain.workflow import Step, Workflow
from taskengine.ports import Evaluator

_UNKNOWN = {"steps", "job", "client"}  # names without a value before the job runs


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task as far as it is known before the job runs."""

    name: str
    handler: str
    queue: str
    needs: Sequence[str]
    state: Literal["runs", "skipped", "open"]  # open: decided while the job runs
    inputs: Mapping[str, Any]  # resolved where parameters alone decide, else as written
    timeout: str
    index: int | None = None  # of a foreach
    note: str = ""  # what decides, or what fails


def explain(workflow: Workflow, arguments: Mapping[str, Any], evaluator: Evaluator) -> list[PlannedTask]:
    """The tasks that these (checked) parameters would give, in order; without on_failure steps."""
    scope = {"parameters": arguments}
    return [task for step in workflow.steps.values() for task in _tasks(step, scope, evaluator)]


def _tasks(step: Step, scope: Mapping[str, Any], evaluator: Evaluator) -> list[PlannedTask]:
    state, note = _decision(step, scope, evaluator)
    if step.foreach is None or state == "skipped":
        return [_planned(step, state, note, scope, evaluator)]
    if not _is_known(step.foreach, evaluator):
        return [_planned(step, state, f"one task per item of {step.foreach}", scope, evaluator)]
    try:
        items = evaluator.evaluate(step.foreach, scope)
    except ExpressionError as error:
        return [_planned(step, state, f"fails: {error}", scope, evaluator)]
    if not isinstance(items, list):
        return [_planned(step, state, "fails: foreach gives no list", scope, evaluator)]
    return [
        _planned(step, state, note, {**scope, "item": item, "index": index}, evaluator, index=index)
        for index, item in enumerate(items)
    ]


def _decision(
    step: Step, scope: Mapping[str, Any], evaluator: Evaluator
) -> tuple[Literal["runs", "skipped", "open"], str]:
    if step.condition is None:
        return "runs", ""
    try:
        return ("runs", "") if evaluator.evaluate(step.condition, scope) else ("skipped", f"if {step.condition}")
    except ExpressionError as error:  # where `&&` and `||` need what is not known yet, too
        known = _is_known(step.condition, evaluator)
        return "open", f"fails: {error}" if known else f"if {step.condition}"


def _planned(
    step: Step, state: Literal["runs", "skipped", "open"], note: str, scope: Mapping[str, Any], evaluator: Evaluator,
    *, index: int | None = None,
) -> PlannedTask:  # fmt: skip
    inputs = {name: _resolved(value, scope, evaluator) for name, value in step.inputs.items()}
    return PlannedTask(
        name=step.name, handler=step.handler, queue=step.queue, needs=step.needs, state=state, inputs=inputs,
        timeout=format_duration(step.timeout_s), index=index, note=note,
    )  # fmt: skip


def _resolved(template: Any, scope: Mapping[str, Any], evaluator: Evaluator) -> Any:
    """The value where all that it uses is known, else the template."""
    if any(name[0] not in scope for name in evaluator.references(template)):
        return template
    try:
        return evaluator.evaluate(template, scope)
    except ExpressionError:
        return template


def _is_known(template: Any, evaluator: Evaluator) -> bool:
    return not any(name[0] in _UNKNOWN for name in evaluator.references(template))
