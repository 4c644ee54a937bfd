"""Expressions in `${{ }}`: CEL behind the port `Evaluator`, with every fault an ExpressionError that says which and why."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cel import OptionalValue, Program
from cel import compile as compile_cel

from taskengine.domain.errors import ExpressionError
from taskengine.domain.sealed import as_text, has_sealed, is_sealed
from taskengine.domain.words import nearest
from taskengine.workflows import lexer

MAX_EXPRESSION = 2_000  # characters
MAX_TEMPLATE = 64_000
MAX_DEPTH = 32  # of nested lists and mappings, in templates and in values
MAX_MACROS = 8
MAX_MACRO_DEPTH = 2
MAX_NESTED_ITEMS = 2_000  # a list that nested macros may walk: the work grows with its square
CACHE = 2_048  # templates kept compiled

FUNCTIONS = frozenset(
    {"size", "has", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn"}
)
METHODS = frozenset({
    "size", "contains", "startsWith", "endsWith", "matches", "getFullYear", "getMonth", "getDate", "getDayOfMonth",
    "getDayOfYear", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
})  # fmt: skip
_MISSING = object()
_CEL_FAULTS = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError)  # all that the library raises


@dataclass(frozen=True, slots=True)
class _Expression:
    """A compiled expression and what is known of it."""

    text: str
    program: Program
    references: frozenset[tuple[str, ...]]
    path: tuple[str, ...] | None  # where it is a dotted name alone: read without CEL
    nested: bool


_Part = str | _Expression


class CelEvaluator:
    """`ports.Evaluator` over the CEL library. Templates are compiled once."""

    def __init__(self) -> None:
        self._parts = lru_cache(maxsize=CACHE)(_parse)

    def evaluate(self, template: Any, scope: Mapping[str, Any]) -> Any:
        """Resolve every expression in `template`."""
        return self._resolve(template, scope, 0)

    def check(self, template: Any) -> list[str]:
        """Every fault that can be known without a scope."""
        faults = []
        for text in _texts(template):
            try:
                self._parts(text)
            except ExpressionError as error:
                faults.append(str(error))
        return faults

    def references(self, template: Any) -> set[tuple[str, ...]]:
        """The dotted names that `template` uses; none of a text that does not parse."""
        found: set[tuple[str, ...]] = set()
        for text in _texts(template):
            try:
                parts = self._parts(text)
            except ExpressionError:
                continue
            for part in parts:
                if isinstance(part, _Expression):
                    found |= part.references
        return found

    def _resolve(self, template: Any, scope: Mapping[str, Any], depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"a template is nested more than {MAX_DEPTH} levels deep")
        if isinstance(template, str):
            return self._text(template, scope)
        if isinstance(template, Mapping):
            return {key: self._resolve(value, scope, depth + 1) for key, value in template.items()}
        if isinstance(template, list | tuple):
            return [self._resolve(value, scope, depth + 1) for value in template]
        return template

    def _text(self, text: str, scope: Mapping[str, Any]) -> Any:
        if "${{" not in text:
            return text
        parts = self._parts(text)
        if len(parts) == 1 and isinstance(parts[0], _Expression):
            return _run(parts[0], scope)
        return "".join(part if isinstance(part, str) else _as_text(_run(part, scope)) for part in parts)


def is_template(value: Any) -> bool:
    """Whether there is an expression anywhere in `value`."""
    return any("${{" in text for text in _texts(value))


def _texts(template: Any) -> Iterator[str]:
    """Every string of a template, of its values alone; walked without recursion."""
    waiting: list[tuple[Any, int]] = [(template, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            continue
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list | tuple):
            waiting.extend((inner, depth + 1) for inner in value)


# ---- compiling


def _parse(text: str) -> tuple[_Part, ...]:
    """The parts of a template, a lone expression without the spaces around it."""
    if len(text) > MAX_TEMPLATE:
        raise ExpressionError(f"a template of {len(text)} characters is too long: at most {MAX_TEMPLATE}")
    try:
        parts = lexer.split(text)
    except ValueError as error:
        raise ExpressionError(str(error)) from None
    inner = [part for part in parts if part[0] or part[1].strip()]
    if len(inner) == 1 and inner[0][0]:
        parts = inner
    return tuple(_compile(content) if expression else content for expression, content in parts)


def _compile(text: str) -> _Expression:
    text = text.strip()
    if not text:
        raise ExpressionError("an expression is empty: ${{ }}")
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"an expression of {len(text)} characters is too long: at most {MAX_EXPRESSION}")
    seen = lexer.surface(text)
    if seen.macro_depth > MAX_MACRO_DEPTH or seen.macro_count > MAX_MACROS:
        raise ExpressionError(
            f"{_quote(text)}: at most {MAX_MACROS} macros, nested {MAX_MACRO_DEPTH} deep, are allowed in an expression"
        )
    try:
        program = compile_cel(text)
    except _CEL_FAULTS as error:
        raise ExpressionError(f"{_quote(text)} does not parse: {_parse_fault(str(error))}") from None
    _judge_functions(text, seen.functions)
    paths = list(seen.references)
    alone = paths[0] if len(paths) == 1 and ".".join(paths[0]) == text else None
    return _Expression(text, program, frozenset(paths), alone, seen.macro_depth > 1)


def _judge_functions(text: str, names: set[str]) -> None:
    known = FUNCTIONS | METHODS | lexer.MACROS
    for name in sorted(names - known):
        raise ExpressionError(f"{_quote(text)}: there is no function {name!r}{nearest(name, known)}")


def _parse_fault(message: str) -> str:
    """The library's first line, without what it repeats of the source and without its list of token kinds."""
    first = next(
        (line for line in message.splitlines() if "ERROR:" in line), message.splitlines()[0] if message else ""
    )
    fault = first.split("ERROR:", 1)[-1].replace("<input>:", "at ").strip()
    return fault.split(" expecting {", 1)[0].replace("Syntax error: ", "")


def _quote(text: str) -> str:
    short = " ".join(text.split())
    return f"${{{{ {short if len(short) <= 120 else short[:117] + '…'} }}}}"


# ---- running


def _run(expression: _Expression, scope: Mapping[str, Any]) -> Any:
    if expression.path is not None:
        return _read(expression, expression.path, scope)
    try:
        return _plain(expression.program.execute(_project(expression, scope)))
    except ExpressionError as error:
        raise ExpressionError(f"{_quote(expression.text)}: {error}") from None
    except _CEL_FAULTS as error:
        raise ExpressionError(f"{_quote(expression.text)}: {_fault(error, expression, scope)}") from None


def _read(expression: _Expression, path: Sequence[str], scope: Mapping[str, Any]) -> Any:
    value = _walk(path, scope)
    if value is _MISSING:
        raise ExpressionError(f"{_quote(expression.text)}: {_missing(path, scope)}")
    return value


def _walk(path: Sequence[str], scope: Any) -> Any:
    for name in path:
        if not isinstance(scope, Mapping) or name not in scope:
            return _MISSING
        scope = scope[name]
    return scope


def _missing(path: Sequence[str], scope: Mapping[str, Any]) -> str:
    for length in range(1, len(path) + 1):
        if _walk(path[:length], scope) is _MISSING:
            if length == 1:
                return f"there is no {path[0]!r} here"
            whole = _walk(path[: length - 1], scope)
            if isinstance(whole, Mapping):
                return f"{'.'.join(path[:length])} is missing (use has() where it may be)"
            return f"{'.'.join(path[: length - 1])} is {_kind(whole)} and has no member {path[length - 1]!r}"
    return "a member is missing"


def _project(expression: _Expression, scope: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the scope that the expression uses: conversion costs by size, and depth is bounded here."""
    result: dict[str, Any] = {}
    for path in sorted(expression.references, key=len):
        source: Any = scope
        target = result
        for number, name in enumerate(path):
            if not isinstance(source, Mapping) or name not in source:
                break
            source = source[name]
            if number == len(path) - 1 or not isinstance(source, Mapping):
                target[name] = _bounded(source, 0, nested=expression.nested)
                break
            held = target.setdefault(name, {})
            if path[: number + 1] in expression.references:
                break  # a shorter reference took all of it
            target = held
    return result


def _bounded(value: Any, depth: int, *, nested: bool) -> Any:
    """A plain copy for the library, whose conversion neither bounds depth nor takes integers beyond 64 bits."""
    if depth > MAX_DEPTH:
        raise ExpressionError(f"a value is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {str(key): _bounded(inner, depth + 1, nested=nested) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        if nested and len(value) > MAX_NESTED_ITEMS:
            raise ExpressionError(
                f"nested macros may walk lists of at most {MAX_NESTED_ITEMS} items; this has {len(value)}"
            )
        return [_bounded(inner, depth + 1, nested=nested) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ExpressionError("an integer beyond 64 bits cannot be used in an expression")
    return value


def _plain(value: Any) -> Any:
    """A result as JSON knows it; keys sorted, since the library's maps have no order."""
    if isinstance(value, Mapping):
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, OptionalValue):
        return _plain(value.value()) if value.has_value() else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("the result is not a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ExpressionError(f"the result is no JSON value ({type(value).__name__})")


def _as_text(value: Any) -> str:
    """How a value stands within a longer text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if is_sealed(value):
        return as_text(value)
    if has_sealed(value):  # it would be opened there by nobody
        raise ExpressionError("a list or object with a secret in it cannot be part of a longer text")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _fault(error: Exception, expression: _Expression, scope: Mapping[str, Any]) -> str:
    """One clause for what the library raised."""
    message = str(error).strip("'\" ")
    if isinstance(error, KeyError):
        return _missing_member(message, expression, scope)
    if isinstance(error, TypeError):
        return _type_fault(message, expression, scope)
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if "Undefined variable" in message:
        name = message.partition("'")[2].partition("'")[0]
        return f"there is no {name!r} here, or no such function for these types"
    return message.splitlines()[0][:300] if message else type(error).__name__


def _missing_member(name: str, expression: _Expression, scope: Mapping[str, Any]) -> str:
    for path in sorted(expression.references):
        if name in path and _walk(path, scope) is _MISSING and _walk(path[: path.index(name)], scope) is not _MISSING:
            return _missing(path, scope)
    return f"the member {name!r} is missing (use has() where it may be)"


def _type_fault(message: str, expression: _Expression, scope: Mapping[str, Any]) -> str:
    for path in sorted(expression.references):
        whole = _walk(path[:-1], scope)
        if whole is not _MISSING and not isinstance(whole, Mapping):
            return _missing(path, scope)
    if message.startswith("Unsupported operation: "):
        operation = message.removeprefix("Unsupported operation: ").partition(".")[0]
        advice = (
            "convert the integer with double()" if "float" in operation and "int" in operation else "convert one side"
        )
        return f"{operation.replace('float', 'double')} is not defined: {advice}, e.g. double(x), int(x) or string(x)"
    kinds = {_kind(value) for path in expression.references if (value := _walk(path, scope)) is not _MISSING}
    advice = "; integers and doubles do not mix: convert with double()" if {"an integer", "a double"} & kinds else ""
    return f"an operation is not defined for the types of its values ({', '.join(sorted(kinds)) or 'literals'}){advice}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds: dict[type, str] = {int: "an integer", float: "a double", str: "a string", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), "a value")
