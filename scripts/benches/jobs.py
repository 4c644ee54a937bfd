"""What the measurements of encoding share: a job that encodes, its asset, and the bare commands that it ran."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from scripts.hosted import Hosted, ScriptFailed
from taskengine.cli.progress import JobLine, TaskLine, follow
from taskengine.cli.watching import JobWatcher, conclusion
from taskengine.process import SubprocessRunner

FOLDER = "bench"
_RAN = re.compile(r"\A(?P<line>[^\n]+)\nexit 0 after [0-9.]+ s")
_LOOK_S = 1.0  # seldom: who asks takes time from what is measured


class Silent:
    """A display that shows nothing."""

    def show(self, job: JobLine, tasks: Sequence[TaskLine]) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A job that completed; seconds."""

    job_id: int
    wall_s: float
    process_s: float  # of its attempts' subprocesses


async def encode(engine: Hosted, profile: str | None = None) -> Encoded:
    """Encode the source folder by a profile, or by the one of the workflow."""
    parameters = {
        "content_id": "bench", "source_folder": FOLDER, "encode_source": True, "create_thumbnail": False,
        **({"encoding_profile": profile} if profile else {}),
    }  # fmt: skip
    answer = await engine.client.submit({"job": {"workflow": "vodstream"}, "parameters": parameters})
    watcher = JobWatcher(engine.client, int(answer["id"]))
    done = await follow(watcher.look, Silent(), pause=partial(asyncio.sleep, _LOOK_S))
    if not done.succeeded:
        raise ScriptFailed(conclusion(done))
    process_s = sum(attempt.get("process_s") or 0.0 for task in watcher.tasks for attempt in task["attempts"])
    return Encoded(int(answer["id"]), _seconds(watcher.job["started_at"], watcher.job["completed_at"]), process_s)


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def tracks(data_dir: Path) -> Sequence[Mapping[str, Any]]:
    """The tracks of the asset that the last job published."""
    text = (data_dir / "storage" / "output" / FOLDER / "metadata.json").read_text(encoding="utf-8")
    found: Sequence[Mapping[str, Any]] = json.loads(text)["tracks"]
    return found


async def commands(engine: Hosted, job: Encoded) -> list[list[str]]:
    """What a job ran, as its log has it, but for the questions about versions."""
    entries = await engine.client.logs(job.job_id)
    lines = [match["line"] for entry in entries if (match := _RAN.match(str(entry["message"])))]
    found = [argv for argv in map(shlex.split, lines) if argv[-1] not in {"-version", "--version"}]
    if not found:
        raise ScriptFailed("the job's log has no command lines")
    return found


async def bare(folder: Path, source: Path, argvs: Sequence[Sequence[str]]) -> tuple[float, float]:
    """(wall, CPU) seconds of the same commands one after the other, and nothing else, in a folder with the source under the
    name that the job gave it."""
    _only_source(folder, source)
    before, begun = os.times(), time.monotonic()
    for argv in argvs:
        result = await SubprocessRunner().run(argv, cwd=folder, on_line=_ignore)
        if result.exit_code != 0:
            raise ScriptFailed(f"{shlex.join(argv)}: exit {result.exit_code}: {result.stderr_tail}")
    return time.monotonic() - begun, children_cpu_s(before, os.times())


def _only_source(folder: Path, source: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "source_1.mp4").hardlink_to(source)


def children_cpu_s(before: os.times_result, after: os.times_result) -> float:
    """CPU seconds of the children that ended between the two."""
    return after.children_user + after.children_system - before.children_user - before.children_system


def _ignore(_line: str) -> None:
    """A line of output that nobody reads."""
