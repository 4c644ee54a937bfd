"""Virtual assets: manifests over segments of others, what has to be made beside them, markers, protection, live."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from taskengine.media.streams import manifests
from taskengine.media.tools import find_tools
from taskengine.media.tracks import TrackKind
from tests.support.engine import Bench, bench, settings_for
from tests.support.media import ffmpeg
from tests.support.receiver import CallbackReceiver
from tests.support.vod import Origin, Stretch, Watcher, film_file, frames_of, numbers, origin_over, vod_stream


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streams of two films, one of another profile, and files of one."""
    folder = tmp_path_factory.mktemp("films")
    vod_stream(folder, "a", 3)
    vod_stream(folder, "b", 2)
    vod_stream(folder, "slate", 1, sizes=["128x72"])
    film_file(folder, "b", 2, size="160x90")
    film_file(folder, "a", 2, size="96x54", gop=20)
    return folder


@dataclass
class World:
    """An engine with its API, a server of films, and what is put out."""

    bench: Bench
    films: Origin
    output: Path
    scratch: Path

    async def run(self, *clips: Mapping[str, Any], **parameters: Any) -> Job:
        """A job to its end. Sources are names of what the server has."""
        text = re.sub(r'"(a|b|slate)([/_][^"]*)"', rf'"{self.films.url}/\1\2"', json.dumps(clips))
        given = {
            "content_id": "mix", "output_folder": "mix", "clips": json.loads(text),
            "rest_endpoints": [f"{self.bench.receiver.url}/cb"], **parameters,
        }  # fmt: skip
        answer = await self.bench.engine.jobs.submit(Submission("demo", "vodremix", given, max_retries=0))
        return await self.bench.ended(int(answer["id"]), 60)

    async def made(self, *clips: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
        """What its callback tells."""
        job = await self.run(*clips, **parameters)
        assert not job.failed, job.error
        return dict(job.result or {})

    async def shown(self, playlist: Path) -> list[tuple[str, list[int]]]:
        """(film, numbers) of the frames of each stretch of a playlist of the asset."""
        watcher = Watcher(str(playlist), self.scratch)
        watcher.take(playlist.read_text())
        assert watcher.ended
        async with aiohttp.ClientSession() as session:
            found = await watcher.frames(session)
        assert all(len({film for film, _ in stretch}) == 1 for stretch in found)
        return [(stretch[0][0], [number for _, number in stretch]) for stretch in found]

    async def shown_by_dash(self, manifest: Path) -> list[tuple[str, list[int]]]:
        """As `shown`, of the best picture of an MPD."""
        presentation = manifests.read(manifest.read_text(), manifest.as_uri(), 0)
        video = max(presentation.of(TrackKind.VIDEO), key=lambda each: each.height)
        stretches: dict[int, Stretch] = {}
        for segment in video.segments:
            assert segment.init is not None
            stretch = stretches.setdefault(segment.run, Stretch(segment.init.url.removeprefix("file://")))
            stretch.urls.append(segment.media.url.removeprefix("file://"))
        watcher = Watcher("", self.scratch, list(stretches.values()))
        async with aiohttp.ClientSession() as session:
            return [(found[0][0], [number for _, number in found]) for found in await watcher.frames(session)]


@asynccontextmanager
async def world_of(tmp_path: Path, films: Path) -> AsyncIterator[World]:
    """All of it."""
    async with (
        origin_over(films) as origin,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as running,
    ):
        yield World(running, origin, tmp_path / "data" / "storage" / "output", tmp_path)


HLS, DASH = "master.m3u8", "manifest.mpd"


async def test_streams_are_referenced_and_nothing_is_copied(tmp_path: Path, films: Path) -> None:
    """Whole segments of HLS and DASH streams under one manifest of each kind; a marker at the border nearest to it, with its
    SCTE-35 message in both; the callback tells files as `output` too; a new one takes the place of the old one."""
    async with world_of(tmp_path, films) as world:
        marker = {"presentation_time": "00:00:00.900", "duration": 1, "type": "replace"}
        result = await world.made(
            {"source": f"a/{HLS}", "start": "00:00:01.000", "end": 3},
            {"source": f"b/{DASH}", "markers": {"meta_events": [marker], "timescale": 90000}},
            custom_active_manifest_name="remix.m3u8",
        )
        folder = world.output / "mix"
        assert result["message"] == str(folder / "remix.m3u8")
        assert result["manifests"] == {"hls": str(folder / "remix.m3u8"), "dash": str(folder / "remix.mpd")}
        assert result["metadata"]["duration"] == pytest.approx(4, abs=0.05)
        body = next(one.body for one in world.bench.receiver.received if one.body.get("status") == "completed")
        assert body["output"] == body["files"] == result["files"]
        assert {path.suffix for path in folder.rglob("*.*")} == {".m3u8", ".mpd", ".json"}

        version = next((folder / "v").iterdir()) / "clear"
        films_shown = [("a", numbers(10, 30)), ("b", numbers(0, 20))]
        for playlist in ("video_1.m3u8", "video_2.m3u8"):
            assert await world.shown(version / playlist) == films_shown
        assert await world.shown_by_dash(folder / "remix.mpd") == films_shown
        text = (version / "video_1.m3u8").read_text()
        assert f"{world.films.url}/b/v0/2.m4s" in text
        cues = [line.partition(":")[0] for line in text.splitlines() if "CUE" in line or line.startswith("http")]
        assert cues == ["http", "http", "http", "#EXT-X-CUE-OUT", "http"]
        out = re.findall(r"SCTE35-OUT=0x(FC[0-9A-F]+)", text)
        mpd = (folder / "remix.mpd").read_text()
        events = re.findall(r'presentationTime="(\d+)" duration="(\d+)" id="1"', mpd)
        assert events == [("81000", "90000")]
        assert len(out) == 1
        assert "urn:scte:scte35:2014:xml+bin" in mpd

        (folder / "notes.txt").write_text("somebody's")
        await world.made({"source": f"a/{HLS}"}, empty_target=False, content_id="other")
        assert {path.name for path in folder.iterdir()} >= {"notes.txt", "remix.m3u8", "remix.mpd", "other.m3u8"}
        await world.made({"source": f"b/{HLS}"}, custom_active_manifest_name="remix")
        assert {path.name for path in folder.iterdir()} == {"remix.m3u8", "remix.mpd", "metadata.json", "v"}
        assert [path.name for path in (folder / "v").iterdir()] != [version.parent.name]
        assert len(list((folder / "v").iterdir())) == 1


async def test_what_cannot_be_referenced_is_made_in_the_target_profile(tmp_path: Path, films: Path) -> None:
    """The edges of a clip on the frame, with the segment between them referenced; a file; a stream of another profile; a marker
    on the frame. Each in both sizes of the first clip."""
    async with world_of(tmp_path, films) as world:
        marker = {"presentation_time": 1.5, "duration": "00:00:00.500", "type": "insert"}
        result = await world.made(
            {"source": f"a/{HLS}", "start": 0.4, "end": 2.5, "frame_accurate": True, "output_description": True},
            {"source": "b_160x90.mp4", "start": 0.5, "end": "00:00:01.5"},
            {"source": f"slate/{HLS}"},
            {"source": f"b/{HLS}", "markers": {"frame_accurate": True, "meta_events": [marker]}},
        )
        folder = world.output / "mix"
        version = next((folder / "v").iterdir()) / "clear"
        wanted = [
            ("a", numbers(4, 10)), ("a", numbers(10, 20)), ("a", numbers(0, 5)), ("b", numbers(5, 15)), ("slate", numbers(0, 10)),
            ("b", numbers(0, 10)), ("b", numbers(10, 15)), ("b", numbers(15, 20)),
        ]  # fmt: skip
        for playlist in ("video_1.m3u8", "video_2.m3u8"):
            assert await world.shown(version / playlist) == wanted
        assert await world.shown_by_dash(folder / "mix.mpd") == wanted
        assert result["metadata"]["duration"] == pytest.approx(6.1, abs=0.01)
        text = (version / "video_1.m3u8").read_text()
        lines = [line for line in text.splitlines() if "CUE" in line or not line.startswith("#")]
        place = lines.index("#EXT-X-CUE-OUT:0.500")
        assert lines[place + 1] == "#EXT-X-CUE-IN"
        assert re.fullmatch(r"clip_8/video_1/\d+.m4s", lines[place + 2])
        sizes = {frames: len(list((version / f"clip_{frames}").rglob("*.m4s"))) for frames in (1, 3, 4, 5, 7, 8)}
        assert all(count >= 3 for count in sizes.values())
        assert not (version / "clip_2").exists()
        mpd = manifests.read((folder / "mix.mpd").read_text(), (folder / "mix.mpd").as_uri(), 0)
        assert sum(segment.duration for segment in mpd.of(TrackKind.AUDIO)[0].segments) == pytest.approx(6.1, abs=0.3)


async def test_files_are_packaged_and_protected(tmp_path: Path, films: Path) -> None:
    """Of files alone: the first one as it is, the next one like it; each protection as a set; clear ones and protected ones show
    the same; what is encrypted does not decode."""
    async with world_of(tmp_path, films) as world:
        result = await world.made(
            {"source": "a_96x54.mp4"},
            {"source": "b_160x90.mp4", "end": 1},
            drm=["clear", "widevine", "fairplay"],
            enable_drm=True,
        )
        folder = world.output / "mix"
        version = next((folder / "v").iterdir())
        assert {path.name for path in version.iterdir()} == {"clear", "cenc", "cbcs"}
        wanted = [("a", numbers(0, 20)), ("b", numbers(0, 10))]
        assert await world.shown(version / "clear" / "video_1.m3u8") == wanted
        assert await world.shown_by_dash(version / "clear" / DASH) == wanted
        assert "v/" in (folder / "mix.m3u8").read_text()
        assert "/cbcs/" in (folder / "mix.m3u8").read_text()
        assert "cbcs" in (folder / "mix.mpd").read_text() or "cenc" in (folder / "mix.mpd").read_text()
        protected = version / "cbcs" / "video_1.m3u8"
        assert protected.read_text().count("METHOD=SAMPLE-AES") >= 2
        init = next((version / "cenc" / "clip_1" / "video_1").glob("init*"))
        joined = tmp_path / "locked.mp4"
        joined.write_bytes(
            init.read_bytes() + next((version / "cenc" / "clip_1" / "video_1").glob("*.m4s")).read_bytes()
        )
        with suppress(subprocess.CalledProcessError):
            assert frames_of(joined)[: len(wanted[0][1])] != [("a", number) for number in wanted[0][1]]
        assert result["metadata"]["duration"] == pytest.approx(3, abs=0.05)


async def test_a_live_stream_is_composed_of_clips_and_ends(tmp_path: Path, films: Path) -> None:
    """From its start on, once through, and then its end; nothing before it; what would have to be made is refused."""
    async with world_of(tmp_path, films) as world:
        past = datetime.now(UTC) - timedelta(seconds=4)
        clips = [{"source": f"a/{HLS}"}, {"source": f"b/{HLS}"}]
        result = await world.made(*clips, live_compose=True, stream_start_time=past.isoformat(), dvr_window_length=30)
        url = str(result["message"])
        assert url.endswith("/channels/demo/mix/master.m3u8")
        assert not (world.output / "mix").exists()
        watcher = Watcher(url.replace("master", "video_2"), tmp_path)
        async with aiohttp.ClientSession() as session:
            while not watcher.ended:
                await watcher.look(session)
                await world.bench.receiver.wait_for(lambda: True)
            assert [stretch[0][0] for stretch in await watcher.frames(session)] == ["a", "b"]
            assert sum(stretch.seconds for stretch in watcher.stretches) == pytest.approx(5, abs=0.05)
            later = datetime.now(UTC) + timedelta(hours=1)
            await world.made(*clips, live_compose=True, stream_start_time=later.isoformat(), content_id="next")
            async with session.get(url.replace("mix", "next")) as response:
                assert (response.status, 3500 < int(response.headers["Retry-After"]) <= 3601) == (404, True)


def loudness(folder: Path, scratch: Path) -> float:
    """dB of the loudest sample in the first segment of a track."""
    whole = scratch / "sound.mp4"
    whole.write_bytes((folder / "init.mp4").read_bytes() + (folder / "00001.m4s").read_bytes())
    argv = [find_tools().ffmpeg, "-nostdin", "-hide_banner", "-i", str(whole), "-af", "volumedetect", "-f", "null", "-"]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stderr
    return float(re.findall(r"max_volume: (\S+) dB", told)[0])


async def test_playlists_without_a_master_are_the_tracks_that_they_are(tmp_path: Path, films: Path) -> None:
    """A clip of a picture's playlist and a sound's: what each is is read from its init segment, and what is made has both.
    ffmpeg plays the published MPD over what is made and what is referenced."""
    async with world_of(tmp_path, films) as world:
        await world.made({"sources": ["a/v0.m3u8", "a/a0.m3u8"], "start": 0.5, "frame_accurate": True})
        folder = world.output / "mix"
        version = next((folder / "v").iterdir()) / "clear"
        assert await world.shown(version / "video_1.m3u8") == [("a", numbers(5, 10)), ("a", numbers(10, 30))]
        master = (folder / "mix.m3u8").read_text()
        assert re.findall(r"RESOLUTION=([^,]+)", master) == ["160x90"]
        assert master.count("TYPE=AUDIO") == 1
        assert loudness(version / "clip_1" / "audio_1", tmp_path) > -40
        await world.made({"source": "b_160x90.mp4", "end": 1})
        shown = frames_of(folder / "mix.mpd")  # ffmpeg reads a lone segment of a period twice
        assert shown[:10] == [("b", number) for number in numbers(0, 10)]


FAULTS: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    ([{"source": f"a/{HLS}"}], {"drm": ["widevine"]}, "drm: segments that are referenced stay as they are"),
    ([{"source": f"a/{HLS}"}, {"source": "b_160x90.mp4"}], {"live_compose": True}, "clips[1]: a part of it would have to be made"),
    ([{"source": f"a/{HLS}", "markers": {"meta_events": [{"presentation_time": 1, "duration": 1, "type": "insert"}]}}],
     {"live_compose": True}, "clips[0].markers.meta_events.type: insert is not for live_compose"),
    ([{"source": f"a/{HLS}", "output_description": True}, {"source": f"b/{HLS}", "output_description": True}], {},
     "clips[1].output_description: at most one"),
    ([{"source": f"a/{HLS}", "end": 0}], {}, "clips[0].end: it is not after start"),
    ([{"source": "b_160x90.mp4", "start": 7}], {}, "clips[0].start: 7 is not in the file, which lasts 2"),
    ([{"source": "b_160x90.mp4", "start": "2030-01-01T00:00:00"}], {}, "a file does not tell its time of day"),
    ([{"source": "a/v0/init.mp4"}], {}, "clips[0].source"),
    ([{"sources": [f"a/{HLS}", "b_160x90.mp4"]}], {}, "clips[0].sources: streams and files are mixed"),
    ([{"source": f"a/{HLS}", "markers": {"meta_events": [{"presentation_time": 9, "duration": 1}]}}], {},
     "clips[0].markers.meta_events.presentation_time: 9 s is after the clip's end"),
]  # fmt: skip


async def test_what_cannot_be_remixed_is_told_clearly(tmp_path: Path, films: Path) -> None:
    """By the name of the parameter; nothing is put out."""
    async with world_of(tmp_path, films) as world:
        for clips, parameters, told in FAULTS:
            job = await world.run(*clips, **parameters)
            assert job.failed, told
            assert told in str(job.error)
            assert not [path for path in world.output.rglob("*.*") if path.is_file()]


async def test_a_remix_has_a_time_limit_of_its_own(tmp_path: Path, films: Path) -> None:
    """A source that does not answer ends with it."""
    async with CallbackReceiver() as server, world_of(tmp_path, films) as world:
        job = await world.run({"source": server.script("/slow.m3u8", server.hang)}, remote_execute_timeout_seconds="1")
        assert "remote_execute_timeout_seconds: 1 s are over" in str(job.error)


async def test_transport_streams_and_whole_encryption_are_for_hls_alone(tmp_path: Path, films: Path) -> None:
    """Referenced with their keys and vectors, which no longer follow from the numbers; there is no DASH manifest, and the callback
    says so; a segment that is not there fails the job before anything is put out."""
    folder = films / "locked"
    folder.mkdir()
    (folder / "key").write_bytes(bytes(range(16)))
    (folder / "info").write_text(f"key\n{folder}/key\n")
    hls = ["-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod", "-hls_key_info_file", "info", HLS]
    ffmpeg(folder, "-i", str(films / "b_160x90.mp4"), "-c", "copy", *hls)
    plain = re.sub(r",IV=0x[0-9a-f]+", "", (folder / HLS).read_text())
    (folder / HLS).write_text(plain)  # as most write it: the vector is the segment's number
    async with world_of(tmp_path, films) as world:
        source = f"{world.films.url}/locked/{HLS}"
        result = await world.made({"source": source, "start": 1}, {"source": source})
        assert result["manifests"]["dash"] is None
        version = next((world.output / "mix" / "v").iterdir()) / "clear"
        text = (version / "video_1.m3u8").read_text()
        vectors = re.findall(rf'METHOD=AES-128,URI="{world.films.url}/locked/key",IV=0x0*([0-9a-f]+)', text)
        assert len(set(vectors)) == 2
        assert len(re.findall(rf"{world.films.url}/locked/\S+\.ts", text)) == 3
        assert not (world.output / "mix" / "mix.mpd").exists()
        (folder / "master1.ts").unlink()
        broken = await world.run({"source": source}, content_id="broken", output_folder="broken")
        assert broken.failed
        assert re.search(r"clips: http://\S+: answered 404", str(broken.error))
        assert not (world.output / "broken").exists()
