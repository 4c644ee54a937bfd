"""What is measured and traced."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from taskengine.domain.tracing import SpanKind


class Span(Protocol):
    """A part of a trace, going on. `traceparent` hands it to whoever goes on with it; None where there is no trace."""

    traceparent: str | None

    def note(self, name: str, value: str | int) -> None:
        """Say something of it."""
        ...

    def fail(self, reason: str) -> None:
        """It did not do what it was for."""
        ...


class Tracer(Protocol):
    """Tells where the time goes, across processes."""

    def span(
        self, name: str, kind: SpanKind, parent: str | None, attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[Span]:
        """A part of the trace of `parent` (None: the beginning of one), over when the block ends; an exception that
        leaves the block fails it."""
        ...


class Meter(Protocol):
    """Counts what the engine's loops do. Cheap: it is told of every attempt and every try at a callback."""

    def attempt(self, handler: str, outcome: str, seconds: float) -> None:
        """An attempt ended."""
        ...

    def delivery(self, state: str, seconds: float) -> None:
        """A try at a callback came out: delivered, pending (it is tried again) or dead; `seconds` since its event."""
        ...
