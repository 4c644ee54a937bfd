"""`profiles …`: the encoding profiles, without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from taskengine.cli.connection import json_option
from taskengine.cli.definitions import print_verdicts, yaml_files
from taskengine.cli.local import local_options, read_settings
from taskengine.cli.output import Output, printable


@click.group()
def profiles() -> None:
    """Look at and check encoding profiles."""


@profiles.command("list")
@click.option("--client", default="", metavar="CLIENT", help="As this client sees them, with its own.")
@local_options("config")
@json_option
def list_profiles(*, client: str, config: Path | None, as_json: bool) -> None:
    """List the profiles that `encoding_profile` may name."""
    from taskengine.media.profile_book import Profiles

    book = Profiles(read_settings({}, config).profiles_dirs)
    for fault in book.faults:
        click.echo(printable(f"Warning: {fault.path}: {fault.message}"), err=True)
    found = [book.get(name, client) for name in book.names(client)]
    output = Output(json=as_json)
    if as_json:
        output.value([profile.model_dump(mode="json") for profile in found])
        return
    rows = [
        [each.name, ", ".join(f"{video.encoder}: {len(video.rungs)}" for video in each.video), each.description]
        for each in found
    ]
    output.table(["name", "rungs", "description"], rows, empty="no profiles")


@profiles.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@json_option
def validate(files: Sequence[Path], *, as_json: bool) -> int:
    """Check profile files (or all of a directory): every fault, with file and line. Exits 1 where there is one."""
    from taskengine.media.profile_book import judge

    return print_verdicts({str(path): judge(path) for path in yaml_files(files)}, as_json=as_json)
