"""The folders of a new installation."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskengine.app import engine, work
from taskengine.domain.errors import InvalidRequest
from taskengine.settings import load_settings
from tests.support.engine import settings_for


async def test_an_engine_makes_the_folders_that_it_needs(tmp_path: Path) -> None:
    """Sources can be put where they are looked for before the first job."""
    storages = {
        "archive": {"kind": "local", "url": str(tmp_path / "a b"), "output_root": {"output_root": "v", "live": "l/m"}}
    }
    async with engine(settings_for(tmp_path, storages=storages), workers=False, http=False) as running:
        settings = running.settings
        assert Path(settings.workspace).is_dir()
        assert settings.scratch.is_dir()
        made = {str(path.relative_to(tmp_path / "a b")) for path in (tmp_path / "a b").rglob("*")}
        assert made == {"source", "v", "l", "l/m"}


async def test_folders_that_cannot_be_made_are_named_all_at_once(tmp_path: Path) -> None:
    """The setting, the folder and the reason; before anything is taken."""
    (tmp_path / "file").write_text("in the way")
    flags = {"data_dir": str(tmp_path / "d"), "workspace": str(tmp_path / "file")}
    storages = {"local": {"kind": "local", "url": str(tmp_path / "file")}}
    with pytest.raises(InvalidRequest) as caught:
        async with engine(load_settings({**flags, "storages": storages}, env={}), workers=False, http=False):
            pass
    assert [fault.path for fault in caught.value.faults] == [
        "/storages/local/output_root", "/storages/local/source_root", "/workspace",
    ]  # fmt: skip
    assert str(tmp_path / "file") in str(caught.value)


async def test_a_scratch_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    """By a worker as by an engine: each task would fail over it at once, on the worker that is free first."""
    (tmp_path / "file").write_text("in the way")
    for scratch in (tmp_path / "file", Path("/proc")):  # where not even root writes
        settings = settings_for(tmp_path, scratch=str(scratch))
        with pytest.raises(InvalidRequest, match=f"/scratch: the folder {scratch} cannot be"):
            await work(settings, {"work": 1})
        with pytest.raises(InvalidRequest, match=f"/scratch: the folder {scratch} cannot be"):
            async with engine(settings, http=False):
                pass
