"""All commands under one root."""

from __future__ import annotations

import click

from taskengine import __version__
from taskengine.cli.clients import clients
from taskengine.cli.contract import conformance, contract
from taskengine.cli.doctor import doctor
from taskengine.cli.engine import callbacks, queues, workers
from taskengine.cli.installation import configuration, migrate, version
from taskengine.cli.jobs import jobs
from taskengine.cli.profiles import profiles
from taskengine.cli.run import run
from taskengine.cli.serve import serve, worker
from taskengine.cli.submit import submit
from taskengine.cli.workflows import workflows

PROGRAM = "taskengine"
COMMANDS = (
    serve, worker, run, submit, jobs, queues, workers, callbacks, workflows, profiles, clients, migrate, configuration,
    doctor, contract, conformance, version,
)  # fmt: skip


class Ordered(click.Group):
    """Its commands in the order in which they were given: what is used most comes first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        del ctx
        return list(self.commands)


@click.group(
    cls=Ordered,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands={str(command.name): command for command in COMMANDS},
)
@click.version_option(__version__, prog_name=PROGRAM)
def taskengine() -> None:
    """Makes video on demand: encodes, packages, protects and publishes HLS and DASH.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 cannot reach, 4 not found, 130 and 143 ended by a signal.
    """
