"""Traces: a call, its job's tasks and callbacks are one, and a collector is told of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.engine import Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"
ASKED = {"client": "demo", "api-key": "test-key", "traceparent": GIVEN}


class Collector:
    """What takes spans over OTLP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        """An export."""
        export = ExportTraceServiceRequest.FromString(await request.read())
        for resource in export.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[Span]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]


@asynccontextmanager
async def collecting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that the environment names."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield collector
    finally:
        await runner.cleanup()


async def ran(running: Bench, workflow: str) -> int:
    """A job submitted with the trace of a caller, at its end; its id."""
    parameters = {"content_id": "t", "rest_endpoints": [f"{running.receiver.url}/cb"]}
    body = {"job": {"workflow": workflow}, "parameters": parameters}
    async with (
        aiohttp.ClientSession(headers=ASKED) as session,
        session.post(f"{running.engine.url}/job", json=body) as response,
    ):
        job_id = int((await response.json())["id"])
    await running.ended(job_id)
    return job_id


async def test_a_call_its_tasks_and_callbacks_are_one_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a span below the call's, which is below the caller's; what failed is marked; callbacks carry their own."""
    async with collecting(monkeypatch) as collector, CallbackReceiver() as receiver:
        async with bench(settings_for(tmp_path), receiver, http=True) as running:
            job_id = await ran(running, "fails")  # what is left to send is sent when the engine ends
        told = [one.headers["traceparent"].split("-") for one in receiver.received]
    [call] = collector.named("POST /job")
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    [task], callbacks = collector.named("task debug.fail"), collector.named("callback job")
    assert {span.parent_span_id for span in [task, *callbacks]} == {call.span_id}
    assert task.status.code == Status.STATUS_CODE_ERROR
    assert {a.key: a.value.int_value for a in task.attributes}["taskengine.job_id"] == job_id
    assert {trace for _, trace, _, _ in told} == {TRACE}
    sent = {span.span_id.hex() for span in collector.spans if span.name.startswith("callback ")}
    assert {span for _, _, span, _ in told} == sent
    assert collector.services == {"task-engine"}
    assert collector.named("GET /livez") == []


async def test_without_a_collector_the_callers_trace_is_passed_on(tmp_path: Path) -> None:
    """Tasks and callbacks have the caller's own."""
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path), receiver, http=True) as running:
        await ran(running, "chain")
        assert {one.headers["traceparent"] for one in receiver.received} == {GIVEN}


async def test_a_collector_that_is_away_delays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are sent beside the work; those that nobody takes are lost."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with (
        asyncio.timeout(20),
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as running,
    ):
        await ran(running, "chain")
        assert all(one.headers["traceparent"].startswith(f"00-{TRACE}-") for one in receiver.received)
