"""Inputs that steps leave out: where they come from, and what is left as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from taskengine.domain.errors import WorkflowError
from taskengine.handlers import HANDLERS
from taskengine.workflows.definitions import HandlerSpec, SharedParameters, Surroundings
from taskengine.workflows.expressions import CelEvaluator
from taskengine.workflows.loader import load_text
from tests.support.workflows import COMMON


@dataclass(frozen=True)
class Spec:
    """A handler's schemas."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]


def object_of(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A schema."""
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


TAKES = object_of(
    {
        "path": {"x-from": ["needs.path", "parameters.path"]},
        "storage": {"x-from": ["parameters.storage", "client.default_storage"]},
        "key": {"x-from": ["parameters.key"], "x-beside": "lock"},
        "lock": {},
    },
    required=["path"],
)
SPECS: dict[str, HandlerSpec] = {
    "gives": Spec(object_of({}), object_of({"path": {}})),
    "takes": Spec(TAKES, object_of({"path": {}, "size": {}})),
    "ways": Spec(object_of({"a": {}, "b": {}, "c": {}}, anyOf=[{"required": ["a", "b"]}, {"required": ["c"]}]), {}),
}
AROUND = Surroundings(CelEvaluator(), SPECS, SharedParameters(COMMON, {}))


def inputs_of(text: str, parameters: str = "{type: object}") -> dict[str, Any]:
    """Step → its `with`, of steps that a line of YAML has."""
    workflow = load_text(f"name: w\nparameters: {parameters}\nsteps: {text}\n", "w.yaml", AROUND)
    return {name: dict(step.inputs) for name, step in workflow.steps.items()}


def value_of(template: str, **scope: Any) -> Any:
    """What an expression comes to."""
    return CelEvaluator().evaluate(template, {"client": {"default_storage": "local"}, "parameters": {}, **scope})


def test_the_nearest_step_that_has_it_is_asked_first() -> None:
    """Then farther ones, then the job's parameters, then null; a name with a hyphen too."""
    steps = "{far: {handler: gives}, a-b: {handler: takes, needs: [far]}, c: {handler: takes, needs: [a-b]}}"
    inputs = inputs_of(steps, "{type: object, properties: {path: {type: string}}}")
    of_all = {"far": {"outputs": {"path": "far"}}, "a-b": {"outputs": {"path": "near"}}}
    assert value_of(inputs["c"]["path"], steps=of_all) == "near"
    skipped = {**of_all, "a-b": {"outputs": {}}}
    assert value_of(inputs["c"]["path"], steps=skipped) == "far"
    nothing = {"far": {"outputs": {}}, "a-b": {"outputs": {"path": None}}}
    assert value_of(inputs["c"]["path"], steps=nothing, parameters={"path": "own"}) == "own"
    assert value_of(inputs["c"]["path"], steps=nothing) is None


def test_what_is_given_stays_and_what_the_workflow_has_not_is_not_asked_for() -> None:
    """A parameter that is required needs no second place; one that may be null does."""
    steps = "{a: {handler: takes, with: {path: here}}}"
    assert inputs_of(steps)["a"] == {"path": "here", "storage": "${{ client.default_storage }}"}
    required = "{type: object, required: [storage], properties: {storage: {type: string}}}"
    assert inputs_of(steps, required)["a"]["storage"] == "${{ parameters.storage }}"
    chosen = inputs_of(steps, "{type: object, properties: {storage: {type: string, default: null}}}")["a"]["storage"]
    assert value_of(chosen, parameters={"storage": None}) == "local"
    assert value_of(chosen, parameters={"storage": "S3"}) == "S3"


def test_some_are_taken_beside_another_input_alone() -> None:
    """A secret goes nowhere where nobody needs it."""
    parameters = "{type: object, properties: {key: {type: string}}}"
    assert "key" not in inputs_of("{a: {handler: takes, with: {path: x}}}", parameters)["a"]
    assert "key" in inputs_of("{a: {handler: takes, with: {path: x, lock: 1}}}", parameters)["a"]


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ("{a: {handler: takes}}", "with lacks 'path', which the handler requires"),
        ("{a: {handler: gives}, b: {handler: takes}}", "with lacks 'path'"),  # it does not need it
        ("{a: {handler: gives, foreach: '${{ [1] }}'}, b: {handler: takes, needs: [a]}}", "with lacks 'path'"),
        ("{a: {handler: ways, with: {a: 1}}}", "with lacks 'a' and 'b', or 'c'"),
    ],
)
def test_what_nobody_has_is_told_when_the_file_is_loaded(steps: str, fault: str) -> None:
    """As any input that is missing."""
    with pytest.raises(WorkflowError) as told:
        inputs_of(steps)
    assert fault in str(told.value.faults)


@pytest.mark.parametrize("text", ["steps: [1]", "steps: {a: 1}", "steps: {a: {handler: takes, with: 3}}", "7", "steps: {a: {handler: takes, needs: [a, b, 1]}}"])  # fmt: skip
def test_a_file_of_a_wrong_shape_has_its_own_faults(text: str) -> None:
    """No fault of ours."""
    with pytest.raises(WorkflowError):
        load_text(text, "w.yaml", AROUND)


def test_built_in_handlers_name_places_that_there_are() -> None:
    """And inputs that they have."""
    places = {"needs", "parameters", "client"}
    for handler in HANDLERS.values():
        properties = handler.inputs.get("properties", {})
        for described in properties.values():
            assert {place.partition(".")[0] for place in described.get("x-from", ())} <= places
            assert described.get("x-beside") in {None, *properties}
    assert "x-from" in json.dumps([dict(handler.inputs) for handler in HANDLERS.values()])
