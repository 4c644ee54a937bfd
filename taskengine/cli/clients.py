"""`clients …`: tenants and their keys, in the store itself. A running engine sees a change within seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskengine.cli.connection import json_option
from taskengine.cli.local import local_options, read_settings
from taskengine.cli.outcome import run_async
from taskengine.cli.output import Output
from taskengine.domain.tenants import Role
from taskengine.domain.times import format_utc

if TYPE_CHECKING:
    from taskengine.engine.tenants import NewKey, Tenants, TenantView
    from taskengine.settings import Settings

Change = Callable[["Tenants"], Awaitable[Any]]
_options = local_options("config", "data_dir", "database")


@click.group()
def clients() -> None:
    """Manage the clients of an installation and their API keys."""


@clients.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.SUBMITTER.value, show_default=True
)
@_options
@json_option
def add(name: str, *, role: str, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Add a client; its first key is shown, once, with the secret that signs its callbacks."""
    key: NewKey = _do(flags, config, lambda tenants: tenants.add_client(name, role))
    _show_key(Output(json=as_json), name, key)


@clients.command("list")
@_options
@json_option
def list_clients(*, config: Path | None, as_json: bool, **flags: Any) -> None:
    """List the clients and their keys (never the keys themselves)."""
    found: list[TenantView] = _do(flags, config, lambda tenants: tenants.clients())
    output = Output(json=as_json)
    if as_json:
        output.value([_as_json(view) for view in found])
        return
    rows = [
        [
            view.client.name,
            view.client.role,
            format_utc(view.client.created_at),
            ", ".join(str(key.id) for key in view.keys if key.revoked_at is None),
        ]
        for view in found
    ]
    output.table(["client", "role", "created", "keys"], rows, empty="no clients")


def _as_json(view: TenantView) -> dict[str, Any]:
    keys = [
        {
            "id": key.id,
            "created_at": format_utc(key.created_at),
            "revoked_at": None if key.revoked_at is None else format_utc(key.revoked_at),
        }
        for key in view.keys
    ]
    client = view.client
    return {"name": client.name, "role": client.role, "created_at": format_utc(client.created_at), "keys": keys}


@clients.command()
@click.argument("name", metavar="CLIENT")
@_options
@json_option
def secrets(name: str, *, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Print the secrets that sign a client's callbacks, one a line."""
    found: Sequence[str] = _do(flags, config, lambda tenants: tenants.callback_secrets(name))
    output = Output(json=as_json)
    if as_json:
        output.value(list(found))
        return
    for secret in found:
        output.line(secret)


@clients.group()
def keys() -> None:
    """Manage the API keys of a client."""


@keys.command("add")
@click.argument("name", metavar="CLIENT")
@_options
@json_option
def add_key(name: str, *, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Give a client one more key; it is shown, once."""
    key: NewKey = _do(flags, config, lambda tenants: tenants.add_key(name))
    _show_key(Output(json=as_json), name, key)


@keys.command("revoke")
@click.argument("name", metavar="CLIENT")
@click.argument("key_id", metavar="KEY", type=int)
@_options
@json_option
def revoke_key(name: str, key_id: int, *, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Let a key open nothing any more. KEY is its number in `clients list`."""
    _do(flags, config, lambda tenants: tenants.revoke_key(name, key_id))
    output = Output(json=as_json)
    if as_json:
        output.value({"client": name, "id": key_id, "result": "revoked"})
    else:
        output.line(f"key {key_id} of {name} is revoked")


def _show_key(output: Output, client: str, key: NewKey) -> None:
    signing = {} if key.callback_secret is None else {"callback_secret": key.callback_secret}
    if output.json:
        output.value({"client": client, "id": key.id, "api_key": key.api_key, **signing})
        return
    output.fields({"client": client, "key": key.id, "api-key": key.api_key} | signing)
    click.echo("Keep it: it is not shown again.", err=True)


def _do(flags: dict[str, Any], config: Path | None, change: Change) -> Any:
    settings = read_settings(flags, config)

    async def work() -> Any:
        async with _tenants(settings) as tenants:
            return await change(tenants)

    return run_async(work())


@asynccontextmanager
async def _tenants(settings: Settings) -> AsyncIterator[Tenants]:
    """The use cases on the store; a new store gets its first admin, as an engine would make it."""
    from taskengine.app.sealing import engine_sealer
    from taskengine.clock import SystemClock
    from taskengine.datadir import write_key
    from taskengine.engine.directory import Directory
    from taskengine.engine.tenants import Tenants
    from taskengine.engine.vault import Vault
    from taskengine.stores import open_store

    clock = SystemClock()
    async with open_store(settings.database_url, clock) as store:
        sealer = await engine_sealer(settings, store)
        tenants = Tenants(store, clock, Directory(store, clock, Vault(sealer)))
        given = settings.bootstrap_api_key
        made = await tenants.bootstrap(settings.bootstrap_client, given.get_secret_value() if given else None)
        if made is not None:
            path = write_key(settings.data_dir, made)
            click.echo(f"The admin client {settings.bootstrap_client} was made; its API key is in {path}", err=True)
        yield tenants
