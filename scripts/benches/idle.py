"""`scripts/bench idle`: how soon an engine is ready, and what it takes while nothing happens."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.benches.results import Result, above_bars, add_place, conclude, made, medians, note, report_medians, values
from scripts.benches.usage import cpu_s, only_child, resident_mb
from scripts.hosted import hosted_engine

READY_BAR_S, MEMORY_BAR_MB, CPU_BAR_PERCENT = 1.5, 130, 1.0
SETTLE_S, IDLE_S = 3.0, 10.0


async def idle(place: Path, rounds: int) -> Result:
    """Medians and values of the rounds, each with a new engine."""
    found: list[dict[str, float]] = []
    for number in range(rounds):
        shutil.rmtree(place / "data", ignore_errors=True)
        async with hosted_engine(place / "data") as engine:
            pid = only_child()
            await asyncio.sleep(SETTLE_S)
            before, begun = cpu_s(pid), time.monotonic()
            await asyncio.sleep(IDLE_S)
            cpu = (cpu_s(pid) - before) / (time.monotonic() - begun) * 100
            found.append({"ready_s": engine.ready_s, "rss_mb": resident_mb(pid), "cpu_percent": cpu})
        note(f"round {number + 1} of {rounds}: {values(found[-1])}")
    bars = {"ready_s": READY_BAR_S, "rss_mb": MEMORY_BAR_MB, "cpu_percent": CPU_BAR_PERCENT}
    return {"medians": medians(found), "rounds": found, "bars": bars}


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench idle", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    measurement = idle(made(given.place), max(1, given.rounds))
    return conclude(measurement, as_json=given.json, report=report_medians, faults=above_bars)
