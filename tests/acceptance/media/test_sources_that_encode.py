"""Sources that break toy engines, encoded: each gives the right asset."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source

CLEAR = "v/1-1/clear"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Empty source and output roots."""
    return Studio(tmp_path)


async def test_2997_frames_per_second_keep_their_number_and_lie_on_a_time_grid(studio: Studio) -> None:
    """Key frames at multiples of 4 s: no segment lasts longer, no frame is lost."""
    video_source(studio.source / "film.mp4", rate="30000/1001", seconds=9, size="160x120")
    answer = await studio.stream(encode_source=True)
    playlist = studio.asset().playlist(f"{CLEAR}/video_1.m3u8")
    assert [round(seconds, 1) for _, seconds in playlist.segments] == [4.0, 4.0, 1.0]
    times = studio.asset().frame_times(f"{CLEAR}/video_1.m3u8")
    assert len(times) == 270
    assert times[0] == 0
    assert answer["metadata"]["duration"] == pytest.approx(270 * 1001 / 30000, abs=0.001)
    assert studio.asset().decoded(f"{CLEAR}/video_1.m3u8") == ""


async def test_a_variable_frame_rate_becomes_constant(studio: Studio) -> None:
    """The gaps are filled: the frames are evenly spaced and last as long as the source."""
    half = "select='not(gt(t,1)*mod(n,2))'"
    ffmpeg(studio.source, *picture(rate="30", seconds=3), "-vf", half, "-fps_mode", "vfr", *H264, "film.mp4")
    await studio.stream(encode_source=True)
    times = studio.asset().frame_times(f"{CLEAR}/video_1.m3u8")
    steps = {round(after - before, 3) for before, after in pairwise(times)}
    assert steps <= {0.033, 0.034}
    assert len(times) == pytest.approx(90, abs=1)
    assert "frame rate varies" in studio.log.text


async def test_a_stream_whose_clock_begins_anew_is_encoded_whole(studio: Studio) -> None:
    """Two recordings after one another in one file: the second one is not lost."""
    for name, size in (("a", "320x240"), ("b", "160x120")):
        ffmpeg(studio.source.parent, *picture(size, seconds=3), *sound(3), *H264, *AAC, f"{name}.ts")
    parts = [(studio.source.parent / f"{name}.ts").read_bytes() for name in ("a", "b")]
    (studio.source / "film.ts").write_bytes(b"".join(parts))
    answer = await studio.stream(encode_source=True, preview_thumbnails=True, preview_thumbnails_interval=2)
    assert answer["metadata"]["duration"] == pytest.approx(6, abs=0.1)
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == pytest.approx(150, abs=2)
    assert studio.asset().stream(f"{CLEAR}/video_1.m3u8")["width"] == "320"
    assert studio.asset().decoded(f"{CLEAR}/video_1.m3u8") == ""


async def test_interlaced_pictures_are_deinterlaced(studio: Studio) -> None:
    """25i becomes 25p with as many frames, and says so."""
    interlaced = ["-vf", "interlace=scan=tff,setsar=16/11", "-flags", "+ilme+ildct", "-x264-params", "tff=1"]
    ffmpeg(studio.source, *picture("720x576", "50"), *sound(), *interlaced, *H264, *AAC, "film.ts")
    await studio.stream(encode_source=True)
    stream = studio.asset().stream(f"{CLEAR}/video_1.m3u8")
    assert stream["field_order"] == "progressive"
    assert (stream["width"], stream["height"], stream["sample_aspect_ratio"]) == ("1046", "576", "1:1")
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 50
    assert "interlaced" in studio.log.text


async def test_a_portrait_that_is_turned_by_its_rotation_stays_upright(studio: Studio) -> None:
    """A landscape file with a rotation of 90 degrees is a portrait."""
    ffmpeg(studio.source.parent, *picture("640x360"), *sound(), *H264, *AAC, "flat.mp4")
    ffmpeg(studio.source, "-display_rotation:v", "90", "-i", "../flat.mp4", "-c", "copy", "film.mov")
    await studio.stream(encode_source=True)
    stream = studio.asset().stream(f"{CLEAR}/video_1.m3u8")
    assert (stream["width"], stream["height"]) == ("360", "640")
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 50


async def test_odd_dimensions_are_made_even_and_never_larger(studio: Studio) -> None:
    """321x241 in 4:4:4 becomes 320x240 in 4:2:0."""
    ffmpeg(studio.source, *picture("321x241"), "-c:v", "libx264", "-pix_fmt", "yuv444p", "film.mp4")
    await studio.stream(encode_source=True)
    stream = studio.asset().stream(f"{CLEAR}/video_1.m3u8")
    assert (stream["width"], stream["height"], stream["pix_fmt"]) == ("320", "240", "yuv420p")


async def test_surround_sound_is_kept_and_has_a_stereo_beside_it(studio: Studio) -> None:
    """Two renditions of one track, in two groups of the master."""
    ffmpeg(studio.source, *picture(), *sound(channels=6), *H264, "-c:a", "ac3", "film.mkv")
    await studio.stream(encode_source=True)
    asset = studio.asset()
    assert asset.stream(f"{CLEAR}/audio_1.m3u8")["channels"] == "2"
    assert asset.stream(f"{CLEAR}/audio_2.m3u8")["channels"] == "6"
    master = (studio.output / "film.m3u8").read_text()
    assert 'GROUP-ID="audio"' in master
    assert 'GROUP-ID="audio_2"' in master
    assert asset.playlist(f"{CLEAR}/audio_2.m3u8").duration == pytest.approx(2, abs=0.03)


async def test_two_languages_are_two_renditions(studio: Studio) -> None:
    """Both are in the master and in the MPD, the first is the default."""
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a"]
    names = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu"]
    ffmpeg(studio.source, *picture(), *sound(), *sound(frequency=880), *maps, *names, *H264, *AAC, "film.mp4")
    await studio.stream(encode_source=True)
    master = (studio.output / "film.m3u8").read_text()
    assert 'LANGUAGE="en",NAME="English",DEFAULT=YES' in master
    assert 'LANGUAGE="de",NAME="Deutsch",DEFAULT=NO' in master
    manifest = (studio.output / "film.mpd").read_text()
    assert 'lang="en"' in manifest
    assert 'lang="de"' in manifest


async def test_the_highest_bit_rate_of_each_language_alone_where_all_are_not_wanted(studio: Studio) -> None:
    """all_audio_tracks false takes one of two English tracks."""
    maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1"]
    rates = ["language=eng", "-c:a", "aac", "-b:a:0", "32k", "-b:a:1", "128k"]
    ffmpeg(studio.source, *picture(), *sound(), *sound(channels=2), *maps, *rates, *H264, "film.mp4")
    answer = await studio.stream(encode_source=True, all_audio_tracks=False)
    assert answer["metadata"]["audio_tracks"] == 1
    assert studio.asset().stream(f"{CLEAR}/audio_1.m3u8")["channels"] == "2"


async def test_a_source_without_sound_gives_an_asset_without_sound(studio: Studio) -> None:
    """No audio group, no invented silence."""
    ffmpeg(studio.source, *picture(), *H264, "film.mp4")
    answer = await studio.stream(encode_source=True)
    assert answer["metadata"]["audio_tracks"] == 0
    assert "EXT-X-MEDIA" not in (studio.output / "film.m3u8").read_text()
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 50


async def test_sound_alone_gives_an_asset_of_sound_alone(studio: Studio) -> None:
    """A WAV file becomes an HLS and DASH asset with audio in its whole length; there is no poster."""
    ffmpeg(studio.source, *sound(5, channels=2), "speech_eng.wav")
    answer = await studio.stream(encode_source=True, preview_thumbnails=True, generate_mp4=True)
    assert answer["metadata"]["duration"] == pytest.approx(5, abs=0.03)
    assert studio.asset().playlist(f"{CLEAR}/audio_1.m3u8").duration == pytest.approx(5, abs=0.03)
    assert not (studio.output / "thumbnail.jpg").exists()
    assert (studio.output / "film.mp4").is_file()


async def test_ten_bits_become_eight(studio: Studio) -> None:
    """HEVC Main 10 in Matroska becomes H.264 that every player plays."""
    ten = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le"]
    ffmpeg(studio.source, *picture(), *ten, "film.mkv")
    await studio.stream(encode_source=True)
    stream = studio.asset().stream(f"{CLEAR}/video_1.m3u8")
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 50


async def test_hdr_is_mapped_to_sdr(studio: Studio) -> None:
    """PQ in BT.2020 becomes BT.709."""
    tags = "transfer=9:colorprim=9:colormatrix=9"
    coded = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params"]
    colours = ["-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc"]
    params = f"log-level=error:{tags}".replace("transfer=9", "transfer=smpte2084")
    ffmpeg(studio.source, *picture(seconds=1), *coded, params, *colours, "film.mp4")
    await studio.stream(encode_source=True)
    assert "HDR" in studio.log.text
    assert studio.asset().stream(f"{CLEAR}/video_1.m3u8")["pix_fmt"] == "yuv420p"


@pytest.mark.parametrize(
    "name", ["-a film, with = 'quotes' \"and\" %d %5.mp4", "ünïcode — 映画.mp4", "in=x,stream=video;rm -rf.mp4"]
)
async def test_names_of_files_never_reach_a_command_line(studio: Studio, name: str) -> None:
    """Spaces, commas, equal signs, quotes, patterns and leading dashes are nothing special."""
    video_source(studio.source.parent / "plain.mp4")
    (studio.source.parent / "plain.mp4").rename(studio.source / name)
    await studio.stream(encode_source=True, content_id="a b,c='%d'")
    assert studio.asset().master("a b,c='%d'").variants
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 50
    assert not any(name in argument for context in studio.contexts for run in context.runs for argument in run.argv)


async def test_sound_of_another_length_is_laid_over_the_video(studio: Studio) -> None:
    """Longer sound is trimmed, shorter is padded; the log tells both."""
    ffmpeg(studio.source, *picture(seconds=2), *sound(3), *H264, *AAC, "film.mp4")
    ffmpeg(studio.source, *sound(1, 880), "-c:a", "aac", "short_deu.m4a")
    await studio.stream(encode_source=True)
    for name in ("audio_1", "audio_2"):
        assert studio.asset().playlist(f"{CLEAR}/{name}.m3u8").duration == pytest.approx(2, abs=0.03)
    assert "trimmed to 2.000 s" in studio.log.text
    assert "padded with silence to 2.000 s" in studio.log.text


async def test_every_rung_has_the_same_frames_and_none_is_above_the_source(studio: Studio) -> None:
    """A 720p source gives three rungs that switch at the same times."""
    video_source(studio.source / "film.mp4", size="1280x720", seconds=5)
    await studio.stream(encode_source=True, preview_thumbnails=True, preview_thumbnails_interval=2, generate_mp4=True)
    asset = studio.asset()
    heights = [asset.stream(f"{CLEAR}/video_{number}.m3u8")["height"] for number in (1, 2, 3)]
    assert heights == ["720", "480", "360"]
    assert len(asset.master().variants) == 3
    durations = {tuple(s for _, s in asset.playlist(f"{CLEAR}/video_{n}.m3u8").segments) for n in (1, 2, 3)}
    assert durations == {(4.0, 1.0)}
    vtt = (studio.output / "film.vtt").read_text()
    assert vtt.count("film_sprite.jpg#xywh=") == 3
    assert "00:00:04.000 --> 00:00:05.000" in vtt


async def test_the_asset_is_described_beside_it(studio: Studio) -> None:
    """metadata.json lists every file with its size and checksum, the tracks, the tools and the command lines."""
    video_source(studio.source / "film.mp4")
    answer = await studio.stream(encode_source=True)
    body = json.loads((studio.output / "metadata.json").read_text())
    assert body["duration"] == 2
    assert {track["codec"] for track in body["tracks"]} == {"h264", "aac"}
    assert {"ffmpeg", "packager"} <= body["tools"].keys()
    assert any(command[0].startswith("ffmpeg") for command in body["commands"])
    for file in body["files"]:
        assert (studio.output / file["path"]).stat().st_size == file["size"]
    assert sorted(answer["files"]) == sorted(str(path) for path in studio.output.rglob("*") if path.is_file())
    assert answer["message"] == str(studio.output / "film.m3u8")
    assert answer["manifests"] == {"hls": answer["message"], "dash": str(studio.output / "film.mpd")}
    assert answer["storage"] == "local"


async def test_picture_and_sound_stay_together_when_they_begin_at_different_times(studio: Studio) -> None:
    """A tone at 2 s is 1.5 s after the first frame of a video that begins at 0.5 s; in a TS that begins at 1.4 s."""
    tone = ["-f", "lavfi", "-i", "aevalsrc='if(gte(t,2),0.5*sin(1000*2*PI*t),0)':s=48000:d=4"]
    ffmpeg(studio.source, "-itsoffset", "0.5", *picture(seconds=4), *tone, *H264, *AAC, "film.ts")
    await studio.stream(encode_source=True)
    asset = studio.asset()
    assert asset.frame_times(f"{CLEAR}/video_1.m3u8")[0] == 0
    assert asset.sound_begins(f"{CLEAR}/audio_1.m3u8") == pytest.approx(1.5, abs=0.03)


async def test_hdr_that_does_not_say_its_matrix_is_mapped_too(studio: Studio) -> None:
    """It is BT.2020 where it does not say."""
    hdr = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"]
    quiet = ["-x265-params", "log-level=none:transfer=smpte2084"]
    unsaid = ["-vf", "setparams=color_trc=smpte2084:color_primaries=unknown:colorspace=unknown"]
    ffmpeg(studio.source, *picture(seconds=1), *unsaid, *hdr, *quiet, "film.mp4")
    await studio.stream(encode_source=True)
    assert studio.asset().frames(f"{CLEAR}/video_1.m3u8") == 25
