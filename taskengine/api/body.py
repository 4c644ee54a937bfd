"""Reading a request's body: bounded, whatever its type is called, as strict JSON.

Strict: UTF-8, no name twice in an object, no NaN or Infinity, integers of 64 bits, a bounded depth, and no text that a
database or another reader could not keep (NUL, lone surrogates). All faults are found at once, each with its path.
"""

from __future__ import annotations

import asyncio
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from taskengine.api.faults import BodyTooLarge, BodyTooSlow, UnsupportedEncoding, invalid
from taskengine.api.services import HttpLimits
from taskengine.domain.errors import Fault, InvalidRequest

MAX_INTEGER = 2**63 - 1
_LONGEST_INTEGER = 20  # digits and a sign
_MAX_FAULTS = 100
_AUTO = zlib.MAX_WBITS | 32  # gzip or zlib, as the header says
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})


async def read_body(request: web.Request, limits: HttpLimits) -> bytes:
    """The body's bytes, decompressed, at most `limits.body_bytes` of them."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise UnsupportedEncoding(
            f"The Content-Encoding {encoding[:50]!r} is not known; gzip, deflate and identity are"
        )
    if (request.content_length or 0) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_s):
            data = await _raw(request, limits)
    except TimeoutError:
        raise BodyTooSlow(f"The body did not arrive within {limits.body_s:g} seconds") from None
    except (web.RequestPayloadError, ConnectionError) as error:
        raise InvalidRequest("The body broke off before its end") from error
    return data if encoding in {"", "identity"} else _decompressed(data, limits)


async def _raw(request: web.Request, limits: HttpLimits) -> bytes:
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > limits.body_bytes:
            raise _too_large(limits)
    return bytes(data)


def _too_large(limits: HttpLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.body_bytes} bytes")


def _decompressed(data: bytes, limits: HttpLimits) -> bytes:
    for window in (_AUTO, -zlib.MAX_WBITS):  # some send `deflate` without its header
        expander = zlib.decompressobj(window)
        try:
            expanded = expander.decompress(data, limits.body_bytes + 1)
        except zlib.error:
            continue
        if len(expanded) > limits.body_bytes:
            raise _too_large(limits)
        if expander.eof and not expander.unused_data:
            return expanded
    raise InvalidRequest("The body is not compressed as its Content-Encoding says")


def parse_object(data: bytes, limits: HttpLimits) -> dict[str, Any]:
    """The JSON object that a body is; InvalidRequest with every fault."""
    if not data.strip():
        raise InvalidRequest("The body is empty: a JSON object is expected")
    value = parse_json(data, limits)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object")
    return value


def parse_json(data: bytes, limits: HttpLimits) -> Any:
    """Strict JSON."""
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=lambda name: _Bad(f"{name} is not JSON"),
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8 (at byte {error.start})") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"The body is not JSON: {error.msg} ({where})") from error
    except RecursionError:
        raise InvalidRequest(f"The body is nested deeper than {limits.depth} levels") from None
    faults = [fault for _, fault in zip(range(_MAX_FAULTS), _faults(value, limits.depth), strict=False)]
    if faults:
        raise invalid(*faults)
    return value


class _Bad:
    """Stands for a value that strict JSON does not have, until its path is known."""

    def __init__(self, message: str) -> None:
        self.message = message


class _Twice(dict[str, Any]):
    """An object in which names came more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.names = [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(pairs)


def _integer(text: str) -> int | _Bad:
    if len(text) <= _LONGEST_INTEGER and -MAX_INTEGER - 1 <= (number := int(text)) <= MAX_INTEGER:
        return number
    return _Bad("must be an integer of 64 bits")


def _float(text: str) -> float | _Bad:
    number = float(text)
    return number if math.isfinite(number) else _Bad("is too large a number")


def _faults(value: Any, depth: int, path: str = "") -> Iterator[Fault]:
    """Every fault of a parsed value, in order."""
    if isinstance(value, str):
        if fault := text_fault(value):
            yield Fault(path, fault)
    elif isinstance(value, _Bad):
        yield Fault(path, value.message)
    elif isinstance(value, dict | list):
        if depth == 0:
            yield Fault(path, "is nested too deeply")
            return
        if isinstance(value, _Twice):
            yield from (Fault(pointer(path, name), "is given more than once") for name in value.names)
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            below = pointer(path, name)
            if isinstance(name, str) and (fault := text_fault(name)):
                yield Fault(below, f"its name {fault}")
            yield from _faults(item, depth - 1, below)


def text_fault(text: str) -> str | None:
    """Why a text cannot be kept; None where it can."""
    if "\0" in text:
        return "must not have a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not have a lone surrogate"
    return None


def pointer(path: str, name: str | int) -> str:
    """The JSON pointer of a member."""
    text = str(name).encode("utf-8", "replace").decode()
    return f"{path}/{text.replace('~', '~0').replace('/', '~1')}"
