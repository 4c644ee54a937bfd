"""`migrate`, `config …`, `version`: an installation's schema, configuration and version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskengine import __version__
from taskengine.cli.connection import json_option
from taskengine.cli.local import local_options, read_settings
from taskengine.cli.outcome import ExitCode, fault_text, run_async
from taskengine.cli.output import Output
from taskengine.domain.errors import Fault, InvalidRequest

if TYPE_CHECKING:
    from taskengine.settings import Settings


@click.command()
@local_options("config", "data_dir", "database")
@json_option
def migrate(*, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Bring the database's schema to this version (`serve` does it by itself)."""
    from taskengine.stores.migrate import migrate as apply

    settings = read_settings(flags, config)
    applied = run_async(apply(settings.database_url))
    output = Output(json=as_json)
    if as_json:
        output.value({"applied": applied})
    else:
        output.line("\n".join(f"applied {name}" for name in applied) or "the schema is current")


@click.group("config")
def configuration() -> None:
    """Show and check the configuration."""


@configuration.command()
@click.option("--redacted/--with-secrets", default=True, help="Mask the secrets.  [default: redacted]")
@local_options("config", "data_dir", "database", "broker")
@json_option
def show(*, redacted: bool, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Print what the flags, the environment, the files and the defaults come to, as YAML."""
    settings = read_settings(flags, config)
    tree = settings.redacted() if redacted else _with_secrets(settings.model_dump())
    if as_json:
        Output(json=True).value(tree)
        return
    import yaml

    click.echo(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), nl=False)


def _with_secrets(value: Any) -> Any:
    """Plain values, secrets opened."""
    match value:
        case dict():
            return {str(name): _with_secrets(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_with_secrets(inner) for inner in value]
        case None | bool() | int() | float():
            return value
        case _ if hasattr(value, "get_secret_value"):
            return value.get_secret_value()
        case _:
            return str(value)


@configuration.command()
@local_options("config", "data_dir", "database", "broker")
@json_option
def check(*, config: Path | None, as_json: bool, **flags: Any) -> int:
    """Say whether the configuration is right: every fault at once. Exits 1 where there is one."""
    output = Output(json=as_json)
    try:
        _check_urls(read_settings(flags, config))
    except InvalidRequest as error:
        if as_json:
            faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            output.value({"valid": False, "faults": faults})
        else:
            for fault in error.faults:
                click.echo(fault_text(fault), err=True)
        return ExitCode.FAILED
    if as_json:
        output.value({"valid": True, "faults": []})
    else:
        output.line("the configuration is right")
    return ExitCode.OK


def _check_urls(settings: Settings) -> None:
    """InvalidRequest where the adapters cannot read the URLs of database and broker. Nothing is connected to: that is
    `doctor`'s."""
    from taskengine.brokers import open_broker
    from taskengine.stores import check_url

    faults: list[Fault] = []
    for check in (lambda: check_url(settings.database_url), lambda: open_broker(settings.broker_url)):
        try:
            check()
        except InvalidRequest as error:
            faults += error.faults or [Fault("/database_url", str(error))]
    if faults:
        raise InvalidRequest("the configuration has faults", faults)


@click.command()
@json_option
def version(*, as_json: bool) -> None:
    """Print the version."""
    if as_json:
        Output(json=True).value({"version": __version__})
    else:
        click.echo(__version__)
