"""`scripts/bench overhead`: a job's wall time less that of its subprocesses, and against its bare commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts.benches.jobs import FOLDER, bare, commands, encode
from scripts.benches.results import Result, above_bars, add_place, conclude, made, medians, note, report_medians, values
from scripts.hosted import fresh_data_dir, hosted_engine, make_source

SOURCE_S = 60
OVERHEAD_BAR_S = 1.5


async def overhead(place: Path, rounds: int) -> Result:
    """Medians and values of interleaved rounds; seconds."""
    source = place / "source-1080p.mp4"
    await make_source(source, size="1920x1080", seconds=SOURCE_S)
    fresh_data_dir(place / "data", source, FOLDER)
    found: list[dict[str, float]] = []
    async with hosted_engine(place / "data") as engine:
        for number in range(rounds):
            job = await encode(engine)
            bare_s, _ = await bare(place / "bare", source, await commands(engine, job))
            found.append({
                "wall_s": job.wall_s, "process_s": job.process_s, "overhead_s": job.wall_s - job.process_s,
                "bare_s": bare_s, "ratio": job.wall_s / bare_s,
            })  # fmt: skip
            note(f"round {number + 1} of {rounds}: {values(found[-1])}")
    return {"medians": medians(found), "rounds": found, "bars": {"overhead_s": OVERHEAD_BAR_S}}


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    measurement = overhead(made(given.place), max(1, given.rounds))
    return conclude(measurement, as_json=given.json, report=report_medians, faults=above_bars)
