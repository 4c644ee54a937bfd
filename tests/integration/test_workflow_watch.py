"""Workflow files that change under a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from taskengine.app.watching import FileWatch
from taskengine.domain.errors import Fault
from taskengine.handlers import load_handlers
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator
from tests.support.clock import MovedClock
from tests.support.engine import bench, settings_for
from tests.support.receiver import CallbackReceiver

GOOD = "name: mine\ndescription: {}\nsteps: {{a: {{handler: debug.noop}}}}\n"
FAULTY = "name: mine\nsteps: {a: {handler: debug.nop}}\n"


async def test_changed_files_are_taken_and_faulty_ones_told_once(tmp_path: Path) -> None:
    """The last good version stays until the file is mended."""
    clock = MovedClock()
    catalog = Catalog(CelEvaluator(), load_handlers(shell=False), [tmp_path])
    watch = FileWatch({"workflow": catalog}, clock)

    def described() -> str | None:
        loaded = catalog.get("mine", "demo")
        return None if loaded is None else loaded.workflow.description

    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        seen = []
        with capture_logs() as logs:
            for text in (GOOD.format("first"), FAULTY, FAULTY, GOOD.format("second")):
                (tmp_path / "mine.yaml").write_text(text)
                await clock.advance_to_next()
                await clock.wait_for_sleeper()
                seen.append(described())
        task.cancel()
    assert seen == ["first", "first", "first", "second"]
    assert [entry["event"] for entry in logs] == ["workflow_fault", "workflows_mended"]
    assert logs[0]["where"] == f"{tmp_path / 'mine.yaml'}:2"


async def test_a_hosted_engine_looks_at_its_workflow_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is added counts without a restart."""
    settings, looked, reload = settings_for(tmp_path), asyncio.Event(), Catalog.reload

    async def telling(catalog: Catalog) -> Sequence[Fault]:
        faults = await reload(catalog)
        looked.set()
        return faults

    monkeypatch.setattr(Catalog, "reload", telling)
    async with CallbackReceiver() as receiver, bench(settings, receiver) as world:
        assert world.engine.catalog.get("mine", "demo") is None
        (settings.workflows_dirs[0] / "mine.yaml").write_text(GOOD.format("mine"))
        async with asyncio.timeout(15):
            await looked.wait()
        assert world.engine.catalog.get("mine", "demo") is not None


def test_a_step_that_fails_by_order_may_stand_for_one_with_outputs(tmp_path: Path) -> None:
    """What the real step would give is asked for with has(): no fault of the file."""
    asked = "${{ has(steps.a.outputs.path) ? steps.a.outputs.path : 'none' }}"
    text = "name: mine\nsteps:\n  a: {handler: debug.fail, optional: true}\n"
    text += f'  b: {{handler: debug.noop, needs: [a], with: {{path: "{asked}"}}}}\n'
    (tmp_path / "mine.yaml").write_text(text)
    assert not Catalog(CelEvaluator(), load_handlers(shell=False), [tmp_path]).faults
