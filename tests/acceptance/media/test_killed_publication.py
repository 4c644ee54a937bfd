"""kill -9 of a worker in the middle of a publication: nothing half visible, nothing left when another one has published."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskengine.engine.submissions import Submission
from taskengine.media import dash, hls
from taskengine.ports import Storage
from taskengine.storage.buckets import bucket
from taskengine.storage.local import LocalStorage
from tests.support.cluster import ROOT, Process
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.media import AAC, H264, ffmpeg, picture, sound
from tests.support.rabbitmq import RabbitServer
from tests.support.receiver import CallbackReceiver
from tests.support.seaweedfs import S3Server
from tests.support.storages import paths

WAIT_S = 120
LOCAL = ("after v/2-\\d+/clear/video_1/00001", "after film/metadata.json", "after film/film.m3u8")
S3 = ("within v/2-\\d+/clear/video_1/", "within film/film.mp4", "after film/film.m3u8")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source whose segments go in parts."""
    folder = tmp_path_factory.mktemp("film")
    noise = ["-vf", "noise=alls=100:allf=t", "-qp", "6", "-g", "25"]
    ffmpeg(folder, *picture("640x360", seconds=4), *sound(4), *noise, *H264, *AAC, "film.mp4")
    assert (folder / "film.mp4").stat().st_size > 17 * 1024 * 1024
    return folder / "film.mp4"


async def versions_named(output: Storage) -> Sequence[str]:
    """The versions that HLS and DASH point into; all that they name is there."""
    there = set(await paths(output, "film"))
    master = (await output.read("film/film.m3u8")).decode()
    parsed = hls.read_master(master)
    named = {*parsed.variants, *parsed.renditions}
    for uri in list(named):
        playlist = hls.read_media((await output.read(f"film/{uri}")).decode())
        base = uri.rpartition("/")[0]
        named |= {f"{base}/{each}" for each in [playlist.init, *(segment for segment, _ in playlist.segments)] if each}
    manifest = (await output.read("film/film.mpd")).decode()
    for representation in dash.read(manifest):
        named |= {uri for uri, _ in representation.segments}
    assert {f"film/{uri}" for uri in named} <= there
    return [re.findall(r"v/(\d+-\d+)/", text)[0] for text in (master, manifest)]


class Site:
    """An engine without workers, and workers of its own that die when they are told to."""

    def __init__(self, world: Bench, root: Path, environment: Mapping[str, str]) -> None:
        self.world, self._root, self._environment = world, root, environment
        self.workers: list[Process] = []

    async def worker(self, die_at: str = "") -> Process:
        """Start one."""
        name = f"worker{len(self.workers)}"
        given = {**self._environment, "TASKENGINE_DATA_DIR": str(self._root / name)} | (
            {"DIE_AT": die_at} if die_at else {}
        )
        command = ["tests.support.dying", "worker", "--queue", "all"]
        self.workers.append(Process(name, command, given, self._root / f"{name}.log"))
        await self.workers[-1].start()
        return self.workers[-1]

    async def submit(self, **parameters: Any) -> int:
        """A job that makes the asset; its id."""
        given = {
            "content_id": "film", "source_folder": "film", "rest_endpoints": [f"{self.world.receiver.url}/cb"],
            **parameters,
        }  # fmt: skip
        return int((await self.world.engine.jobs.submit(Submission("demo", "vodstream", given)))["id"])


@asynccontextmanager
async def site(root: Path, broker_url: str, storages: Mapping[str, Any]) -> AsyncIterator[Site]:
    """They share a disk for the workspace."""
    settings = settings_for(root, broker_url=broker_url, storages=storages)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(root), "PYTHONPATH": str(ROOT), "TASKENGINE_BROKER_URL": broker_url,
        "TASKENGINE_WORKSPACE": str(settings.workspace), "TASKENGINE_STORAGES": json.dumps(storages),
        "TASKENGINE_HEARTBEAT_S": "0.5",
    }  # fmt: skip
    async with CallbackReceiver() as receiver, bench(settings, receiver, workers=False) as world:
        made = Site(world, root, environment)
        try:
            yield made
        finally:
            for worker in made.workers:
                await worker.kill()


@pytest.mark.parametrize(("name", "points"), [("local", LOCAL), ("S3", S3)])
async def test_a_worker_may_die_at_any_moment_of_a_publication(
    tmp_path: Path, film: Path, rabbitmq: RabbitServer, name: str, points: Sequence[str], request: pytest.FixtureRequest
) -> None:
    """Within a segment, within or after what lies beside the versions, between the two manifests: what the manifests name is
    always there. When the last worker has published there is one version, and no part of an upload."""
    storages: dict[str, Any] = {"local": {"kind": "local", "url": str(tmp_path / "media")}}
    output: Storage = LocalStorage(tmp_path / "media" / "output")
    server: S3Server | None = None
    if name == "S3":
        server = request.getfixturevalue("s3")
        storages["S3"] = server.settings()
        output = bucket(storages["S3"], "output").storage()
    source = tmp_path / "media" / "source" / "film"
    source.mkdir(parents=True)
    (source / "film.mp4").hardlink_to(film)
    async with site(tmp_path, rabbitmq.url(), storages) as running:
        first = await running.worker(points[0])
        job = await running.world.ended(await running.submit(destination_storage=name), WAIT_S)
        assert not job.failed, job.error
        assert await versions_named(output) == ["1-1", "1-1"]

        second_job = await running.submit(destination_storage=name, generate_mp4=True)
        assert await asyncio.wait_for(first.ended(), WAIT_S) < 0
        assert await versions_named(output) == ["1-1", "1-1"]
        assert server is None or server.unfinished() >= 1
        for number, point in enumerate(points[1:], start=2):
            worker = await running.worker(point)
            assert await asyncio.wait_for(worker.ended(), WAIT_S) < 0
            between = point.endswith("m3u8")
            assert await versions_named(output) == ([f"2-{number}", "1-1"] if between else ["1-1", "1-1"])
        await running.worker()
        job = await running.world.ended(second_job, WAIT_S)
        assert not job.failed, job.error
        attempts = [
            [str(attempt["outcome"]) for attempt in task.attempts]
            for task in await running.world.engine.views.tasks(ADMIN, second_job)
            if task.task.name == "publish"
        ]
        assert attempts == [["lost", "lost", "lost", "completed"]]
        assert await versions_named(output) == ["2-4", "2-4"]
    assert {path.split("/")[2] for path in await paths(output, "film/v")} == {"2-4"}
    listed = {file["path"] for file in json.loads(await output.read("film/metadata.json"))["files"]}
    assert {f"film/{path}" for path in listed} | {"film/metadata.json"} == set(await paths(output, "film"))
    assert server is None or server.unfinished() == 0
    assert not list((tmp_path / "media").rglob(".partial-*"))
