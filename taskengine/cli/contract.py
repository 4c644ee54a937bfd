"""`contract` and `conformance`: the messages of the bus, and whether a worker keeps to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from taskengine.cli.connection import json_option
from taskengine.cli.outcome import ExitCode, run_async
from taskengine.cli.output import Output

_MESSAGES = ("job", "job-reply", "task", "reports", "control", "event")


@click.group()
def contract() -> None:
    """The messages of the bus, as documents."""


@contract.command()
@click.option("--prefix", default="taskengine", show_default=True, help="What the names on the broker begin with.")
@json_option
def asyncapi(*, prefix: str, as_json: bool) -> int:
    """Print the AsyncAPI 3 document of all messages."""
    import yaml

    from taskengine.brokers.topology import Topology
    from taskengine.contract.documents import asyncapi as made

    document = made(Topology(prefix))
    if as_json:
        Output(json=True).value(document)
    else:
        click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), nl=False)
    return ExitCode.OK


@contract.command()
@click.argument("message", type=click.Choice(_MESSAGES))
@json_option
def schema(*, message: str, as_json: bool) -> int:
    """Print the JSON Schema of a message."""
    del as_json  # it is JSON in any case
    from taskengine.contract.documents import schema as made

    Output(json=True).value(made(message))
    return ExitCode.OK


@click.group()
def conformance() -> None:
    """Whether programs of others keep to the contract."""


class _Json(click.ParamType[Any]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Mapping[str, Any]:
        """An object."""
        if isinstance(value, Mapping):
            return value
        try:
            body = json.loads(value)
        except ValueError as error:
            self.fail(f"it is not JSON: {error}", param, ctx)
        if not isinstance(body, dict):
            self.fail("it is not a JSON object", param, ctx)
        return body


@conformance.command()
@click.option(
    "--broker", "broker_url", required=True, metavar="URL", help="amqp://…/?prefix=…, without an engine there."
)
@click.option("--queue", required=True, help="The queue that the worker serves.")
@click.option("--handler", required=True, help="A handler of the worker that ends soon.")
@click.option("--with", "inputs", type=_Json(), default="{}", metavar="JSON", help="Its inputs.  [default: {}]")
@click.option("--slow-handler", help="A handler that runs for more than a minute; without, five checks are skipped.")
@click.option(
    "--slow-with", "slow_inputs", type=_Json(), default="{}", metavar="JSON", help="Its inputs.  [default: {}]"
)
@click.option(
    "--heartbeat",
    "heartbeat_s",
    type=click.FloatRange(0.5, 60),
    default=5.0,
    show_default=True,
    help="The heartbeat_s of the tasks, in seconds.",
)
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(1, 600),
    default=30.0,
    show_default=True,
    help="Seconds that a quick task may take.",
)
@click.option("--only", default="", metavar="TEXT", help="The checks alone that have this in their names.")
@json_option
def worker(*, broker_url: str, as_json: bool, **plan: Any) -> int:
    """Test a worker in any language: plays the engine on a real RabbitMQ and judges what the worker answers.

    Give broker and worker a prefix of their own, with no engine: tasks of the test are no tasks of a job. At its end the
    worker is told to drain. Exits 1 where a rule is broken.
    """
    from taskengine.conformance import Finding, Plan, State, judge_worker
    from taskengine.log import configure

    configure("warning", "auto", color=None)
    output = Output(json=as_json)

    def tell(finding: Finding) -> None:
        if not as_json:
            output.line(f"{finding.state:<8} {finding.check}{f': {finding.detail}' if finding.detail else ''}")

    findings = run_async(judge_worker(broker_url, Plan(**plan), tell=tell))
    failed = sum(finding.state is State.FAILED for finding in findings)
    if as_json:
        output.value({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        output.line(f"{len(findings)} checks, {failed} failed")
    return ExitCode.FAILED if failed else ExitCode.OK
