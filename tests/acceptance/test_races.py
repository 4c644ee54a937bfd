"""Pause, break, rerun and the job's own end at once: one of them wins, the answers say which, and nothing else stays."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from taskengine.handlers import load_handlers
from taskengine.ports import Handler
from tests.support.engine import bench, settings_for, write_workflows
from tests.support.oracle import gather, judge, left_behind
from tests.support.races import WORKFLOW, Put, Races
from tests.support.receiver import CallbackReceiver

RACES = int(os.environ.get("TEST_RACES", "50"))  # `scripts/soak races` has more
SLOTS = 8


def _handlers(*, shell: bool) -> Mapping[str, Handler]:
    return {**load_handlers(shell=shell), Put.name: Put()}


async def test_one_of_them_wins_and_the_answers_say_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process lives on, nothing of a job that lost is published, and every job keeps the promises."""
    seed = int(os.environ.get("TEST_RACES_SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    for module in ("taskengine.app.engine", "taskengine.app.workers"):
        monkeypatch.setattr(import_module(module), "load_handlers", _handlers)
    monkeypatch.setattr("taskengine.engine.effects._UNDERWAY_S", 2.0)  # a loaded machine reports late
    flags = {"engine.max_jobs": SLOTS, "debug_shell": True, "concurrency": {"work": SLOTS}}
    settings = settings_for(tmp_path, workflows_dirs=[write_workflows(tmp_path / "workflows", WORKFLOW)], **flags)
    async with CallbackReceiver() as receiver, bench(settings, receiver, http=True) as world:
        races = Races(world.engine.url or "", "test-key", tmp_path / "data" / "storage" / "output")
        run = await races.run(RACES, seed)
    assert [fault for race in run for fault in race.faults(races.published(race))] == []
    won = {call: sum(bool(race.done(call)) for race in run) for call in ("pause", "break", "delete", "rerun")}
    assert all(won.values()), won
    assert any(race.job["queue_state"] == 2 for race in run)
    data = tmp_path / "data"
    assert judge(await gather(f"sqlite:///{data / 'taskengine.db'}"), max_jobs=SLOTS) == []
    assert list(left_behind(mark=str(data), empty=[data / "scratch", data / "workspace"])) == []
