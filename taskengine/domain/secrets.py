"""Which parts of a JSON value are secrets by its schema, and what a text must not show.

Secret is what the schema marks `writeOnly`; what the schema does not know, where its name says so (`domain.masking`); and
the credentials in URLs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from taskengine.domain.masking import MASK, is_secret_name, mask_text

Schema = Mapping[str, Any]
HideValue = Callable[[Any], Any]
HideText = Callable[[str], str]
_SHORTEST = 4  # a shorter secret is none, and is found everywhere
_COMBINED = ("allOf", "anyOf", "oneOf")
_CONDITIONAL = ("if", "then", "else")
_COMBINING = frozenset((*_COMBINED, *_CONDITIONAL, "$ref", "x-alias-of"))
_DEEPEST = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/]{21,}={0,2}")  # of 16 bytes and more


def hide_secrets(
    value: Any, schema: Schema, hide: HideValue, hide_in_text: HideText | None = None, *, by_name: bool = True
) -> Any:
    """A copy of a JSON value with `hide(secret)` in each secret's place, and `hide_in_text` for credentials in URLs.

    A null is no secret. `by_name`: judge what the schema does not know by its name.
    """
    return _Hiding(schema, hide, hide_in_text, by_name).hidden(value, [schema], 0)


class _Hiding:
    def __init__(self, root: Schema, hide: HideValue, in_text: HideText | None, by_name: bool) -> None:  # noqa: FBT001
        self._root, self._hide, self._in_text, self._by_name = root, hide, in_text, by_name

    def hidden(self, value: Any, schemas: Sequence[Schema], depth: int) -> Any:
        if value is None or depth > _DEEPEST:
            return value
        judges = schemas if all(map(_COMBINING.isdisjoint, schemas)) else list(self._all(schemas))
        if any(schema.get("writeOnly") is True for schema in judges):
            return self._hide(value)
        if isinstance(value, Mapping):
            return {name: self._member(str(name), inner, judges, depth) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.hidden(item, _items(judges, number), depth + 1) for number, item in enumerate(value)]
        if isinstance(value, str) and self._in_text is not None:
            return mask_text(value, self._in_text)
        return value

    def _member(self, name: str, value: Any, judges: Sequence[Schema], depth: int) -> Any:
        schemas = [found for schema in judges for found in _properties(schema, name)]
        if not schemas and self._by_name and is_secret_name(name) and _tells(value):
            return self._hide(value)
        more = schemas or [one for schema in judges if isinstance(one := schema.get("additionalProperties"), Mapping)]
        return self.hidden(value, more, depth + 1)

    def _all(self, schemas: Iterable[Schema]) -> Iterator[Schema]:
        """The schemas, and those that they refer to or are combined of: what any of them calls secret is one."""
        waiting, seen = list(schemas), set()
        while waiting:
            schema = waiting.pop()
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            for keyword in _COMBINED:
                waiting.extend(one for one in schema.get(keyword) or () if isinstance(one, Mapping))
            waiting.extend(one for keyword in _CONDITIONAL if isinstance(one := schema.get(keyword), Mapping))
            waiting.extend(self._referred(schema))

    def _referred(self, schema: Schema) -> Iterator[Schema]:
        reference = str(schema.get("$ref", ""))
        if reference.startswith("#/$defs/"):
            yield from _mappings((self._root.get("$defs") or {}).get(reference.removeprefix("#/$defs/")))
        if (name := schema.get("x-alias-of")) is not None:
            yield from _mappings((self._root.get("properties") or {}).get(name))


def _mappings(value: Any) -> Iterator[Schema]:
    if isinstance(value, Mapping):
        yield value


def _properties(schema: Schema, name: str) -> Iterator[Schema]:
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        yield properties[name] if isinstance(properties[name], Mapping) else {}
    patterns = schema.get("patternProperties")
    for pattern, inner in patterns.items() if isinstance(patterns, Mapping) else ():
        if isinstance(inner, Mapping) and re.search(pattern, name):
            yield inner


def _items(schemas: Sequence[Schema], number: int) -> list[Schema]:
    found = [schema.get("items") for schema in schemas]
    found += [one[number] for schema in schemas if len(one := schema.get("prefixItems") or ()) > number]
    return [one for one in found if isinstance(one, Mapping)]


def _tells(value: Any) -> bool:
    """Whether it can be a secret at all: true, false and nothing say nothing."""
    return not (value is None or isinstance(value, bool) or value in ("", [], {}))


class Scrubber:
    """Hides known secrets in texts, however they are written: in either case, quoted for a URL, hexadecimal as base64
    and the other way round, without the id before it."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if forms else None

    def __bool__(self) -> bool:
        """Whether there is anything to hide."""
        return self._pattern is not None

    def text(self, text: str, put: Callable[[str], str] = lambda _: MASK) -> str:
        """The text with what `put` makes of each secret in its place."""
        return text if self._pattern is None else self._pattern.sub(lambda found: put(found.group()), text)

    def value(self, value: Any, put: Callable[[str], str] = lambda _: MASK) -> Any:
        """A copy of a JSON value, its texts (names of members too) without secrets."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value, put)
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(inner, put) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner, put) for inner in value]
        return value


def texts_of(value: Any) -> Iterator[str]:
    """Every text and number in a secret value, as a text would show it."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_of(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    key = secret.rpartition(":")[2]  # `<key id>:<key>`
    digits = key.replace("-", "")
    if re.fullmatch(r"(?:[0-9A-Fa-f]{2}){8,}", digits):
        yield digits
        yield base64.b64encode(bytes.fromhex(digits)).decode()
    elif _BASE64.fullmatch(key):
        with suppress(ValueError):
            yield key
            yield base64.b64decode(key).hex()
