"""The workflow catalog, and files of definitions, as commands use them: without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskengine.cli.local import read_settings
from taskengine.cli.outcome import ExitCode
from taskengine.cli.output import Output, printable
from taskengine.domain.errors import Fault, NotFound
from taskengine.domain.words import nearest

if TYPE_CHECKING:
    from taskengine.ports import LoadedWorkflow
    from taskengine.settings import Settings
    from taskengine.workflows.catalog import Catalog

SUFFIXES = frozenset({".yaml", ".yml"})


def open_catalog(config: Path | None) -> Catalog:
    """The workflows that an engine with this configuration would have; faulty files are told on stderr."""
    catalog = catalog_of(read_settings({}, config))
    for fault in catalog.faults:
        click.echo(printable(f"Warning: {fault.path}: {fault.message}"), err=True)
    return catalog


def catalog_of(settings: Settings) -> Catalog:
    """The workflows of a configuration."""
    from taskengine.handlers import load_handlers
    from taskengine.workflows.catalog import Catalog
    from taskengine.workflows.expressions import CelEvaluator

    return Catalog(
        CelEvaluator(),
        load_handlers(shell=settings.debug_shell),
        settings.workflows_dirs,
        external_queues=settings.external_queues,
    )


def find_workflow(catalog: Catalog, workflow: str, client: str) -> LoadedWorkflow:
    """The workflow with this name, as `client` sees it, or that of the file with this path."""
    if Path(workflow).suffix in SUFFIXES:
        return catalog.judge(Path(workflow))
    loaded = catalog.get(workflow, client)
    if loaded is None:
        raise NotFound(f"there is no workflow {workflow!r}{nearest(workflow, catalog.names(client))}")
    return loaded


def yaml_files(paths: Sequence[Path]) -> Sequence[Path]:
    """These files, and those below these folders."""
    files: list[Path] = []
    for path in paths:
        found = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise click.BadParameter(f"there is no .yaml file in {path}", param_hint="FILE")
        files += found
    return files


def print_verdicts(verdicts: Mapping[str, Sequence[Fault]], *, as_json: bool) -> ExitCode:
    """File → what is wrong with it; FAILED where there is anything."""
    output = Output(json=as_json)
    if as_json:
        told = {
            file: [{"at": fault.path, "message": fault.message} for fault in each] for file, each in verdicts.items()
        }
        output.value([{"file": file, "valid": not faults, "faults": faults} for file, faults in told.items()])
    else:
        for file, faults in verdicts.items():
            output.line("\n".join(f"{fault.path}: {fault.message}" for fault in faults) or f"{file}: valid")
    return ExitCode.FAILED if any(verdicts.values()) else ExitCode.OK


def queues_of(catalog: Catalog) -> list[str]:
    """Every queue that a workflow names."""
    found = [loaded.workflow for name in catalog.names("") if (loaded := catalog.get(name, ""))]
    return sorted({step.queue for w in found for step in [*w.steps.values(), *w.on_failure.values()]})
