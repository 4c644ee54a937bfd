"""Media that attacks: no leak, a clear error in time, a worker that lives, and a next job that is unharmed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from taskengine.handlers import probing
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.files import contents_below
from tests.support.hostile import attacks, external_reference
from tests.support.media import H264, ffmpeg, picture
from tests.support.receiver import CallbackReceiver

IN_TIME_S = 60
MARK = "what-nobody-may-see-0451"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Bench]:
    """A whole engine with its workers, as `serve` is one."""
    async with CallbackReceiver() as receiver:
        settings = settings_for(tmp_path, workflows_dirs=[], **{"engine.max_jobs": 3})
        async with bench(settings, receiver) as running:
            yield running


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A film of somebody else's, which says whose it is."""
    (tmp_path / "outside").mkdir()
    ffmpeg(tmp_path / "outside", *picture("160x90", seconds=1), *H264, "-metadata", f"title={MARK}", "secret.mp4")
    return tmp_path / "outside" / "secret.mp4"


async def _submit(world: Bench, folder: str, **parameters: Any) -> int:
    given = {
        "content_id": folder,
        "source_folder": folder,
        "rest_endpoints": [f"{world.receiver.url}/cb"],
        **parameters,
    }
    return int((await world.engine.jobs.submit(Submission("demo", "vodstream", given)))["id"])


def _folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "data" / "storage" / "source" / name
    folder.mkdir(parents=True)
    return folder


async def _kind(world: Bench, job: Job) -> str | None:
    """What the fault of its failed task was, after how many tries."""
    [failed] = [one for one in await world.engine.views.tasks(ADMIN, job.id) if one.task.state.value == "failed"]
    assert len(failed.attempts) == 1
    return failed.task.error_kind


def _leaks(tmp_path: Path) -> list[str]:
    """The files that the mark has come into."""
    return [path for path, data in contents_below(tmp_path / "data").items() if MARK.encode() in data]


async def test_no_file_of_the_worker_leaks_and_every_job_ends_clearly(
    world: Bench, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once on a few slots, each encoded or packaged; then one that is in order."""
    monkeypatch.setattr(
        probing, "_PROBE_STALL_S", 10.0
    )  # what makes ffprobe read for ever takes as long of a processor
    made = {name.replace(" ", "_"): make for name, make in attacks().items()}
    for name, make in made.items():
        make(_folder(tmp_path, name), str(secret))
    began = time.monotonic()
    ids = {name: await _submit(world, name, encode_source=number % 2 == 0) for number, name in enumerate(made)}
    jobs = {name: await world.ended(job_id, len(made) * IN_TIME_S) for name, job_id in ids.items()}
    assert {name for name, job in jobs.items() if not job.failed} == set()
    assert {name: job.error for name, job in jobs.items() if "ingest: film." not in str(job.error)} == {}
    assert {name: kind for name, job in jobs.items() if (kind := await _kind(world, job)) != "input"} == {}
    assert "at most 128" in str(jobs["hundreds_of_tracks"].error)
    assert "8192x4608" in str(jobs["a_huge_picture"].error)
    took = {name: ((job.completed_at or 0) - (job.started_at or 0)) / 1000 for name, job in jobs.items()}
    assert max(took.values()) < IN_TIME_S, took
    assert time.monotonic() - began < IN_TIME_S * 3
    ffmpeg(_folder(tmp_path, "good"), *picture("160x90", seconds=2), *H264, "film.mp4")
    assert not (await world.ended(await _submit(world, "good"), IN_TIME_S)).failed
    assert _leaks(tmp_path) == []
    assert MARK not in "".join(str(one.body) for one in world.receiver.received)


async def test_an_index_that_names_another_file_is_not_followed(world: Bench, tmp_path: Path, secret: Path) -> None:
    """What is packaged is the file's own media."""
    external_reference(_folder(tmp_path, "elsewhere"), str(secret))
    job = await world.ended(await _submit(world, "elsewhere", create_thumbnail=False), IN_TIME_S)
    assert not job.failed or "film.mp4" in str(job.error)
    assert _leaks(tmp_path) == []
