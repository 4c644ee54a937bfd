"""What a workflow file is judged against: handlers, parameter groups, the language of expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from taskengine.ports import Evaluator

JsonObject = Mapping[str, Any]


class HandlerSpec(Protocol):
    """What the checks need of a handler: its declared schemas."""

    @property
    def inputs(self) -> JsonObject:
        """JSON Schema of `with`."""
        ...

    @property
    def outputs(self) -> JsonObject:
        """JSON Schema of what it returns."""
        ...


@dataclass(frozen=True, slots=True)
class SharedParameters:
    """`config/parameters.yaml`: parameters of every workflow, and the groups that `use` names."""

    common: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that is needed to judge a workflow file."""

    evaluator: Evaluator
    handlers: Mapping[str, HandlerSpec]
    shared: SharedParameters = SharedParameters()
    external_queues: frozenset[str] = frozenset()  # whose workers are others': their handlers are not known here


def merged_schema(definition: Mapping[str, Any], shared: SharedParameters) -> dict[str, Any]:
    """The parameter schema of a definition with its groups and the common parameters; its own win over both."""
    schema = dict(as_mapping(definition.get("parameters")))
    properties = dict(as_mapping(schema.get("properties")))
    for group in as_list(definition.get("use")):
        properties = {**properties, **_new(shared.groups.get(str(group), {}), properties)}
    properties = {**properties, **_new(shared.common, properties)}
    return {"type": "object", **schema, "properties": properties}


def _new(more: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in more.items() if name not in known}


def as_mapping(value: Any) -> Mapping[str, Any]:
    """`value` where it is a mapping; the shape is judged elsewhere."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> Sequence[Any]:
    """`value` where it is a list; the shape is judged elsewhere."""
    return value if isinstance(value, list) else []
