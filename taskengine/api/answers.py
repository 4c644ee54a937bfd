"""Responses: JSON, always."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

CONTENT_TYPE = "application/json; charset=utf-8"
ALWAYS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Server": "task-engine"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives back."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def to_response(answer: Answer) -> web.Response:
    """The answer as HTTP."""
    response = web.Response(body=to_json(answer.body), status=answer.status, headers={**ALWAYS, **answer.headers})
    response.headers["Content-Type"] = CONTENT_TYPE
    return response


def to_json(value: Any) -> bytes:
    """JSON in UTF-8, whatever text the value has."""
    try:
        return orjson.dumps(value, default=_plain)
    except (orjson.JSONEncodeError, RecursionError):  # a lone surrogate, an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, default=_plain).encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON")
