from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taskengine.cli.commands import taskengine

ROOT = Path(__file__).parents[3]
HEAVY = ("asyncio", "aiohttp", "pydantic", "rich", "structlog", "yaml", "jsonschema", "taskengine.app", "sqlite3")
BAR_CPU_S = 0.3


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))


ALL = dict(commands(taskengine))
LEAVES = {path: command for path, command in ALL.items() if not isinstance(command, click.Group)}


def test_every_command_of_the_contract_is_there() -> None:
    """By its words, as `docs/reference/cli.md` lists them."""
    assert {" ".join(path) for path in LEAVES} == {
        "serve", "worker", "run", "submit", "jobs list", "jobs show", "jobs why", "jobs logs", "jobs watch", "jobs pause",
        "jobs resume", "jobs break", "jobs rerun", "queues", "workers", "callbacks list", "callbacks replay", "callbacks test",
        "workflows list", "workflows show", "workflows validate", "workflows graph", "workflows schema",
        "workflows explain", "profiles list", "profiles validate", "clients add", "clients list", "clients secrets",
        "clients keys add", "clients keys revoke", "migrate",
        "config show", "config check", "doctor", "contract asyncapi", "contract schema", "conformance worker", "version",
    }  # fmt: skip


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_can_print_json_and_explains_its_options(path: tuple[str, ...]) -> None:
    """But for the two that host processes; no option is without a word of help."""
    command = LEAVES[path]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]

    assert command.help
    assert [option.name for option in options if not option.help and option.show_default is None] == []
    if path not in {("serve",), ("worker",)}:
        assert "as_json" in {option.name for option in options}


def test_help_imports_nothing_heavy() -> None:
    """What a command needs is imported when it runs."""
    code = "import sys; sys.argv = ['taskengine', 'run', '--help']\ntry:\n  import taskengine.cli as c; c.main()\n"
    code += "except SystemExit: print(*[n for n in sys.argv[1:] + list(sys.modules)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert not set(HEAVY) & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("jobs", "list", "-h")], ids=" ".join)
def test_help_answers_at_once(arguments: tuple[str, ...]) -> None:
    """The best of five, in seconds of processor: what the machine does beside it is not meant."""
    seconds = []
    for _ in range(5):
        before = os.times()
        argv = [sys.executable, "-m", "taskengine", *arguments]
        subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, env={**os.environ, "COLUMNS": "80"})
        after = os.times()
        used = after.children_user - before.children_user + after.children_system - before.children_system
        seconds.append(used)

    assert min(seconds) < BAR_CPU_S


def test_the_reference_page_says_what_help_says() -> None:
    """`scripts/generate_cli_reference.py` writes it."""
    from scripts.generate_cli_reference import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page()
