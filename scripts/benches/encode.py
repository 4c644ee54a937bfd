"""`scripts/bench encode`: a long source in chunks, by two workers pinned to a core each beside one of them alone.

The engine has no workers of its own; a third one, for everything but encoding, is the same in both. Rounds alternate.
RabbitMQ is a private one unless `--broker` names another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from scripts.benches.jobs import FOLDER, encode
from scripts.benches.results import Result, add_place, conclude, made, medians, note, report_medians, values
from scripts.hosted import ROOT, STOP_S, ScriptFailed, fresh_data_dir, hosted_engine, make_source
from taskengine.process import SubprocessRunner
from tests.support.rabbitmq import running_rabbitmq, unique_prefix

BAR = 1.7
_PROFILE = """\
name: CHUNKED
chunks: {{above: 0, duration: {chunk_s}}}
copy_fitting: false
video:
  - encoder: libx264
    preset: {preset}
    rungs:
      - {{width: 1280, height: 720, crf: 21, max_bitrate: 3000000}}
      - {{width: 640, height: 360, crf: 23, max_bitrate: 800000}}
"""


async def measure(place: Path, broker: str, given: argparse.Namespace) -> dict[str, Any]:
    """The wall time of one job with one worker and with two, and the ratio, by rounds."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise ScriptFailed("two cores are needed")
    source = place / f"source-720p-{given.seconds}.mp4"
    await make_source(source, size="1280x720", seconds=given.seconds)
    data_dir = place / "encode"
    fresh_data_dir(data_dir, source, FOLDER)
    options = ["--config", str(_configure(place, given)), "--broker", broker]
    found: list[dict[str, float]] = []
    async with hosted_engine(data_dir, "--no-workers", *options) as engine, AsyncExitStack() as stack:
        options += ["--data-dir", str(data_dir)]
        await stack.enter_async_context(_worker([], "--queue", "work", "--queue", "package", *options))
        for number in range(given.rounds):
            one = ["--queue", "transcode", "--concurrency", "1", *options]
            async with _worker(["taskset", "-c", str(cores[0])], *one):
                alone_s = (await encode(engine, "CHUNKED")).wall_s
                async with _worker(["taskset", "-c", str(cores[1])], *one):
                    both_s = (await encode(engine, "CHUNKED")).wall_s
            found.append({"one_worker_s": alone_s, "two_workers_s": both_s, "ratio": alone_s / both_s})
            note(f"round {number + 1} of {given.rounds}: {values(found[-1])}")
    return {"medians": medians(found), "rounds": found, "bars": {"ratio": BAR}}


def _configure(place: Path, given: argparse.Namespace) -> Path:
    profiles = place / "profiles"
    profiles.mkdir(exist_ok=True)
    text = _PROFILE.format(chunk_s=given.chunk_seconds, preset=given.preset)
    (profiles / "CHUNKED.yaml").write_text(text, encoding="utf-8")
    settings = place / "encode.yaml"
    settings.write_text(json.dumps({"profiles_dirs": [str(profiles)]}), encoding="utf-8")
    return settings


@asynccontextmanager
async def _worker(before: Sequence[str], *arguments: str) -> AsyncIterator[None]:
    """A worker process, until the block ends."""
    argv = [*before, sys.executable, "-m", "taskengine", "worker", *arguments]
    running = asyncio.create_task(SubprocessRunner(wait_s=STOP_S).run(argv, cwd=ROOT, on_line=lambda _: None))
    try:
        yield
    finally:
        if running.done():
            note(f"a worker ended: {running.result().stderr_tail}")
        running.cancel()
        await asyncio.wait([running])


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where the bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench encode", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=int, default=120, help="of the source")
    parser.add_argument("--chunk-seconds", type=int, default=12, help="of a chunk; a multiple of 4")
    parser.add_argument("--preset", default="veryfast")
    add_place(parser)
    parser.add_argument("--broker", help="URL of a RabbitMQ")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    return conclude(_with_broker(given), as_json=given.json, report=report_medians, faults=_faults)


def _faults(result: Result) -> list[str]:
    ratio = result["medians"]["ratio"]
    return [f"ratio: {ratio:.2f} (bar {BAR:g})"] if ratio < BAR else []


async def _with_broker(given: argparse.Namespace) -> Result:
    place = made(given.place)
    if given.broker:
        return await measure(place, given.broker, given)
    with tempfile.TemporaryDirectory(prefix="bench-rabbitmq-") as folder, running_rabbitmq(Path(folder)) as server:
        return await measure(place, server.url(unique_prefix()), given)
