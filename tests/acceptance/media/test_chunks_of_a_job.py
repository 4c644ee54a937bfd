"""A long source through a whole engine: chunks are tasks, and only one that failed is done again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InternalFault
from taskengine.engine.jobs import Submission
from taskengine.handlers.encode_chunk import EncodeChunk
from taskengine.workflows.catalog import BUILT_IN
from tests.support.engine import ADMIN, bench, settings_for
from tests.support.media import video_source
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
