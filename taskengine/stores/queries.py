"""The loader of SQL: statements live in `.sql` files under `-- name: <name> --` headers and are used by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

_HEADER = re.compile(r"^-- name: (\w+) --$", re.MULTILINE)
_PART = re.compile(r"\{(\w+)\}")


def parse(text: str) -> dict[str, str]:
    """The statements of one file by name; ValueError where one is named twice or text comes before the first name."""
    before, *sections = _HEADER.split(text)
    if any(line.strip() and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"SQL stands before the first `-- name: … --` header: {before.strip()[:60]!r}")
    found: dict[str, str] = {}
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        if name in found:
            raise ValueError(f"two statements are named {name!r}")
        found[name] = body.strip().rstrip(";")
    return found


def expand(statements: Mapping[str, str]) -> dict[str, str]:
    """Put the statement named `part` wherever another one has `{part}`."""

    def part(match: re.Match[str]) -> str:
        if match[1] not in statements:
            raise ValueError(f"no statement is named {match[1]!r}")
        return statements[match[1]]

    return {name: _PART.sub(part, statement) for name, statement in statements.items()}


def merge(texts: Iterable[str]) -> dict[str, str]:
    """The statements of several files, expanded; ValueError where two files share a name."""
    merged: dict[str, str] = {}
    for text in texts:
        statements = parse(text)
        if shared := merged.keys() & statements.keys():
            raise ValueError(f"two files name the statements {sorted(shared)}")
        merged |= statements
    return expand(merged)


def sql_folder(dialect: str) -> Traversable:
    """Where the SQL of a dialect lies."""
    return files("taskengine.stores") / "sql" / dialect


def sql_files(folder: Traversable) -> list[Traversable]:
    """The `.sql` files of a folder, by name."""
    return sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)


def load(dialect: str) -> dict[str, str]:
    """Every statement of a dialect by name."""
    return merge(file.read_text("utf-8") for file in sql_files(sql_folder(dialect)))
