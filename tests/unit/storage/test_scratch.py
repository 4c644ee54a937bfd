"""Scratch directories: private, gone after use, and cleaned up after processes that died."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import ResourceFault
from taskengine.storage.scratch import free_bytes, remove_stale, scratch_dir

HOLDER = """
import asyncio, pathlib, sys
from taskengine.storage.scratch import scratch_dir
async def main():
    async with scratch_dir(pathlib.Path(sys.argv[1]), "held") as scratch:
        folder = scratch()
        (folder / "big").write_bytes(b"x")
        print(folder, flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


def held(root: Path) -> list[Path]:
    """What a root holds."""
    return sorted(root.iterdir())


async def test_a_scratch_is_private_and_gone_after_use(tmp_path: Path) -> None:
    """It is empty, for this user alone, and removed with all in it."""
    async with scratch_dir(tmp_path / "new" / "root", "7-1") as scratch:
        folder = scratch()
        assert scratch() == folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_bytes(b"x")
    assert held(tmp_path / "new" / "root") == []


async def test_the_same_name_gives_two_directories(tmp_path: Path) -> None:
    """Two attempts at one task never share a scratch."""
    async with scratch_dir(tmp_path, "7-1") as one, scratch_dir(tmp_path, "7-1") as other:
        assert one() != other()


async def test_it_goes_also_when_the_task_fails_or_is_cancelled(tmp_path: Path) -> None:
    """Whatever ends the task, nothing stays."""
    inside = asyncio.Event()

    async def work() -> None:
        async with scratch_dir(tmp_path, "work") as scratch:
            scratch()
            inside.set()
            await asyncio.Event().wait()

    async def fail() -> None:
        async with scratch_dir(tmp_path, "broken") as scratch:
            scratch()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
    assert held(tmp_path) == []


async def test_nothing_is_made_for_a_task_that_does_not_ask(tmp_path: Path) -> None:
    """A task that only computes costs no directory."""
    async with scratch_dir(tmp_path / "root", "7-1"):
        assert not (tmp_path / "root").exists()
    assert not (tmp_path / "root").exists()


async def test_what_dead_processes_left_is_removed_and_what_living_ones_hold_is_not(tmp_path: Path) -> None:
    """A lock tells the living from the dead, in every container on the host."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert holder.stdout is not None
    theirs = Path((await holder.stdout.readline()).decode().strip())
    (tmp_path / "from-long-ago").mkdir()
    async with scratch_dir(tmp_path, "mine") as scratch:
        mine = scratch()
        assert await remove_stale(tmp_path) == 1
        assert held(tmp_path) == sorted([theirs, mine])
        holder.kill()
        await holder.communicate()
        assert await remove_stale(tmp_path) == 1
        assert held(tmp_path) == [mine]


async def test_cleaning_where_nothing_is_does_nothing(tmp_path: Path) -> None:
    """The first start has no root yet; what is no directory is left alone."""
    assert await remove_stale(tmp_path / "gone") == 0
    (tmp_path / "note").write_text("kept")
    assert await remove_stale(tmp_path) == 0
    assert (tmp_path / "note").exists()


async def test_a_root_that_cannot_be_made_is_a_lack_of_resources(tmp_path: Path) -> None:
    """Another worker may have the place."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceFault, match="no scratch directory"):
        async with scratch_dir(tmp_path / "file" / "root", "work") as scratch:
            scratch()


async def test_free_space_is_told_for_what_is_not_there_yet(tmp_path: Path) -> None:
    """The disk on which it would be made counts."""
    assert await free_bytes(tmp_path / "a" / "b") > 0


async def test_a_directory_that_is_in_use_for_a_moment_is_removed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows keeps the directory of a process for a moment after its end."""
    remove, calls = shutil.rmtree, 0

    def busy_twice(path: Path, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", busy_twice)
    async with scratch_dir(tmp_path, "mine") as scratch:
        scratch()
    assert held(tmp_path) == []
