"""Deciding encodings and copies; profiles; previews; progress."""

from __future__ import annotations

from fractions import Fraction

import pytest

from taskengine.domain.errors import InputFault
from taskengine.media import asset, copying
from taskengine.media.deciding import Wishes, decide
from taskengine.media.profile_book import Profiles
from taskengine.media.progress import EncodeProgress
from taskengine.media.thumbnails import Grid, grid, seconds_of, sheet_name, webvtt
from taskengine.media.timing import Timing
from taskengine.media.tracks import Media, Track, TrackKind, from_json, to_json
from tests.support.media import audio_track, source_of, video_track

PROFILE = Profiles().get("H264", "demo")


def test_the_frames_of_a_constant_source_must_be_met_exactly() -> None:
    """Those of a variable one are as many as its length has room for."""
    assert decide([source_of(video_track())], PROFILE, Wishes()).video is not None
    constant = decide([source_of(video_track())], PROFILE, Wishes()).video
    varying = Timing(90, 90, 0.0, 9.96, Fraction(25), constant=False)
    variable = decide([source_of(video_track(timing=varying))], PROFILE, Wishes()).video
    interlaced = decide([source_of(video_track(interlaced=True))], PROFILE, Wishes()).video
    assert constant is not None
    assert variable is not None
    assert interlaced is not None
    assert (constant.frames, constant.exact) == (250, True)
    assert (variable.frames, variable.exact) == (250, False)
    assert (interlaced.frames, interlaced.exact) == (250, False)


def test_the_poster_is_never_after_the_last_frame() -> None:
    """However late it is wished for."""
    assert decide([source_of(video_track())], PROFILE, Wishes(poster_time=99)).poster == pytest.approx(9.96)
    assert decide([source_of(video_track())], PROFILE, Wishes()).poster is None


def test_nothing_left_to_encode_is_an_input_fault() -> None:
    """Audio of a video file is not taken with extract_audio false."""
    with pytest.raises(InputFault, match="no video and no audio"):
        decide([], PROFILE, Wishes())
    without = decide([source_of(video_track(), audio_track())], PROFILE, Wishes(extract_audio=False))
    assert without.audio == []


def test_mono_stays_mono_and_surround_comes_last() -> None:
    """Plain renditions of all tracks first."""
    source = source_of(video_track(), audio_track(channels=6), audio_track(index=2, channels=1))
    found = decide([source], PROFILE, Wishes()).audio
    assert [(audio.layout, audio.stream, audio.bitrate) for audio in found] == [
        ("stereo", 1, 128_000), ("mono", 2, 96_000), ("5.1", 1, 384_000),
    ]  # fmt: skip


def test_what_is_special_about_a_source_is_noted() -> None:
    """Lengths, interlacing, HDR."""
    video = video_track(interlaced=True, transfer="arib-std-b67")
    notes = decide([source_of(video, audio_track(duration=12.0))], PROFILE, Wishes()).notes
    assert notes == [
        "film.mp4: it is interlaced: deinterlaced",
        "film.mp4: it is HDR: mapped to SDR",
        "film.mp4: its audio is 12.000 s long, trimmed to 10.000 s",
    ]
    assert decide([source_of(None, audio_track())], PROFILE, Wishes()).notes == [
        "there is no video: the asset has audio alone"
    ]


def test_key_frames_that_do_not_align_are_noted() -> None:
    """And ones that are far apart."""
    far = Timing(250, 250, 0.0, 9.96, Fraction(25), constant=True, key_frames=(0.0, 9.0))
    plan = copying.decide([source_of(video_track()), source_of(video_track(timing=far))], all_audio_tracks=True)
    assert any("up to 9.0 s apart" in note for note in plan.notes)
    assert any("switching may stutter" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), (2.5, 2.5), ("2.5", 2.5), ("1:02.500", 62.5), ("01:00:00.25", 3600.25)]
)
def test_times_are_read(value: object, seconds: float) -> None:
    """Seconds, m:ss.fff, hh:mm:ss.fff."""
    assert seconds_of(value, "thumbnail_time") == seconds


@pytest.mark.parametrize("value", ["", "x", "-1", -1, True, "1:60", "1:2:3:4", "1e3", None])
def test_what_is_no_time_is_refused(value: object) -> None:
    """The fault names the parameter."""
    with pytest.raises(InputFault, match=r"^thumbnail_time: "):
        seconds_of(value, "thumbnail_time")


def test_previews_lie_on_sheets() -> None:
    """100 on a sheet; the last cue ends with the video; fractions of seconds are kept."""
    found = grid((1920, 1080), 1005.5, 1005.46, 10)
    assert (found.count, found.columns, found.rows, found.sheets) == (101, 10, 10, 2)
    cues = webvtt(found, "a b").split("\n\n")
    assert cues[0] == "WEBVTT"
    assert cues[12] == "00:01:50.000 --> 00:02:00.000\na%20b_sprite.jpg#xywh=160,90,160,90"
    assert cues[101] == "00:16:40.000 --> 00:16:45.500\na%20b_sprite_2.jpg#xywh=0,0,160,90\n"
    assert sheet_name("x", 1) == "x_sprite.jpg"
    assert grid((64, 48), 1.0, 0.96, 0.3).count == 4
    assert grid((64, 48), 0.04, 0.0, 10) == Grid(1, 10, 1, 1, 64, 48, 0.04)
    with pytest.raises(InputFault, match="preview_thumbnails_interval"):
        grid((64, 48), 1.0, 0.96, 0)


def test_progress_counts_frames() -> None:
    """out_time is no help beside image outputs; standing still is no progress."""
    times = iter([0.0, 2.0, 2.0, 2.0])
    progress = EncodeProgress(frames=250, rate=Fraction(25), duration=10.0, clock=lambda: next(times))
    assert [progress.line(text) for text in ("frame=0", "frame=100", "frame=100", "out_time_us=9", "frame=N/A")] == [
        False, True, False, False, False,
    ]  # fmt: skip
    assert progress.fraction == 0.4
    assert progress.speed == 2.0
    assert progress.eta_s == 3.0
    assert not progress.line("progress=continue")
    assert progress.line("progress=end")
    assert progress.ended


def test_progress_of_sound_counts_time() -> None:
    """There are no frames."""
    progress = EncodeProgress(frames=None, rate=None, duration=10.0, clock=lambda: 0.0)
    assert progress.line("out_time_us=5000000")
    assert progress.fraction == 0.5
    assert progress.speed is None
    assert progress.eta_s is None


def test_documents_survive_the_workspace() -> None:
    """Fractions and enums too."""
    media = Media([Track("video_1", TrackKind.VIDEO, "h264", 10.01, frame_rate=Fraction(30000, 1001))], 10.01)
    again = from_json(to_json(media, Media), Media)
    assert again.of(TrackKind.VIDEO)[0].frame_rate == Fraction(30000, 1001)


def test_a_callback_lists_all_files_or_all_but_segments() -> None:
    """Outputs are bounded."""
    files = ["/o/f/v/1-1/clear/video_1/00001.m4s", "/o/f/v/1-1/clear/video_1.m3u8", "/o/f/film.m3u8"]
    assert asset.callback_files(files, 10_000) == files
    assert asset.callback_files(files, 10) == files[1:]


def test_the_versions_that_a_manifest_points_into_are_known() -> None:
    """In playlists and in base URLs."""
    assert asset.versions_in('URI="v/12-3/clear/a.m3u8"\nv/13-1/clear/b.m3u8') == {"12-3", "13-1"}
    assert asset.versions_in("<BaseURL>v/1-1/clear/</BaseURL>") == {"1-1"}
