"""Channels of VOD streams: assembled by a job, shown by the engine, played over the borders of clips and of passes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from tests.support.engine import Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver
from tests.support.vod import Origin, Watcher, numbers, origin_over, vod_stream


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 3 and 2 seconds and a slate of 1, and a film that is made otherwise."""
    folder = tmp_path_factory.mktemp("films")
    for name, seconds in (("a", 3), ("b", 2), ("slate", 1)):
        vod_stream(folder, name, seconds)
    shutil.copytree(folder / "b", folder / "other")
    master = (folder / "other" / "master.m3u8").read_text().replace("96x54", "128x72")
    (folder / "other" / "master.m3u8").write_text(master)
    return folder


@dataclass
class World:
    """An engine with its API, a server of films, and what is put out."""

    bench: Bench
    films: Origin
    output: Path

    async def run(self, workflow: str, **parameters: Any) -> Job:
        """A job to its end."""
        given = {"content_id": "one", "rest_endpoints": [f"{self.bench.receiver.url}/cb"], **parameters}
        answer = await self.bench.engine.jobs.submit(Submission("demo", workflow, given))
        return await self.bench.ended(int(answer["id"]), 30)

    async def assembled(self, *clips: Mapping[str, Any], **parameters: Any) -> str:
        """A channel's URL."""
        job = await self.run("mediatailor_channel_assembly", clips=list(clips), **parameters)
        assert not job.failed, job.error
        return str(dict(job.result or {})["message"])

    def clip(self, name: str, *breaks: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """A clip of a film."""
        events = [{**each, "slate": f"{self.films.url}/slate/master.m3u8"} for each in breaks]
        return {"source": f"{self.films.url}/{name}/master.m3u8", "markers": {"meta_events": events}, **more}

    async def text(self, url: str) -> tuple[int, str]:
        """What a player gets."""
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()


@asynccontextmanager
async def world_of(tmp_path: Path, films: Path) -> AsyncIterator[World]:
    """All of it."""
    async with (
        origin_over(films) as origin,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as running,
    ):
        yield World(running, origin, tmp_path / "data" / "storage" / "output")


async def test_a_channel_plays_over_breaks_and_the_seam_of_its_loop(tmp_path: Path, films: Path) -> None:
    """A real player follows it in real time: clips, slate, the next clip, and the first one again, without a frame lost;
    segments come from where they lie; nothing is copied."""
    async with world_of(tmp_path, films) as world:
        url = await world.assembled(
            world.clip("a", {"presentation_time": "00:00:01.2"}), world.clip("b", start="00:00:01"), dvr_window_length=6
        )
        assert re.fullmatch(r"http://127.0.0.1:\d+/channels/demo/one/master.m3u8", url)
        assert [str(path.relative_to(world.output)) for path in sorted(world.output.rglob("*.*"))] == [
            "channels/one/channel.json", "channels/one/sources.json",
        ]  # fmt: skip
        watcher = Watcher(url.replace("master", "video_1"), tmp_path)
        assert (await world.text(url))[0] == 200  # at once
        async with aiohttp.ClientSession() as session, asyncio.timeout(20):
            while len(watcher.stretches) < 6:
                await watcher.look(session)
                await asyncio.sleep(0.3)  # a player asks again
            shown = await watcher.frames(session)
        films_shown = [stretch[0][0] for stretch in shown[:5]]
        assert films_shown == ["a", "slate", "a", "b", "a"]
        assert [[number for _, number in stretch] for stretch in shown[:5]] == [
            numbers(0, 10), numbers(0, 10), numbers(10, 30), numbers(10, 20), numbers(0, 10),
        ]  # fmt: skip
        _, master = await world.text(url)
        assert sorted(re.findall(r"RESOLUTION=(\d+x\d+)", master)) == ["160x90", "96x54"]
        _, playlist = await world.text(url.replace("master", "video_1"))
        assert f"{world.films.url}/slate/v0/1.m4s" in playlist
        assert "#EXT-X-CUE-OUT:1.000" in playlist
        assert "#EXT-X-CUE-IN" in playlist


async def test_a_channel_is_changed_stopped_started_and_deleted(tmp_path: Path, films: Path) -> None:
    """Numbers go on over changes; a restart begins with the first clip, else the pass is played to its end; sources that are
    known are not read again; what is not there cannot be switched."""
    async with world_of(tmp_path, films) as world:
        url = await world.assembled(world.clip("a"))
        path = world.output / "channels" / "one" / "channel.json"
        first = json.loads(path.read_bytes())
        world.films.asked.clear()
        await world.assembled(world.clip("a"), world.clip("b"), restart_channel=False)
        assert {name.split("/")[1] for name in world.films.asked} == {"b"}
        waiting = json.loads(path.read_bytes())["programmes"]
        length = 3000
        assert (waiting[-1]["starts_at"] - first["programmes"][0]["starts_at"]) % length == 0
        assert len(waiting) == 2
        assert waiting[-1]["sequence"]["video_1"] % 3 == 0
        world.films.asked.clear()
        await world.assembled(world.clip("b"), update_existing_vod_sources=True)
        assert {name.split("/")[1] for name in world.films.asked} == {"b"}
        changed = json.loads(path.read_bytes())["programmes"]
        assert changed[-1]["sequence"]["video_1"] > 0

        assert not (await world.run("mediatailor_channel_state", state="stop")).failed
        assert (await world.text(url))[0] == 404
        started = await world.run("mediatailor_channel_state", state="start")
        assert (started.failed, dict(started.result or {})["message"]) == (False, "")
        _, playlist = await world.text(url.replace("master", "video_1"))
        assert int(re.findall(r"MEDIA-SEQUENCE:(\d+)", playlist)[0]) >= changed[-1]["sequence"]["video_1"]
        assert not (await world.run("mediatailor_channel_state", state="stop", delete=True)).failed
        assert not path.exists()
        unknown = await world.run("mediatailor_channel_state", state="start")
        assert unknown.failed
        assert "content_id: there is no channel 'one'" in str(unknown.error)


FAULTS: list[tuple[list[dict[str, Any]], str]] = [
        ([{"source": "a/master.m3u8"}, {"source": "other/master.m3u8"}],
         "clips[1].source: its renditions are not those of clips[0].source: it has no 96x54 video (fMP4, avc1."),
        ([{"source": "a/master.m3u8"}, {"source": "b/manifest.mpd"}], "clips[1].source: it is no HLS stream"),
        ([{"source": "a/master.m3u8", "end": 0}], "clips[0].end: it is not after start"),
        ([{"source": "a/master.m3u8", "start": 9}], "clips[0].start: 9 is not in the stream, which lasts 3"),
        ([{"source": "a/gone.m3u8"}], "clips[0].source: "),
        ([{"source": "a/master.m3u8", "markers": {"meta_events": [{"slate": "slate/master.m3u8", "presentation_time": 5}]}}],
         "clips[0].markers.meta_events.presentation_time: 5 s is after the clip's end"),
    ]  # fmt: skip


async def test_what_cannot_be_a_channel_is_told_clearly(tmp_path: Path, films: Path) -> None:
    """By the name of the parameter; there is no channel then."""
    async with world_of(tmp_path, films) as world:
        for clips, told in FAULTS:
            text = json.dumps(clips)
            for name in ("a", "b", "other", "slate"):
                text = text.replace(f'"{name}/', f'"{world.films.url}/{name}/')
            job = await world.run("mediatailor_channel_assembly", clips=json.loads(text))
            assert job.failed
            assert told in str(job.error)
            assert not list(world.output.rglob("channel.json"))
