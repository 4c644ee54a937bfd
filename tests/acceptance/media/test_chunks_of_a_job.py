"""A long source: chunks are tasks, only one that failed is done again, and none fetches more of its source than it needs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InternalFault
from taskengine.engine.jobs import Submission
from taskengine.handlers import HANDLERS
from taskengine.handlers.encode_chunk import EncodeChunk
from taskengine.media import parts
from taskengine.media.tools import find_tools
from taskengine.storage.local import LocalStorage
from taskengine.workflows.catalog import BUILT_IN
from tests.support.engine import ADMIN, bench, settings_for
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source
from tests.support.receiver import CallbackReceiver

PROFILE = """
name: CHUNKED
segment_duration: 2
chunks: {above: 2, duration: 2}
video: [{encoder: libx264, preset: ultrafast, rungs: [{width: 160, height: 90, crf: 26, max_bitrate: 400000}]}]
copy_fitting: false
"""


async def test_only_a_chunk_that_failed_is_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others, and the audio, are done once; the asset is whole."""
    settings = settings_for(tmp_path, profiles_dirs=[tmp_path / "profiles"])
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    (profiles / "CHUNKED.yaml").write_text(PROFILE)
    quick = (BUILT_IN / "workflows" / "vodstream.yaml").read_text().replace("delay: 5s", "delay: 0s")
    (tmp_path / "workflows" / "vodstream.yaml").write_text(quick)
    video_source(tmp_path / "data" / "storage" / "source" / "film" / "film.mp4", size="160x90", seconds=6)
    tried: list[int] = []
    encoding = EncodeChunk.__call__

    async def failing_once(handler: EncodeChunk, context: Any) -> Any:
        tried.append(chunk := int(context.inputs["chunk"]))
        if chunk == 1 and tried.count(1) == 1:
            raise InternalFault("the worker's disk hiccuped")
        return await encoding(handler, context)

    monkeypatch.setattr(EncodeChunk, "__call__", failing_once)
    async with CallbackReceiver() as receiver, bench(settings, receiver) as world:
        parameters = {
            "content_id": "film",
            "source_folder": "film",
            "encode_source": True,
            "encoding_profile": "CHUNKED",
        }
        parameters["rest_endpoints"] = [f"{receiver.url}/cb"]
        answer = await world.engine.jobs.submit(Submission("demo", "vodstream", parameters))
        job = await world.ended(int(answer["id"]), 60)
        tasks = await world.engine.jobs.tasks(ADMIN, job.id)
    assert not job.failed
    assert sorted(tried) == [0, 1, 1, 2]
    attempts = {(stored.task.step, stored.task.index): len(stored.attempts) for stored in tasks}
    assert {name: count for name, count in attempts.items() if name[0] in {"encode_chunk", "encode_audio", "join"}} == {
        ("encode_chunk", 0): 1, ("encode_chunk", 1): 2, ("encode_chunk", 2): 1, ("encode_audio", 0): 1, ("join", None): 1,
    }  # fmt: skip
    assert (tmp_path / "data" / "storage" / "output" / "film" / "film.m3u8").is_file()


class DistantDisk(LocalStorage):
    """A folder that counts as a bucket, and what was read of the files in it."""

    kind = "s3"

    def __init__(self, root: Path) -> None:
        super().__init__(root, link_shared=True)
        self.moved: dict[str, int] = {}  # bytes by the name of the file

    async def fetch(self, path: str, target: Path) -> None:
        """Count it."""
        await super().fetch(path, target)
        self._count(path, target.stat().st_size)

    async def read_part(self, path: str, start: int, length: int) -> bytes:
        """Count it."""
        data = await super().read_part(path, start, length)
        self._count(path, len(data))
        return data

    def _count(self, path: str, size: int) -> None:
        name = path.rpartition("/")[2]
        self.moved[name] = self.moved.get(name, 0) + size


LONG = """
name: LONG
segment_duration: 2
chunks: {above: 6, duration: 6}
video: [{encoder: libx264, preset: ultrafast, rungs: [{width: 80, height: 46, crf: 26, max_bitrate: 400000}]}]
copy_fitting: false
"""
SECONDS, FRAMES = 24, 720


def frames_of(path: Path) -> Sequence[str]:
    """The digests of all frames that decode."""
    argv = [find_tools().ffmpeg, "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framemd5", "-"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.rpartition(",")[2].strip() for line in lines if not line.startswith("#")]


async def chunks_of(folder: Path, source: Path, workspace: DistantDisk | None) -> Sequence[Sequence[str]]:
    """The frames of every chunk of a source."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "LONG.yaml").write_text(LONG)
    studio = Studio(folder, profile_folders=(folder / "profiles",), workspace=workspace)
    (studio.source / source.name).hardlink_to(source)

    async def task(handler: str, **inputs: Any) -> Mapping[str, Any]:
        context = studio.context(handler, inputs, job_id=7, task_id=len(studio.contexts) + 1)
        return await HANDLERS[handler](context)

    found = await task(
        "ingest", content_id="film", source_folder="film", source_storage="local", encode_source=True,
        encoding_profile="LONG",
    )  # fmt: skip
    plan = await task("plan", sources=found["sources"], profile="LONG")
    normalised = None
    if plan["normalise"]:
        normalised = (await task("normalise", sources=found["sources"], plan=plan["plan"]))["file"]
    if workspace:
        workspace.moved.clear()
    frames = []
    for chunk in plan["chunks"]:
        await task("encode_chunk", sources=found["sources"], plan=plan["plan"], chunk=chunk, normalised=normalised)
        frames.append(frames_of(studio.contexts[-1].scratch / "video_1.mp4"))
    assert ("its part of the source does not do" in studio.log.text) == (bool(workspace) and parts._AHEAD < 0)
    return frames


@pytest.mark.parametrize("where", ["a late start", "a varying rate", "no plain MP4", "too little"])
async def test_a_chunk_moves_its_own_part_of_a_source_that_is_far_away(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frame by frame what chunks make that have the whole source on their disk, for about as many bytes as the source has in
    all, instead of as many for each. What cannot be read in parts is fetched whole, and so is what ffmpeg lacked anything of."""
    if where == "too little":
        monkeypatch.setattr(parts, "_AHEAD", -60)
    noise = "noise=alls=30:allf=t"
    arguments = ["-vf", noise, *H264, "-bf", "2", "-g", "40", *AAC]
    name = "film.mkv" if where == "no plain MP4" else "film.mp4"
    extra = {
        "a varying rate": ["-vf", f"{noise},select='not(gt(t,9)*eq(mod(n,7),3))'", "-fps_mode", "vfr"],
        "a late start": ["-output_ts_offset", "1.5", "-movflags", "+faststart"],
    }.get(where, [])
    ffmpeg(tmp_path, *picture("160x90", "30000/1001", SECONDS), *sound(SECONDS, channels=2), *arguments, *extra, name)
    distant = DistantDisk(tmp_path / "bucket")
    near = await chunks_of(tmp_path / "near", tmp_path / name, None)
    far = await chunks_of(tmp_path / "far", tmp_path / name, distant)
    assert far == near
    assert sum(len(frames) for frames in far) == FRAMES
    read = "normalised.mp4" if where == "a varying rate" else f"source_1{Path(name).suffix}"
    size = next(path for path in (tmp_path / "bucket").rglob(read)).stat().st_size
    share = distant.moved[read] / size / len(far)
    if where == "no plain MP4":
        assert share == pytest.approx(1, abs=0.001)
    elif where == "too little":
        assert share > 1
    else:
        assert share < 0.5
