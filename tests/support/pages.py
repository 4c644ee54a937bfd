"""Pages of the documentation as scripts: their commands as they stand, one after the other, in an empty directory."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from taskengine.media.tools import find_tools

ROOT = Path(__file__).parents[2]
WAIT_S = 240
_BLOCK = re.compile(r"^```(?:sh|yaml|python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+/\S+\.(?:yaml|py|toml))\n")
_SERVE = "taskengine serve\n"


def run_page(page: str, place: Path) -> str:
    """Run the commands of a page below docs/ in `place`; each must end with 0. What they printed."""
    if shutil.which("curl") is None:
        pytest.skip("the page uses curl, which is not here")
    port = _free_port()
    env = {
        "PATH": f"{_programs(place)}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{place / 'plugins'}",
        "TASKENGINE_PORT": str(port),
    }  # fmt: skip
    script = _script_of((ROOT / "docs" / page).read_text(encoding="utf-8"), port)
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=env, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def make_film(path: Path) -> None:
    """A film of four seconds with a tone."""
    argv = [
        find_tools().ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4",
        "-f", "lavfi", "-i", "sine=duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac",
        str(path),
    ]  # fmt: skip
    subprocess.run(argv, check=True)


def _script_of(text: str, port: int) -> str:
    """The commands of the page; `serve` goes to the background until the end. A block whose first line is a comment with
    a path is the file of that name."""
    parts = ["set -euxo pipefail"]
    for block in _BLOCK.findall(text):
        if named := _FILE.match(block):
            parts.append(f"mkdir -p $(dirname {named[1]}); cat > {named[1]} <<'END'\n{block}END")
        elif block == _SERVE:
            parts.append("taskengine serve > ready & trap 'kill %1; wait %1' EXIT")
            parts.append("until grep -q ready: ready; do kill -0 %1; read -rt 0.1 <> <(:) || true; done")
        else:
            parts.append(block.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
    return "\n".join(parts)


def _programs(place: Path) -> Path:
    """`taskengine` of this checkout, and a `pip` that installs without the network, into `plugins`."""
    folder = place / "bin"
    folder.mkdir()
    uv = f"{Path(sys.executable).parent / 'uv'} pip install --quiet --offline --no-deps"
    programs = {
        "taskengine": f'exec {sys.executable} -m taskengine "$@"',
        "pip": f'shift; exec {uv} --python {sys.executable} --target {place / "plugins"} "$@"',
    }
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
