"""What a well-shaped workflow file may still get wrong: names, graph, references, inputs, durations. All faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from jsonschema import Draft202012Validator

from taskengine.domain import graph
from taskengine.domain.callback_config import header_fault
from taskengine.domain.durations import DurationFault, parse_duration
from taskengine.domain.words import nearest
from taskengine.workflows.definitions import HandlerSpec, Surroundings, as_list, as_mapping, merged_schema
from taskengine.workflows.expressions import is_template
from taskengine.workflows.messages import Path, described
from taskengine.workflows.references import Place, reference_faults
from taskengine.workflows.schema_checks import schema_faults

Found = Iterator[tuple[Path, str]]


def check(definition: Mapping[str, Any], around: Surroundings) -> Found:
    """Every fault, as (path, message)."""
    yield from _groups(definition, around)
    if not as_mapping(definition.get("steps")):
        yield ("steps",), "a workflow has at least one step"
    schema = merged_schema(definition, around.shared)
    for path, message in schema_faults(schema, around.evaluator):
        yield ("parameters", *path), message
    yield from _policies(definition)
    yield from _callback_steps(definition)
    yield from _Steps(definition, schema, around).check()


def _groups(definition: Mapping[str, Any], around: Surroundings) -> Found:
    for number, group in enumerate(as_list(definition.get("use"))):
        if group not in around.shared.groups:
            yield ("use", number), f"unknown parameter group {group!r}{nearest(str(group), around.shared.groups)}"


def _policies(definition: Mapping[str, Any]) -> Found:
    """Durations, in the defaults and in every step."""
    places: list[Path] = [("defaults",)]
    places += [(kind, name) for kind in ("steps", "on_failure") for name in as_mapping(definition.get(kind))]
    for place in places:
        holder: Any = definition
        for part in place:
            holder = as_mapping(holder).get(str(part))
        holder = as_mapping(holder)
        retry = as_mapping(holder.get("retry"))
        durations: list[tuple[Path, Any]] = [(("timeout",), holder.get("timeout"))]
        durations += [(("retry", key), retry.get(key)) for key in ("delay", "max_delay")]
        for path, value in durations:
            if value is not None and (message := _duration_fault(value, positive=path == ("timeout",))):
                yield (*place, *path), f"{path[-1]}: {message}"


def _duration_fault(value: Any, *, positive: bool) -> str:
    try:
        seconds = parse_duration(value)
    except DurationFault as error:
        return str(error)
    return "must be more than 0" if positive and seconds <= 0 else ""


def _callback_steps(definition: Mapping[str, Any]) -> Found:
    known = {*as_mapping(definition.get("steps")), *as_mapping(definition.get("on_failure"))}
    for number, name in enumerate(as_list(as_mapping(definition.get("callbacks")).get("tasks"))):
        if name not in known:
            yield ("callbacks", "tasks", number), f"unknown step {name!r}{nearest(str(name), known)}"


class _Steps:
    """The checks of both kinds of steps, which see each other in part: on_failure steps may look at all others."""

    def __init__(self, definition: Mapping[str, Any], schema: Mapping[str, Any], around: Surroundings) -> None:
        self._definition = definition
        self._around = around
        self._parameters = as_mapping(schema.get("properties"))
        self._steps = {name: as_mapping(step) for name, step in as_mapping(definition.get("steps")).items()}
        self._cleanup = {name: as_mapping(step) for name, step in as_mapping(definition.get("on_failure")).items()}

    def check(self) -> Found:
        for name in self._cleanup.keys() & self._steps.keys():
            yield ("on_failure", name), f"the step {name!r} is in steps too: each name is used once"
        yield from self._kind("steps", self._steps, set())
        yield from self._kind("on_failure", self._cleanup, set(self._steps))
        place = self._place(set(self._steps), item=False)
        for name, template in as_mapping(self._definition.get("job_callback")).items():
            yield from self._templates(("job_callback", name), template, place)
        place = self._place(set(), item=False)
        for name, template in as_mapping(self._definition.get("capture")).items():
            yield from self._expression(("capture", name), template, place)
        yield from self._callbacks(as_mapping(self._definition.get("callbacks")))

    def _callbacks(self, callbacks: Mapping[str, Any]) -> Found:
        """The templates of callbacks, which see every step as far as it has come."""
        job = replace(self._place(set(self._steps) | set(self._cleanup), item=False), more=("callback",))
        task = replace(job, more=("callback", "task"))
        for name, place in (("headers", task), ("task_fields", task), ("task_body", task), ("job_body", job)):
            yield from self._templates(("callbacks", name), callbacks.get(name), place)
        for name, value in as_mapping(callbacks.get("headers")).items():
            if not is_template(value) and (fault := header_fault(name, value)):
                yield ("callbacks", "headers", name), f"the header {fault}"

    def _kind(self, kind: str, steps: Mapping[str, Mapping[str, Any]], visible: set[str]) -> Found:
        needs = {name: [str(need) for need in as_list(step.get("needs"))] for name, step in steps.items()}
        for name, needed in needs.items():
            for number, need in enumerate(needed):
                if need not in steps:
                    yield (
                        (kind, name, "needs", number),
                        f"the step {name!r} needs {need!r}, which is no step of {kind}" + (nearest(need, steps)),
                    )
        circle = graph.cycle(needs)
        if circle:
            yield (kind, circle[0], "needs"), f"the steps need each other: {' → '.join(circle)}"
        for name, step in steps.items():
            seen = visible | graph.ancestors(needs, name)
            yield from self._step((kind, name), step, seen)

    def _step(self, path: Path, step: Mapping[str, Any], seen: set[str]) -> Found:
        handler = self._around.handlers.get(str(step.get("handler")))
        if handler is None and isinstance(step.get("handler"), str) and not self._external(step):
            near = nearest(step["handler"], self._around.handlers)
            yield (*path, "handler"), f"unknown handler {step['handler']!r}{near}"
        before = self._place(seen, item=False, step=str(path[-1]))
        for key in ("if", "foreach"):
            if key in step:
                yield from self._expression((*path, key), step[key], before)
        inside = self._place(seen, item="foreach" in step, step=str(path[-1]))
        yield from self._templates((*path, "with"), step.get("with"), inside)
        if handler is not None:
            yield from _input_faults(path, as_mapping(step.get("with")), handler)

    def _external(self, step: Mapping[str, Any]) -> bool:
        """Whether others' workers execute the step."""
        defaults = as_mapping(self._definition.get("defaults"))
        return step.get("queue", defaults.get("queue")) in self._around.external_queues

    def _place(self, seen: set[str], *, item: bool, step: str = "") -> Place:
        return Place(
            parameters=self._parameters, steps={**self._steps, **self._cleanup}, seen=seen, item=item,
            handlers=self._around.handlers, step=step,
        )  # fmt: skip

    def _expression(self, path: Path, value: Any, place: Place) -> Found:
        if isinstance(value, str) and not (value.strip().startswith("${{") and value.strip().endswith("}}")):
            yield path, f"{path[-1]} is no expression: write ${{{{ {value} }}}}"
        yield from self._templates(path, value, place)

    def _templates(self, path: Path, value: Any, place: Place) -> Found:
        """Every template below a path, each fault with the path of its own string."""
        if isinstance(value, str):
            for message in self._around.evaluator.check(value):
                yield path, message
            for name in sorted(self._around.evaluator.references(value)):
                for message in reference_faults(name, place):
                    yield path, message
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                yield from self._templates((*path, key), inner, place)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                yield from self._templates((*path, number), inner, place)


def _input_faults(path: Path, inputs: Mapping[str, Any], handler: HandlerSpec) -> Found:
    """`with` against the handler's schema: names, what is required, and values that hold no expression."""
    properties = as_mapping(handler.inputs.get("properties"))
    for name in as_list(handler.inputs.get("required")):
        if name not in inputs:
            yield (*path, "with"), f"with lacks {name!r}, which the handler requires"
    ways = [as_list(as_mapping(way).get("required")) for way in as_list(handler.inputs.get("anyOf"))]
    if ways and not any(all(name in inputs for name in way) for way in ways):
        yield (*path, "with"), f"with lacks {', or '.join(' and '.join(map(repr, way)) for way in ways)}"
    for name, value in inputs.items():
        if name not in properties:
            if handler.inputs.get("additionalProperties") is False:
                yield (*path, "with", name), f"the handler takes no input {name!r}{nearest(name, properties)}"
        elif not is_template(value):
            judged = {"$defs": handler.inputs.get("$defs", {}), **as_mapping(properties[name])}
            for error in Draft202012Validator(judged).iter_errors(value):
                for inner, message in described(error):
                    yield (*path, "with", name, *inner), f"{name}: {message}"
