"""Traces over OTLP, where the extra `otel` is installed and the environment names a collector (`OTEL_…`)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import structlog

from taskengine import __version__
from taskengine.domain.tracing import TRACEPARENT, SpanKind, Untraced
from taskengine.ports import Span, Tracer

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

log = structlog.get_logger(__name__)

_COLLECTORS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@asynccontextmanager
async def tracing() -> AsyncIterator[Tracer]:
    """The tracer that the environment asks for; what it has is sent when the block ends."""
    provider = _provider() if _wanted(os.environ) else None
    if provider is None:
        yield Untraced()
        return
    try:
        yield OtelTracer(provider)
    finally:
        await asyncio.to_thread(provider.shutdown)


def _wanted(environ: Mapping[str, str]) -> bool:
    """Whether there is a collector, and nothing switches traces off."""
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(environ.get(name) for name in _COLLECTORS)


def _provider() -> TracerProvider | None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning("traces_off", reason=f"{error}: install taskengine[otel], or unset {' and '.join(_COLLECTORS)}")
        return None
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own: dict[str, Any] = {} if named else {"service.name": "task-engine", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class OtelTracer:
    """The `Tracer` port over the SDK of OpenTelemetry."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind as Kind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("taskengine", __version__)
        self._wire = TraceContextTextMapPropagator()
        self._kinds: Mapping[SpanKind, Kind] = {
            "server": Kind.SERVER,
            "consumer": Kind.CONSUMER,
            "client": Kind.CLIENT,
        }

    @contextmanager
    def span(
        self, name: str, kind: SpanKind, parent: str | None, attributes: Mapping[str, str | int]
    ) -> Iterator[Span]:
        """See `ports.Tracer.span`."""
        from opentelemetry.context import Context

        context = self._wire.extract({TRACEPARENT: parent}, Context()) if parent else Context()
        with self._tracer.start_as_current_span(
            name, context, self._kinds[kind], dict(attributes), record_exception=False
        ) as span:
            carrier: dict[str, str] = {}
            self._wire.inject(carrier)
            yield _OtelSpan(span, carrier.get(TRACEPARENT))


class _OtelSpan:
    """The `Span` port."""

    def __init__(self, span: trace.Span, traceparent: str | None) -> None:
        self._span, self.traceparent = span, traceparent

    def note(self, name: str, value: str | int) -> None:
        """See `ports.Span.note`."""
        self._span.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        """See `ports.Span.fail`."""
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, reason))
