"""`docs/reference/compatibility.md` names tests that are there, and leaves nothing of the API out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from taskengine.api.faults import _STATUSES
from taskengine.api.published import STATE_NUMBERS
from taskengine.api.routes import JOBS_QUERY, LOGS_QUERY, ROUTES
from taskengine.api.views import JobObject, LogObject
from taskengine.domain.setting import SETTINGS
from taskengine.domain.tenants import CONFIG_NAMES

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs/reference/compatibility.md").read_text(encoding="utf-8")
CODE = set(re.findall(r"`([^`]+)`", TABLE))


@cache
def names_of(path: Path) -> set[str]:
    """The tests of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_test_that_is_named_is_there() -> None:
    """Each row names at least one, by its file."""
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./\.\./(tests/[\w/]+\.py)\)", TABLE)
    assert len(named) > 100
    assert [f"{path}: {name}" for name, path in named if name not in names_of(ROOT / path)] == []
    rows = [line for line in TABLE.partition("## Deliberate")[0].splitlines() if line.startswith("| ")]
    assert [
        row for row in rows if "[`test_" not in row and row not in {"| contract | shown by |", "| --- | --- |"}
    ] == []


def test_no_call_is_left_out() -> None:
    """Of the route table, but for the second name of a job's paths."""
    calls = {f"{route.method} {route.path}" for route in ROUTES if not route.path.startswith("/job/")}
    assert calls - CODE == set()


def test_no_name_of_the_contract_is_left_out() -> None:
    """Fields, filters, settings, names of a configuration, states and statuses."""
    fields = {*JobObject.__annotations__, *LogObject.__annotations__}
    assert {*fields, *JOBS_QUERY, *LOGS_QUERY, *SETTINGS, *CONFIG_NAMES} - CODE == set()
    assert [name for name, number in STATE_NUMBERS.items() if f"{number} {name.value}" not in TABLE] == []
    assert [status for status in _STATUSES.values() if f"| {status}" not in TABLE and status != 408] == []
