"""Sealed secrets in JSON values: how they are marked, found, opened and hidden.

A secret value stands as `{"$sealed": "<key id>.<text>"}`. Within a text, such as a URL with a password, it stands as
`~sealed.<key id>.<text>~`, whose characters are legal wherever a URL has a secret. What is sealed is the value's JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

FIELD = "$sealed"
_MARK = "~sealed."
_PIECE = re.compile(r"~sealed\.([A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]+)~")

Seal = Callable[[str], str]  # a secret → `<key id>.<text>`
Open = Callable[[str], str]  # and back


def is_sealed(value: Any) -> bool:
    """Whether a JSON value is a sealed secret."""
    return isinstance(value, Mapping) and FIELD in value


def is_piece(text: str) -> bool:
    """Whether a text is one sealed secret and nothing else."""
    return _PIECE.fullmatch(text) is not None


def sealed(value: Any, seal: Seal) -> dict[str, str]:
    """A secret value, sealed."""
    return {FIELD: seal(json.dumps(value, separators=(",", ":")))}


def piece(secret: str, seal: Seal) -> str:
    """A secret within a text, sealed. What is sealed already stays."""
    return secret if is_piece(secret) else f"{_MARK}{seal(json.dumps(secret))}~"


def as_text(value: Mapping[str, str]) -> str:
    """A sealed secret as it stands within a text."""
    return f"{_MARK}{value[FIELD]}~"


def opened(value: Any, open_: Open) -> Any:
    """A copy of a JSON value with every sealed secret in it opened. Raises what `open_` does."""
    if isinstance(value, str):
        return _PIECE.sub(lambda found: _text(json.loads(open_(found[1]))), value) if _MARK in value else value
    if isinstance(value, Mapping):
        if FIELD in value:
            return _within(json.loads(open_(str(value[FIELD]))), open_)
        return {name: opened(inner, open_) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [opened(inner, open_) for inner in value]
    return value


def _within(secret: Any, open_: Open) -> Any:
    """What was sealed; a text may have been sealed with pieces in it (`whole`)."""
    return opened(secret, open_) if isinstance(secret, str) else secret


def _text(secret: Any) -> str:
    return secret if isinstance(secret, str) else json.dumps(secret, separators=(",", ":"))


def veiled(value: Any, mask: Any) -> Any:
    """A copy of a JSON value in which `mask` stands for every sealed secret."""
    if isinstance(value, str):
        return _PIECE.sub(str(mask), value) if _MARK in value else value
    if isinstance(value, Mapping):
        return mask if FIELD in value else {name: veiled(inner, mask) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [veiled(inner, mask) for inner in value]
    return value


def whole(value: Any, seal: Seal) -> Any:
    """A copy in which a text with sealed pieces is sealed as a whole, pieces and all: the messaging contract has one form."""
    if isinstance(value, str):
        return sealed(value, seal) if _PIECE.search(value) else value
    if isinstance(value, Mapping):
        return value if FIELD in value else {name: whole(inner, seal) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [whole(inner, seal) for inner in value]
    return value


def has_sealed(value: Any) -> bool:
    """Whether there is a sealed secret, or what looks like one, anywhere in a JSON value."""
    return next(marks(value), None) is not None


def has_pieces(body: bytes) -> bool:
    """Whether encoded JSON may have texts with sealed pieces."""
    return _MARK.encode() in body


def marks(value: Any, path: str = "") -> Iterator[str]:
    """Where a JSON value has what looks like a sealed secret, as JSON pointers."""
    if isinstance(value, str):
        if _MARK in value:
            yield path
    elif isinstance(value, Mapping):
        if FIELD in value:
            yield path
        for name, inner in value.items():
            yield from marks(inner, f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from marks(inner, f"{path}/{number}")
