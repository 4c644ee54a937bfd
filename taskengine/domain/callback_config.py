"""What a client's configuration says of its callbacks: which it wants, how its endpoints are called, what bodies hold."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from taskengine.domain.words import nearest

EVENTS = ("start", "complete", "fail", "job")
KINDS = ("task", "job")  # of bodies
OWN_HEADERS = frozenset({"content-type", "content-length", "host", "transfer-encoding", "connection", "traceparent"})
_PORTS = {"http": 80, "https": 443}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4000}", re.ASCII)


@dataclass(frozen=True, slots=True)
class EndpointRule:
    """What differs for endpoints at or below a URL. None: as for the client's others."""

    url: str
    events: Sequence[str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # beside the client's
    secrets: Sequence[str] | None = field(default=None, repr=False)
    verify_tls: bool | None = None


def rule_of(rules: Sequence[EndpointRule], endpoint: str) -> EndpointRule:
    """The rule that fits most closely; one that changes nothing where none does."""
    fitting = [rule for rule in rules if _below(endpoint, rule.url)]
    return max(fitting, key=lambda rule: len(_place(rule.url)[1]), default=EndpointRule(""))


def header_fault(name: str, value: object) -> str | None:
    """Why a header cannot be sent with callbacks; None where it can."""
    if not _HEADER_NAME.fullmatch(name):
        return f"has a name that is none of a header: {name[:100]!r}"
    if name.lower() in OWN_HEADERS or name.lower().startswith("webhook-"):
        return f"has a name that the engine itself sets: {name}"
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        return f"has a value that no header can have: {name}"
    return None


# ----------------------------------------------------------------------------------------- reading a configuration


def read_headers(value: Any) -> dict[str, str]:
    """Header names and values; ValueError with what is wrong."""
    for name, text in _object(value, "header names and values").items():
        if fault := header_fault(str(name), text):
            raise ValueError(fault)
    return dict(value)


def read_secrets(value: Any) -> tuple[str, ...]:
    """Signing secrets; ValueError names the one that is none by its number, without repeating it."""
    for index, secret in enumerate(_list(value)):
        try:
            ok = bool(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except (binascii.Error, ValueError):
            ok = False
        if not ok:
            raise ValueError(f"must be base64, with or without whsec_ before it (number {index + 1})")
    return tuple(value)


def read_events(value: Any) -> tuple[str, ...]:
    """Names of events."""
    for name in _list(value):
        if name not in EVENTS:
            raise ValueError(
                f"has an unknown event {name[:50]!r}{nearest(name[:50], EVENTS)}: there are {', '.join(EVENTS)}"
            )
    return tuple(dict.fromkeys(value))


def read_templates(value: Any) -> dict[str, Any]:
    """A template of a body for task callbacks, for job callbacks, or for both."""
    return _of_kinds(value)


def read_fields(value: Any) -> dict[str, dict[str, Any]]:
    """Fields for task callbacks, for job callbacks, or for both."""
    return {kind: dict(_object(fields, f"fields and values under {kind}")) for kind, fields in _of_kinds(value).items()}


def read_endpoints(value: Any) -> tuple[EndpointRule, ...]:
    """Rules by the URL at or below which they hold."""
    return tuple(_rule(str(url), given) for url, given in _object(value, "URLs, each with what holds below it").items())


def _rule(url: str, given: Any) -> EndpointRule:
    scheme, host = _place(url)[0][:2]
    if scheme not in _PORTS or not host:
        raise ValueError(f"has a key that is no http or https URL: {url[:100]!r}")
    known = {"events": read_events, "headers": read_headers, "secrets": read_secrets, "verify_tls": _flag}
    values: dict[str, Any] = {}
    for name, value in _object(given, f"settings for {url[:100]}").items():
        if name not in known:
            raise ValueError(f"has an unknown setting {str(name)[:50]!r}{nearest(str(name)[:50], known)}")
        try:
            values[name] = known[name](value)
        except ValueError as error:
            raise ValueError(f"{name} of {url[:100]} {error}") from None
    return EndpointRule(url, **values)


def _of_kinds(value: Any) -> dict[str, Any]:
    for kind in _object(value, "task, job or both"):
        if kind not in KINDS:
            raise ValueError(f"has an unknown kind {str(kind)[:50]!r}: there are {', '.join(KINDS)}")
    return dict(value)


def _object(value: Any, of: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be an object of {of}")  # noqa: TRY004  # a fault of a value, gathered with the others
    return value


def _list(value: Any) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise ValueError("must be a list of texts")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # as above
    return value


# ---------------------------------------------------------------------------------------------------------- matching


def _below(endpoint: str, url: str) -> bool:
    (server, path), (of_rule, top) = _place(endpoint), _place(url)
    return server == of_rule and (path == top or path.startswith(top.rstrip("/") + "/"))


def _place(url: str) -> tuple[tuple[str, str, int], str]:
    """(scheme, host, port) and path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ("", "", 0), ""
    server = parts.scheme, (parts.hostname or "").rstrip("."), port or _PORTS.get(parts.scheme, 0)
    return server, posixpath.normpath("/" + parts.path.lstrip("/"))
