"""Whether a dotted name of an expression means something at the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from taskengine.domain.words import nearest
from taskengine.workflows.definitions import HandlerSpec, as_mapping

JOB = ("id", "client", "workflow", "priority", "created_at")
STEP = ("outputs", "state")
_ROOTS = ("parameters", "steps", "job", "client", "item", "index")
_MEMBER = 2  # steps.<name>.outputs.<member> and what is deeper


@dataclass(frozen=True, slots=True)
class Place:
    """Where a template stands: what is in scope there."""

    parameters: Mapping[str, Any]  # the properties of the schema
    steps: Mapping[str, Mapping[str, Any]]  # every step of the file
    seen: AbstractSet[str]  # those whose end this place can count on
    item: bool  # whether `item` and `index` are in scope
    handlers: Mapping[str, HandlerSpec]
    step: str = ""  # "" outside of steps
    more: Sequence[str] = ()  # further names


def reference_faults(name: tuple[str, ...], place: Place) -> Iterator[str]:
    """What is wrong with one name, in order of importance; nothing where it is right."""
    root, members = name[0], name[1:]
    if root == "parameters":
        if members and members[0] not in place.parameters:
            yield f"there is no parameter {members[0]!r}{nearest(members[0], place.parameters)}"
    elif root == "steps":
        yield from _step_faults(members, place)
    elif root == "job":
        if members and members[0] not in JOB:
            yield f"job has no {members[0]!r}: it has {', '.join(JOB)}"
    elif root in {"item", "index"}:
        if not place.item:
            yield f"{root!r} is known in the `with` of a step with foreach alone"
    elif root != "client" and root not in place.more:
        known = (*_ROOTS, *place.more)
        yield f"unknown name {root!r}: there are {', '.join(known)}{nearest(root, known)}"


def _step_faults(members: tuple[str, ...], place: Place) -> Iterator[str]:
    if not members:
        yield "steps must be used by name: steps.<name>.outputs or steps.<name>.state"
        return
    step = members[0]
    if step not in place.steps:
        yield f"unknown step {step!r}{nearest(step, place.steps)}"
    elif step not in place.seen:
        yield (
            f"the step {place.step!r} uses the step {step!r} without needing it: add it to needs"
            if place.step
            else (f"the step {step!r} cannot be used here")
        )
    elif len(members) > 1 and members[1] not in STEP:
        yield f"steps.{step} has no {members[1]!r}: it has outputs and state"
    elif len(members) > _MEMBER and members[1] == "outputs":
        yield from _output_faults(step, members[2:], place)


def _output_faults(step: str, members: tuple[str, ...], place: Place) -> Iterator[str]:
    definition = place.steps[step]
    if "foreach" in definition:
        yield f"steps.{step}.outputs is a list, one entry per item: it has no {members[0]!r}"
        return
    handler = place.handlers.get(str(definition.get("handler")))
    schema: Any = handler.outputs if handler else {}
    for member in members:
        properties = as_mapping(as_mapping(schema).get("properties"))
        if member not in properties:
            if as_mapping(schema).get("additionalProperties") is False:
                known = f"; it has {', '.join(properties)}" if properties else ""
                near = nearest(member, properties)
                yield f"the handler of the step {step!r} has no output {member!r}{near or known}"
            return
        schema = properties[member]
