"""The URLs in a job's parameters, as their schema says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

NOT_FETCHED = "x-not-fetched"  # of a URL that is accepted and noted alone
_DEEPEST = 64

Schema = Mapping[str, Any]


def urls_of(value: Any, schema: Schema) -> Iterator[tuple[str, str]]:
    """(JSON pointer, URL) of every string in `value` that the schema calls a URL (`format: uri`) and that is fetched."""
    yield from _found(value, schema, schema, "", 0)


def _found(value: Any, schema: Any, root: Schema, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    for other in _beside(schema, root):
        yield from _found(value, other, root, path, depth + 1)
    if isinstance(value, str):
        if schema.get("format") == "uri" and not schema.get(NOT_FETCHED):
            yield path, value
    elif isinstance(value, Mapping):
        properties, more = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, inner in value.items():
            yield from _found(inner, properties.get(name, more), root, f"{path}/{name}", depth + 1)
    elif isinstance(value, list | tuple):
        first: Sequence[Any] = schema.get("prefixItems") or ()
        for number, item in enumerate(value):
            judge = first[number] if number < len(first) else schema.get("items")
            yield from _found(item, judge, root, f"{path}/{number}", depth + 1)


def _beside(schema: Schema, root: Schema) -> Iterator[Any]:
    """The schemas that hold for the same value."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(keyword) or ()
    yield from (schema[keyword] for keyword in ("if", "then", "else") if keyword in schema)
    if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#"):
        target: Any = root
        for part in reference.split("/")[1:]:
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        yield target
