"""W3C Trace Context: the header `traceparent`, by which a call, its job's tasks and callbacks are one trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

TRACEPARENT = "traceparent"
SpanKind = Literal["server", "consumer", "client"]  # answers a call, does what was handed out, makes a call
_FORM = re.compile(r"(?P<version>[0-9a-f]{2})-(?P<ids>[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(?P<rest>-.*)?")
_NOTHING = re.compile(r"0{32}-|[0-9a-f]{32}-0{16}")


def read_traceparent(text: str | None) -> str | None:
    """The header in the form of version 00; None where it is none (which counts as not given, as the standard says)."""
    match = _FORM.fullmatch(text.strip()) if text else None
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
        return None
    return None if _NOTHING.match(match["ids"]) else f"00-{match['ids']}"


class _Passed:
    """A span that is none."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def note(self, name: str, value: str | int) -> None:
        """Nobody would read it."""

    def fail(self, reason: str) -> None:
        """Nobody would read it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is over."""


class Untraced:
    """The `Tracer` port where tracing is off: traces of others are passed on."""

    def span(self, name: str, kind: SpanKind, parent: str | None, attributes: Mapping[str, str | int]) -> _Passed:
        """See `ports.Tracer.span`."""
        del name, kind, attributes
        return _Passed(parent)
