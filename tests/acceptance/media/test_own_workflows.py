"""A workflow that somebody wrote by the specification of the format: it runs to an asset that plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.media import AAC, H264, Asset, ffmpeg, size_of, sound
from tests.support.receiver import CallbackReceiver
from tests.support.vod import origin_over

EXAMPLE = Path(__file__).parents[2] / "data" / "clip_and_poster.yaml"
SECONDS, RATE = 3, 10


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds; the grey of the picture grows by the second."""
    folder = tmp_path_factory.mktemp("films")
    grey = f"color=s=160x90:r={RATE}:d={SECONDS},format=yuv420p,geq=lum='60+floor(T)*60':cb=128:cr=128"
    ffmpeg(folder, "-f", "lavfi", "-i", grey, *sound(SECONDS), *H264, *AAC, "film_eng.mp4")
    return folder / "film_eng.mp4"


async def run(world: Bench, workflow: str, **parameters: Any) -> Job:
    """A job to its end."""
    given = {"content_id": "clip", "start": "0:01.5", "rest_endpoints": [f"{world.receiver.url}/cb"], **parameters}
    answer = await world.engine.jobs.submit(Submission("demo", workflow, given))
    return await world.ended(int(answer["id"]), 60)


def grey_of(image: Path, folder: Path) -> int:
    """The mean grey of an image."""
    ffmpeg(folder, "-i", str(image), "-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo", "grey.bin")
    return (folder / "grey.bin").read_bytes()[0]


async def test_the_printed_example_runs_to_an_asset_that_plays(tmp_path: Path, film: Path) -> None:
    """From a URL, and (where its parameter is a path) from a file of the source root: both renditions and the sound decode
    whole, the poster is the picture at `start`, steps that say so have no callback. A source that is none fails the job,
    and the step for that case removes what there is."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    example = EXAMPLE.read_text()
    (folder / "clip_and_poster.yaml").write_text(example)
    of_files = example.replace("name: clip_and_poster", "name: of_files").replace("format: uri", "format: logical-path")
    (folder / "of_files.yaml").write_text(of_files)
    root = tmp_path / "data" / "storage" / "source"
    root.mkdir(parents=True)
    (root / "film_eng.mp4").write_bytes(film.read_bytes())
    (root / "notes.mp4").write_text("no film")
    output = tmp_path / "data" / "storage" / "output"
    async with (
        origin_over(film.parent) as origin,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver) as world,
    ):
        job = await run(world, "clip_and_poster", source=f"{origin.url}/film_eng.mp4", renditions=[90, 46, 720])
        assert not job.failed, job.error
        assert ("poster", "complete") not in world.told(job.id)
        assert ("encode", "complete") in world.told(job.id)
        told = next(each.body for each in receiver.received if "task_name" not in each.body)
        asset = Asset(output / "clip")
        assert told["message"] == str(output / "clip" / "clip.m3u8")
        assert {str(output / "clip" / name) for name in ("clip.m3u8", "clip.mpd", "thumbnail.jpg")} <= set(
            told["files"]
        )
        variants = asset.master("clip").variants
        assert [asset.stream(uri)["height"] for uri in variants] == ["90", "46"]
        assert [asset.frames(uri) for uri in variants] == [SECONDS * RATE] * 2
        sounds = [track for track in asset.manifest("clip") if track.content == "audio"]
        assert [track.duration for track in sounds] == [pytest.approx(SECONDS, abs=0.05)]
        assert size_of(asset.folder / "thumbnail.jpg") == (160, 90)
        assert grey_of(asset.folder / "thumbnail.jpg", tmp_path) == pytest.approx(120, abs=8)

        job = await run(world, "of_files", source="film_eng.mp4", content_id="two", renditions=[46], poster=False)
        assert not job.failed, job.error
        states = {stored.task.step: str(stored.task.state) for stored in await world.engine.views.tasks(ADMIN, job.id)}
        assert states["poster"] == "skipped"
        small = Asset(output / "two")
        assert [small.stream(uri)["height"] for uri in small.master("two").variants] == ["46"]

        job = await run(world, "of_files", source="notes.mp4", content_id="two")
        assert job.failed
        assert "notes.mp4" in str(job.error)
        assert not (output / "two").exists()
