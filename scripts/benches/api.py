"""`scripts/bench api`: what calls cost on a store full of ended jobs, beside the empty one. PostgreSQL must run.

The jobs are written by the database itself, of ten clients, with what a job leaves behind. The p99 of the calls that do
not search must be at most twice that of an empty store, whose engine is called in turn with the other; a list with one filter has a p95 under 50 ms, a search under
500 ms. How many jobs a second are accepted is shown beside a bare aiohttp handler that does one durable insert.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from scripts.benches.results import Result, conclude
from scripts.benches.throughput import throughput
from scripts.hosted import ScriptFailed, hosted_engine

RATIO_BAR, FILTER_BAR_MS, SEARCH_BAR_MS = 2.0, 50.0, 500.0
_DATABASE = "bench_api"
_CLIENTS = 10
_WARM = 30

Call = Callable[[], Awaitable[None]]

_FILL = [  # :jobs, :clients and :began are whole numbers
    """
    INSERT INTO jobs (id, client, workflow, workflow_digest, state, created_at, updated_at, content_id, endpoints,
        priority, top_of_queue, awaited, persist, tags, started_at, completed_at, failing, failed, error, result, seq)
    SELECT n, CASE WHEN n % :clients = 0 THEN 'demo' ELSE 'client' || n % :clients END,
        CASE WHEN n % 7 = 0 THEN 'other' ELSE 'chain' END, 'd', CASE WHEN n % 50 = 0 THEN 'broken' ELSE 'completed' END,
        :began + n, :began + n + 5, 'content-' || md5(n::text), '[]', 1 + n % 10, false, '[]', n % 1000 = 0,
        CASE WHEN n % 100 = 0 THEN '["rare"]' ELSE '[]' END, :began + n + 1, :began + n + 5, n % 20 = 0, n % 20 = 0,
        CASE WHEN n % 20 = 0 THEN 'it broke' END, '{"message":"done"}', 9
    FROM generate_series(1::bigint, :jobs::bigint) AS n
    """,
    """
    INSERT INTO job_bodies (job_id, parameters, arguments, custom_data)
    SELECT n, json_build_object('content_id', 'content-' || md5(n::text), 'source_folder', 'in/' || md5((n * 7)::text),
        'rest_endpoints', json_build_array('https://example.com/callback'))::text, '{}', 'null'
    FROM generate_series(1::bigint, :jobs::bigint) AS n
    """,
    """
    INSERT INTO tasks (id, job_id, step, handler, queue, state, created_at, on_failure, priority, top_of_queue, inputs,
        timeout_s, attempt, tries, timeouts, losses, published, started_at, ended_at, progress, outputs, weight)
    SELECT n, (n + 2) / 3, 'step' || n % 3, 'debug.noop', 'work', 'completed', :began, false, 5, false, '{}', 3600, 1, 0, 0, 0,
        true, :began, :began, 1, '{}', 1
    FROM generate_series(1::bigint, 3 * :jobs::bigint) AS n
    """,
    """
    INSERT INTO logs (job_id, severity, progname, message, created_at, visible)
    SELECT (n + 3) / 4, 1, 'controller', 'job has completed successfully', :began, true
    FROM generate_series(1::bigint, 4 * :jobs::bigint) AS n
    """,
    """
    INSERT INTO counters (scope, name, value)
    SELECT 'jobs:' || client, state, count(*) FROM jobs GROUP BY client, state
    ON CONFLICT (scope, name) DO UPDATE SET value = excluded.value
    """,
    "SELECT setval('jobs_ids', :jobs::bigint + 1000), setval('tasks_ids', 3 * :jobs::bigint + 10000)",
    "ANALYZE",
]  # fmt: skip


async def api(server: str, folder: Path, *, jobs: int, calls: int) -> dict[str, Any]:
    """The p99 of each call on an empty and on a full store, and the p95 of filters and searches on the full one."""
    async with (
        _database(server, "empty") as few, _running(few, folder / "empty") as (http_empty, known_empty),
        _database(server, "full") as url, _running(url, folder / "full") as (http, known),
    ):  # fmt: skip
        begun = time.monotonic()
        known["last"] = await _fill(url, jobs)
        _note(f"{jobs} jobs written in {time.monotonic() - begun:.0f} s")
        empty, full = await _in_turns(_calls(http_empty, known_empty), _calls(http, known), calls)
        _note(f"empty: {_values(empty)}")
        _note(f"with {jobs} jobs: {_values(full)}")
        lists = await _lists(http, jobs, max(calls // 5, 20))
        rates = await throughput(http, url, calls * 2)
    ratios = {name: full[name] / empty[name] for name in empty}
    return {
        "jobs": jobs, "empty p99 ms": empty, "full p99 ms": full, "ratios": ratios, "lists p95 ms": lists,
        "accepted per second": rates,
    }  # fmt: skip


@asynccontextmanager
async def _database(server: str, kind: str) -> Any:
    connection, name = await asyncpg.connect(f"{server}/postgres"), f"{_DATABASE}_{kind}"
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        yield f"{server}/{name}"
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()


@asynccontextmanager
async def _running(url: str, folder: Path) -> Any:
    """An engine on the database that starts no job; its first job's id is known."""
    (folder / "workflows").mkdir(parents=True)
    (folder / "workflows" / "chain.yaml").write_text(
        "name: chain\nsteps: {a: {handler: debug.noop}}\n", encoding="ascii"
    )
    config = folder / "taskengine.yaml"
    config.write_text(json.dumps({
        "database_url": url, "workflows_dirs": [str(folder / "workflows")], "engine": {"max_jobs": 0},
        "bus": {"events": False}, "log": {"level": "warning", "format": "json"},
    }), encoding="utf-8")  # fmt: skip
    async with hosted_engine(folder / "data", "--config", str(config)) as engine:
        headers = {"client": "demo", "api-key": (folder / "data" / "api-key").read_text(encoding="ascii").strip()}
        async with aiohttp.ClientSession(engine.url, headers=headers) as http:
            yield http, {"last": await _submit(http)}


async def _submit(http: aiohttp.ClientSession) -> int:
    body = {"job": {"workflow": "chain", "run_at": "2040-01-01"}, "parameters": {"content_id": "bench"}}
    async with http.post("/job", json=body) as response:
        answer = await response.json()
        if response.status != 200:
            raise ScriptFailed(f"POST /job: {answer}")
        return int(answer["id"])


async def _fill(url: str, jobs: int) -> int:
    """Write them, behind the ids that there are; the last one's."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("TRUNCATE jobs, job_texts, job_bodies, tasks, logs, counters, queued_blocks")
        values = {"jobs": jobs, "clients": _CLIENTS, "began": round(time.time() * 1000) - 2 * jobs}
        for statement in _FILL:
            filled = re.sub(r"(?<!:):(jobs|clients|began)\b", lambda name: f"{values[name[1]]}::bigint", statement)
            await connection.execute(filled.replace("::bigint::bigint", "::bigint"), timeout=3600)
        await connection.execute("VACUUM", timeout=3600)
    finally:
        await connection.close()
    return jobs


def _calls(http: aiohttp.ClientSession, known: Mapping[str, int]) -> dict[str, Call]:
    """What is measured on both stores."""
    chance = random.Random(1)  # noqa: S311 - which jobs are looked at

    def get(path: Callable[[], str]) -> Call:
        return lambda: _get(http, path())

    async def submit() -> None:
        await _submit(http)

    return {
        "POST /job": submit,
        "GET /dashboard": get(lambda: "/dashboard"),
        "GET /health": get(lambda: "/health"),
        "GET /jobs": get(lambda: "/jobs"),
        "GET /jobs/{id}": get(lambda: f"/jobs/{chance.randint(max(1, known['last'] - 10_000), known['last'])}"),
    }


async def _in_turns(
    few: Mapping[str, Call], many: Mapping[str, Call], amount: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The p99 of each call of both: one here, one there, since the machine is not equally fast for long."""
    found: tuple[dict[str, float], dict[str, float]] = {}, {}
    for name in few:
        pair = (few[name], many[name])
        for call in (*pair,) * min(_WARM, amount):
            await call()
        times: tuple[list[float], list[float]] = [], []
        for _ in range(amount):
            for call, taken in zip(pair, times, strict=True):
                taken.append(await _timed(call))
        for values, taken in zip(found, times, strict=True):
            values[name] = _share(taken, 0.99)
    return found


async def _lists(http: aiohttp.ClientSession, jobs: int, calls: int) -> dict[str, float]:
    """The p95 of lists with one filter, and of searches."""
    chance = random.Random(2)  # noqa: S311 - as above
    ago = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - jobs / 1000))
    filters = [
        "state=2", "state=7", "state=4", "state=0", "failed=1", "client=client3", "workflow=other", "priority=7",
        "persist=1", "tag=rare", "workflow=nothing", "tag=nothing", "client=nobody", "job_ids=1,2,3", f"from={ago}", f"to={ago}", "order_by=priority&asc=1", "order_by=updated_at",
        "order_by=run_at", f"after_id={jobs // 2}", "limit=100",
    ]  # fmt: skip
    found = {}
    for query in filters:
        found[f"GET /jobs?{query}"] = await _percentile(lambda query=query: _get(http, f"/jobs?{query}"), calls, 0.95)  # type: ignore[misc]
    for name, word in (("a content id", "content-"), ("one job", None), ("nothing", "no such thing")):

        def search(word: str | None = word) -> Awaitable[None]:
            return _get(http, f"/jobs?search={word or _hash(chance.randint(1, jobs))}")

        found[f"search: {name}"] = await _percentile(search, max(calls // 5, 5), 0.95)
    return found


def _hash(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()[:16]


async def _get(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as response:
        text = await response.text()
        if response.status != 200:
            raise ScriptFailed(f"GET {path}: {response.status} {text[:500]}")


async def _percentile(call: Call, calls: int, share: float) -> float:
    for _ in range(min(_WARM, calls)):
        await call()
    return _share([await _timed(call) for _ in range(calls)], share)


async def _timed(call: Call) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    await call()
    return (time.perf_counter() - begun) * 1000


def _share(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(int(len(times) * share), len(times) - 1)]


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def faults(result: Mapping[str, Any]) -> list[str]:
    """The bars that were missed."""
    missed = [f"{name}: {ratio:.2f} times" for name, ratio in result["ratios"].items() if ratio > RATIO_BAR]
    for name, value in result["lists p95 ms"].items():
        bar = SEARCH_BAR_MS if name.startswith("search") else FILTER_BAR_MS
        missed += [f"{name}: {value:.0f} ms (bar {bar:.0f})"] if value > bar else []
    return missed


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench api", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, metavar="N", help="in the store")
    parser.add_argument("--calls", type=int, default=500, metavar="N", help="of each kind")
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1:5432", metavar="URL", help="a server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measurement = api(given.database, Path(folder), jobs=given.jobs, calls=given.calls)
        return conclude(measurement, as_json=given.json, report=report, faults=faults)


def report(result: Result) -> None:
    """What calls took on the empty store and on the full one, and how fast jobs are accepted."""
    for name, ratio in result["ratios"].items():
        before, after = result["empty p99 ms"][name], result["full p99 ms"][name]
        print(f"{name:<32} p99 {before:8.2f} {after:8.2f} ms  {ratio:.2f} times")
    for name, value in result["lists p95 ms"].items():
        print(f"{name:<32} p95 {value:8.2f} ms")
    rates = result["accepted per second"]
    print(f"POST /job: {rates['engine']:.0f}/s, a bare insert {rates['bare']:.0f}/s: {rates['share']:.2f} of it")
