"""Measurements of the engine on this machine: `scripts/bench NAME [options]`. What the bars are is said beside what was
measured."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

NAMES = ("api", "backlog", "callbacks", "encode", "idle", "orchestration", "overhead", "vod")  # modules of `benches`


def run(arguments: Sequence[str]) -> int:
    """The exit status: that of the measurement, 1 where a bar was missed, 2 where there is none of that name."""
    if arguments and arguments[0] in NAMES:
        return int(importlib.import_module(f"scripts.benches.{arguments[0]}").main(arguments[1:]))
    shown = [(name, importlib.import_module(f"scripts.benches.{name}").__doc__ or "") for name in NAMES]
    asked = bool(arguments) and arguments[0] in {"-h", "--help", "--list"}
    print(
        "\n".join(f"{name}: {text.splitlines()[0]}" for name, text in shown), file=sys.stdout if asked else sys.stderr
    )
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
