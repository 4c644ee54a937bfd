"""JSON Schema's errors in words that name the field and the fault."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jsonschema import ValidationError
from jsonschema.exceptions import best_match

from taskengine.domain.words import nearest

Path = tuple[str | int, ...]

_TYPES = {
    "boolean": "true or false", "integer": "an integer", "number": "a number", "string": "a string",
    "array": "an array", "object": "an object", "null": "null",
}  # fmt: skip
_LIMITS = {
    "minimum": "at least", "maximum": "at most", "exclusiveMinimum": "greater than", "exclusiveMaximum": "less than",
}  # fmt: skip
_SIZES = {
    "minLength": ("at least", "character"), "maxLength": ("at most", "character"),
    "minItems": ("at least", "item"), "maxItems": ("at most", "item"),
    "minProperties": ("at least", "field"), "maxProperties": ("at most", "field"),
}  # fmt: skip


def pointer(path: Iterable[str | int]) -> str:
    """A JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def field_name(path: Sequence[str | int]) -> str:
    """How a message names the field: `clips[0].end`."""
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def show(value: Any) -> str:
    """A value as JSON, short."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "an array"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def alternatives(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def described(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """(path, message) of an error; a missing field's path is that of the field."""
    path = tuple(error.absolute_path)
    kind = str(error.validator)
    if kind == "required":
        yield from _required(error, path)
    elif kind in {"anyOf", "oneOf"}:
        yield from _alternatives(error, path)
    elif kind == "x-in-order":
        yield path, f"{field_name(path)} {error.message}"
    else:
        yield path, f"{field_name(path) or 'the value'} {_clause(kind, error)}"


def _required(error: ValidationError, path: Path) -> Iterator[tuple[Path, str]]:
    """jsonschema makes one error per missing field and names it in its text alone: each gives all, callers drop twins."""
    for name in error.validator_value if isinstance(error.validator_value, list) else ():
        if isinstance(error.instance, Mapping) and name not in error.instance:
            yield (*path, name), f"{field_name((*path, name))} is required"


def _alternatives(error: ValidationError, path: Path) -> Iterator[tuple[Path, str]]:
    branches = error.validator_value if isinstance(error.validator_value, list) else []
    names = _required_alone(branches)
    if names:
        where = f" in {field_name(path)}" if path else ""
        given = [name for name in names if isinstance(error.instance, Mapping) and name in error.instance]
        if given:
            yield path, f"only one of {alternatives(names)} may be given{where}, not {' and '.join(given)}"
        else:
            yield path, f"one of {alternatives(names)} is required{where}"
        return
    best = best_match(error.context or ())
    if best is None or best.validator in {"anyOf", "oneOf"}:
        yield path, f"{field_name(path) or 'the value'} matches none of the allowed forms"
    else:
        yield from described(best)


def _required_alone(branches: Sequence[Any]) -> list[str]:
    """The names, where each branch does nothing but require one."""
    names = []
    for branch in branches:
        if not isinstance(branch, Mapping) or set(branch) != {"required"} or len(branch["required"]) != 1:
            return []
        names.append(str(branch["required"][0]))
    return names


def _clause(kind: str, error: ValidationError) -> str:
    wanted: Any = error.validator_value
    value = error.instance
    given = "" if isinstance(error.schema, Mapping) and error.schema.get("writeOnly") else f", not {show(value)}"
    if kind in _LIMITS:
        return f"must be {_LIMITS[kind]} {show(wanted)}{given}"
    if kind in _SIZES:
        return _size(kind, wanted, value)
    match kind:
        case "type":
            names = [wanted] if isinstance(wanted, str) else list(wanted)
            clause = f"must be {alternatives([_TYPES.get(name, name) for name in names if name != 'null'])}{given}"
        case "enum":
            near = nearest(value, [str(one) for one in wanted]) if isinstance(value, str) else ""
            clause = f"must be one of {alternatives([show(one) for one in wanted])}{given}{near}"
        case "const":
            clause = f"must be {show(wanted)}{given}"
        case "not" if "const" in wanted:
            clause = f"must not be {show(wanted['const'])}"
        case "format":
            clause = f"is wrong: {error.cause}{given}"
        case "pattern":
            clause = f"does not match the pattern {wanted}{given}"
        case "uniqueItems":
            clause = "has the same item twice"
        case _:
            clause = f"is wrong: {error.message[:200]}"
    return clause


def _size(kind: str, wanted: Any, value: Any) -> str:
    if kind.startswith("min") and wanted == 1:
        return "must not be empty"
    relation, unit = _SIZES[kind]
    return f"must have {relation} {wanted} {unit}{'' if wanted == 1 else 's'}, not {len(value)}"
