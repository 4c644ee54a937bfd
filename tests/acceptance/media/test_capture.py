"""Captures of streams over HTTP, jobs through the engine: what comes out is read back frame by frame."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from taskengine.domain.errors import InvalidRequest
from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from taskengine.media import mp4
from tests.acceptance.media.test_streams import MediaServer, serving
from tests.support import origin
from tests.support.engine import Bench, bench, settings_for
from tests.support.media import H264, ffmpeg, picture
from tests.support.receiver import CallbackReceiver


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The streams: packaged clear and encrypted, as TS."""
    folder = tmp_path_factory.mktemp("origin")
    origin.sources(folder / "made")
    origin.packaged(folder / "clear", folder / "made")
    origin.with_texts(folder / "clear")
    origin.with_texts_in_mp4(folder / "clear")
    origin.broken(folder / "clear")
    origin.packaged(folder / "closed", folder / "made", encrypted=True)
    origin.transport(folder / "ts", folder / "made")
    origin.smooth(folder / "smooth", folder / "made")
    return folder


@asynccontextmanager
async def world_of(tmp_path: Path, media: Path) -> AsyncIterator[tuple[Bench, MediaServer, Path]]:
    """An engine, a server of streams, and the folder of what is put out."""
    async with (
        serving(media) as server,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver) as world,
    ):
        yield world, server, tmp_path / "data" / "storage" / "output"


async def capture(world: Bench, *clips: Mapping[str, Any], **parameters: Any) -> Job:
    """A job to its end."""
    given = {
        "content_id": "film", "output_folder": "film", "clips": list(clips), "create_thumbnail": False,
        "rest_endpoints": [f"{world.receiver.url}/cb"], **parameters,
    }  # fmt: skip
    answer = await world.engine.jobs.submit(Submission("demo", "vodcapture", given))
    return await world.ended(int(answer["id"]), 90)


def counted(*spans: tuple[int, int]) -> list[int]:
    """The numbers of frames [first, last) of the source, after one another."""
    return [number % origin.LEVELS for first, last in spans for number in range(first, last)]


async def logged(world: Bench, job: Job) -> str:
    """What the job's owner reads."""
    return "\n".join(str(each["message"]) for each in await world.engine.store.logs(job.id))


async def test_clips_are_cut_at_the_frame_and_joined(tmp_path: Path, media: Path) -> None:
    """By offset and by time of day, of HLS and of DASH: every frame and every second of sound is where it was, in all
    renditions; what lies between the edges is copied bit by bit; captions move along; the manifests tell the time of day."""
    async with world_of(tmp_path, media) as (world, server, output):
        source = f"{server.url}/clear/master.m3u8"
        clips: list[dict[str, Any]] = [
            {"source": source, "start": "00:00:01.300", "end": 7.2},
            {"source": source, "start": "2026-06-06T12:00:04.500Z", "end": "2026-06-06T12:00:06.000Z"},
            {"source": f"{server.url}/clear/manifest.mpd", "start": "00:00:09.900"},
        ]
        job = await capture(world, *clips, copy_ts=True, generate_mp4=True, mezzanine=True)
        assert not job.failed, job.error
        result: Mapping[str, Any] = dict(job.result or {})
        folder = output / "film"
        assert result["message"] == str(folder / "film.m3u8")
        assert result["metadata"]["duration"] == pytest.approx(9.5, abs=0.03)  # a frame of AAC
        expected = counted((13, 72), (45, 60), (99, 120))
        for manifest in ("film.m3u8", "film.mpd", "film.mp4"):
            assert origin.numbers(folder / manifest, tmp_path) == expected
        [version] = (folder / "v").iterdir()
        for name in ("video_1", "video_2"):
            assert origin.numbers(version / "clear" / f"{name}.m3u8", tmp_path) == expected
        beeps = [0.7, 1.7, 2.7, 3.7, 4.7, 5.7, 6.4, 7.5, 8.5]  # 2.0 … 7.0 s of the first, 5.0 s; 10.0 s and 11.0 s
        assert origin.beeps(folder / "film.m3u8", tmp_path) == pytest.approx(
            beeps, abs=0.011
        )  # what is cut out of the sound is an AAC frame wider
        log = await logged(world, job)
        assert "clips[0]: 5.900 s; 80 of 118 frames are copied" in log
        master = (version / "clear" / "video_1.m3u8").read_text()
        dates = re.findall(r"PROGRAM-DATE-TIME:(\S+)", master)
        assert dates[0] == "2026-06-06T12:00:01.300Z"
        manifest = (folder / "film.mpd").read_text()
        assert 'availabilityStartTime="2026-06-06T12:00:01.300Z"' in manifest
        assert 'wallClockTime="2026-06-06T12:00:04.500Z" presentationTime="60416"' in manifest  # 5.9 s
        texts = (version / "clear" / "text_1" / "text.vtt").read_text()
        assert re.findall(r"(\S+) --> (\S+).*\n(cue \d)", texts) == [
            ("00:00:00.000", "00:00:00.200", "cue 1"), ("00:00:01.200", "00:00:02.200", "cue 2"),
            ("00:00:03.200", "00:00:04.200", "cue 3"), ("00:00:05.200", "00:00:05.900", "cue 4"),
            ("00:00:05.900", "00:00:06.900", "cue 3"), ("00:00:07.400", "00:00:09.000", "cue 9"),
        ]  # fmt: skip


async def test_what_lies_between_the_edges_is_copied_bit_by_bit(tmp_path: Path, media: Path) -> None:
    """Of TS that is encrypted whole, of samples that are encrypted with the client's key, on the segment, and from a storage
    of the client's; out come clear and protected manifests."""
    stored = tmp_path / "data" / "storage" / "output" / "archive" / "one"
    shutil.copytree(media / "clear", stored)
    async with world_of(tmp_path, media) as (world, server, output):
        keyed = {"key_id": str(UUID(origin.KEY_ID)), "content_key": origin.KEY.upper()}
        job = await capture(
            world,
            {"source": f"{server.url}/closed/manifest.mpd", "start": 3.5, "end": 9.5, "filter": "type=='audio'||height==90", **keyed},
            {"local_source": "archive/one", "start": 4, "end": 8, "filter": 'type!="video"||systemBitrate<100000&&width<=160'},
            {"source": f"{server.url}/ts/media.m3u8", "start": "00:00:05.1", "end": "00:00:08.000"},
            {"source": f"{server.url}/clear/broken.m3u8", "start": 1, "end": 3},  # over a discontinuity
            drm=["clear", "cenc", "aes"], enable_drm=False,
        )  # fmt: skip
        assert not job.failed, job.error
        folder = output / "film"
        assert origin.numbers(folder / "film.m3u8", tmp_path) == counted(
            (35, 95), (40, 80), (51, 80), (70, 80), (0, 10)
        )
        log = await logged(world, job)
        for told in ("6.000 s; 40 of 60 frames", "4.000 s; 40 of 40 frames", "2.900 s; 20 of 29 frames"):
            assert f": {told} are copied" in log
        assert origin.KEY.upper() not in log
        assert len(server.names("^/ts/key$")) == 1  # for all segments that are fetched at the same time
        [version] = (folder / "v").iterdir()
        assert {each.name for each in version.iterdir()} >= {"clear", "cenc", "aes"}
        assert list((version / "aes" / "video_1").glob("*.ts"))  # its pictures are decoded 0.2 s ahead of showing
        made = b"".join(path.read_bytes() for path in sorted((version / "clear" / "video_1").glob("*.m4s")))
        for number, times in ((3, 2), (4, 2)):  # 4 s to 6 s, 6 s to 8 s; TS has delimiters between the frames
            assert made.count(samples(media / "clear" / "small" / f"{number}.m4s")) == times
        assert origin.beeps(folder / "film.m3u8", tmp_path) == pytest.approx(
            [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.0, 7.0, 8.0, 9.0, 10.9, 11.9], abs=0.011
        )


def samples(segment: Path) -> bytes:
    """The media data of a segment: its frames, one after the other."""
    data = segment.read_bytes()
    [box] = [each for each in mp4.children(data, 0, len(data)) if each.kind == b"mdat"]
    return data[box.start : box.end]


async def test_smooth_streaming_is_cut_as_others_are(tmp_path: Path, media: Path) -> None:
    """Fragments without init segments and times, from two origins that fill each other's gaps: every frame and every second of
    sound is where it was, what lies between the edges is copied, in all renditions."""
    for name in ("one", "two"):
        shutil.copytree(media / "smooth", tmp_path / "origins" / name)
    for fragment in (tmp_path / "origins" / "one").rglob("Fragments(*=[46]???????)"):
        fragment.unlink()
    async with world_of(tmp_path, tmp_path / "origins") as (world, server, output):
        sources = [f"{server.url}/{name}/x.ism/Manifest" for name in ("one", "two")]
        job = await capture(world, {"sources": sources, "start": "00:00:01.300", "end": 7.2})
        assert not job.failed, job.error
        folder = output / "film"
        [version] = (folder / "v").iterdir()
        for name in ("video_1", "video_2"):
            assert origin.numbers(version / "clear" / f"{name}.m3u8", tmp_path) == counted((13, 72))
        assert origin.beeps(folder / "film.m3u8", tmp_path) == pytest.approx([0.7 + n for n in range(6)], abs=0.035)
        made = b"".join(path.read_bytes() for path in sorted((version / "clear").glob("video_*/*.m4s")))
        assert all(samples(fragment) in made for fragment in (media / "smooth").rglob("Fragments(video=22000000)"))
        log = await logged(world, job)
        assert "80 of 118 frames are copied" in log
        assert "video_1: 4.000 s comes from" in log


async def test_clips_that_differ_become_like_the_first(tmp_path: Path, media: Path) -> None:
    """Another size, another rate, no sound: encoded as the first clip's rungs, with silence."""
    plain = tmp_path / "plain"
    plain.mkdir()
    ffmpeg(plain, *picture("240x136", "24", 4), *H264, "-g", "48", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod",
           "media.m3u8")  # fmt: skip
    shutil.copytree(media / "clear", plain / "clear")
    async with world_of(tmp_path, plain) as (world, server, output):
        source = f"{server.url}/clear/master.m3u8"
        clips = [
            {"source": source, "start": 1.5, "end": 5.5}, {"source": f"{server.url}/media.m3u8", "start": 0.5, "end": 3.5},
            {"source": source, "start": 7, "end": 9},
        ]  # fmt: skip
        job = await capture(world, *clips)
        assert not job.failed, job.error
        folder = output / "film"
        numbers = origin.numbers(folder / "film.m3u8", tmp_path)
        assert (numbers[:40], len(numbers), numbers[70:]) == (counted((15, 55)), 90, counted((70, 90)))
        assert origin.beeps(folder / "film.m3u8", tmp_path) == pytest.approx([0.5, 1.5, 2.5, 3.5, 7.0, 8.0], abs=0.011)
        assert "clips[1]: its picture is not like the first clip's: it is encoded as 320x180" in await logged(
            world, job
        )


async def test_on_the_segment_nothing_is_encoded(tmp_path: Path, media: Path) -> None:
    """The clip begins with the segment and ends with it; the MP4 alone is put out, with every track that the filter leaves,
    in place of what was in the folder; sound alone is a clip, too."""
    async with world_of(tmp_path, media) as (world, server, output):
        (output / "film").mkdir(parents=True)
        (output / "film" / "former.txt").write_text("former")
        job = await capture(
            world, {"source": f"{server.url}/clear/master.m3u8", "start": 3, "end": 7}, frame_accurate=False,
            generate_vod=False, generate_mp4=True, mp4_filename="a clip.mp4",
        )  # fmt: skip
        assert not job.failed, job.error
        made = output / "film" / "a clip.mp4"
        result = dict(job.result or {})
        assert (result["message"], result["files"], result["metadata"]) == (str(made), [str(made)], {"duration": 6.0})
        assert [each.name for each in (output / "film").iterdir()] == ["a clip.mp4"]
        assert [track.handler for track in mp4.read_movie(made).tracks] == ["vide", "vide", "soun", "sbtl"]
        assert origin.numbers(made, tmp_path) == counted((20, 80))
        assert "120 of 120 frames are copied" in await logged(world, job)
        job = await capture(
            world, {"source": f"{server.url}/clear/manifest.mpd", "start": 3, "end": 7.25, "filter": 'type=="audio"'},
            output_folder="sound", empty_target=False,
        )  # fmt: skip
        assert not job.failed, job.error
        assert origin.beeps(output / "sound" / "film.m3u8", tmp_path) == pytest.approx([0, 1, 2, 3, 4], abs=0.011)


async def test_gaps_of_one_origin_are_filled_from_the_others(tmp_path: Path, media: Path) -> None:
    """Gaps of playlists, segments that are not there, an origin that is away; what none has is left out and told."""
    for name in ("one", "two"):
        shutil.copytree(media / "clear", tmp_path / "origins" / name)
    one, two = tmp_path / "origins" / "one", tmp_path / "origins" / "two"
    for name in ("large", "small", "sound"):
        origin.cut_out(one / f"{name}.m3u8", [2])
        origin.cut_out(two / f"{name}.m3u8", [3])
        (one / name / "4.m4s").unlink()
    (one / "small" / "5.m4s").unlink()
    (two / "small" / "5.m4s").unlink()  # the larger rendition has it
    async with world_of(tmp_path, tmp_path / "origins") as (world, server, output):
        sources = [f"{server.url}/{name}/master.m3u8" for name in ("gone", "one", "two")]
        job = await capture(
            world, {"sources": sources, "start": "2026-06-06T12:00:00.500Z", "end": "2026-06-06T12:00:10.500Z"}
        )
        assert not job.failed, job.error
        [version] = (output / "film" / "v").iterdir()
        for name in ("video_1", "video_2"):
            assert origin.numbers(version / "clear" / f"{name}.m3u8", tmp_path) == counted((5, 105))
        beeps = [0.5 + number for number in range(10)]
        assert origin.beeps(output / "film" / "film.m3u8", tmp_path) == pytest.approx(
            beeps, abs=0.035
        )  # what is cut out of the sound is an AAC frame wider
        log = await logged(world, job)
        assert "gone/master.m3u8 is left out" in log
        assert "it is made of the best rendition" in log
        for folder in (one, two):
            for name in ("large", "small", "sound"):
                (folder / name / "3.m4s").unlink(missing_ok=True)
        job = await capture(world, {"sources": sources[1:], "start": 3, "end": 7}, output_folder="other")
        assert not job.failed, job.error
        assert origin.numbers(output / "other" / "film.m3u8", tmp_path) == counted((30, 40), (60, 70))
        assert "2.000 s of the stream are missing" in await logged(world, job)


async def test_a_live_stream_is_followed_to_the_clips_end(tmp_path: Path, media: Path) -> None:
    """Its window moves on while the clip is taken; a stream that halts fails the job in time."""
    live = tmp_path / "live"
    shutil.copytree(media / "clear", live)
    playlists = {name: (live / f"{name}.m3u8").read_text() for name in ("large", "small", "sound")}
    window = Window(live, playlists)
    window.show(0, 2)
    async with world_of(tmp_path, live) as (world, server, output):
        server.told = window.asked
        given = {
            "source": f"{server.url}/master.m3u8",
            "start": "2026-06-06T12:00:01.000Z",
            "end": "2026-06-06T12:00:08.300Z",  # a little behind a segment's end: the next one is waited for
        }
        job = await capture(world, {**given, "filter": "type!='video'||width==160"})
        assert not job.failed, job.error
        assert origin.numbers(output / "film" / "film.m3u8", tmp_path) == counted((10, 83))


class Window:
    """A live playlist of each rendition: some segments of those that there are, and no end."""

    def __init__(self, folder: Path, playlists: Mapping[str, str]) -> None:
        self._folder, self._playlists, self._last = folder, playlists, 0

    def asked(self, path: str) -> None:
        """The newest sound was fetched: the window moves on."""
        if path.endswith(f"/sound/{self._last}.m4s"):
            self.show(self._last - 1, self._last + 1)

    def show(self, first: int, last: int) -> None:
        """Segments [first, last), from 0."""
        self._last = last
        for name, text in self._playlists.items():
            head, *parts = re.split(r"(?=#EXT-X-PROGRAM-DATE-TIME)", text.replace("#EXT-X-ENDLIST\n", ""))
            head = head.replace("#EXT-X-PLAYLIST-TYPE:VOD\n", f"#EXT-X-MEDIA-SEQUENCE:{first}\n")
            path = self._folder / f"{name}.m3u8"
            path.with_suffix(".new").write_text(head + "".join(parts[first:last]))
            path.with_suffix(".new").replace(path)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"end": 0}, r"clips\[0\]: it lasts no time: from 0.000 s to 0.000 s of the stream"),
    ({"start": 13}, r"clips\[0\].start: 13 is not in the stream, which has 0.000 s to 12.000 s"),
    ({"end": 20}, r"clips\[0\].end: 20 is not in the stream"),
    ({"source": "gone.m3u8"}, r"clips\[0\]: http://\S+/gone.m3u8: answered 404"),
    ({"source": "made/small.mp4"}, "it does not begin with #EXTM3U"),
    ({"filter": 'type=="video"&&height==1080'}, r"clips\[0\].filter: it leaves no picture and no sound of: video"),
    ({"source": "closed/master.m3u8"}, "the stream is encrypted: give key_id and content_key, or a seed"),
    ({"source": "closed/manifest.mpd"}, r"clips\[0\]: its segments are encrypted by cenc, give key_id and content_key, or a seed"),
    ({"source": "closed/manifest.mpd", "key_id": "<key id>", "content_key": "<key>"}, r"clips\[0\].key_id must be 32 hex digits"),
    ({"source": "closed/manifest.mpd", "key_id": "0" * 32, "content_key": "1" * 32}, "encrypted with the key 00112233"),
]  # fmt: skip


async def test_what_cannot_be_captured_is_told_clearly(tmp_path: Path, media: Path) -> None:
    """By the clip and its parameter, without another try, and without a key; what can be known at submission is refused
    then: a filter by its character, a clip that ends before it starts, nothing to make."""
    async with world_of(tmp_path, media) as (world, server, output):
        source = {"source": f"{server.url}/clear/master.m3u8"}
        with pytest.raises(InvalidRequest, match=r"clips\[1\].filter is wrong: character 8: expected a value"):
            await capture(world, source, {**source, "filter": "type =="})
        with pytest.raises(InvalidRequest, match=r'clips\[1\].end must be after start, "0:07", not 7'):
            await capture(world, source, {**source, "start": "0:07", "end": 7})
        with pytest.raises(InvalidRequest, match="generate_mp4 must be true"):
            await capture(world, source, generate_vod=False, generate_mp4=False)
        for clip, told in FAULTS:
            given = {**clip, "source": f"{server.url}/{clip.get('source', 'clear/master.m3u8')}"}
            job = await capture(world, given)
            assert job.failed, clip
            assert re.search(told, str(job.error)), job.error
            assert not list(output.rglob("*.*"))
