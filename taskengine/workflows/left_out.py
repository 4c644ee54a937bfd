"""Inputs that a step leaves out and that its handler takes from the job: written into the step when its file is loaded.

A property of a handler's schema of inputs may have `x-from`, a list of places: `needs.<output>` (of the steps that the step
needs, the nearest first; none with foreach), `parameters.<name>` (where the workflow has it), `client.<name>`. The first that
has a value is taken. With `x-beside: <input>` that happens only where the step gives that other input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from taskengine.workflows.definitions import JsonObject, Surroundings, as_list, as_mapping, merged_schema

KINDS = ("steps", "on_failure")


def completed(definition: Any, around: Surroundings) -> Any:
    """The definition with what its steps leave out; as it is where its shape is wrong, which is judged elsewhere."""
    if not isinstance(definition, Mapping):
        return definition
    schema = merged_schema(definition, around.shared)
    kinds = {
        kind: {name: _step(name, definition[kind], schema, around) for name in definition[kind]}
        for kind in KINDS
        if isinstance(definition.get(kind), Mapping)
    }
    return {**definition, **kinds}


def _step(name: str, steps: JsonObject, schema: JsonObject, around: Surroundings) -> Any:
    step, handler = steps[name], around.handlers.get(str(as_mapping(steps[name]).get("handler")))
    if handler is None or not isinstance(step.get("with", {}), Mapping):
        return step
    given = dict(as_mapping(step.get("with")))
    for key, described in as_mapping(handler.inputs.get("properties")).items():
        places = as_list(as_mapping(described).get("x-from"))
        beside = as_mapping(described).get("x-beside")
        if not places or key in given or (beside is not None and beside not in given):
            continue
        found = [value for place in places for value in _values(str(place), name, steps, schema, around)]
        if found:
            given[key] = _first_of(found)
    return {**step, "with": given} if given else step


def _values(
    place: str, name: str, steps: JsonObject, schema: JsonObject, around: Surroundings
) -> Iterator[tuple[str, bool]]:
    """The expressions of a place, each with whether it always has a value."""
    root, _, member = place.partition(".")
    if root == "client":
        yield place, True
    elif root == "parameters" and member in as_mapping(schema.get("properties")):
        yield place, member in as_list(schema.get("required"))
    elif root == "needs":
        for need in _needed(name, steps):
            step = as_mapping(steps[need])
            handler = around.handlers.get(str(step.get("handler")))
            if handler and "foreach" not in step and member in as_mapping(handler.outputs.get("properties")):
                whose = f"steps.{need}" if "-" not in need else f'steps["{need}"]'
                yield f"{whose}.outputs.{member}", False


def _needed(name: str, steps: JsonObject) -> Iterator[str]:
    """The steps that a step needs, then those that they need, each once."""
    seen, ring = {name}, [name]
    while ring:
        nearest = [str(need) for each in ring for need in as_list(as_mapping(steps[each]).get("needs"))]
        ring = [need for need in dict.fromkeys(nearest) if need in steps and need not in seen]
        seen.update(ring)
        yield from ring


def _first_of(values: list[tuple[str, bool]]) -> str:
    """An expression of the first value that there is; null where there is none."""
    text = ""
    for value, always in values:
        if always:
            return f"${{{{ {text}{value} }}}}"
        text += f"has({value}) && {value} != null ? {value} : "
    return f"${{{{ {text}null }}}}"
