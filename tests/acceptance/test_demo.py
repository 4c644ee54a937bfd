"""`scripts/demo`: from a clone to a playable asset by one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAIT_S = 180


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demonstration, with no ffmpeg on the path and in a place of its own."""
    argv = [sys.executable, "scripts/demo.py", "--place", str(place), *arguments]
    env = {"PATH": "/nonexistent", "PYTHONPATH": str(ROOT), "HOME": str(place)}
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def children(place: Path) -> list[str]:
    """Command lines of this machine's processes that work in a place."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                cwd, line = str((folder / "cwd").readlink()), (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if str(place) in cwd or str(place) in line:
                found.append(line)
    return found


def test_the_demonstration_ends_with_an_asset_and_its_callbacks(tmp_path: Path) -> None:
    """0, the callbacks in order, a manifest that is there, and no process left."""
    with start(tmp_path, "--seconds", "4") as demo:
        out, err = demo.communicate(timeout=WAIT_S)

    assert demo.returncode == 0, err
    lines = out.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("the callbacks: "))
    events = [line.split()[1:] for line in lines[first + 1 :] if line.startswith("  20")]
    told = [(words[2].rstrip(":"), words[3]) for words in events if words[0] == "task"]
    assert told[0] == ("ingest", "start")
    assert told[-1] == ("publish", "complete")
    assert events[-1][0] == "job"
    assert events[-1][2] == "completed:"
    manifest = Path(next(line.split()[1] for line in lines if line.startswith("  HLS")))
    assert manifest.is_relative_to(tmp_path)
    assert manifest.with_suffix(".mpd").is_file()
    assert (tmp_path / ".gitignore").read_text() == "*\n"
    assert children(tmp_path) == []


def test_an_interrupted_demonstration_leaves_no_process(tmp_path: Path) -> None:
    """In the middle of the encoding."""
    with start(tmp_path, "--seconds", "12") as demo:
        assert demo.stdout is not None
        while "transcode: running" not in (line := demo.stdout.readline()):
            assert line, "it ended by itself"
        assert children(tmp_path)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=WAIT_S)

    assert demo.returncode == 130
    assert children(tmp_path) == []
