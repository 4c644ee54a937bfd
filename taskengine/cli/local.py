"""Commands that work on an installation itself: its configuration, and the options that override it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from taskengine.settings import Settings

_OPTIONS = {
    "config": click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The configuration.  [default: TASKENGINE_CONFIG, else ./taskengine.yaml where there is one]",
    ),
    "data_dir": click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Database, default storage, workspaces and scratch.  [default: ./data]",
    ),
    "database": click.option(
        "--database",
        "database_url",
        metavar="URL",
        help="sqlite:///… or postgresql://…  [default: in the data directory]",
    ),
    "broker": click.option("--broker", "broker_url", metavar="URL", help="memory:// or amqp://…  [default: memory://]"),
}


def local_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add some of the options `config`, `data_dir`, `database`, `broker` to a command."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            function = _OPTIONS[name](function)
        return function

    return add


def read_settings(flags: Mapping[str, Any], config: Path | None = None, *, embedded: bool = False) -> Settings:
    """The configuration: `flags` (those that were given) over environment, files and defaults.

    `embedded`: the store and the broker within the process, whatever is configured.
    """
    from taskengine.settings import load_settings

    return load_settings(flags, config, embedded=embedded)


def configure_log(settings: Settings) -> None:
    """Log as the configuration says, to stderr."""
    from taskengine.log import configure

    configure(settings.log.level, settings.log.format, color=settings.log.color)
