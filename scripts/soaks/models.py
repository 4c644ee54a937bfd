"""`soak admission` and `soak races`: what the suite does with few jobs, with many."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from scripts.soaks.servers import Options, Servers
from tests.support.admission import beside_the_model, many

_ROOT = Path(__file__).parents[2]


async def soak_admission(servers: Servers, options: Options) -> Mapping[str, object]:
    """`--jobs` jobs of ten clients with random priorities start in the order of a model of the rules, in both databases."""
    case, seconds = many(options.jobs, options.seed), {}
    for name in ("sqlite", "postgresql"):
        database = await servers.postgres.new_database(await servers.postgres.migrated()) if name != "sqlite" else None
        begun = time.monotonic()
        await beside_the_model(case, database)
        seconds[name] = round(time.monotonic() - begun, 1)
    return {"jobs": options.jobs, "seconds": seconds}


async def soak_races(servers: Servers, options: Options) -> Mapping[str, object]:
    """`--jobs` races of pause, resume, break, delete, rerun and a job's own end: one winner each."""
    del servers  # it runs on SQLite
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-x", "--timeout", "0", "tests/acceptance/test_races.py",
        cwd=_ROOT, env={**os.environ, "TEST_RACES": str(options.jobs), "TEST_RACES_SEED": str(options.seed)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    printed = (await process.communicate())[0].decode()
    assert process.returncode == 0, printed[-6000:]
    return {"races": options.jobs, "seconds": round(time.monotonic() - begun, 1)}
