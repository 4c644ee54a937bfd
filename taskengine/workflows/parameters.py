"""Parameter schemas: JSON Schema draft 2020-12, with coercion, defaults and faults that name the field, all at once.

Beyond JSON Schema: `x-alias-of: name` (another name of a parameter); `x-in-order: [start, end]` (times of an object, each
after the one before it); a `default` may be a template over `parameters` (and, inside an array, `item`: the array's object
that it belongs to).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from taskengine.domain import graph
from taskengine.domain.errors import ExpressionError, Fault
from taskengine.ports import Checked, Evaluator
from taskengine.workflows import formats
from taskengine.workflows.expressions import is_template
from taskengine.workflows.messages import Path, described, pointer
from taskengine.workflows.normalise import Normaliser, Schema, resolve
from taskengine.workflows.validation import validator


@dataclass(frozen=True, slots=True)
class _Default:
    """A default that is a template, where it belongs and what it needs."""

    name: str
    template: Any
    schema: Schema


def compile_schema(schema: Schema, evaluator: Evaluator) -> CompiledParameters:
    """A workflow's parameters, ready to judge payloads. The schema must be valid (the loader has seen to that)."""
    return CompiledParameters(schema, evaluator)


class CompiledParameters:
    """`ports.ParameterSchema`."""

    def __init__(self, schema: Schema, evaluator: Evaluator) -> None:
        self._schema = schema
        self._evaluator = evaluator
        self._validator = validator(schema)
        self._templates = _in_order(schema, evaluator)

    def check(self, parameters: Mapping[str, Any], *, strict: bool) -> Checked:
        """Coerce, default and judge: all faults at once."""
        pass_ = Normaliser(self._schema, strict)
        given = pass_.object(self._schema, parameters, ())
        faults = [*pass_.faults, *self._validate(given)]
        arguments: dict[str, Any] = deepcopy(given)
        _fill(self._schema, arguments, self._schema)
        derived = self._resolve_templates(arguments)
        faults += self._validate_derived(arguments, derived - self._tainted(faults), given)
        named = [_renamed(fault, pass_.renamed) for fault in faults]
        return Checked(arguments, list(dict.fromkeys(named)), pass_.warnings)

    def _validate(self, values: Mapping[str, Any]) -> Iterator[Fault]:
        errors = sorted(
            self._validator.iter_errors(values), key=lambda error: [str(part) for part in error.absolute_path]
        )
        for error in errors:
            for path, message in described(error):
                yield Fault(pointer(("parameters", *path)), message)

    def _validate_derived(
        self, arguments: Mapping[str, Any], derived: set[str], given: Mapping[str, Any]
    ) -> Iterator[Fault]:
        """What the templates of defaults gave is judged like what a client gives; a fault names what it came from."""
        values = {name: value for name, value in arguments.items() if name in derived and value is not None}
        if not values:
            return
        for fault in self._validate({**given, **values}):
            name = fault.path.split("/")[2] if fault.path.count("/") > 1 else ""
            if name in values:
                template = self._schema["properties"][name]["default"]
                yield Fault(fault.path, f"{fault.message} (its default: {template})")

    def _tainted(self, faults: Sequence[Fault]) -> set[str]:
        """The templates that use a parameter with a fault, directly or not: their own faults would repeat it."""
        names = {fault.path.split("/")[2] for fault in faults if fault.path.count("/") > 1}
        for default in self._templates:  # in the order of their needs
            if names & set(default_needs(default.template, self._evaluator)):
                names.add(default.name)
        return names

    def _resolve_templates(self, arguments: dict[str, Any]) -> set[str]:
        """Fill the defaults that are templates, each after those that it needs; the names that were filled."""
        derived = set()
        for default in self._templates:
            if default.name not in arguments:
                value = self._evaluate(default.template, {"parameters": arguments})
                value = Normaliser(self._schema, strict=False).value(default.schema, value, ())
                if isinstance(value, str) and default.schema.get("format") == "file-name":
                    value = formats.fitting_file_name(value)
                arguments[default.name] = value
                derived.add(default.name)
        for name, value in arguments.items():
            schema = resolve((self._schema.get("properties") or {}).get(name), self._schema)
            self._resolve_nested(schema, value, arguments, None)
        return derived

    def _resolve_nested(self, schema: Schema, value: Any, arguments: Mapping[str, Any], item: Any) -> None:
        if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
            for one in value:
                self._resolve_nested(resolve(schema["items"], self._schema), one, arguments, one)
        elif isinstance(value, dict):
            for name, inner in (schema.get("properties") or {}).items():
                inner_schema = resolve(inner, self._schema)
                if name in value:
                    self._resolve_nested(inner_schema, value[name], arguments, item)
                elif is_template(inner_schema.get("default")):
                    scope = {"parameters": arguments, "item": item if isinstance(item, Mapping) else {}}
                    value[name] = self._evaluate(inner_schema["default"], scope)

    def _evaluate(self, template: Any, scope: Mapping[str, Any]) -> Any:
        """A default; null where what it needs is not given."""
        for reference in self._evaluator.references(template):
            if _at(reference[:2], scope) is None:
                return None
        try:
            return self._evaluator.evaluate(template, scope)
        except ExpressionError:
            return None  # what it needs has a fault of its own, or lacks the member


def _in_order(schema: Schema, evaluator: Evaluator) -> list[_Default]:
    """The top-level defaults that are templates, each after those that it needs."""
    properties = schema.get("properties") or {}
    templates = {
        name: _Default(name, resolved["default"], resolved)
        for name, inner in properties.items()
        if is_template((resolved := resolve(inner, schema)).get("default"))
    }
    needs = {name: default_needs(default.template, evaluator) for name, default in templates.items()}
    return [templates[name] for name in graph.order(needs)]


def default_needs(template: Any, evaluator: Evaluator) -> list[str]:
    """The parameters that a default's template uses."""
    used = {name[1] for name in evaluator.references(template) if name[0] == "parameters" and len(name) > 1}
    return sorted(used)


def _fill(schema: Schema, values: dict[str, Any], root: Schema) -> None:
    """Static defaults, in nested objects and arrays of objects too."""
    for name, inner in (schema.get("properties") or {}).items():
        resolved = resolve(inner, root)
        if name in values:
            _fill_inner(resolved, values[name], root)
        elif "default" in resolved and not is_template(resolved["default"]) and "x-alias-of" not in resolved:
            values[name] = deepcopy(resolved["default"])
            _fill_inner(resolved, values[name], root)


def _fill_inner(schema: Schema, value: Any, root: Schema) -> None:
    if isinstance(value, dict):
        _fill(schema, value, root)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            _fill_inner(resolve(schema["items"], root), item, root)


def _at(path: tuple[str, ...], scope: Any) -> Any:
    for name in path:
        scope = scope.get(name) if isinstance(scope, Mapping) else None
    return scope


def _renamed(fault: Fault, aliases: Mapping[Path, str]) -> Fault:
    """A fault under the name that the client used."""
    for path, alias in aliases.items():
        canonical, used = pointer(("parameters", *path)), pointer(("parameters", *path[:-1], alias))
        if fault.path == canonical or fault.path.startswith(canonical + "/"):
            message = fault.message.replace(str(path[-1]), alias, 1)
            return Fault(used + fault.path.removeprefix(canonical), message)
    return fault
