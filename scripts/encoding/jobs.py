"""What the measurements of encoding share: a job that encodes, its asset, values over rounds."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from scripts.hosted import Hosted, ScriptFailed
from taskengine.cli.progress import JobLine, TaskLine, follow
from taskengine.cli.watching import JobWatcher, conclusion

FOLDER = "bench"
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


async def encode(engine: Hosted, profile: str) -> Encoded:
    """Encode the source folder by a profile."""
    parameters = {
        "content_id": "bench", "source_folder": FOLDER, "encode_source": True, "encoding_profile": profile,
        "create_thumbnail": False,
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


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each value over the rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def note(text: str) -> None:
    """What goes on, for who waits."""
    print(text, file=sys.stderr, flush=True)


def values(found: Mapping[str, float]) -> str:
    """A line of them."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items())
