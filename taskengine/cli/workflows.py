"""`workflows …`: the definitions, without an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskengine.cli.connection import json_option
from taskengine.cli.definitions import find_workflow, open_catalog, print_verdicts, yaml_files
from taskengine.cli.local import local_options
from taskengine.cli.output import Output
from taskengine.cli.parameters import parameter_options, read_parameters
from taskengine.cli.progress import task_name
from taskengine.domain.errors import InvalidRequest, WorkflowError

if TYPE_CHECKING:
    from taskengine.domain.errors import Fault
    from taskengine.domain.workflow import Workflow
    from taskengine.workflows.catalog import Catalog

_client_option = click.option("--client", default="", metavar="CLIENT", help="As this client sees them, with its own.")


@click.group()
def workflows() -> None:
    """Look at, check and try workflow definitions."""


@workflows.command("list")
@_client_option
@local_options("config")
@json_option
def list_workflows(*, client: str, config: Path | None, as_json: bool) -> None:
    """List the workflows."""
    catalog = open_catalog(config)
    found = [loaded.workflow for name in catalog.names(client) if (loaded := catalog.get(name, client))]
    output = Output(json=as_json)
    if as_json:
        output.value([_summary(workflow) for workflow in found])
        return
    rows = [[w.name, w.version, w.description] for w in found]
    output.table(["name", "version", "description"], rows, empty="no workflows")


def _summary(workflow: Workflow) -> dict[str, Any]:
    return {
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.description,
    }


@workflows.command()
@click.argument("workflow")
@_client_option
@local_options("config")
@json_option
def show(workflow: str, *, client: str, config: Path | None, as_json: bool) -> None:
    """Show a workflow: its parameters and its steps."""
    found = find_workflow(open_catalog(config), workflow, client).workflow
    output = Output(json=as_json)
    if as_json:
        output.value({**_summary(found), "digest": found.digest, "definition": json.loads(found.source)})
        return
    output.fields(_summary(found))
    output.line()
    output.table(["parameter", "type", "default", "description"], _parameter_rows(found.schema), empty="no parameters")
    output.line()
    steps = [*found.steps.values(), *found.on_failure.values()]
    rows = [[s.name, s.handler, s.queue, ", ".join(s.needs), s.condition, s.on_failure] for s in steps]
    output.table(["step", "handler", "queue", "needs", "if", "on failure"], rows, empty="no steps")


def _parameter_rows(schema: Mapping[str, Any]) -> list[list[object]]:
    required = schema.get("required") or ()
    rows: list[list[object]] = []
    for name, parameter in (schema.get("properties") or {}).items():
        kind = parameter.get("type", "")
        words = kind if isinstance(kind, str) else "|".join(kind)
        default = "required" if name in required else parameter.get("default")
        rows.append([name, words, default, parameter.get("description")])
    return rows


@workflows.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@local_options("config")
@json_option
def validate(files: Sequence[Path], *, config: Path | None, as_json: bool) -> int:
    """Check workflow files (or all of a directory): every fault, with file and line. Exits 1 where there is one."""
    catalog = open_catalog(config)
    return print_verdicts({str(path): _faults(catalog, path) for path in yaml_files(files)}, as_json=as_json)


def _faults(catalog: Catalog, path: Path) -> Sequence[Fault]:
    try:
        catalog.judge(path)
    except WorkflowError as error:
        return error.faults
    return []


@workflows.command()
@click.argument("workflow")
@click.option("--format", "form", type=click.Choice(["mermaid", "dot"]), default="mermaid", show_default=True)
@_client_option
@local_options("config")
@json_option
def graph(workflow: str, *, form: str, client: str, config: Path | None, as_json: bool) -> None:
    """Print a workflow's steps and their needs as a picture's text. WORKFLOW is a name or a file."""
    from taskengine.domain.flowchart import flowchart

    found = find_workflow(open_catalog(config), workflow, client).workflow
    if as_json:
        steps = {**found.steps, **found.on_failure}
        Output(json=True).value({name: list(step.needs) for name, step in steps.items()})
    else:
        click.echo(flowchart(found, "dot" if form == "dot" else "mermaid"), nl=False)


@workflows.command()
@click.argument("workflow", required=False)
@_client_option
@local_options("config")
@json_option
def schema(workflow: str | None, *, client: str, config: Path | None, as_json: bool) -> None:  # noqa: ARG001  # as ever
    """Print the JSON Schema of the workflow file format; with WORKFLOW that of its parameters."""
    if workflow is None:
        from taskengine.workflows.file_schema import workflow_file_schema

        Output(json=True).value(workflow_file_schema())
    else:
        Output(json=True).value(find_workflow(open_catalog(config), workflow, client).workflow.schema)


@workflows.command()
@click.argument("workflow")
@parameter_options
@_client_option
@local_options("config")
@json_option
def explain(
    workflow: str, *, pairs: Sequence[str], file: str | None, client: str, config: Path | None, as_json: bool
) -> None:
    """The dry run: the tasks that these parameters would give. WORKFLOW is a name or a file."""
    from taskengine.workflows.explain import explain as planned
    from taskengine.workflows.expressions import CelEvaluator

    loaded = find_workflow(open_catalog(config), workflow, client)
    checked = loaded.parameters.check(read_parameters(pairs, file), strict=not loaded.workflow.published)
    if checked.faults:
        raise InvalidRequest(f"{loaded.workflow.name} does not take these parameters", checked.faults)
    for warning in checked.warnings:
        click.echo(f"Warning: {warning}", err=True)
    tasks = planned(loaded.workflow, checked.arguments, CelEvaluator())
    output = Output(json=as_json)
    if as_json:
        answer = {"workflow": loaded.workflow.name, "arguments": checked.arguments, "warnings": list(checked.warnings)}
        output.value(answer | {"tasks": [asdict(task) for task in tasks]})
        return
    rows = [
        [task_name(t.name, t.index), t.state, t.handler, t.queue, ", ".join(t.needs), t.timeout, t.note] for t in tasks
    ]
    output.table(["task", "state", "handler", "queue", "needs", "timeout", "note"], rows, empty="no tasks")
