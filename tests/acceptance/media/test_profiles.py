"""What profiles ask for, read from what was made: codecs, HDR, passes, loudness, downmix, quality, chunks."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from taskengine.media.tools import find_tools
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound

CLEAR = "v/1-1/clear"
MPD = "{urn:mpeg:dash:schema:mpd:2011}"
HDR = (
    "log-level=error:hdr10=1:repeat-headers=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)
MIX = """
name: MIX
segment_duration: 2
video:
  - {encoder: libx264, preset: ultrafast, rungs: [{width: 160, height: 90, crf: 26, max_bitrate: 400000, bitrate: 90000}]}
  - {encoder: libx265, preset: ultrafast, hdr: keep, rungs: [{width: 160, height: 90, crf: 28, max_bitrate: 400000, bitrate: 90000}]}
  - {encoder: libsvtav1, preset: 12, hdr: keep, rungs: [{width: 160, height: 90, crf: 40, max_bitrate: 400000}]}
"""
SOUND = """
name: SOUND
copy_fitting: false
measure_quality: true
video: [{encoder: libx264, preset: ultrafast, rungs: [{width: 160, height: 90, crf: 26, max_bitrate: 400000}]}]
audio: {downmix: dialogue, loudness: {integrated: -20, true_peak: -1}}
"""
LADDER = """
name: LADDER
segment_duration: 2
chunks: {above: ABOVE, duration: 4}
measure_quality: true
video:
  - encoder: libx264
    rungs:
      - {width: 320, height: 180, crf: 24, max_bitrate: 900000}
      - {width: 160, height: 90, crf: 24, max_bitrate: 300000}
"""


def studio_with(folder: Path, **profiles: str) -> Studio:
    """Empty roots, and profiles in a folder of the installation."""
    own = folder / "profiles"
    own.mkdir()
    for name, text in profiles.items():
        (own / f"{name}.yaml").write_text(text.replace("name: LADDER", f"name: {name}"))
    return Studio(folder, profile_folders=(own,))


def tracks(studio: Studio) -> Mapping[str, Mapping[str, Any]]:
    """What `metadata.json` says of each track, by name."""
    return {track["name"]: track for track in metadata(studio)["tracks"]}


def looked_for_damage(studio: Studio) -> bool:
    """Whether `ingest` read a picture once more for its units."""
    return any("h264_mp4toannexb" in run.argv for run in studio.contexts[0].runs)


def metadata(studio: Studio) -> Mapping[str, Any]:
    """The asset's."""
    found: Mapping[str, Any] = json.loads((studio.output / "metadata.json").read_text())
    return found


def packets(path: str) -> list[tuple[int, bool]]:
    """(time in ticks, whether it is a key frame) of each frame, in order of time."""
    argv = [find_tools().ffprobe, "-v", "error", "-show_entries", "packet=pts,flags", "-of", "csv=p=0", path]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    return sorted((int(line.split(",")[0]), "K" in line.split(",")[1]) for line in lines)


def loudness(path: str) -> float:
    """LUFS of a whole file."""
    argv = [find_tools().ffmpeg, "-nostdin", "-hide_banner", "-i", path, "-af", "ebur128", "-f", "null", "-"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stderr
    return float(said.rpartition("Integrated loudness:")[2].split("I:")[1].split()[0])


async def test_hdr_is_kept_in_hevc_and_av1_and_mapped_for_h264(tmp_path: Path) -> None:
    """Colours and static metadata are the source's in ten bits; players are told in HLS and in DASH."""
    studio = studio_with(tmp_path, MIX=MIX)
    look = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
    ten = ["-vf", look, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", HDR]
    ffmpeg(studio.source, *picture("160x90", seconds=3), *ten, "film.mkv")
    await studio.stream(encode_source=True, encoding_profile="MIX")
    asset = studio.asset()
    looks = [asset.look(f"{CLEAR}/video_{number}.m3u8") for number in (1, 2, 3)]
    assert [look["codec_name"] for look in looks] == ["h264", "hevc", "av1"]
    assert [look["pix_fmt"] for look in looks] == ["yuv420p", "yuv420p10le", "yuv420p10le"]
    assert [look["color_transfer"] for look in looks] == ["bt709", "smpte2084", "smpte2084"]
    assert [look["color_primaries"] for look in looks] == ["bt709", "bt2020", "bt2020"]
    for number in (2, 3):
        beside = asset.first_frame(f"{CLEAR}/video_{number}.m3u8")
        assert "MaxCLL=1000, MaxFALL=400" in beside
        assert "r(0.6800,0.3200) g(0.2650,0.6900) b(0.1500 0.0600)" in beside
    master = (studio.output / "film.m3u8").read_text()
    variants = [line for line in master.splitlines() if line.startswith("#EXT-X-STREAM-INF")]
    assert [codec for line in variants for codec in ("avc1.", "hvc1.2.", "av01.") if codec in line] == [
        "avc1.", "hvc1.2.", "av01.",
    ]  # fmt: skip
    assert ["VIDEO-RANGE=PQ" in line for line in variants] == [False, True, True]
    manifest = (studio.output / "film.mpd").read_text()
    assert manifest.count('cicp:TransferCharacteristics" value="16"') == 2
    for number in (1, 2, 3):
        assert len(packets(asset.joined(f"{CLEAR}/video_{number}.m3u8"))) == 75
        assert asset.decoded(f"{CLEAR}/video_{number}.m3u8") == ""
    assert "it is HDR: kept, and mapped to SDR beside it" in studio.log.text
    await studio.run("trickplay", source_folder="film")
    assert [track.get("hdr", False) for track in tracks(studio).values()] == [False, True, True]


def colours(manifest: bytes) -> list[tuple[str, set[str]]]:
    """(the codec, `<name>=<value>` of the properties that tell colours) of each set of video of an MPD."""
    found = []
    for adaptation in etree.fromstring(manifest).iter(f"{MPD}AdaptationSet"):
        if adaptation.get("contentType") == "video":
            codec = next(each.get("codecs", "") for each in adaptation.iter(f"{MPD}Representation"))
            told = adaptation.findall(f"{MPD}SupplementalProperty") + adaptation.findall(f"{MPD}EssentialProperty")
            cicp = [(each.get("schemeIdUri", ""), each.get("value")) for each in told]
            found.append((codec, {f"{name.rpartition(':')[2]}={value}" for name, value in cicp if ":cicp:" in name}))
    return found


async def test_hlg_is_told_as_such_in_every_set_also_for_trick_play(tmp_path: Path) -> None:
    """By VIDEO-RANGE and codecs in HLS, by colour properties and codecs in DASH."""
    studio = studio_with(tmp_path, MIX=MIX)
    look = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc:range=tv"
    ten = ["-vf", look, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"]
    ffmpeg(studio.source, *picture("160x90", seconds=2), *ten, "film.mkv")
    await studio.stream(encode_source=True, encoding_profile="MIX", trickplay=True, trickplay_thumbnails=False)
    lines = [line for line in (studio.output / "film.m3u8").read_text().splitlines() if "STREAM-INF" in line]
    told = [re.findall(r'CODECS="([^"]+)".*VIDEO-RANGE=(\w+)', line)[0] for line in lines]
    assert len(told) == 6  # three renditions, their key frames
    assert {video_range for codec, video_range in told if codec.startswith(("hvc1.2.4.", "av01.0.00M.10."))} == {"HLG"}
    assert {video_range for codec, video_range in told if codec.startswith("avc1.")} == {"SDR"}
    assert [codec for codec, _ in told if codec.startswith("av01.")] == ["av01.0.00M.10.0.110.09.18.09.0"] * 2
    sets = colours((studio.output / "film.mpd").read_bytes())
    assert len(sets) == 4  # three codecs, key frames of one of them
    wide = {"ColourPrimaries=9", "MatrixCoefficients=9", "TransferCharacteristics=18"}
    for codec, told_in_dash in sets:
        assert told_in_dash == ({"TransferCharacteristics=1"} if codec.startswith("avc1") else wide), codec


async def test_two_passes_meet_an_average_and_what_fits_is_copied(tmp_path: Path) -> None:
    """The H.264 source is a rung already: bit by bit the same; HEVC meets its bit rate; AV1 has one pass and says so."""
    studio = studio_with(tmp_path, MIX=MIX)
    grid = [
        "-preset",
        "veryfast",
        "-pix_fmt",
        "yuv420p",
        "-x264-params",
        "keyint=50:min-keyint=50:scenecut=0:open-gop=0",
    ]
    ffmpeg(studio.source, *picture("160x90", seconds=6), "-c:v", "libx264", *grid, "-b:v", "200k", "film.mkv")
    await studio.stream(encode_source=True, encoding_profile="MIX", encoding_mode="MULTIPASS")
    found = tracks(studio)
    assert [found[name]["copied"] for name in ("video_1", "video_2", "video_3")] == [True, False, False]
    assert found["video_2"]["bitrate"] == pytest.approx(90_000, rel=0.15)
    asset = studio.asset()
    assert asset.digest(f"{CLEAR}/video_1.m3u8") == asset.digest_of(studio.source / "film.mkv")
    assert [round(seconds, 2) for _, seconds in asset.playlist(f"{CLEAR}/video_1.m3u8").segments] == [2.0, 2.0, 2.0]
    assert asset.frame_times(f"{CLEAR}/video_1.m3u8") == asset.frame_times(f"{CLEAR}/video_2.m3u8")
    assert "copied, not encoded" in studio.log.text
    assert looked_for_damage(studio)
    assert "libsvtav1 has no second pass" in studio.log.text


async def test_tracks_are_brought_to_one_loudness_and_speech_stays_clear(tmp_path: Path) -> None:
    """Stereo and surround alike; a silent track is left; the centre is not lowered in the stereo; the quality is known."""
    studio = studio_with(tmp_path, SOUND=SOUND)
    tone = "0.02*sin(440*2*PI*t)"
    centre = ["-f", "lavfi", "-i", f"aevalsrc={tone}|{tone}|0.1*sin(880*2*PI*t)|0|0|0:c=5.1:s=48000:d=5"]
    silence = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=5"]
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-metadata:s:a:1", "language=deu"]
    ffmpeg(studio.source, *picture("160x90", seconds=5), *centre, *silence, *maps, *H264, "-c:a", "ac3", "-shortest",
           "film.mkv")  # fmt: skip
    await studio.stream(encode_source=True, encoding_profile="SOUND")
    asset = studio.asset()
    for name in ("audio_1", "audio_3"):
        assert loudness(asset.joined(f"{CLEAR}/{name}.m3u8")) == pytest.approx(-20, abs=0.6)
        assert asset.playlist(f"{CLEAR}/{name}.m3u8").duration == pytest.approx(5, abs=0.03)
    assert "audio_2: it is silent: its loudness is left" in studio.log.text
    assert not looked_for_damage(studio)  # an encoder finds it
    assert 80 < tracks(studio)["video_1"]["vmaf"] <= 100
    low, high = (asset.level(f"{CLEAR}/audio_1.m3u8", frequency) for frequency in (440, 880))
    assert high - low == pytest.approx(20 * 0.699, abs=1.0)  # 0.1 beside 0.02, the centre at its full level


async def test_chunks_give_what_one_piece_gives(tmp_path: Path) -> None:
    """The same frames at the same times, key frames on the same grid, the quality, the size and the sound too."""
    studio = studio_with(tmp_path, CHUNKED=LADDER.replace("ABOVE", "6"), WHOLE=LADDER.replace("ABOVE", "600"))
    moving = ["-vf", "noise=alls=8:allf=t", "-bf", "2", "-g", "90"]
    ffmpeg(
        studio.source, *picture("320x180", "30000/1001", 13), *sound(13, channels=2), *moving, *H264, *AAC, "film.mp4"
    )
    made = {}
    for job, profile in enumerate(("WHOLE", "CHUNKED"), start=1):
        await studio.stream(encode_source=True, encoding_profile=profile, preview_thumbnails=True)
        joined = {
            name: studio.asset().joined(f"v/{job}-1/clear/{name}.m3u8") for name in ("video_1", "video_2", "audio_1")
        }
        made[profile] = (joined, tracks(studio), studio.asset().sheets())
    (whole, was, sheets), (parts, now, others) = made["WHOLE"], made["CHUNKED"]
    assert "encoded in 4 chunks" in studio.log.text
    for name in ("video_1", "video_2"):
        frames = packets(parts[name])
        assert frames == packets(whole[name])
        assert len(frames) == 390
        assert len({after[0] - before[0] for before, after in pairwise(frames)}) == 1
        assert now[name]["vmaf"] == pytest.approx(was[name]["vmaf"], abs=0.5)
        assert now[name]["bitrate"] == pytest.approx(was[name]["bitrate"], rel=0.03)
    assert packets(parts["audio_1"]) == packets(whole["audio_1"])
    assert (studio.output / "thumbnail.jpg").is_file()
    assert others == sheets == 1
    commands = [" ".join(command) for command in metadata(studio)["commands"]]
    assert sum("video_1_chunks.txt" in command for command in commands) == 1
    assert sum(" -ss " in command and "video_1.mp4" in command for command in commands) == 3


async def test_frames_that_cannot_be_counted_are_made_so_before_chunks_are_cut(tmp_path: Path) -> None:
    """A varying rate in MPEG-TS: evenly spaced afterwards, as many as its length has room for, no seam."""
    studio = studio_with(tmp_path, CHUNKED=LADDER.replace("ABOVE", "4").replace("measure_quality: true", ""))
    half = "select='not(gt(t,3)*mod(n,2))'"
    ffmpeg(studio.source, *picture("160x90", rate="30", seconds=9), *sound(9), "-vf", half, "-fps_mode", "vfr", *H264, *AAC,
           "film.ts")  # fmt: skip
    await studio.stream(encode_source=True, encoding_profile="CHUNKED")
    frames = packets(studio.asset().joined(f"{CLEAR}/video_1.m3u8"))
    assert len(frames) == pytest.approx(270, abs=1)
    assert len({after[0] - before[0] for before, after in pairwise(frames)}) == 1
    assert studio.asset().decoded(f"{CLEAR}/video_1.m3u8") == ""
    assert studio.asset().playlist(f"{CLEAR}/audio_1.m3u8").duration == pytest.approx(len(frames) / 30, abs=0.03)


async def test_rungs_follow_the_source(tmp_path: Path) -> None:
    """A still picture needs no large rung, and fewer bits; what was decided is told."""
    adapted = LADDER.replace("ABOVE", "600").replace(
        "measure_quality: true", "per_title: {target: 88, min_gain: 4, samples: 1}"
    )
    studio = studio_with(tmp_path, ADAPTED=adapted, PLAIN=LADDER.replace("ABOVE", "600"))
    soft = ["-f", "lavfi", "-i", "gradients=s=320x180:r=25:d=4:speed=0.02:c0=red:c1=blue:seed=8"]
    ffmpeg(studio.source, *soft, *H264, "film.mp4")
    await studio.stream(encode_source=True, encoding_profile="ADAPTED")
    assert "no better than the next smaller rung: dropped" in studio.log.text
    (left,) = tracks(studio).values()
    assert (left["width"], left["height"]) == (160, 90)
    (command,) = [argv for argv in metadata(studio)["commands"] if "video_2.mp4" in argv]
    assert int(command[command.index("-crf") + 1]) > 24
