"""`GET /metrics`: what Prometheus and its kin read. Names and units are those that Prometheus recommends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from taskengine.api.answers import ALWAYS
from taskengine.domain.status import JobState

_PREFIX = "taskengine"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ATTEMPT_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600)
_DELIVERY_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3600, 6 * 3600, 72 * 3600)
Gauges = Sequence[tuple[tuple[str, ...], float]]  # labels' values → the gauge's


class Metrics:
    """What this process counts itself; conforms to `ports.Meter`. What all engines share is asked of the store."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Histogram(
            f"{_PREFIX}_http_request_duration_seconds", "Calls of this engine's API.", ("method", "route", "status"),
            buckets=_REQUEST_S, registry=self._registry,
        )  # fmt: skip
        attempts = Histogram(
            f"{_PREFIX}_attempt_duration_seconds", "Attempts whose end this engine took, by handler and outcome.",
            ("handler", "outcome"), buckets=_ATTEMPT_S, registry=self._registry,
        )  # fmt: skip
        self._attempts = cache(attempts.labels)  # the library looks for a child longer than it takes to count
        self._deliveries = Counter(
            f"{_PREFIX}_callback_tries", "Tries at callbacks by this engine, by what came of them.", ("state",),
            registry=self._registry,
        )  # fmt: skip
        self._latency = Histogram(
            f"{_PREFIX}_callback_delivery_seconds", "From an event to the delivery of its callback.",
            buckets=_DELIVERY_S, registry=self._registry,
        )  # fmt: skip

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """An answered call."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)

    def attempt(self, handler: str, outcome: str, seconds: float) -> None:
        """An attempt that ended."""
        self._attempts(handler, outcome).observe(seconds)

    def delivery(self, state: str, seconds: float) -> None:
        """A try at a callback; `seconds` since its event."""
        self._deliveries.labels(state).inc()
        if state == "delivered":
            self._latency.observe(seconds)

    def answer(self, shared: Sequence[Metric]) -> web.Response:
        """The text, with what was asked of the store."""
        snapshot = CollectorRegistry()
        snapshot.register(_Ready(shared))
        text = generate_latest(self._registry) + generate_latest(snapshot)
        response = web.Response(body=text, headers=ALWAYS)
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response


class _Ready(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Those."""
        return self._metrics


def engine_metrics(version: str, up: Gauges) -> Iterator[Metric]:
    """What is true of this engine now."""
    yield _gauges("build_info", "The engine's version.", ("version",), [((version,), 1)])
    yield _gauges("component_up", "Whether a component answers.", ("kind", "name"), up)


def shared_metrics(
    *, jobs: Mapping[str, int], tasks: Mapping[str, int], queues: Mapping[str, Mapping[str, int]],
    callbacks: tuple[int, float | None],
) -> Iterator[Metric]:  # fmt: skip
    """What is true of the installation, whichever engine is asked. `callbacks`: undelivered, and the age of the oldest."""
    states = [((state.value,), jobs.get(state.value, 0)) for state in JobState]
    yield _gauges("jobs", "Jobs that are kept, by state.", ("state",), states)
    yield _gauges("jobs_failed", "Jobs that are kept and ended failed.", (), [((), jobs.get("failed", 0))])
    for name, text in (("processed", "Tasks that ended."), ("failed", "Tasks that failed for good.")):
        yield CounterMetricFamily(f"{_PREFIX}_tasks_{name}", text, value=tasks.get(name, 0))
    for name, text in (
        ("workers", "Workers that serve a queue."), ("working", "Tasks of a queue that run."),
        ("pending", "Tasks of a queue that wait."),
    ):  # fmt: skip
        yield _gauges(f"queue_{name}", text, ("queue",), [((queue,), counts[name]) for queue, counts in queues.items()])
    pending, oldest_s = callbacks
    yield _gauges("callbacks_pending", "Callbacks that are not delivered yet.", (), [((), pending)])
    yield _gauges("callbacks_oldest_seconds", "The age of the oldest of them.", (), [((), oldest_s or 0.0)])


def _gauges(name: str, text: str, labels: Sequence[str], values: Gauges) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family
