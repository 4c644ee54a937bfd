"""Measurements of the engine on this machine. What the bars are is said beside what was measured."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import re
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from scripts.hosted import ROOT, Hosted, ScriptFailed, fresh_data_dir, hosted_engine, make_source
from taskengine.cli.progress import JobLine, TaskLine, follow
from taskengine.cli.watching import JobWatcher, conclusion
from taskengine.domain.errors import TaskEngineError
from taskengine.process import SubprocessRunner

OTHERS: Mapping[str, str] = {  # measurements with options of their own, by the module whose `main` they are
    "orchestration": "scripts.orchestration.measure",
    "backlog": "scripts.orchestration.backlog",
    "api": "scripts.orchestration.api",
    "callbacks": "scripts.callbacks_bench",
    "encode": "scripts.encoding.encode",
    "vod": "scripts.encoding.vod",
}
SOURCE_S = 60
OVERHEAD_BAR_S = 1.5
READY_BAR_S = 1.5
MEMORY_BAR_MB = 130
CPU_BAR_PERCENT = 1.0
SETTLE_S = 3.0
IDLE_S = 10.0
_RAN = re.compile(r"\A(?P<line>[^\n]+)\nexit 0 after [0-9.]+ s")


class Silent:
    """A display that shows nothing."""

    def show(self, job: JobLine, tasks: Sequence[TaskLine]) -> None:
        """Nothing."""


async def overhead(place: Path, rounds: int) -> dict[str, Any]:
    """A job's wall time less that of its subprocesses, and against its bare commands, in interleaved rounds."""
    source = place / "source-1080p.mp4"
    await make_source(source, size="1920x1080", seconds=SOURCE_S)
    fresh_data_dir(place / "data", source, "bench")
    found: list[dict[str, float]] = []
    async with hosted_engine(place / "data") as engine:
        for number in range(rounds):
            job, tasks = await _job(engine)
            argvs = _commands(await engine.client.logs(int(job["id"])))
            wall_s = _seconds(job["started_at"], job["completed_at"])
            process_s = sum(attempt.get("process_s") or 0.0 for task in tasks for attempt in task["attempts"])
            bare_s = await _bare(place / "bare", source, argvs)
            found.append({
                "wall_s": wall_s, "process_s": process_s, "overhead_s": wall_s - process_s, "bare_s": bare_s,
                "ratio": wall_s / bare_s,
            })  # fmt: skip
            _note(f"round {number + 1} of {rounds}: {_values(found[-1])}")
    return {"medians": _medians(found), "rounds": found, "bars": {"overhead_s": OVERHEAD_BAR_S}}


async def _job(engine: Hosted) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
    parameters = {"content_id": "bench", "source_folder": "bench", "encode_source": True}
    answer = await engine.client.submit({"job": {"workflow": "vodstream"}, "parameters": parameters})
    watcher = JobWatcher(engine.client, int(answer["id"]))
    job = await follow(
        watcher.look, Silent(), pause=partial(asyncio.sleep, 1.0)
    )  # seldom: who asks takes time from what is measured
    if not job.succeeded:
        raise ScriptFailed(conclusion(job))
    return watcher.job, watcher.tasks


def _commands(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What the job ran, as its log has it, but for the questions about versions."""
    lines = [match["line"] for entry in entries if (match := _RAN.match(str(entry["message"])))]
    commands = [shlex.split(line) for line in lines]
    commands = [argv for argv in commands if argv[-1] not in {"-version", "--version"}]
    if not commands:
        raise ScriptFailed("the job's log has no command lines")
    return commands


async def _bare(folder: Path, source: Path, argvs: Sequence[Sequence[str]]) -> float:
    """The same commands, one after the other, and nothing else."""
    _empty_but_for(folder, source)
    begun = time.monotonic()
    for argv in argvs:
        result = await SubprocessRunner().run(argv, cwd=folder, on_line=_ignore)
        if result.exit_code != 0:
            raise ScriptFailed(f"{shlex.join(argv)}: exit {result.exit_code}: {result.stderr_tail}")
    return time.monotonic() - begun


def _empty_but_for(folder: Path, source: Path) -> None:
    """A folder with the source under the name that the job gave it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "source_1.mp4").hardlink_to(source)


def _ignore(_line: str) -> None:
    """A line of output that nobody reads."""


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


async def idle(place: Path, rounds: int) -> dict[str, Any]:
    """How soon an engine is ready, and what it takes while nothing happens."""
    found: list[dict[str, float]] = []
    for number in range(rounds):
        shutil.rmtree(place / "data", ignore_errors=True)
        async with hosted_engine(place / "data") as engine:
            pid = _child()
            await asyncio.sleep(SETTLE_S)
            before, begun = _cpu_s(pid), time.monotonic()
            await asyncio.sleep(IDLE_S)
            cpu = (_cpu_s(pid) - before) / (time.monotonic() - begun) * 100
            found.append({"ready_s": engine.ready_s, "rss_mb": _rss_mb(pid), "cpu_percent": cpu})
        _note(f"round {number + 1} of {rounds}: {_values(found[-1])}")
    bars = {"ready_s": READY_BAR_S, "rss_mb": MEMORY_BAR_MB, "cpu_percent": CPU_BAR_PERCENT}
    return {"medians": _medians(found), "rounds": found, "bars": bars}


def _child() -> int:
    """The engine: the one child of this process."""
    pid = os.getpid()
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(child)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) / 1024


def _medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def _values(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _report(result: Mapping[str, Any]) -> None:
    for name, value in result["medians"].items():
        bar = result["bars"].get(name)
        verdict = "" if bar is None else f"   (bar {bar:g}: {'kept' if value <= bar else 'MISSED'})"
        print(f"{name:<12} {value:8.2f}{verdict}")


def run(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    if arguments and arguments[0] in OTHERS:
        return int(importlib.import_module(OTHERS[arguments[0]]).main(arguments[1:]))
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "what",
        choices=["overhead", "idle"],
        help=f"or {', '.join(OTHERS)}: with options of their own",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--place", type=Path, default=ROOT / "demo" / "bench", metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    place = given.place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    (place / ".gitignore").write_text("*\n", encoding="ascii")
    measure = overhead if given.what == "overhead" else idle
    try:
        result = asyncio.run(measure(place, max(1, given.rounds)))
    except (ScriptFailed, TaskEngineError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if given.json:
        print(json.dumps(result, indent=2))
    else:
        _report(result)
    return 1 if any(result["medians"][name] > bar for name, bar in result["bars"].items()) else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
