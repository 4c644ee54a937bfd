"""How a command reaches a running engine: the options that all of them share, and where they come from."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

import click

from taskengine.cli.outcome import run_async
from taskengine.cli.output import Output
from taskengine.domain.errors import InvalidRequest, Unauthorized

if TYPE_CHECKING:
    from taskengine.client import Client

Result = Coroutine[Any, Any, int | None]
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Connection:
    """Which engine, and as whom."""

    url: str
    client: str
    api_key: str | None
    key_file: Path | None = None  # where a key was looked for in vain


def engine_client(function: Callable[Concatenate[Client, Output, P], Result]) -> Callable[..., Any]:
    """Give a command the options of a client, and call it with a connected Client and an Output."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> int | None:
        given: dict[str, Any] = {name: kwargs.pop(name) for name in ("url", "client_name", "api_key", "data_dir")}
        output = Output(json=bool(kwargs.pop("as_json")))
        return run_async(_connected(function, resolve(**given), output, *args, **kwargs))

    options = [
        click.option("--url", envvar="TASKENGINE_URL", help="The engine's URL.  [default: http://127.0.0.1:8080]"),
        click.option("--client", "client_name", envvar="TASKENGINE_CLIENT", help="Who asks.  [default: demo]"),
        click.option(
            "--api-key", envvar="TASKENGINE_API_KEY",
            help="The client's key. For an engine on this machine it is read from <data-dir>/api-key.",
        ),
        click.option("--data-dir", type=click.Path(path_type=Path), help="The engine's data directory.  [default: ./data]"),
        json_option,
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


async def _connected(
    function: Callable[Concatenate[Client, Output, P], Result],
    connection: Connection,
    output: Output,
    *args: P.args,
    **kwargs: P.kwargs,
) -> int | None:
    from taskengine.client import connect

    async with connect(connection.url, client=connection.client, api_key=connection.api_key) as client:
        try:
            return await function(client, output, *args, **kwargs)
        except Unauthorized as error:
            if connection.api_key is not None or connection.key_file is None:
                raise
            raise Unauthorized(f"{error} (no --api-key, no TASKENGINE_API_KEY, no {connection.key_file})") from error


def resolve(url: str | None, client_name: str | None, api_key: str | None, data_dir: Path | None) -> Connection:
    """Fill in what was not given: from the configuration of an engine on this machine, where it may be one.

    The key of `<data-dir>/api-key` is sent to a loopback address alone.
    """
    if url is not None and client_name is not None and api_key is not None:
        return Connection(_checked(url), client_name, api_key)
    from taskengine.cli.local import read_settings

    settings = read_settings({"data_dir": data_dir})
    url = _checked(url or _url_of(settings.host, settings.port))
    client = client_name or settings.bootstrap_client
    if api_key is not None or not _is_loopback(url):
        return Connection(url, client, api_key)
    key_file = settings.data_dir / "api-key"
    return Connection(url, client, _read_key(key_file), key_file)


def _read_key(key_file: Path) -> str | None:
    try:
        return key_file.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{key_file} holds no API key: it is not UTF-8") from None


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        fine = False
    if not fine:
        raise click.BadParameter(f"{url!r} is not an http or https URL", param_hint="--url")
    return url


def _url_of(host: str, port: int) -> str:
    """Where an engine that binds `host` can be reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host)  # noqa: S104  # compared, not bound
    return f"http://{reachable or (f'[{host}]' if ':' in host else host)}:{port}"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
