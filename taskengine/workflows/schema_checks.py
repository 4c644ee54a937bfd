"""Whether a workflow's parameter schema is one: valid JSON Schema, known formats, defaults that fit and can be resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator

from taskengine.domain import graph
from taskengine.domain.words import nearest
from taskengine.ports import Evaluator
from taskengine.workflows import formats
from taskengine.workflows.definitions import as_list, as_mapping
from taskengine.workflows.expressions import is_template
from taskengine.workflows.messages import Path, described
from taskengine.workflows.parameters import default_needs
from taskengine.workflows.validation import IN_ORDER, validator

Found = Iterator[tuple[Path, str]]
_SUBSCHEMAS = ("properties", "patternProperties", "$defs", "dependentSchemas")
_MAX_DEPTH = 32
_META = Draft202012Validator(Draft202012Validator.META_SCHEMA)


def schema_faults(schema: Mapping[str, Any], evaluator: Evaluator) -> Found:
    """Every fault of a parameter schema, by its path within the schema."""
    invalid = list(_invalid(schema))
    yield from invalid
    if invalid:
        return
    properties = as_mapping(schema.get("properties"))
    for number, name in enumerate(as_list(schema.get("required"))):
        if name not in properties:
            yield (
                ("required", number),
                f"the required parameter {name!r} is not declared{nearest(str(name), properties)}",
            )
    known = formats.FORMATS.keys() | formats.ANNOTATIONS
    for path, inner in _subschemas(schema, ()):
        yield from _reference_faults(schema, path, inner)
        if (name := inner.get("format")) is not None and name not in known:
            yield (*path, "format"), f"unknown format {name!r}{nearest(str(name), known)}"
        yield from _pattern_faults(path, inner)
        yield from _order_faults(path, inner)
    yield from _property_faults(schema, properties, evaluator)


def _invalid(schema: Mapping[str, Any]) -> Found:
    """What is no JSON Schema of it. Each parameter by itself: many workflows share them, and judging costs most of a load."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        yield from _meta_faults(json.dumps(schema))
        return
    yield from _meta_faults(json.dumps({**schema, "properties": {}}))
    for name, parameter in properties.items():
        for path, message in _meta_faults(json.dumps(parameter)):
            yield ("properties", name, *path), message


@lru_cache(maxsize=2048)
def _meta_faults(text: str) -> Sequence[tuple[Path, str]]:
    judged = _META.iter_errors(json.loads(text))
    return [(path, f"no JSON Schema: {message}") for error in judged for path, message in described(error)]


def _subschemas(schema: Any, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    if not isinstance(schema, Mapping) or len(path) > _MAX_DEPTH:
        return
    yield path, schema
    for keyword in _SUBSCHEMAS:
        for name, inner in as_mapping(schema.get(keyword)).items():
            yield from _subschemas(inner, (*path, keyword, name))
    for keyword in ("items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames"):
        yield from _subschemas(schema.get(keyword), (*path, keyword))
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for number, inner in enumerate(as_list(schema.get(keyword))):
            yield from _subschemas(inner, (*path, keyword, number))


def _reference_faults(root: Mapping[str, Any], path: Path, schema: Mapping[str, Any]) -> Found:
    """References stay within the file: nothing is fetched when a job is judged."""
    for keyword in ("$ref", "$dynamicRef", "$id", "$anchor", "$dynamicAnchor"):
        target = schema.get(keyword)
        if target is None:
            continue
        if keyword != "$ref" or not str(target).startswith("#/$defs/"):
            yield (*path, keyword), f"{keyword}: only references to #/$defs/… are allowed"
        elif str(target).removeprefix("#/$defs/") not in as_mapping(root.get("$defs")):
            yield (*path, keyword), f"there is no {target}"


def _pattern_faults(path: Path, schema: Mapping[str, Any]) -> Found:
    """Patterns that do not compile: a job that is judged by one could be answered with nothing but an internal fault."""
    patterns = [((*path, "pattern"), schema["pattern"])] if "pattern" in schema else []
    patterns += [((*path, "patternProperties", text), text) for text in as_mapping(schema.get("patternProperties"))]
    for where, text in patterns:
        try:
            re.compile(text)
        except re.error as error:
            yield where, f"{text!r} is no regular expression: {error}"


def _order_faults(path: Path, schema: Mapping[str, Any]) -> Found:
    properties = as_mapping(schema.get("properties"))
    names = schema.get(IN_ORDER, [])
    if not isinstance(names, list):
        yield (*path, IN_ORDER), f"{IN_ORDER}: must be an array of names"
        return
    for number, name in enumerate(names):
        if name not in properties:
            yield (*path, IN_ORDER, number), f"there is no field {name!r}{nearest(str(name), properties)}"


def _property_faults(root: Mapping[str, Any], properties: Mapping[str, Any], evaluator: Evaluator) -> Found:
    needs: dict[str, list[str]] = {}
    for path, schema in _subschemas(root, ()):
        if "default" not in schema:
            continue
        nested = len(path) != 2
        if is_template(schema["default"]):
            yield from _template_faults((*path, "default"), schema["default"], properties, evaluator, nested=nested)
            if not nested:
                needs[str(path[1])] = default_needs(schema["default"], evaluator)
        elif schema["default"] is not None:
            yield from _default_faults(root, path, schema)
    if circle := graph.cycle(needs):
        yield ("properties", circle[0], "default"), f"the defaults need each other: {' → '.join(circle)}"
    for name, schema in properties.items():
        target = as_mapping(schema).get("x-alias-of")
        if target is not None and target not in properties:
            yield (
                ("properties", name, "x-alias-of"),
                f"there is no parameter {target!r}{nearest(str(target), properties)}",
            )


def _template_faults(
    path: Path, template: Any, properties: Mapping[str, Any], evaluator: Evaluator, *, nested: bool
) -> Found:
    for message in evaluator.check(template):
        yield path, message
    for name in sorted(evaluator.references(template)):
        if name[0] == "parameters":
            if len(name) > 1 and name[1] not in properties:
                yield path, f"there is no parameter {name[1]!r}{nearest(name[1], properties)}"
        elif name[0] != "item" or not nested:
            yield path, f"a default may use parameters{' and item' if nested else ''} alone, not {'.'.join(name)}"


def _default_faults(root: Mapping[str, Any], path: Path, schema: Mapping[str, Any]) -> Found:
    judged = {"$defs": root.get("$defs", {}), **schema}
    for error in validator(judged).iter_errors(schema["default"]):
        for _, message in described(error):
            yield (*path, "default"), f"the default does not fit: {message}"
