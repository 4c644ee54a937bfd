"""The kinds of values that clients send, with the coercions of the contract: "true", "3" and times without a zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from taskengine.api.body import MAX_INTEGER
from taskengine.domain.durations import DurationFault, parse_duration
from taskengine.domain.times import parse_utc

_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_ID = re.compile(r"0|[1-9][0-9]{0,18}")
_EARLIEST, _LATEST = -62_135_596_800_000, 253_402_300_799_999  # years 1 to 9999: what can be written again
_LONGEST_URL = 2048
_LONGEST_S = 30 * 86_400


def flag(value: object) -> bool:
    """True and false, also as texts."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
        return value.strip().lower() == "true"
    raise ValueError("must be true or false")


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of integers from `low` to `high`, also as decimal texts; 6.0 is one, true is none."""

    def read(value: object) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value.strip())
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be a whole number from {low} to {high}")  # noqa: TRY004  # pydantic gathers these
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")
        return value

    return read


def time(value: object) -> int:
    """A time of ISO 8601 as UTC milliseconds."""
    if not isinstance(value, str):
        raise ValueError("must be a time such as 2040-06-06T10:00:00.000Z")  # noqa: TRY004  # pydantic gathers these
    at = parse_utc(value)
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError("must be a time of the years 1 to 9999")
    return at


def seconds(value: object) -> float:
    """A duration: `90s`, `10m`, `6h`, `2d` or a number of seconds."""
    try:
        found = parse_duration(value)
    except DurationFault as error:
        raise ValueError(str(error)) from None
    if not 0 < found <= _LONGEST_S:
        raise ValueError(f"must be more than 0 and at most {_LONGEST_S} seconds")
    return found


def http_url(value: object) -> str:
    """An absolute http or https URL."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_URL:
        raise ValueError(f"must be a URL of at most {_LONGEST_URL} characters")
    if re.search(r"[\x00-\x20\x7f\\]", value):
        raise ValueError("must be a URL without spaces, control characters and backslashes")
    try:
        parts = urlsplit(value)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("must be an http or https URL")
    return value


def text(longest: int) -> Callable[[object], str]:
    """A reader of texts that are not empty."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            raise ValueError(f"must be a text of 1 to {longest} characters")
        return value

    return read


def objects(value: object) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")  # noqa: TRY004  # pydantic gathers these
    return value


def read_id(value: str) -> int | None:
    """The id that a part of a path is; None where it can be none."""
    number = int(value) if _ID.fullmatch(value) else None
    return number if number is not None and number <= MAX_INTEGER else None


def _integer_schema(low: int, high: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": low, "maximum": high})


Flag = Annotated[bool, BeforeValidator(flag), WithJsonSchema({"type": "boolean"})]
Priority = Annotated[int, BeforeValidator(whole(1, 10)), _integer_schema(1, 10)]
Id = Annotated[int, BeforeValidator(whole(1, MAX_INTEGER)), WithJsonSchema({"type": "integer", "format": "int64"})]
Tries = Annotated[int, BeforeValidator(whole(0, 1000)), _integer_schema(0, 1000)]
Time = Annotated[int, BeforeValidator(time), WithJsonSchema({"type": "string", "format": "date-time"})]
Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": ["number", "string"], "description": "seconds, or 90s, 10m, 6h, 2d"}),
]
Url = Annotated[str, BeforeValidator(http_url), WithJsonSchema({"type": "string", "format": "uri"})]
Text = Annotated[str, BeforeValidator(text(100)), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 100})]
Object = Annotated[dict[str, Any], BeforeValidator(objects), WithJsonSchema({"type": "object"})]
