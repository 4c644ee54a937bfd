"""A real player plays what is published: Shaka Player in Chromium, HLS and DASH."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.media import Studio, video_source
from tests.support.player import chromium, player_over, shaka_player

CUE = "1\n00:00:01,000 --> 00:00:08,900\n{0}\n"
installed = pytest.fixture(scope="module")(shaka_player)


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, or no test here."""
    return chromium()


@pytest.fixture
async def studio(tmp_path: Path) -> Studio:
    """An asset of nine seconds in two renditions, with subtitles in two languages."""
    made = Studio(tmp_path)
    made.source.joinpath("film_eng.srt").write_text(CUE.format("one"))
    made.source.joinpath("film_deu.srt").write_text(CUE.format("spät > früh"))
    video_source(made.source / "film.mp4", size="854x480", seconds=9)
    await made.stream(encode_source=True, trickplay=True)
    return made


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("manifest", ["film.m3u8", "film.mpd"])
async def test_an_asset_plays(studio: Studio, installed: Path, manifest: str) -> None:
    """From its start and from within, over borders of segments, in each rendition, with its subtitles."""
    async with player_over(studio.output, installed) as player:
        opened = await player.open(manifest)
        assert abs(opened["duration"] - 9) < 0.1
        assert sorted(set(opened["heights"])) == [360, 480]

        assert sorted(opened["texts"]) == ["de", "en"]
        assert await player("captions", "en", 1.5) == ["one"]
        assert await player("captions", "de", 4.5) == ["spät > früh"]

        played = await player("play", 0, 1)
        assert played["shown"] >= 20
        over_a_border = await player("play", 3.5, 1)
        assert over_a_border["time"] >= 4.5
        assert over_a_border["stalls"] == 0
        assert [await player("choose", height) for height in (360, 480)] == [360, 480]
