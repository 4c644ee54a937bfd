"""Previews, single frames and GIFs of streams over HTTP: what is fetched, what is made, and what is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from taskengine.domain.job import Job
from taskengine.engine.submissions import Submission
from tests.support.engine import Bench, bench, settings_for
from tests.support.media import AAC, H264, ffmpeg, sound
from tests.support.receiver import CallbackReceiver

SECONDS, RATE = 6, 10
# The grey of a frame tells its number, modulo 20.
NUMBERED = [
    "-f",
    "lavfi",
    "-i",
    f"color=s=320x180:r={RATE}:d={SECONDS},format=yuv420p,geq=lum='40+mod(N\\,20)*8':cb=128:cr=128",
]


class MediaServer:
    """Serves a folder, with ranges, and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self.asked: list[tuple[str, str]] = []  # (path, range)
        self.told: Callable[[str], None] = lambda path: None  # of each path that is asked for

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A file, or 404."""
        self.asked.append((request.path, request.headers.get("Range", "")))
        self.told(request.path)
        path = self.folder / request.path.lstrip("/")
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    def names(self, pattern: str) -> list[str]:
        """The files of this pattern that were asked for."""
        return [path for path, _ in self.asked if re.search(pattern, path)]


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[MediaServer]:
    """A server of media on loopback."""
    server = MediaServer(folder)
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streams of six seconds: fMP4 (two renditions, a playlist of key frames, times of day), and TS with AES-128."""
    folder = tmp_path_factory.mktemp("streams")
    keys = ["-qp", "4", "-g", str(RATE), "-keyint_min", str(RATE), "-sc_threshold", "0"]
    for name, size in (("small", "160x90"), ("large", "320x180")):
        (folder / name).mkdir()
        hls = ["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4",
               "-hls_flags", "single_file+program_date_time"]  # fmt: skip
        ffmpeg(folder / name, *NUMBERED, *H264, *keys, "-vf", f"scale={size.replace('x', ':')}", *hls, "media.m3u8")
        dated = re.sub(r"(PROGRAM-DATE-TIME:)\S+", _from_noon(), (folder / name / "media.m3u8").read_text())
        (folder / name / "media.m3u8").write_text(dated)
    (folder / "master.m3u8").write_text(
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=320x180,CODECS="avc1.42c00d"\nlarge/media.m3u8\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=160x90,CODECS="avc1.42c00d"\nsmall/media.m3u8\n'
    )
    (folder / "ts").mkdir()
    (folder / "ts" / "key").write_bytes(bytes(range(16)))
    (folder / "ts" / "info").write_text(f"key\n{folder}/ts/key\n")
    ffmpeg(folder / "ts", *NUMBERED, *sound(SECONDS), *H264, *keys, *AAC, "-f", "hls", "-hls_time", "2", "-hls_playlist_type",
           "vod", "-hls_key_info_file", "info", "media.m3u8")  # fmt: skip
    live = (folder / "ts" / "media.m3u8").read_text().replace("#EXT-X-ENDLIST", "").replace("PLAYLIST-TYPE:VOD", "X")
    (folder / "ts" / "live.m3u8").write_text(live)
    for name, lost in (("holed", "media0.ts"), ("keyless", "key")):
        text = (folder / "ts" / "media.m3u8").read_text()
        (folder / "ts" / f"{name}.m3u8").write_text(re.sub(rf"\b{lost}\b", "gone", text))
    return folder


def _from_noon() -> Any:
    seconds = iter(range(0, 100, 2))
    return lambda match: f"{match[1]}2040-06-06T12:00:{next(seconds):02d}.000Z"


async def run(world: Bench, workflow: str, **parameters: Any) -> Job:
    """A job to its end."""
    given = {"content_id": "film", "rest_endpoints": [f"{world.receiver.url}/cb"], **parameters}
    answer = await world.engine.jobs.submit(Submission("demo", workflow, given))
    return await world.ended(int(answer["id"]), 60)


def greys(path: Path, folder: Path, *filters: str) -> Sequence[int]:
    """The mean grey of each frame of a picture file, whatever its colours are made of."""
    chain = ",".join([*filters, "format=rgb24", "scale=1:1:flags=area", "format=gray"])
    ffmpeg(folder, "-i", str(path), "-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", "grey.bin")
    return list((folder / "grey.bin").read_bytes())


@pytest.fixture(scope="module")
def number_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], int]:
    """The number (of 20) of the frame that has a grey."""
    folder = tmp_path_factory.mktemp("levels")
    ffmpeg(folder, *NUMBERED, *H264, "-qp", "4", "levels.mp4")
    levels = list(greys(folder / "levels.mp4", folder))[:20]
    assert min(after - before for before, after in pairwise(levels)) >= 6
    return lambda grey: min(range(20), key=lambda number: abs(levels[number] - grey))


@asynccontextmanager
async def world_of(tmp_path: Path, media: Path) -> AsyncIterator[tuple[Bench, MediaServer, Path]]:
    """An engine, a server of streams, and the folder of what is put out."""
    async with (
        serving(media) as server,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver) as world,
    ):
        yield world, server, tmp_path / "data" / "storage" / "output"


async def test_previews_of_a_stream_take_its_smallest_rendition_and_only_what_they_need(
    tmp_path: Path, media: Path, number_of: Callable[[int], int]
) -> None:
    """Each preview is the last key frame at or before its mark; sheet and index are named as asked, and the callback lists
    both. Nothing of the larger rendition is fetched."""
    async with world_of(tmp_path, media) as (world, server, output):
        job = await run(
            world, "build_thumbnails", source=f"{server.url}/master.m3u8", seconds_between=2.5, target_filename="pre view",
        )  # fmt: skip
        assert not job.failed, job.error
        result: Mapping[str, Any] = dict(job.result or {})
        folder = output / "film"
        assert result["message"] == ["pre view.vtt", "pre view_sprite.jpg"]
        assert result["files"] == [str(folder / name) for name in result["message"]]
        index = (folder / "pre view.vtt").read_text()
        assert re.findall(r"(\S+) --> (\S+)\n(\S+)", index) == [
            ("00:00:00.000", "00:00:02.500", "pre%20view_sprite.jpg#xywh=0,0,160,90"),
            ("00:00:02.500", "00:00:05.000", "pre%20view_sprite.jpg#xywh=160,0,160,90"),
            ("00:00:05.000", "00:00:06.000", "pre%20view_sprite.jpg#xywh=320,0,160,90"),
        ]
        shown = [
            greys(folder / "pre view_sprite.jpg", tmp_path, f"crop=160:90:{160 * number}:0")[0] for number in range(3)
        ]
        first, second, third = shown  # of 0 s, 2 s (frame 20 is as grey as 0), 5 s (frame 50 is as grey as 10)
        assert abs(first - second) <= 2
        assert number_of(third) - number_of(first) in {9, 10}  # a sheet is a JPEG
        assert server.names("large/") == []
        assert len(server.names("small/.*(mp4|m4s)")) <= 8


async def test_previews_are_called_as_asked_and_a_stream_that_tells_no_rate_has_the_given_one(
    tmp_path: Path, media: Path
) -> None:
    """`video_fps` says when the last frame is, and so whether there is a preview near the end; not where the stream does."""
    sparse = media / "sparse"
    sparse.mkdir()
    silent = "log-level=error:vui-timing-info=0:keyint=1"
    ffmpeg(sparse, "-f", "lavfi", "-i", f"testsrc2=s=160x90:r=1:d={SECONDS}", "-c:v", "libx265", "-preset", "ultrafast",
           "-pix_fmt", "yuv420p", "-x265-params", silent, "-f", "hls", "-hls_time", "1", "-hls_playlist_type", "vod",
           "media.m3u8")  # fmt: skip
    async with world_of(tmp_path, media) as (world, server, output):

        async def index(source: str, **parameters: Any) -> tuple[Any, int]:
            job = await run(
                world, "build_thumbnails", source=f"{server.url}/{source}", seconds_between=2.9, **parameters
            )
            assert not job.failed, job.error
            names = dict(job.result or {})["message"]
            return names, (output / "film" / names[0]).read_text().count("-->")

        assert await index("sparse/media.m3u8", filename_prefix="a") == (["a.vtt", "a_sprite.jpg"], 3)
        assert await index("sparse/media.m3u8", target_file_name="b", video_fps=4) == (["b.vtt", "b_sprite.jpg"], 2)
        assert await index("ts/media.m3u8", video_fps=4) == (["film.vtt", "film_sprite.jpg"], 3)


@pytest.mark.parametrize(
    ("source", "time", "number"),
    [
        ("ts/media.m3u8", "0", 0), ("ts/media.m3u8", "00:00:03.4999999", 34), ("ts/media.m3u8", "3.5", 35),
        ("master.m3u8", "00:00:05.9", 59), ("master.m3u8", "2040-06-06T12:00:02.1000000Z", 21),
        ("master.m3u8", "2040-06-06T12:00:02.0999999Z", 20),
    ],
)  # fmt: skip
async def test_a_frame_of_a_stream_is_the_one_that_is_shown_then(
    tmp_path: Path, media: Path, number_of: Callable[[int], int], source: str, time: str, number: int
) -> None:
    """By offset and by time of day, to the seventh decimal; of the largest rendition; encrypted segments too."""
    async with world_of(tmp_path, media) as (world, server, output):
        job = await run(
            world, "capture_frame", source=f"{server.url}/{source}", frame_time=time, output_folder="stills",
            image_filename="a frame.png",
        )  # fmt: skip
        assert not job.failed, job.error
        assert dict(job.result or {}) == {
            "message": "a frame.png", "files": [str(output / "stills" / "a frame.png")],
        }  # fmt: skip
        [grey] = greys(output / "stills" / "a frame.png", tmp_path)
        assert number_of(grey) == number % 20


async def test_a_gif_has_the_frames_the_size_and_the_loop_that_were_asked_for(
    tmp_path: Path, media: Path, number_of: Callable[[int], int]
) -> None:
    """One second across two segments, backwards, at twice the speed; and pictures in other formats."""
    async with world_of(tmp_path, media) as (world, server, output):
        job = await run(
            world, "generate_gif", source=f"{server.url}/master.m3u8", start_at=1.5, duration=1, output_folder="gifs",
            gif_filename="a loop.gif", fps=10, width=80, playback_loop=3, reverse=True, playback_speed=2, bitrate=300000,
        )  # fmt: skip
        assert not job.failed, job.error
        made = output / "gifs" / "a loop.gif"
        data = made.read_bytes()
        assert (int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")) == (80, 45)
        assert b"NETSCAPE2.0\x03\x01\x02\x00\x00" in data  # it repeats twice
        numbers = [number_of(grey) for grey in greys(made, tmp_path)]
        assert len(numbers) == 5
        assert (numbers[0] <= 5, numbers[-1] >= 14) == (True, True)  # from 2.4 s (24) back to 1.5 s (15)
        job = await run(
            world, "generate_gif", source=f"{server.url}/ts/media.m3u8", start_at="00:00:01.000", duration=2,
            output_folder="gifs", gif_filename="plain.gif",
        )  # fmt: skip
        assert not job.failed, job.error
        plain = output / "gifs" / "plain.gif"
        data = plain.read_bytes()
        assert (int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")) == (853, 480)
        assert b"NETSCAPE2.0\x03\x01\x00\x00\x00" in data  # for ever
        numbers = [number_of(grey) for grey in greys(plain, tmp_path)]
        assert (len(numbers), numbers[0]) == (24, 10)
        assert all(before <= after for before, after in pairwise(numbers[:12]))
        job = await run(
            world, "generate_gif", source=f"{server.url}/master.m3u8", start_at=1, duration=0.5, height=60,
            output_folder="gifs", gif_filename="low.gif",
        )  # fmt: skip
        assert not job.failed, job.error
        data = (output / "gifs" / "low.gif").read_bytes()
        assert (int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")) == (107, 60)

        for name, head in (("a.jpg", b"\xff\xd8\xff"), ("a.webp", b"RIFF")):
            job = await run(world, "capture_frame", source=f"{server.url}/ts/media.m3u8", frame_time=1,
                            output_folder="", image_filename=name)  # fmt: skip
            assert not job.failed, job.error
            assert (output / name).read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("workflow", "parameters", "told"),
    [
        ("build_thumbnails", {"source": "ts/live.m3u8"}, "a live stream that has not ended"),
        ("build_thumbnails", {"source": "gone.m3u8"}, r"source: http://\S+/gone.m3u8: answered 404"),
        ("build_thumbnails", {"source": "ts/holed.m3u8"}, r"source: http://\S+/ts/gone: answered 404"),
        ("build_thumbnails", {"source": "ts/keyless.m3u8"}, r"source: http://\S+/ts/gone: answered 404"),
        ("build_thumbnails", {"source": "ts/key"}, "it does not begin with #EXTM3U"),
        ("build_thumbnails", {"source": "ts/media.m3u8", "preview_thumbnails_interval": 0.0001}, "more than 10,000"),
        ("capture_frame", {"source": "ts/media.m3u8", "frame_time": 6.5, "output_folder": "a", "image_filename": "a.png"},
         "frame_time: 6.5 is not in the stream, which lasts 6"),
        ("capture_frame", {"source": "ts/media.m3u8", "frame_time": "2040-06-06T12:00:02Z", "output_folder": "a",
                           "image_filename": "a.png"}, "does not tell its time of day"),
    ],
)  # fmt: skip
async def test_what_cannot_be_made_is_told_clearly(
    tmp_path: Path, media: Path, workflow: str, parameters: Mapping[str, Any], told: str
) -> None:
    """At once, by the name of the parameter, and nothing is put out."""
    async with world_of(tmp_path, media) as (world, server, output):
        given = {**parameters, "source": f"{server.url}/{parameters['source']}"}
        job = await run(world, workflow, **given)
        assert job.failed
        assert re.search(told, str(job.error)), job.error
        assert not list(output.rglob("*.*"))
