"""`encode_source` false: each video file is a rendition and is packaged as it is."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from taskengine.domain.errors import InputFault
from taskengine.media import mp4
from taskengine.media.captions import vtt
from taskengine.media.tools import find_tools
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, size_of, sound, video_source

CLEAR = "v/1-1/clear"
MPD = "{urn:mpeg:dash:schema:mpd:2011}"
GRID = ("-g", "25", "-sc_threshold", "0")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Empty source and output roots."""
    return Studio(tmp_path)


async def test_each_video_file_is_a_rendition(studio: Studio) -> None:
    """Three sizes and two languages, the best first; nothing is encoded."""
    for size in ("160x120", "640x480", "320x240"):
        ffmpeg(studio.source, *picture(size, seconds=5), *H264, *GRID, f"film_{size}.mp4")
    for language in ("eng", "deu"):
        ffmpeg(studio.source, *sound(5, channels=2), "-c:a", "aac", f"sound_{language}.m4a")
    answer = await studio.stream(preview_thumbnails=True, preview_thumbnails_interval=2)
    asset = studio.asset()
    assert [asset.stream(f"{CLEAR}/video_{number}.m3u8")["height"] for number in (1, 2, 3)] == ["480", "240", "120"]
    assert asset.frames(f"{CLEAR}/video_1.m3u8") == 125
    master = (studio.output / "film.m3u8").read_text()
    assert 'LANGUAGE="de"' in master
    assert 'LANGUAGE="en"' in master
    assert answer["metadata"]["renditions"] == 3
    assert (studio.output / "film.vtt").read_text().count("#xywh") == 3
    assert (studio.output / "thumbnail.jpg").is_file()
    assert {len(representation.segments) for representation in asset.manifest()} == {2}


@pytest.mark.parametrize("name", ["film.mov", "film.mkv", "film.ts", "film.mp4", "film.m4v", "film.avi"])
async def test_every_container_gives_the_same_asset(studio: Studio, name: str) -> None:
    """All frames and all sound are there, whatever they came in."""
    baseline = ["-bf", "0"] if name.endswith("avi") else []
    codec = ["-c:a", "ac3"] if name.endswith("avi") else list(AAC)
    ffmpeg(studio.source, *picture(seconds=5), *sound(5, channels=2), *H264, *GRID, *baseline, *codec, name)
    answer = await studio.stream()
    asset = studio.asset()
    assert asset.frames(f"{CLEAR}/video_1.m3u8") == 125
    assert asset.decoded(f"{CLEAR}/video_1.m3u8") == ""
    assert asset.playlist(f"{CLEAR}/audio_1.m3u8").duration == pytest.approx(5, abs=0.1)
    assert answer["metadata"]["duration"] == pytest.approx(5, abs=0.1)


async def test_containers_may_be_mixed(studio: Studio) -> None:
    """A rendition of each of three containers in one asset."""
    for size, name in (("640x480", "a.mov"), ("320x240", "b.mkv"), ("160x120", "c.ts")):
        ffmpeg(studio.source, *picture(size, seconds=3), *H264, *GRID, name)
    await studio.stream()
    assert len(studio.asset().master().variants) == 3
    for number in (1, 2, 3):
        assert studio.asset().frames(f"{CLEAR}/video_{number}.m3u8") == 75


async def test_the_progressive_mp4_has_the_best_tracks_or_all(studio: Studio) -> None:
    """With `mezzanine` every video track is in it; the index is first (it was verified)."""
    for size in ("320x240", "160x120"):
        ffmpeg(studio.source, *picture(size), *H264, f"film_{size}.mp4")
    ffmpeg(studio.source, *sound(2), "-c:a", "aac", "sound_eng.m4a")
    answer = await studio.stream(generate_mp4=True, mezzanine=True, mp4_filename="down load.mp4")
    assert str(studio.output / "down load.mp4") in answer["files"]
    data = (studio.output / "down load.mp4").read_bytes()
    assert data.count(b"hdlr") >= 3
    assert data.index(b"moov") < data.index(b"mdat")


def begins(path: Path) -> list[float]:
    """When each track of a file begins, in seconds."""
    argv = [find_tools().ffprobe, "-v", "error", "-show_entries", "stream=start_time", "-of", "csv=p=0", str(path)]
    lines = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout.split()
    return [round(float(line), 1) for line in lines]


async def test_sound_that_begins_later_does_so_in_the_progressive_mp4(studio: Studio) -> None:
    """As in the segments; so does the one that is made of the asset."""
    ffmpeg(studio.source, *picture(seconds=3), "-itsoffset", "1", *sound(2), *H264, *AAC, "film.mkv")
    await studio.stream(generate_mp4=True)
    await studio.run("createmp4", source_folder="film", mp4_filename="again.mp4")
    assert [begins(studio.output / name) for name in ("film.mp4", "again.mp4")] == [[0.0, 1.0]] * 2


async def test_other_files_are_ignored_and_told(studio: Studio) -> None:
    """Text and hidden files are left out; unknown properties are named."""
    video_source(studio.source / "film.mp4")
    (studio.source / "notes.txt").write_text("hello")
    await studio.stream(file_properties={"other.mp4": {"language": "eng"}})
    assert "notes.txt: it is no media file: ignored" in studio.log.text
    assert "there is no source 'other.mp4'" in studio.log.text


async def test_properties_of_files_win_over_their_names(studio: Studio) -> None:
    """The language and the role come from file_properties."""
    ffmpeg(studio.source, *picture(), *H264, "film.mp4")
    ffmpeg(studio.source, *sound(), "-c:a", "aac", "sound_eng.m4a")
    await studio.stream(file_properties={"sound_eng.m4a": {"language": "fra", "kind": "commentary"}})
    assert 'LANGUAGE="fr",NAME="Français (commentary)"' in (studio.output / "film.m3u8").read_text()
    assert 'value="commentary"' in (studio.output / "film.mpd").read_text()


async def test_one_language_in_two_bit_rates_is_two_groups(studio: Studio) -> None:
    """Names stay unique within a group."""
    ffmpeg(studio.source, *picture(), *H264, "film.mp4")
    for rate in ("32k", "96k"):
        ffmpeg(studio.source, *sound(channels=2), "-c:a", "aac", "-b:a", rate, f"s{rate}_eng.m4a")
    await studio.stream()
    master = (studio.output / "film.m3u8").read_text()
    assert master.count("#EXT-X-MEDIA:TYPE=AUDIO") == 2
    assert 'GROUP-ID="audio_2"' in master


async def test_different_lengths_are_noted(studio: Studio) -> None:
    """Sound that is longer than the picture is packaged and told."""
    ffmpeg(studio.source, *picture(seconds=2), *sound(4), *H264, *AAC, "film.mp4")
    await studio.stream()
    assert "audio_1 is 4." in studio.log.text


async def test_a_picture_that_its_file_turns_is_turned_by_players(studio: Studio) -> None:
    """In every set, in key frames for trick play, and in what is made of the asset by decrypting it."""
    ffmpeg(studio.source.parent, *picture("320x180"), *sound(), *H264, *AAC, "flat.mp4")
    ffmpeg(studio.source, "-display_rotation:v", "90", "-i", "../flat.mp4", "-c", "copy", "film.mov")
    matrix = mp4.display_matrix(studio.source / "film.mov")
    assert matrix is not None
    await studio.stream(drm=["clear", "cenc"], trickplay=True)
    assert "rotation of 90" in studio.asset().first_frame(f"{CLEAR}/video_1.m3u8")
    master = (studio.output / "film.m3u8").read_text()
    assert set(re.findall(r"RESOLUTION=(\d+x\d+)", master)) == {"180x320"}
    manifest = (studio.output / "film.mpd").read_text()
    assert set(re.findall(r'width="(\d+)" height="(\d+)"', manifest)) == {("180", "320")}
    assert "par=" not in manifest
    tile = studio.output / "v/1-1/cenc/thumbnails/1.jpg"
    assert size_of(tile) == (180, 320)
    inits = sorted(studio.output.glob("v/*/*/[vt]*/init.mp4"))
    assert [path.parent.name for path in inits] == ["trick", "video_1", "trick", "video_1"]
    assert {mp4.display_matrix(path) for path in inits} == {matrix}
    await studio.stream(drm=["cenc"])
    await studio.run("createmp4", source_folder="film", mp4_filename="turned.mp4")
    assert mp4.display_matrix(studio.output / "turned.mp4") == matrix


async def test_one_of_two_pictures_is_turned(studio: Studio) -> None:
    """Each is told with its own size, and the trick play as its rendition, the smaller one, is: upright, of tall pixels."""
    ffmpeg(studio.source.parent, *picture("320x180"), "-vf", "setsar=3/2", *H264, "flat.mp4")
    ffmpeg(studio.source, "-display_rotation:v", "90", "-i", "../flat.mp4", "-c", "copy", "turned.mov")
    ffmpeg(studio.source, *picture("320x180"), *H264, "upright.mp4")
    answer = await studio.stream(trickplay=True)
    looks = {
        line.rpartition("/")[2].rstrip('"'): size
        for size, line in re.findall(
            r"RESOLUTION=(\d+x\d+)[^\n]*?(?:\n|URI=)(\S+)", (studio.output / "film.m3u8").read_text()
        )
    }
    assert looks["video_1.m3u8"] == looks["video_1_iframe.m3u8"] == "180x480"
    assert looks["video_2.m3u8"] == looks["video_2_iframe.m3u8"] == "320x180"
    assert told_sizes(studio) == [
        ("180", "320", "2:3"),
        ("320", "180", "1:1"),
        ("320", "180", "1:1"),
        ("180", "480", None),
    ]
    assert [mp4.display_matrix(studio.output / CLEAR / name / "init.mp4") is None for name in ("video_1", "trick")] == [
        False, True,
    ]  # fmt: skip
    assert (answer["metadata"]["width"], answer["metadata"]["height"]) == (180, 480)


def told_sizes(studio: Studio) -> list[tuple[str | None, ...]]:
    """Width, height and aspect of the pixels of each representation with pictures."""
    names = ("width", "height", "sar")
    sets = etree.parse(studio.output / "film.mpd").iter(f"{MPD}AdaptationSet")
    pictures = [each for each in sets if each.get("contentType") in {"video", "image"}]
    return [
        tuple(each.get(name) or adaptation.get(name) for name in names)
        for adaptation in pictures
        for each in adaptation.iter(f"{MPD}Representation")
    ]


async def test_a_matroska_file_may_begin_late(studio: Studio) -> None:
    """It counts its length from zero: that it begins at 100 s does not make it truncated."""
    late = ["-output_ts_offset", "100"]
    ffmpeg(studio.source, *picture(seconds=4), *sound(4), *H264, *AAC, *late, "film.mkv")
    answer = await studio.stream()
    assert answer["metadata"]["duration"] == pytest.approx(4, abs=0.05)


async def test_sound_alone_can_be_packaged_as_it_is(studio: Studio) -> None:
    """An m4a file becomes an asset of sound."""
    ffmpeg(studio.source, *sound(5), "-c:a", "aac", "speech.m4a")
    answer = await studio.stream()
    assert answer["metadata"]["renditions"] == 0
    assert answer["metadata"]["duration"] == pytest.approx(5, abs=0.05)


async def test_a_source_with_open_groups_has_right_previews(studio: Studio) -> None:
    """Its key frames do not decode alone: all is decoded."""
    open_groups = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", "open-gop=1:keyint=25:bframes=3"]
    ffmpeg(studio.source, *picture(seconds=6), *open_groups, "film.mp4")
    await studio.stream(preview_thumbnails=True, preview_thumbnails_interval=2)
    assert (studio.output / "film.vtt").read_text().count("#xywh") == 3
    assert (studio.output / "film_sprite.jpg").is_file()


async def test_previews_are_right_where_key_frames_do_not_decode_alone(studio: Studio) -> None:
    """Open groups that show no picture before their key frame are known by trying."""
    colours = (
        "color=red:s=160x90:d=2[a];color=lime:s=160x90:d=2[b];color=blue:s=160x90:d=2[c];[a][b][c]concat=n=3,fps=25"
    )
    groups = "open-gop=1:keyint=25:min-keyint=25:scenecut=0:bframes=3:b-adapt=0"
    plain = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "3", "-pix_fmt", "yuv420p", "-x264-params"]
    ffmpeg(studio.source, "-f", "lavfi", "-i", colours, *plain, groups, "film.mp4")
    await studio.stream(preview_thumbnails=True, preview_thumbnails_interval=2)
    assert [strongest(studio.output / "film_sprite.jpg", cell) for cell in range(3)] == [0, 1, 2]


async def test_a_damaged_picture_is_not_published_as_it_is(studio: Studio) -> None:
    """Players would stop in the middle: it is refused, and encoded where that is asked for, though it would fit."""
    film = studio.source / "film.mp4"
    ffmpeg(studio.source, *picture(seconds=6), *H264, "-g", "50", "-qp", "20", film.name)
    data = bytearray(film.read_bytes())
    data[len(data) * 5 // 10 : len(data) * 6 // 10] = b"\xff" * (len(data) * 6 // 10 - len(data) * 5 // 10)
    film.write_bytes(data)
    with pytest.raises(InputFault, match=r"film\.mp4: its picture is damaged"):
        await studio.stream()
    await studio.stream(encode_source=True, preview_thumbnails=True)
    assert studio.asset().frames("v/2-1/clear/video_1.m3u8") == 150
    assert studio.asset().decoded("v/2-1/clear/video_1.m3u8") == ""


def strongest(sheet: Path, cell: int) -> int:
    """The channel (red, green, blue) that is strongest in a preview."""
    chain = f"crop=160:90:{160 * cell}:0,scale=1:1,format=rgb24"
    ffmpeg(sheet.parent, "-i", sheet.name, "-vf", chain, "-f", "rawvideo", "colour.bin")
    data = (sheet.parent / "colour.bin").read_bytes()
    (sheet.parent / "colour.bin").unlink()
    return data.index(max(data))


async def test_a_source_that_is_cut_between_key_frames_is_copied_from_the_one_before(studio: Studio) -> None:
    """As phones cut: an edit list leaves out what is before."""
    inputs = [*picture(seconds=6), *sound(6, channels=2)]
    ffmpeg(studio.source, *inputs, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50", "-bf", "2", *AAC, "whole.mp4")
    ffmpeg(studio.source, "-ss", "1.1", "-i", "whole.mp4", "-c", "copy", "film.mp4")
    (studio.source / "whole.mp4").unlink()
    (studio.source / "film_eng.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nlater by what is before\n")
    await studio.stream()
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 150
    (cue,) = vtt.read((studio.output / CLEAR / "text_1" / "text.vtt").read_text()).cues
    assert cue.start == pytest.approx(2100, abs=41)
    assert studio.asset().decoded(f"{CLEAR}/video_1.m3u8") == ""
    assert "cut between key frames" in studio.log.text


async def test_the_description_names_every_file_and_every_tool(studio: Studio) -> None:
    """The active manifests are files too; the probes have a version too."""
    video_source(studio.source / "film.mp4")
    await studio.stream()
    described = json.loads((studio.output / "metadata.json").read_text())
    names = {file["path"] for file in described["files"]}
    there = {str(path.relative_to(studio.output)) for path in studio.output.rglob("*") if path.is_file()}
    assert names == there - {"metadata.json"}
    assert set(described["tools"]) == {"ffprobe", "ffmpeg", "packager"}
