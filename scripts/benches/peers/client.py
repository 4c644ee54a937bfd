"""What the clients of the peers share: their command line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence

STEPS = 5
LOOK_S = 0.1
Times = Sequence[float]


def told(chains: Sequence[Times]) -> None:
    """Print what was measured, and end with it."""
    print(json.dumps(chains), flush=True)


def arguments() -> tuple[int, float]:
    """How many chains, and the seconds between two."""
    return int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0


def submitted() -> None:
    """Every chain is with the broker."""
    print("submitted", flush=True)


def run(submit: Callable[[], None], stored: Callable[[], int], chains: Callable[[], Sequence[Times]]) -> None:
    """Submit as the command line says, wait until so many results more are `stored`, tell the times of the `chains`."""
    number, pause_s = arguments()
    wanted = stored() + number * STEPS
    for _ in range(number):
        submit()
        time.sleep(pause_s)
    submitted()
    while stored() < wanted:
        time.sleep(LOOK_S)
    told(chains())
