"""A real player plays what is published: Shaka Player in Chromium, HLS and DASH."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskengine.keys.seed import derive_key_id
from tests.support import origin
from tests.support.archives import at, make_archive, set_forward
from tests.support.decrypting import SEED, key_of
from tests.support.media import Studio, video_source
from tests.support.player import chromium, player_over, shaka_player

CHUNKED = """
name: CHUNKED
chunks: {above: 5, duration: 4}
video:
  - encoder: libx264
    preset: ultrafast
    rungs:
      - {width: 320, height: 180, crf: 26, max_bitrate: 600000}
      - {width: 160, height: 90, crf: 26, max_bitrate: 300000}
"""
AV1 = """
name: SMALL_AV1
video: [{encoder: libsvtav1, preset: 12, rungs: [{width: 320, height: 180, crf: 40, max_bitrate: 400000}]}]
"""
DECODING, NO_KEYS = 3016, 6001  # codes of Shaka Player: the browser cannot decode; it knows no system of the asset
CUE = "1\n00:00:01,000 --> 00:00:08,900\n{0}\n"
installed = pytest.fixture(scope="module")(shaka_player)


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, or no test here."""
    return chromium()


@pytest.fixture
async def studio(tmp_path: Path) -> Studio:
    """An asset of nine seconds in two renditions with subtitles in two languages, encoded in chunks."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "CHUNKED.yaml").write_text(CHUNKED)
    made = Studio(tmp_path, profile_folders=(tmp_path / "profiles",))
    made.source.joinpath("film_eng.srt").write_text(CUE.format("one"))
    made.source.joinpath("film_deu.srt").write_text(CUE.format("spät > früh"))
    video_source(made.source / "film.mp4", seconds=9, size="320x180")
    await made.stream(encode_source=True, encoding_profile="CHUNKED", trickplay=True)
    assert "encoded in" in made.log.text
    return made


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("manifest", ["film.m3u8", "film.mpd"])
async def test_an_asset_plays(studio: Studio, installed: Path, manifest: str) -> None:
    """From its start and from within, over the seam of two chunks, in each rendition, with its subtitles."""
    async with player_over(studio.output, installed) as player:
        opened = await player.open(manifest, captions="en")
        assert abs(opened["duration"] - 9) < 0.1
        assert sorted(set(opened["heights"])) == [90, 180]

        assert sorted(opened["texts"]) == ["de", "en"]
        assert await player("captions", "en", 1.5) == ["one"]
        assert await player("captions", "de", 4.5) == ["spät > früh"]

        played = await player("play", 0, 1)
        assert played["shown"] >= 20
        over_the_seam = await player("play", 3.5, 1)
        assert over_the_seam["time"] >= 4.5
        assert over_the_seam["stalls"] == 0
        assert [await player("choose", height) for height in (90, 180)] == [90, 180]


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("manifest", ["film.m3u8", "film.mpd"])
async def test_av1_plays(tmp_path: Path, installed: Path, manifest: str) -> None:
    """Over the border of two segments."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "SMALL_AV1.yaml").write_text(AV1)
    made = Studio(tmp_path, profile_folders=(tmp_path / "profiles",))
    video_source(made.source / "film.mp4", seconds=6, size="320x180")
    await made.stream(encode_source=True, encoding_profile="SMALL_AV1")
    async with player_over(made.output, installed) as player:
        opened = await player.open(manifest)
        assert {codec.partition(".")[0] for codec in opened["codecs"]} == {"av01"}
        assert opened["heights"] == [180]
        played = await player("play", 3.5, 1)
        assert played["time"] >= 4.5
        assert played["shown"] >= 20
        assert played["stalls"] == 0


@pytest.mark.usefixtures("browser")
async def test_a_capture_plays(tmp_path: Path, installed: Path) -> None:
    """Over the borders of what is copied and what is encoded, which have parameter sets of their own; both manifests."""
    made = Studio(tmp_path, key_provider=None)
    origin.sources(tmp_path / "made")
    origin.packaged(made.roots["output_root"] / "channel", tmp_path / "made")
    clips = [
        {"local_source": "channel", "start": 1.3, "end": 7.2},
        {"local_source": "channel", "start": 3.1, "end": 8.7},
    ]
    await made.run("vodcapture", output_folder="film", clips=clips, create_thumbnail=False)
    async with player_over(made.output, installed) as player:
        for manifest in ("film.m3u8", "film.mpd"):
            opened = await player.open(manifest)
            assert abs(opened["duration"] - 11.5) < 0.1
            for seam in (0.2, 5.4):  # 0.7 s, 4.7 s; 5.9 s, 6.8 s
                played = await player("play", seam, 2)
                assert (played["time"] >= seam + 2, played["stalls"]) == (True, 0)
            assert [await player("choose", height) for height in (90, 180)] == [90, 180]


def clear_keys(scheme: str, **changed: str) -> dict[str, str]:
    """Key id → key of a picture of less than HD and its sound; `changed`: other keys by label."""
    return {
        derive_key_id(SEED, "film", scheme, label).hex(): changed.get(label, key_of(scheme, label).hex())
        for label in ("SD", "AUDIO")
    }


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize(("manifest", "scheme"), [("film.m3u8", "cbcs"), ("film.mpd", "cenc")])
async def test_a_protected_asset_plays_by_its_keys_alone(
    tmp_path: Path, installed: Path, manifest: str, scheme: str
) -> None:
    """With the keys of its tracks it plays over borders of segments; with a wrong one, and with none, it does not."""
    made = Studio(tmp_path)
    video_source(made.source / "film.mp4", seconds=6, size="160x90")
    await made.stream(drm=["widevine", "playready", "fairplay"], encode_source=True)

    for keys, code in ((clear_keys(scheme, SD="0" * 32), DECODING), ({}, NO_KEYS)):
        async with player_over(made.output, installed) as player:
            assert await player("fails", f"/assets/{manifest}", keys) == {"codes": [code], "shown": 0}
    async with player_over(made.output, installed) as player:
        await player.open(manifest, clear_keys(scheme))
        played = await player("play", 3.5, 1)
        assert played["time"] >= 4.5
        assert played["shown"] >= 20


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize("manifest", ["npvr/one/film.m3u8", "npvr/one/film.mpd"])
async def test_clips_of_an_archive_play_over_their_seam(tmp_path: Path, installed: Path, manifest: str) -> None:
    """Shared segments by relative references, two clips of protected media: over the discontinuity, with captions."""
    made = Studio(tmp_path)
    make_archive(tmp_path / "output" / "channel1", captions=True)
    clips = [{"capture_id": "channel1", "start": at(start), "end": at(start + 4)} for start in (2, 10)]
    await made.run("vodnpvr", output_folder="npvr/one", clips=clips, drm=["widevine"])
    keys = {
        derive_key_id(SEED, "channel1", "cenc", label).hex(): key_of("cenc", label, "channel1").hex()
        for label in ("SD", "AUDIO")
    }
    async with player_over(tmp_path / "output", installed) as player:
        opened = await player.open(manifest, keys, captions="en")
        assert abs(opened["duration"] - 8) < 0.1
        assert sorted(set(opened["heights"])) == [46, 90]
        for shown, second in ((0.8, 2), (4.8, 10), (2.8, 4), (6.8, 12), (0.8, 2)):
            assert await player("captions", "en", shown) == [f"second {second}"]
        over_the_seam = await player("play", 3.5, 1)
        assert over_the_seam["time"] >= 4.5
        assert over_the_seam["shown"] >= 20


@pytest.mark.usefixtures("browser")
async def test_captions_of_a_long_broadcast_are_shown_with_its_pictures(tmp_path: Path, installed: Path) -> None:
    """Of an archive whose packager has been running for longer than MPEG's clock lasts, in each of two clips."""
    made = Studio(tmp_path, key_provider=None)
    make_archive(tmp_path / "output" / "channel1", captions=True)
    set_forward(tmp_path / "output" / "channel1", hours=30)
    clips = [{"capture_id": "channel1", "start": at(start), "end": at(start + 4)} for start in (2, 10)]
    await made.run("vodnpvr", output_folder="npvr/one", clips=clips)
    async with player_over(tmp_path / "output", installed) as player:
        await player.open("npvr/one/film.m3u8", captions="en")
        for shown, second in ((0.8, 2), (4.8, 10)):
            assert await player("captions", "en", shown) == [f"second {second}"]
