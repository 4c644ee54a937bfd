"""From what a client sends to typed values: nulls dropped, aliases renamed, "true" and "12" made what the schema wants.

Only the places that the schema describes are touched: what may be anything, or may be a string, stays as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain.errors import Fault
from taskengine.domain.paths import PathFault, logical_path
from taskengine.domain.words import nearest
from taskengine.workflows.formats import LOGICAL_PATHS
from taskengine.workflows.messages import Path, field_name, pointer

_DECIMAL = re.compile(r"-?\d{1,19}(?:\.\d{1,18})?", re.ASCII)
_ALL_TYPES = frozenset({"string", "boolean", "integer", "number", "array", "object", "null"})
_MAX_DEPTH = 64
_INT64 = 2**63

Schema = Mapping[str, Any]


def resolve(schema: Any, root: Schema) -> Schema:
    """The schema that a local `$ref` names; {} for what is no schema object."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#").split("/")[1:]:
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, Mapping) else {}
        schema = target
    return schema if isinstance(schema, Mapping) else {}


def types_of(schema: Schema, root: Schema) -> frozenset[str]:
    """The JSON types that a schema lets through, as far as coercion cares."""
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(map(str, declared))
    for keyword in ("anyOf", "oneOf"):
        if isinstance(branches := schema.get(keyword), list) and branches:
            return frozenset().union(*(types_of(resolve(branch, root), root) for branch in branches))
    if isinstance(values := schema.get("enum", [schema["const"]] if "const" in schema else None), list):
        return frozenset(_type_name(value) for value in values)
    return _ALL_TYPES


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return {float: "number", str: "string", list: "array", dict: "object"}.get(type(value), "null")


def coerce(value: Any, types: frozenset[str]) -> Any:
    """`value` as one of the types, where it plainly is one; else as it is. Coercing twice changes nothing."""
    if isinstance(value, str) and "string" not in types:
        if "boolean" in types and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        if types & {"integer", "number"} and _DECIMAL.fullmatch(value):
            return _number(value, whole="number" not in types)
    elif isinstance(value, float) and "integer" in types and "number" not in types and _is_whole(value):
        return int(value)
    return value


def _number(text: str, *, whole: bool) -> Any:
    if "." not in text:
        return int(text) if -_INT64 <= int(text) < _INT64 else text
    number = float(text)
    return int(number) if whole and _is_whole(number) else text if whole else number


def _is_whole(number: float) -> bool:
    return abs(number) < _INT64 and number.is_integer()


@dataclass(slots=True)
class Normaliser:
    """One pass over one payload. Unknown fields are left out of the result and named."""

    root: Schema
    strict: bool
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    renamed: dict[Path, str] = field(default_factory=dict)  # path of the canonical field → the alias that was used

    def value(self, schema: Any, value: Any, path: Path) -> Any:
        """A value as its schema wants it."""
        schema = resolve(schema, self.root)
        if len(path) > _MAX_DEPTH:
            return value
        if isinstance(value, Mapping) and _describes_fields(schema):
            return self.object(schema, value, path)
        if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
            return [self.value(schema["items"], item, (*path, number)) for number, item in enumerate(value)]
        value = coerce(value, types_of(schema, self.root))
        if isinstance(value, str) and schema.get("format") in LOGICAL_PATHS:
            return _normal_path(value)
        return value

    def object(self, schema: Schema, fields: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """An object field by field."""
        properties: Mapping[str, Any] = schema.get("properties") or {}
        result: dict[str, Any] = {}
        for name, value in self._canonical(properties, fields, path):
            inner = (*path, name)
            if name in properties:
                if value is not None:
                    result[name] = self.value(properties[name], value, inner)
            elif isinstance(described := self._additional(schema, name), Mapping):
                if value is not None:
                    result[name] = self.value(described, value, inner)
            elif described is True or (path and described is not False):
                result[name] = value
            else:
                self._unknown(name, properties, path)
        return result

    def _canonical(
        self, properties: Mapping[str, Any], fields: Mapping[str, Any], path: Path
    ) -> Iterable[tuple[str, Any]]:
        """The fields with aliases renamed; a field that is given itself wins over its aliases."""
        taken = {name for name, value in fields.items() if value is not None}
        for name, value in fields.items():
            target = properties[name].get("x-alias-of") if isinstance(properties.get(name), Mapping) else None
            if target is None:
                yield name, value
            elif value is None:
                continue
            elif target in taken:
                used = self.renamed.get((*path, target), target)
                self.warnings.append(f"{field_name((*path, name))} is ignored: {used} is given too, and means the same")
            else:
                taken.add(target)
                self.renamed[*path, target] = name
                yield target, value

    def _additional(self, schema: Schema, name: str) -> Any:
        """The schema of a field that `properties` does not name; True or False where anything or nothing is allowed;
        None where the schema does not say."""
        for pattern, described in (schema.get("patternProperties") or {}).items():
            if re.search(pattern, name):
                return described
        return schema.get("additionalProperties")

    def _unknown(self, name: str, properties: Mapping[str, Any], path: Path) -> None:
        message = f"unknown parameter {field_name((*path, name))!r}{nearest(name, properties)}"
        if self.strict:
            self.faults.append(Fault(pointer(("parameters", *path, name)), message))
        else:
            self.warnings.append(message)


def _describes_fields(schema: Schema) -> bool:
    return (
        isinstance(schema.get("properties"), Mapping)
        or isinstance(schema.get("additionalProperties"), Mapping)
        or schema.get("additionalProperties") is False
    )


def _normal_path(text: str) -> str:
    try:
        return logical_path(text, allow_empty=True)
    except PathFault:
        return text  # the format's check says why
