"""What every measurement does with its result: medians over rounds, what it prints, its exit status."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from scripts.hosted import ROOT, ScriptFailed
from taskengine.domain.errors import TaskEngineError

Result = Mapping[str, Any]


def conclude(
    measurement: Coroutine[Any, Any, Result],
    *,
    as_json: bool,
    report: Callable[[Result], None],
    faults: Callable[[Result], Sequence[str]],
) -> int:
    """Run a measurement and print what it found. The exit status: 1 where a bar was missed or a part failed, 130 where
    somebody interrupted it."""
    try:
        result = asyncio.run(measurement)
    except (ScriptFailed, TaskEngineError, OSError, asyncpg.PostgresError, aiohttp.ClientError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    missed = faults(result)
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        report(result)
        for fault in missed:
            print(f"MISSED: {fault}")
    return 1 if missed else 0


def report_medians(result: Result) -> None:
    """A line for each of `medians`, with its bar where `bars` has one."""
    for name, value in result["medians"].items():
        bar = result["bars"].get(name)
        print(f"{name:<18} {value:10.2f}" + ("" if bar is None else f"   (bar {bar:g})"))


def above_bars(result: Result) -> list[str]:
    """The medians that are more than their bar."""
    medians = result["medians"]
    return [f"{name}: {medians[name]:.2f} (bar {bar:g})" for name, bar in result["bars"].items() if medians[name] > bar]


def add_place(parser: argparse.ArgumentParser) -> None:
    """`--place`: where sources, data and outputs are put."""
    parser.add_argument("--place", type=_place, default=ROOT / "demo" / "bench", metavar="DIR")


def _place(given: str) -> Path:
    return Path(given).absolute()


def made(place: Path) -> Path:
    """The folder, which git does not see."""
    place.mkdir(parents=True, exist_ok=True)
    (place / ".gitignore").write_text("*\n", encoding="ascii")
    return place


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each value over the rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def note(text: str) -> None:
    """What goes on, for who waits."""
    print(text, file=sys.stderr, flush=True)


def values(found: Mapping[str, float]) -> str:
    """A line of them."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items())
