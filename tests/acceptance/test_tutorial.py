"""docs/tutorial.md does what it says: its commands are run as they stand there, one after the other."""

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
BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SERVE = "taskengine serve\n"
WAIT_S = 240


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def script_of(text: str, port: int) -> str:
    """The commands of the page; `serve` goes to the background until the end, YAML to the file that the page names."""
    parts = ["set -euxo pipefail", "mkdir -p workflows"]
    for kind, block in BLOCK.findall(text):
        if kind == "yaml":
            parts.append(f"cat > workflows/greet.yaml <<'END'\n{block}END")
        elif block == SERVE:
            parts.append("taskengine serve > ready & trap 'kill %1; wait %1' EXIT")
            parts.append("until grep -q ready: ready; do kill -0 %1; read -rt 0.1 <> <(:) || true; done")
        else:
            parts.append(block.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
    return "\n".join(parts)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a film."""
    argv = [
        find_tools().ffmpeg, "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=4",
        "-f", "lavfi", "-i", "sine=duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-c:a", "aac",
        str(tmp_path / "film.mp4"),
    ]  # fmt: skip
    subprocess.run(argv, check=True)
    return tmp_path


def test_the_tutorials_commands_work_as_they_stand(place: Path) -> None:
    """In order, in an empty directory with a film, each ending with 0."""
    if shutil.which("curl") is None:
        pytest.skip("the page uses curl, which is not here")
    tools = place / "bin"
    tools.mkdir()
    (tools / "taskengine").write_text(f'#!/bin/sh\nexec {sys.executable} -m taskengine "$@"\n')
    (tools / "taskengine").chmod(0o755)
    port = free_port()
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TASKENGINE_PORT": str(port)}
    script = script_of((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), port)

    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=env, capture_output=True, text=True, timeout=WAIT_S, check=False
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Hello, Ann" in done.stdout
    assert "job 3 completed" in done.stdout
