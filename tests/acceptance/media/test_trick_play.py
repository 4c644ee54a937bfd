"""Trick play: I-frame playlists, key frames in DASH, and tracks of thumbnails; with the asset, or added to one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from taskengine.media import hls
from tests.support.media import Studio, ffmpeg, size_of, video_source

MPD = "{urn:mpeg:dash:schema:mpd:2011}"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A source of nine seconds."""
    made = Studio(tmp_path)
    video_source(made.source / "film.mp4", seconds=9)
    return made


def trick_sets(studio: Studio) -> list[etree._Element]:
    """The adaptation sets of key frames."""
    root = etree.fromstring((studio.output / "film.mpd").read_bytes())
    mark = f"{MPD}EssentialProperty[@schemeIdUri='http://dashif.org/guidelines/trickmode']"
    return [found for found in root.iter(f"{MPD}AdaptationSet") if found.find(mark) is not None]


def tile_set(studio: Studio) -> etree._Element | None:
    """The adaptation set of images."""
    root = etree.fromstring((studio.output / "film.mpd").read_bytes())
    return next((found for found in root.iter(f"{MPD}AdaptationSet") if found.get("contentType") == "image"), None)


async def test_an_asset_has_what_players_scrub_by(studio: Studio) -> None:
    """Playlists of I-frames that decode alone, and thumbnails of the asked size, distance and number."""
    await studio.stream(encode_source=True, trickplay=True, trickplay_thumbnail_size=64, trickplay_thumbnail_interval=2)
    master = (studio.output / "film.m3u8").read_text()
    [iframes] = [line for line in master.splitlines() if line.startswith("#EXT-X-I-FRAME-STREAM-INF")]
    uri = iframes.partition('URI="')[2].rstrip('"')
    base = (studio.output / uri).parent
    frames = hls.read_key_frames((studio.output / uri).read_text())
    assert len(frames) == 3  # one for each segment of four seconds
    init = next(line for line in (studio.output / uri).read_text().splitlines() if "EXT-X-MAP" in line)
    head = (base / init.partition('URI="')[2].rstrip('"')).read_bytes()
    for number, (name, offset, length) in enumerate(frames):
        alone = head + (base / name).read_bytes()[offset : offset + length]
        (studio.folder / "alone.mp4").write_bytes(alone)
        ffmpeg(studio.folder, "-i", "alone.mp4", "-frames:v", "1", f"frame_{number}.jpg")
        assert size_of(studio.folder / f"frame_{number}.jpg") == (320, 240)

    [trick] = trick_sets(studio)
    assert trick.find(f"{MPD}EssentialProperty") is not None
    assert "#EXT-X-STREAM-INF" in master
    assert master.count("#EXT-X-STREAM-INF") == 1  # no variant of a quarter of a frame per second

    tiles = tile_set(studio)
    assert tiles is not None
    [representation] = tiles
    layout, template = representation
    assert (layout.get("schemeIdUri"), layout.get("value")) == ("http://dashif.org/guidelines/thumbnail_tile", "5x1")
    assert template.get("duration") == "10000"
    assert 'CODECS="jpeg",RESOLUTION=64x48' in master
    playlist = (base / "thumbnails.m3u8").read_text()
    assert "#EXT-X-TILES:RESOLUTION=64x48,LAYOUT=5x1,DURATION=2.000" in playlist
    assert size_of(base / "thumbnails" / "1.jpg") == (320, 48)


async def test_without_it_there_is_none(studio: Studio) -> None:
    """Neither playlists nor thumbnails; and each can be had alone."""
    await studio.stream()
    assert "I-FRAME" not in (studio.output / "film.m3u8").read_text()
    assert not trick_sets(studio)
    assert tile_set(studio) is None
    await studio.stream(trickplay=True, trickplay_thumbnails=False)
    assert len(trick_sets(studio)) == 1
    assert tile_set(studio) is None
    await studio.stream(trickplay_thumbnails=True)
    assert not trick_sets(studio)
    assert tile_set(studio) is not None


async def test_quality_makes_larger_images(studio: Studio) -> None:
    """And the size of the source is kept where none is asked for."""
    sizes = []
    for quality in (1, 100):
        await studio.stream(trickplay_thumbnails=True, trickplay_thumbnail_quality=quality)
        [sheet] = studio.output.glob("v/*/clear/thumbnails/1.jpg")
        assert size_of(sheet) == (320, 240)
        sizes.append(sheet.stat().st_size)
    assert sizes[0] < sizes[1] / 3


async def test_it_is_added_to_an_asset(studio: Studio) -> None:
    """A new version with the same frames; what lies beside the versions stays, and stays listed."""
    await studio.stream(generate_mp4=True, preview_thumbnails=True)
    before = json.loads((studio.output / "metadata.json").read_text())

    answer = await studio.run("trickplay", content_id="job", source_folder="film", trickplay_thumbnail_interval=3)

    assert answer["message"] == ""
    assert str(studio.output / "film.m3u8") in answer["files"]
    assert len(trick_sets(studio)) == 1
    assert tile_set(studio) is not None
    after = json.loads((studio.output / "metadata.json").read_text())
    assert after["tracks"] == before["tracks"]
    assert after["sources"] == before["sources"]
    kept = {file["path"] for file in before["files"] if not file["path"].startswith("v/")}
    assert kept <= {file["path"] for file in after["files"]}
    assert all((studio.output / file["path"]).is_file() for file in after["files"])
    assert [path.name for path in (studio.output / "v").iterdir()] == ["2-1"]

    await studio.run("trickplay", source_folder="film", trickplay_thumbnails=False)
    assert len(trick_sets(studio)) == 1
    assert tile_set(studio) is None


async def test_it_may_go_into_another_folder(studio: Studio) -> None:
    """The asset with trick play is made there; the one that it comes from stays as it was."""
    await studio.stream()
    before = {path: path.read_bytes() for path in studio.output.rglob("*") if path.is_file()}
    answer = await studio.run("trickplay", source_folder="film", output_folder="shelf/scrubbed")
    assert {path: path.read_bytes() for path in studio.output.rglob("*") if path.is_file()} == before
    other = studio.roots["output_root"] / "shelf" / "scrubbed"
    assert str(other / "film.m3u8") in answer["files"]
    assert "#EXT-X-I-FRAME-STREAM-INF" in (other / "film.m3u8").read_text()
    assert "thumbnail_tile" in (other / "film.mpd").read_text()
    assert all((other / file["path"]).is_file() for file in json.loads((other / "metadata.json").read_text())["files"])


async def test_sound_alone_has_no_trick_play(tmp_path: Path) -> None:
    """It is made as it is; there is nothing to see."""
    studio = Studio(tmp_path)
    ffmpeg(studio.source, "-f", "lavfi", "-i", "sine=d=2", "-c:a", "aac", "film.m4a")
    await studio.stream(trickplay=True)
    assert "I-FRAME" not in (studio.output / "film.m3u8").read_text()
