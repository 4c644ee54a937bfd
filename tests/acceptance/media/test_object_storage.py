"""Assets in buckets: whole jobs of an engine whose storages are S3's and Azure's, with what goes wrong there."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.job import Job, Task
from taskengine.engine.submissions import Submission
from taskengine.handlers.publication import UPLOADED
from taskengine.ports import Storage
from taskengine.storage.buckets import bucket
from tests.support.azure import AzureServer
from tests.support.engine import Bench, bench, settings_for
from tests.support.media import H264, ffmpeg, picture, video_source
from tests.support.oracle import gather, judge
from tests.support.proxy import fault_proxy
from tests.support.receiver import CallbackReceiver
from tests.support.seaweedfs import S3Server
from tests.support.storages import BucketServer, paths


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of three seconds."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    video_source(path, size="160x90", seconds=3)
    return path


def flags(settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Settings of an engine with a local storage and this one, and its workspace in the same bucket."""
    storages = {"local": {"kind": "local"}, "S3": {**settings, "output_root": {"extra": "more/output"}}}
    return {"storages": storages, "workspace": f"{settings['url']}-workspace", **more}


async def run(world: Bench, workflow: str, timeout_s: float = 60, **parameters: Any) -> Job:
    """A job to its end; it must not fail."""
    given = {"content_id": "film", "rest_endpoints": [f"{world.receiver.url}/cb"], **parameters}
    answer = await world.engine.jobs.submit(Submission("demo", workflow, given))
    job = await world.ended(int(answer["id"]), timeout_s)
    assert not job.failed, job.error
    return job


async def publishing(world: Bench) -> Task:
    """The task of the first job that publishes."""
    return next(one.task for one in await world.engine.store.tasks(1) if one.task.name == "publish")


def output_of(settings: Mapping[str, Any]) -> Storage:
    """The default output root."""
    return bucket(settings, "output").storage()


async def test_an_asset_lives_in_a_bucket(tmp_path: Path, film: Path, s3: S3Server) -> None:
    """From a local source into a bucket, with the workspace in one too; read there again, changed there, fetched back to the
    disk, deleted. The callback names full paths; no workspace and no unfinished upload stays."""
    settings = s3.settings()
    output, workspace = output_of(settings), bucket({**settings, "url": f"{settings['url']}-workspace"}, "").storage()
    source = tmp_path / "data" / "storage" / "source" / "film"
    source.mkdir(parents=True)
    (source / "film.mp4").write_bytes(film.read_bytes())
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path, **flags(settings)), receiver) as world:
        job = await run(
            world, "vodstream", source_folder="film", destination_storage="S3", preview_thumbnails=True,
            generate_mp4=True,
        )  # fmt: skip
        made = dict(job.result or {})
        base = f"{settings['url']}/output/film"
        assert made["message"] == f"{base}/film.m3u8"
        assert made["manifests"] == {"hls": f"{base}/film.m3u8", "dash": f"{base}/film.mpd"}
        there = {f"{settings['url']}/output/{path}" for path in await paths(output, "film")}
        assert set(made["files"]) == there
        listed = {file["path"]: file for file in json.loads(await output.read("film/metadata.json"))["files"]}
        sizes = {file.path.removeprefix("film/"): file.size for file in await output.list("film")}
        assert {name: file["size"] for name, file in listed.items()} == {
            name: size for name, size in sizes.items() if name != "metadata.json"
        }

        await run(world, "trickplay", source_folder="film", source_storage="S3", trickplay_thumbnails=False)
        assert "EXT-X-I-FRAME-STREAM-INF" in (await output.read("film/film.m3u8")).decode()

        await run(
            world, "createmp4", source_folder="film", source_storage="S3", destination_storage="local",
            output_folder="copy",
        )  # fmt: skip
        assert (tmp_path / "data" / "storage" / "output" / "copy" / "film.mp4").stat().st_size > 1000

        await run(world, "vodstream", source_folder="film", destination_storage="S3", output_root="extra",
                  delete_source=True)  # fmt: skip
        assert not source.exists()
        assert await paths(bucket(settings, "more/output").storage(), "film")

        await run(world, "asset_delete", files=["film/film.mp4"], source_storage="S3")
        assert await output.stat("film/film.mp4") is None
        await run(world, "voddelete", folder="film", source_storage="S3")
        assert await paths(output) == []
        async with asyncio.timeout(10):
            while await workspace.list(""):  # noqa: ASYNC110 - the janitor comes after the callback
                await asyncio.sleep(0.05)
        assert s3.unfinished() == 0


async def test_a_source_in_a_bucket_becomes_an_asset_on_the_disk(tmp_path: Path, film: Path, s3: S3Server) -> None:
    """`source_storage` and `destination_storage` may differ in this direction too."""
    settings = s3.settings()
    await bucket(settings, "source").storage().store(film, "in/film.mp4")
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path, **flags(settings)), receiver) as world:
        job = await run(
            world, "vodstream", source_folder="in", output_folder="film", source_storage="S3",
            destination_storage="local", delete_source=True,
        )  # fmt: skip
        assert Path(dict(job.result or {})["message"]).read_text().startswith("#EXTM3U")
    assert await paths(bucket(settings, "source").storage()) == []


async def test_source_and_asset_are_in_containers_of_azure(
    tmp_path: Path, film: Path, s3: S3Server, azure: AzureServer
) -> None:
    """From one container into it, and from S3 into it, with the workspace on the disk: what is there is what is listed, byte
    by byte. It is changed there, brought back, and deleted."""
    settings, other = azure.settings(), s3.settings()
    output = output_of(settings)
    await bucket(settings, "source").storage().store(film, "in/film.mp4")
    await bucket(other, "source").storage().store(film, "in/film.mp4")
    storages = {"local": {"kind": "local"}, "S3": other, "azure_blob": settings}
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path, storages=storages), receiver) as world:
        job = await run(
            world, "vodstream", source_folder="in", output_folder="film", source_storage="azure_blob",
            generate_mp4=True, drm=["clear", "cenc"], delete_source=True,
        )  # fmt: skip
        made = dict(job.result or {})
        base = f"{settings['url']}/output/film"
        assert made["manifests"] == {"hls": f"{base}/film.m3u8", "dash": f"{base}/film.mpd"}
        assert set(made["files"]) == {f"{settings['url']}/output/{path}" for path in await paths(output, "film")}
        await check_listed(output, "film")
        assert await paths(bucket(settings, "source").storage()) == []

        await run(world, "vodstream", source_folder="in", output_folder="film", source_storage="S3",
                  destination_storage="azure_blob")  # fmt: skip
        await check_listed(output, "film")
        assert await output.stat("film/film.mp4") is None  # of the first job
        assert "v/2-1/clear/" in (await output.read("film/film.m3u8")).decode()
        await run(world, "drmswitch", folder="film", source_storage="azure_blob", drm=["widevine"])
        assert "v/3-1/cenc/" in (await output.read("film/film.mpd")).decode()
        await check_listed(output, "film")
        await run(world, "createmp4", source_folder="film", source_storage="azure_blob", destination_storage="local")
        assert (tmp_path / "data" / "storage" / "output" / "film" / "film.mp4").stat().st_size > 1000
        await run(world, "voddelete", folder="film", source_storage="azure_blob")
        assert await paths(output) == []


async def check_listed(output: Storage, folder: str) -> None:
    """Sizes and checksums of `metadata.json` are those of the files that are there, and none is left out."""
    listed = json.loads(await output.read(f"{folder}/metadata.json"))["files"]
    assert {f"{folder}/{file['path']}" for file in listed} == {*await paths(output, folder)} - {
        f"{folder}/metadata.json"
    }
    for file in listed:
        data = await output.read(f"{folder}/{file['path']}", limit=64 * 1024 * 1024)
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"]), file["path"]


async def test_progress_moves_within_a_large_file(tmp_path: Path, s3: S3Server) -> None:
    """While the network holds the rest of an upload back, the task tells what was sent of it."""
    settings = s3.settings()
    source = tmp_path / "data" / "storage" / "source" / "film"
    source.mkdir(parents=True)
    noise = ["-vf", "noise=alls=100:allf=t", "-qp", "6", "-g", "25"]
    ffmpeg(source, *picture("640x360", seconds=4), *noise, *H264, "film.mp4")
    async with fault_proxy(s3.endpoint) as proxy, CallbackReceiver() as receiver:
        through = {**settings, "options": {**settings["options"], "endpoint": proxy.through(s3.endpoint)}}
        storages = {"local": {"kind": "local"}, "S3": through}
        async with bench(settings_for(tmp_path, storages=storages), receiver) as world:

            def after_a_part(piece: bytes) -> bool:
                if piece.startswith(b"PUT ") and b"partNumber=2" in piece:
                    proxy.black_hole()
                return False

            proxy.watch = after_a_part
            running = asyncio.create_task(run(world, "vodstream", source_folder="film", destination_storage="S3"))
            try:
                async with asyncio.timeout(60):
                    while not 0 < await progress_of_publishing(world) < UPLOADED:  # noqa: ASYNC110 - nobody is told of it
                        await asyncio.sleep(0.05)
                assert not running.done()
            finally:
                proxy.watch = None
                proxy.heal()
            await running
    await check_listed(output_of(settings), "film")


async def progress_of_publishing(world: Bench) -> float:
    """0 to 1, as the engine knows it now."""
    found = [one for one in await world.engine.store.tasks(1) if one.task.name == "publish"]
    live = world.engine.views.live(found[0]) if found else None
    return live.fraction if live else 0.0


@pytest.mark.parametrize(("server", "name"), [("s3", "S3"), ("azure", "azure_blob")])
async def test_a_publication_whose_uploads_are_cut_is_made_again_and_is_whole(
    tmp_path: Path, film: Path, server: str, name: str, request: pytest.FixtureRequest
) -> None:
    """The server goes away in the middle of the upload: the attempt fails, and nothing is active. When it is back the next one
    publishes, and then there is nothing but what is active."""
    remote: BucketServer = request.getfixturevalue(server)
    settings = remote.settings()
    source = tmp_path / "data" / "storage" / "source" / "film"
    source.mkdir(parents=True)
    (source / "film.mp4").write_bytes(film.read_bytes())
    output = output_of(settings)
    endpoint = settings["options"]["endpoint"]
    async with fault_proxy(endpoint) as proxy, CallbackReceiver() as receiver:
        through = {**settings, "options": {**settings["options"], "endpoint": proxy.through(endpoint)}, "retries": 0}
        storages = {"local": {"kind": "local"}, name: through}
        async with bench(settings_for(tmp_path, storages=storages), receiver) as world:
            uploading, seen = asyncio.Event(), 0

            def in_the_upload(piece: bytes) -> bool:
                nonlocal seen
                seen += piece.startswith(b"PUT ") and b"/v/" in piece
                if seen > 2:
                    uploading.set()
                return False

            proxy.watch = in_the_upload
            running = asyncio.create_task(run(world, "vodstream", source_folder="film", destination_storage=name))
            await uploading.wait()
            await proxy.refuse()
            while (await publishing(world)).attempt < 2:  # noqa: ASYNC110 - the engine tells of no tries
                await asyncio.sleep(0.05)
            assert await output.stat("film/film.m3u8") is None
            await proxy.start()
            job = await running
            attempt = (await publishing(world)).attempt
        facts = await gather(world.engine.settings.database_url, accepted=[job.id], received=receiver.received)
        assert judge(facts, max_jobs=2) == []
    versions = {path.split("/")[2] for path in await paths(output, "film/v")}
    assert versions == {f"{job.id}-{attempt}"}
    await check_listed(output, "film")
    if isinstance(remote, S3Server):
        assert remote.unfinished() == 0
