"""The command line: parse and call; nothing else.

Heavy imports are made inside the commands, so that `--help` answers at once: docs/decisions/0005-the-command-line-on-click.md.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from taskengine import __version__
from taskengine.cli.clients import clients
from taskengine.cli.doctor import doctor
from taskengine.cli.engine import callbacks, queues, workers
from taskengine.cli.installation import configuration, migrate, version
from taskengine.cli.jobs import jobs
from taskengine.cli.outcome import run as run_command
from taskengine.cli.run import run
from taskengine.cli.serve import serve, worker
from taskengine.cli.submit import submit
from taskengine.cli.workflows import workflows

PROGRAM = "taskengine"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name=PROGRAM)
def taskengine() -> None:
    """Makes video on demand: encodes, packages, protects and publishes HLS and DASH.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot reach, 4 not found, 130 and 143 ended by a signal.
    """


COMMANDS = (
    serve, worker, run, submit, jobs, queues, workers, callbacks, workflows, clients, migrate, configuration, doctor,
    version,
)  # fmt: skip
for _command in COMMANDS:
    taskengine.add_command(_command)


def main() -> NoReturn:
    """Run the command that `sys.argv` names, and exit."""
    sys.exit(run_command(lambda: taskengine.main(prog_name=PROGRAM, standalone_mode=False)))
