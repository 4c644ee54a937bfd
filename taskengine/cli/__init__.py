"""The command line: parse and call; nothing else.

Heavy imports are made inside the commands, so that `--help` answers at once: see
docs/decisions/0005-the-command-line-on-click.md.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command that `sys.argv` names, and exit."""
    from taskengine.cli.commands import PROGRAM, taskengine
    from taskengine.cli.outcome import run

    sys.exit(run(lambda: taskengine.main(prog_name=PROGRAM, standalone_mode=False)))
