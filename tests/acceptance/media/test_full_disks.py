"""A disk that is full in the middle of a job: one clear error, nothing half visible, nothing left."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import taskengine
from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from tests.support.engine import Bench, bench, settings_for
from tests.support.media import AAC, H264, ffmpeg, picture, sound
from tests.support.receiver import CallbackReceiver

SmallDisk = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Disks in memory of so many bytes; only root may have them."""
    made: list[Path] = []

    def mount(size: int) -> Path:
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("only root has disks of a size that it likes")
        made.append(place)
        return place

    try:
        yield mount
    finally:
        for place in made:
            subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A source of some megabytes, in the source root."""
    folder = tmp_path / "data" / "storage" / "source" / "film"
    folder.mkdir(parents=True)
    noise = ["-vf", "noise=alls=40:allf=t", "-qp", "20", "-g", "25"]
    ffmpeg(folder, *picture("320x180", seconds=3), *sound(3), *noise, *H264, *AAC, "film.mp4")
    assert (folder / "film.mp4").stat().st_size > 2 * 1024 * 1024
    workflow = Path(taskengine.__file__).parent / "config" / "workflows" / "vodstream.yaml"
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / workflow.name).write_text(workflow.read_text().replace("delay: 5s", "delay: 0s"))
    return folder / "film.mp4"


async def run(world: Bench, **parameters: Any) -> Job:
    """A job to its end."""
    given = {
        "content_id": "film",
        "source_folder": "film",
        "rest_endpoints": [f"{world.receiver.url}/cb"],
        **parameters,
    }
    answer = await world.engine.jobs.submit(Submission("demo", "vodstream", given))
    return await world.ended(int(answer["id"]), 120)


def files(folder: Path) -> dict[str, bytes]:
    """What is below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_full_disk_of_assets(tmp_path: Path, film: Path, small_disk: SmallDisk) -> None:
    """There is room for one asset, not for the next beside it: the job says so, and the asset that was there is as it was."""
    disk = small_disk(round(film.stat().st_size * 1.6))
    storages = {"local": {"kind": "local"}, "small": {"kind": "local", "url": str(disk)}}
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path, storages=storages), receiver) as world:
        job = await run(world, source_storage="local", destination_storage="small")
        assert not job.failed, job.error
        before = files(disk)
        job = await run(world, source_storage="local", destination_storage="small", create_thumbnail=False)
        assert job.failed
        assert "output_folder: 'film/v/2-" in str(job.error)
        assert "No space left on device" in str(job.error)
        assert files(disk) == before
    assert not list((tmp_path / "data" / "scratch").iterdir())


async def test_a_full_disk_of_work(tmp_path: Path, film: Path, small_disk: SmallDisk) -> None:
    """There is room for the source, not for what is made of it: the job says so, and nothing is published."""
    disk = small_disk(round(film.stat().st_size * 1.6))
    settings = settings_for(tmp_path, scratch=disk / "scratch", scratch_space_factor=0)
    async with CallbackReceiver() as receiver, bench(settings, receiver) as world:
        job = await run(world, create_thumbnail=False)  # one task at a time
        assert job.failed
        assert "packaging: it may need" in str(job.error)
        assert not list((tmp_path / "data" / "storage" / "output").iterdir())
        assert not list((disk / "scratch").iterdir())
