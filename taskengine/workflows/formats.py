"""The formats that parameter schemas may name, each with a message that says what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from jsonschema import FormatChecker

from taskengine.domain.paths import PathFault, logical_path
from taskengine.domain.times import parse_utc
from taskengine.media.names import file_stem
from taskengine.media.streams import filters

MAX_URL = 2_048
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,6}):)?(\d{1,6}):(\d{1,2})(?:\.\d{1,9})?", re.ASCII)
_IMAGE = re.compile(r"\.(?:jpe?g|png|webp)$", re.IGNORECASE)
_POSITION = "seconds, m:ss.fff or hh:mm:ss.fff"

LOGICAL_PATHS = frozenset({"logical-path", "logical-path-or-root"})


# Formats of JSON Schema that say what a string is; as it has them by default, nobody judges by them.
ANNOTATIONS = frozenset({
    "time", "duration", "hostname", "idn-hostname", "uri-reference", "iri", "iri-reference", "uri-template",
    "json-pointer", "relative-json-pointer",
})  # fmt: skip
_STANDARD = {
    "date": "a date as 2040-06-06", "email": "an e-mail address", "idn-email": "an e-mail address",
    "ipv4": "an IPv4 address", "ipv6": "an IPv6 address", "regex": "a regular expression", "uuid": "a UUID",
}  # fmt: skip
_LIBRARY = FormatChecker(formats=tuple(_STANDARD))


def checker() -> FormatChecker:
    """A format checker that judges by FORMATS and no others."""
    result = FormatChecker(formats=())
    for name, judge in FORMATS.items():
        result.checks(name, raises=ValueError)(_accepting(judge))
    return result


def _accepting(judge: Callable[[object], None]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        judge(value)
        return True

    return check


def _path(value: object) -> None:
    if isinstance(value, str):
        logical_path(value)


def _path_or_root(value: object) -> None:
    if isinstance(value, str):
        logical_path(value, allow_empty=True)


def _file_name(value: object) -> None:
    if isinstance(value, str) and "/" in value:
        raise PathFault("a file name has no slash")
    _path(value)


def _image_name(value: object) -> None:
    _file_name(value)
    if isinstance(value, str) and not _IMAGE.search(value):
        raise ValueError("expected a name that ends in .jpg, .png or .webp")


def fitting_file_name(text: str) -> str:
    """A file name made of what a client did not mean as one (its content id): unfit characters become `_`, as they do
    in the names of the asset's other files."""
    stem, dot, extension = text.rpartition(".")
    return file_stem(stem) + dot + extension if stem and extension.isalnum() else file_stem(text)


def _is_position(value: object) -> bool:
    if isinstance(value, bool):
        return True  # the type refuses it, in its own words
    if isinstance(value, int | float):
        return 0 <= value < float("inf")
    if not isinstance(value, str) or _SECONDS.fullmatch(value):
        return True
    match = _CLOCK.fullmatch(value)
    if match is None:
        return False
    hours, minutes, seconds = match.groups()
    return int(seconds) < 60 and (hours is None or int(minutes) < 60)


def _position(value: object) -> None:
    if not _is_position(value):
        raise ValueError(f"expected a time: {_POSITION}")


def _position_or_utc(value: object) -> None:
    if not _is_position(value) and not (isinstance(value, str) and _is_utc(value)):
        raise ValueError(f"expected a time: {_POSITION}, or a UTC time as 2040-06-06T10:00:00.000Z")


def _is_utc(value: object) -> bool:
    try:
        return not isinstance(value, str) or parse_utc(value) is not None
    except ValueError:
        return False


def _utc(value: object) -> None:
    if not _is_utc(value):
        raise ValueError("expected a UTC time as 2040-06-06T10:00:00.000Z")


def _url(value: object) -> None:
    if not isinstance(value, str):
        return
    try:
        parts = urlsplit(value)
        good = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(value) > MAX_URL or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError(f"expected an http or https URL of at most {MAX_URL} characters")


def _track_filter(value: object) -> None:
    if isinstance(value, str) and value.strip():
        filters.parse(value)


def _standard(name: str, expected: str) -> Callable[[object], None]:
    def judge(value: object) -> None:
        if not _LIBRARY.conforms(value, name):
            raise ValueError(f"expected {expected}")

    return judge


FORMATS: dict[str, Callable[[object], None]] = {
    "logical-path": _path,
    "logical-path-or-root": _path_or_root,
    "file-name": _file_name,
    "image-name": _image_name,
    "time-position": _position,
    "time-position-or-utc": _position_or_utc,
    "utc-time": _utc,
    "date-time": _utc,
    "uri": _url,
    "track-filter": _track_filter,
    **{name: _standard(name, expected) for name, expected in _STANDARD.items()},
}
