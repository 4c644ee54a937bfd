"""A long source: chunks are tasks, only one that failed is done again, and none fetches more of its source than it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InternalFault
from taskengine.engine.submissions import Submission
from taskengine.handlers import HANDLERS
from taskengine.handlers.encode_chunk import EncodeChunk
from taskengine.media import parts
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
        tasks = await world.engine.views.tasks(ADMIN, job.id)
    assert not job.failed
    assert sorted(tried) == [0, 1, 1, 2]
    attempts = {(stored.task.step, stored.task.index): len(stored.attempts) for stored in tasks}
    assert {name: count for name, count in attempts.items() if name[0] in {"encode_chunk", "encode_audio", "join"}} == {
        ("encode_chunk", 0): 1, ("encode_chunk", 1): 2, ("encode_chunk", 2): 1, ("encode_audio", 0): 1, ("join", None): 1,
    }  # fmt: skip
    assert (tmp_path / "data" / "storage" / "output" / "film" / "film.m3u8").is_file()


class DistantDisk(LocalStorage):
    """A folder that counts as a bucket while it is `far`, and what was read of the files in it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, link_shared=True)
        self.kind = "local"
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
SECONDS, CHUNKS = 24, 4
NOISE = "noise=alls=30:allf=t"
CODED = [*H264, "-bf", "2", "-g", "40", *AAC]
SOURCES: Mapping[str, tuple[str, list[str]]] = {
    "a late start": ("film.mp4", ["-vf", NOISE, "-output_ts_offset", "1.5", "-movflags", "+faststart"]),
    "a varying rate": ("film.mp4", ["-vf", f"{NOISE},select='not(gt(t,9)*eq(mod(n,7),3))'", "-fps_mode", "vfr"]),
    "no plain MP4": ("film.mkv", ["-vf", NOISE]),
}


class Chunks:
    """The chunks of a source, its plan made."""

    def __init__(self, folder: Path) -> None:
        (folder / "profiles").mkdir()
        (folder / "profiles" / "LONG.yaml").write_text(LONG)
        self.disk = DistantDisk(folder / "bucket")
        self.studio = Studio(folder, profile_folders=(folder / "profiles",), workspace=self.disk)
        self._inputs: dict[str, Any] = {}

    async def plan(self) -> None:
        """Decide, and normalise where that is decided."""
        found = await self._task(
            "ingest", content_id="film", source_folder="film", source_storage="local", encode_source=True,
            encoding_profile="LONG",
        )  # fmt: skip
        planned = await self._task("plan", sources=found["sources"], profile="LONG")
        assert len(planned["chunks"]) == CHUNKS
        self._inputs = {"sources": found["sources"], "plan": planned["plan"]}
        if planned["normalise"]:
            self._inputs["normalised"] = (await self._task("normalise", **self._inputs))["file"]

    async def encode(self, chunks: Sequence[int], *, far: bool) -> Sequence[bytes]:
        """What is made of them, where the workspace is near or far away. The handler has counted the frames."""
        self.disk.kind = "s3" if far else "local"
        self.disk.moved.clear()
        made = []
        for chunk in chunks:
            await self._task("encode_chunk", **self._inputs, chunk=chunk)
            made.append((self.studio.contexts[-1].scratch / "video_1.mp4").read_bytes())
        return made

    def share(self) -> float:
        """How much of the file was moved for each chunk on the average."""
        reference = self._inputs.get("normalised") or {"$file": "source_1."}
        [(name, moved)] = [
            item for item in self.disk.moved.items() if item[0].startswith(reference["$file"].rpartition("/")[2])
        ]
        return moved / next(self.disk_path.rglob(name)).stat().st_size / CHUNKS

    @property
    def disk_path(self) -> Path:
        """Where the workspace is."""
        return self.studio.folder / "bucket"

    async def _task(self, handler: str, **inputs: Any) -> Mapping[str, Any]:
        context = self.studio.context(handler, inputs, job_id=7, task_id=len(self.studio.contexts) + 1)
        return await HANDLERS[handler](context)


@pytest.mark.parametrize("source", SOURCES)
async def test_a_chunk_moves_its_own_part_of_a_source_that_is_far_away(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte what chunks make that have the whole source on their disk, for about as many bytes as the source has in
    all, instead of as many for each. What cannot be read in parts is fetched whole, and so is what ffmpeg lacked anything
    of."""
    name, arguments = SOURCES[source]
    chunks = Chunks(tmp_path)
    inputs = [*picture("160x90", "30000/1001", SECONDS), *sound(SECONDS, channels=2)]
    ffmpeg(chunks.studio.source, *inputs, *CODED, *arguments, name)
    await chunks.plan()
    near = await chunks.encode(range(CHUNKS), far=False)
    assert await chunks.encode(range(CHUNKS), far=True) == near
    if source == "no plain MP4":
        assert chunks.share() == pytest.approx(1, abs=0.001)
        return
    assert chunks.share() < 0.5
    assert "does not do" not in chunks.studio.log.text
    monkeypatch.setattr(parts, "_AHEAD", -60)
    assert await chunks.encode([1], far=True) == near[1:2]
    assert "chunk 1: its part of the source does not do, the whole is fetched" in chunks.studio.log.text
