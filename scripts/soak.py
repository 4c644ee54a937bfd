"""Runs one of the soaks, on a private PostgreSQL and RabbitMQ where it needs them; exits with 1 where a promise was broken.

Every soak is one line in `SOAKS`: a function that is given the servers, the options and the seed, ends with the oracle
(AssertionError) and answers with numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from scripts.soaks.api import soak_api
from scripts.soaks.callbacks import soak_callbacks
from scripts.soaks.crash_points import soak_crash_points
from scripts.soaks.faults import soak_network, soak_postgres, soak_rabbitmq
from scripts.soaks.kills import soak_kills
from scripts.soaks.models import soak_admission, soak_races
from scripts.soaks.recovery import soak_recovery
from scripts.soaks.servers import Options, Servers, servers

SOAKS: Mapping[str, Callable[[Servers, Options], Coroutine[Any, Any, Mapping[str, Any]]]] = {
    "admission": soak_admission,
    "api": soak_api,
    "callbacks": soak_callbacks,
    "crash-points": soak_crash_points,
    "kills": soak_kills,
    "network": soak_network,
    "postgres": soak_postgres,
    "races": soak_races,
    "rabbitmq": soak_rabbitmq,
    "recovery": soak_recovery,
}


def main() -> int:
    """Run what was named."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Long runs with faults, judged by the oracle.")
    parser.add_argument("soak", nargs="?", choices=sorted(SOAKS))
    parser.add_argument("--list", action="store_true", help="the soaks")
    parser.add_argument("--seed", type=int, help="of everything that is left to chance; drawn and printed unless given")
    parser.add_argument("--jobs", type=int, default=500, help="how many jobs (default 500)")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two faults (default 2)")
    parser.add_argument("--rounds", type=int, default=20, help="how often, where a soak counts rounds (default 20)")
    given = parser.parse_args()
    if given.list or given.soak is None:
        print("\n".join(f"{name}: {(run.__doc__ or '').splitlines()[0]}" for name, run in sorted(SOAKS.items())))
        return 0
    seed = random.randrange(2**32) if given.seed is None else given.seed
    print(f"soak {given.soak}, seed {seed}", flush=True)
    root = Path(tempfile.mkdtemp(prefix="te-soak-"))
    try:
        with servers(root) as ready:
            options = Options(seed, jobs=given.jobs, every_s=given.every, rounds=given.rounds)
            numbers = asyncio.run(SOAKS[given.soak](ready, options))
    except AssertionError as error:
        print(f"FAILED (seed {seed}; logs in {root}):\n{error}", file=sys.stderr)
        return 1
    shutil.rmtree(root)
    print(json.dumps({"soak": given.soak, "seed": seed, **numbers}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
