"""`GET /channels/…`: what players are shown, by whom it is read, and what they are told where there is nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from taskengine.api import ChannelBook
from taskengine.domain.errors import StorageError
from taskengine.media.virtual import channel as channels
from taskengine.media.virtual.model import Channel, Kind, Pieces, Programme, Rendition, Run
from tests.support.api import World, api_world
from tests.support.clock import MovedClock

CHANNEL = "/channels/demo/one"


@dataclass
class Shelf:
    """Definitions by client and name; counts how often it is read."""

    clock: MovedClock
    stored: dict[tuple[str, str], bytes] = field(default_factory=dict)
    away: bool = False
    reads: int = 0

    async def read(self, client: str, name: str) -> bytes | None:
        """A definition, where there is one."""
        self.reads += 1
        if self.away:
            raise StorageError("it is away")
        return self.stored.get((client, name))

    def put(self, channel: Channel) -> None:
        """Store it as `one`."""
        self.stored["demo", "one"] = channels.dump(channel)


def channel_at(at: int, *, loops: bool = True) -> Channel:
    """Two segments of two seconds each."""
    run = Run(4, {"video_1": Pieces("https://cdn/a", ["1", "2"], [2, 2])})
    return Channel("one", "1", [Rendition("video_1", Kind.VIDEO, 1000)], [Programme(at, [run], loops)], 4)


@asynccontextmanager
async def showing(tmp_path: Path) -> AsyncIterator[tuple[World, Shelf]]:
    """The API over a shelf, on whose clock a channel begins in 3 s."""
    shelf = Shelf(MovedClock())
    shelf.put(channel_at(shelf.clock.now() + 3000))
    async with api_world(tmp_path, channels=ChannelBook(shelf.read, shelf.clock)) as world:
        yield world, shelf


async def got(world: World, path: str) -> tuple[int, str, Mapping[str, str]]:
    """Status, text and headers of a call by nobody, as a player of another site makes it."""
    async with world.http.get(path, headers={"Origin": "https://player.example"}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status, await response.text(), response.headers


async def test_a_channel_is_shown_to_anybody_as_the_clock_has_it(tmp_path: Path) -> None:
    """Nothing before its first segment, then a window that slides; caches may keep it half a segment."""
    async with showing(tmp_path) as (world, shelf):
        status, _, headers = await got(world, f"{CHANNEL}/master.m3u8")
        assert (status, headers["Retry-After"]) == (404, "5")
        assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[0] == 404
        await shelf.clock.advance(5)
        status, text, headers = await got(world, f"{CHANNEL}/master.m3u8")
        assert (status, headers["Content-Type"]) == (200, "application/vnd.apple.mpegurl; charset=utf-8")
        assert text.endswith("video_1.m3u8\n")
        status, text, headers = await got(world, f"{CHANNEL}/video_1.m3u8")
        assert (status, headers["Cache-Control"]) == (200, "public, max-age=1")
        assert text.splitlines()[-1] == "https://cdn/a1"
        await shelf.clock.advance(1)
        assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[1] == text
        await shelf.clock.advance(1)
        assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[1].splitlines()[-1] == "https://cdn/a2"
        await shelf.clock.advance(3600 * 24 * 365)
        assert "#EXT-X-MEDIA-SEQUENCE:157679" in (await got(world, f"{CHANNEL}/video_1.m3u8"))[1]


async def test_engines_show_the_same(tmp_path: Path) -> None:
    """Whatever each was asked before."""
    async with showing(tmp_path) as (world, shelf):
        await shelf.clock.advance(60)
        await got(world, f"{CHANNEL}/video_1.m3u8")
        await shelf.clock.advance(61)
        (tmp_path / "other").mkdir()
        async with api_world(tmp_path / "other", channels=ChannelBook(shelf.read, shelf.clock)) as other:
            assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[1] == (await got(other, f"{CHANNEL}/video_1.m3u8"))[1]


async def test_a_definition_is_read_every_two_seconds_and_missed_no_sooner(tmp_path: Path) -> None:
    """A change is seen then, what is not there or stopped sooner; while the storage is away the channel goes on, and one that is not known yet is not shown."""
    async with showing(tmp_path) as (world, shelf):
        await shelf.clock.advance(10)
        for _ in range(5):
            await got(world, f"{CHANNEL}/video_1.m3u8")
        assert shelf.reads == 1
        shelf.away = True
        await shelf.clock.advance(30)
        assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[0] == 200
        status, _, headers = await got(world, "/channels/demo/two/master.m3u8")
        assert (status, headers["Retry-After"]) == (503, "5")
        shelf.away = False
        shelf.put(replace(channel_at(shelf.clock.now() - 60_000), running=False))
        await shelf.clock.advance(2)
        status, text, _ = await got(world, f"{CHANNEL}/master.m3u8")
        assert (status, text) == (404, '{"error":"The channel is stopped"}')
        shelf.put(channel_at(shelf.clock.now() - 60_000, loops=False))
        await shelf.clock.advance(0.25)
        status, text, headers = await got(world, f"{CHANNEL}/video_1.m3u8")
        assert (status, text.splitlines()[-1], headers["Cache-Control"]) == (200, "#EXT-X-ENDLIST", "public, max-age=2")
        shelf.stored.clear()
        await shelf.clock.advance(2)
        assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[0] == 404
        shelf.put(channel_at(shelf.clock.now() - 60_000))
        await shelf.clock.advance(0.25)
        assert (await got(world, f"{CHANNEL}/video_1.m3u8"))[0] == 200


@pytest.mark.parametrize(
    "path",
    ["demo/two/master.m3u8", "other/one/master.m3u8", "demo/one/master.mpd", "demo/one/audio_1.m3u8", "demo/one/.m3u8"],
)
async def test_what_there_is_not_is_not_found(tmp_path: Path, path: str) -> None:
    """Channels, renditions, kinds of manifest; what is no definition is no channel."""
    async with showing(tmp_path) as (world, shelf):
        await shelf.clock.advance(10)
        shelf.stored["demo", "two"] = b'{"content_id": 1}'
        assert (await got(world, f"/channels/{path}"))[0] == 404
