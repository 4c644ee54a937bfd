"""Small VOD streams whose frames tell which film they are of and which number they have, and a server of them."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import openm3u8
from aiohttp import web

from taskengine.media.tools import find_tools
from tests.support.media import AAC, H264, ffmpeg, sound

RATE = 10
FILMS: Mapping[str, int] = {"a": 80, "b": 128, "slate": 176}  # the blue of each
SIZES = ("160x90", "96x54")
_STEP, _DARKEST = 8, 40


def film_file(folder: Path, name: str, seconds: float, *, size: str = "160x90", gop: int = RATE) -> Path:
    """An MP4 of a film with sound: the grey of a frame tells its number, modulo 20."""
    path = folder / f"{name}_{size}.mp4"
    grey = f"geq=lum='{_DARKEST}+mod(N\\,20)*{_STEP}':cb={FILMS[name]}:cr=128"
    picture = ["-f", "lavfi", "-i", f"color=s={size}:r={RATE}:d={seconds},format=yuv420p,{grey}"]
    keys = ["-qp", "4", "-g", str(gop), "-keyint_min", str(gop), "-sc_threshold", "0"]
    ffmpeg(folder, *picture, *sound(seconds, channels=2), *H264, *keys, *AAC, "-shortest", path.name)
    return path


def vod_stream(folder: Path, name: str, seconds: float, *, sizes: Sequence[str] = SIZES, segment: float = 1) -> None:
    """`<folder>/<name>/master.m3u8` and `manifest.mpd`: CMAF of all sizes, the sound apart."""
    target = folder / name
    target.mkdir(parents=True)
    descriptors = []
    for number, size in enumerate(sizes):
        film_file(target, name, seconds, size=size)
        descriptors += _descriptors(f"{name}_{size}.mp4", f"v{number}", "video")
        if number == 0:
            descriptors += _descriptors(
                f"{name}_{size}.mp4", "a0", "audio,hls_group_id=audio,hls_name=sound,language=en"
            )
    manifests = ["--generate_static_live_mpd", "--hls_playlist_type", "VOD", "--mpd_output", "manifest.mpd"]
    argv = [find_tools().packager, "--quiet", *descriptors, "--segment_duration", f"{segment:g}", *manifests,
            "--hls_master_playlist_output", "master.m3u8"]  # fmt: skip
    subprocess.run(argv, cwd=target, check=True, capture_output=True, timeout=60)


def _descriptors(source: str, name: str, stream: str) -> list[str]:
    segments = f"init_segment={name}/init.mp4,segment_template={name}/$Number$.m4s"
    return [f"in={source},stream={stream},{segments},playlist_name={name}.m3u8"]


class Origin:
    """Serves a folder, with ranges and to pages of every site, and remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, ""
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """A file, or 404."""
        self.asked.append(request.path)
        path = self.folder / request.path.lstrip("/")
        headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
        return web.FileResponse(path, headers=headers) if path.is_file() else web.Response(status=404, headers=headers)


@asynccontextmanager
async def origin_over(folder: Path) -> AsyncIterator[Origin]:
    """A server of media on loopback."""
    origin = Origin(folder)
    app = web.Application()
    app.router.add_get("/{path:.*}", origin.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    origin.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield origin
    finally:
        await runner.cleanup()


Frame = tuple[str, int]  # film, number modulo 20


def frames_of(path: Path) -> list[Frame]:
    """The frames that decode from a file."""
    chain = [
        "-map",
        "0:v:0",
        "-vf",
        "scale=1:1:flags=area,format=yuv444p",
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-",
    ]
    argv = [find_tools().ffmpeg, "-nostdin", "-v", "error", "-i", str(path), *chain]
    out = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout
    return [_frame(out[at], out[at + 1]) for at in range(0, len(out), 3)]


def _frame(grey: int, blue: int) -> Frame:
    film = min(FILMS, key=lambda name: abs(FILMS[name] - blue))
    return film, min(19, max(0, round((grey - _DARKEST) / _STEP)))


@dataclass
class Stretch:
    """Segments that go on from one another, as a player joins them: their URLs, and the init segment's."""

    init: str | None
    urls: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Watcher:
    """Follows a media playlist as a player does: each segment once, by its number; a discontinuity begins a new stretch."""

    url: str
    folder: Path
    stretches: list[Stretch] = field(default_factory=list)
    next_number: int | None = None
    run: int | None = None
    ended: bool = False

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Take what is new."""
        async with session.get(self.url) as response:
            assert response.status == 200, await response.text()
            self.take(await response.text())

    def take(self, text: str) -> None:
        """What is new in a playlist."""
        playlist = openm3u8.loads(text, self.url)
        run = int(playlist.discontinuity_sequence or 0)
        for place, each in enumerate(playlist.segments):
            number = int(playlist.media_sequence or 0) + place
            run += bool(each.discontinuity)
            if self.next_number is not None and number < self.next_number:
                continue
            assert self.next_number in {None, number}, "the window went past the player"
            if run != self.run:
                init = each.init_section
                self.stretches.append(Stretch(init.absolute_uri if init else None))
                self.run = run
            self.next_number = number + 1
            self.stretches[-1].urls.append(each.absolute_uri)
            self.stretches[-1].seconds += float(each.duration)
        self.ended = bool(playlist.is_endlist)

    async def frames(self, session: aiohttp.ClientSession) -> list[list[Frame]]:
        """What decodes of each stretch."""
        found = []
        for number, each in enumerate(self.stretches):
            path = self.folder / f"stretch_{number}.mp4"
            urls = [*([each.init] if each.init else []), *each.urls]
            path.write_bytes(b"".join([await _body(session, url) for url in urls]))
            found.append(frames_of(path))
        return found


async def _body(session: aiohttp.ClientSession, url: str) -> bytes:
    if not url.startswith("http"):
        return Path(url).read_bytes()
    async with session.get(url) as response:
        assert response.status == 200, url
        return await response.read()


def numbers(begin: int, end: int) -> list[int]:
    """Those that frames tell."""
    return [number % 20 for number in range(begin, end)]
