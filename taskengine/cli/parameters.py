"""A job's parameters as they are given on the command line: `-p key=value` and `--params FILE`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


def parameter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-p` and `--params` to a command; `read_parameters` makes a mapping of them."""
    pairs = click.option(
        "-p", "--param", "pairs", multiple=True, metavar="KEY=VALUE",
        help="A parameter; the value is JSON where it parses, else a string; a number is what the workflow says. "
        "May be given several times.",
    )  # fmt: skip
    file = click.option(
        "--params", "file", metavar="FILE", help="Parameters from a JSON or YAML file (- for stdin); -p overrides them."
    )
    return pairs(file(function))


def read_parameters(pairs: Sequence[str], file: str | None) -> dict[str, Any]:
    """The parameters of both sources; a usage error names what is wrong."""
    return (_from_file(file) if file else {}) | _from_pairs(pairs)


def _from_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-p")
        if key in parameters:
            raise click.BadParameter(f"{key!r} is given twice", param_hint="-p")
        parameters[key] = parse_value(key, text)
    return parameters


def parse_value(key: str, text: str) -> Any:
    """JSON where it parses (strictly: NaN is a word), else the string itself.

    Plain numbers stay text: by the schema the engine makes of them what is wanted, and a content id of digits stays one. In
    `custom_data` it changes nothing: that is JSON.
    """
    if key != "custom_data" and _NUMBER.fullmatch(text):
        return text
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _from_file(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="--params") from error
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file} is not UTF-8", param_hint="--params") from error
    parameters = _parse_file(file, text)
    if not isinstance(parameters, dict) or not all(isinstance(key, str) for key in parameters):
        raise click.BadParameter(f"{file} does not hold an object of named parameters", param_hint="--params")
    return parameters


def _parse_file(file: str, text: str) -> Any:
    """JSON or YAML; as everywhere, a key stands once in its object."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except _Twice as error:
        raise click.BadParameter(f"{file} has the key {error} twice in one object", param_hint="--params") from error
    except (ValueError, RecursionError):
        pass
    from taskengine.documents import parse

    document = parse(text, file)
    if document.faults:
        said = "; ".join(f"{fault.path}: {fault.message}" for fault in document.faults)
        raise click.BadParameter(said, param_hint="--params")
    return document.value


class _Twice(Exception):
    """A key that an object has already."""


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Twice(repr(key))
        found[key] = value
    return found
