"""What commands print: JSON for programs, tables and lines for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console


class Output:
    """Where a command's results go; `json` tells which of the two forms was asked for."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json

    def value(self, value: Any) -> None:
        """One JSON document."""
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))

    def json_line(self, value: Any) -> None:
        """One JSON document on one line, for commands that print several."""
        click.echo(json.dumps(value, ensure_ascii=False))

    def line(self, text: str = "") -> None:
        """One line of text."""
        click.echo(printable(text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "") -> None:
        """Rows under a head; `empty` is said where there are none."""
        if not rows:
            self.line(empty)
            return
        cells = [[_cell(value).replace("\n", " ") for value in row] for row in rows]
        if sys.stdout.isatty():
            _rich_table(columns, cells)
        else:
            _plain_table(columns, cells)

    def fields(self, values: Mapping[str, object]) -> None:
        """Name and value, one a line; what is not set is left out."""
        shown = {name: _cell(value) for name, value in values.items() if value not in (None, "", [], {})}
        width = max((len(name) for name in shown), default=0)
        for name, text in shown.items():
            click.echo(f"{name:<{width}}  {text}")


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns for a pipe: nothing is cut or wrapped."""
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console_for_stdout().print(table)


def console_for_stdout() -> Console:
    """rich's console: colours and movement on a terminal alone (and no colours with NO_COLOR)."""
    from rich.console import Console

    return Console(highlight=False)


def console_for_stderr() -> Console:
    """The same for what is said beside the results."""
    from rich.console import Console

    return Console(highlight=False, stderr=True)


def printable(text: str) -> str:
    """`text` without control characters: what a client named or logged must not steer the terminal."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case dict() | list() | tuple():
            return printable(json.dumps(value, ensure_ascii=False))
        case _:
            return printable(str(value))
