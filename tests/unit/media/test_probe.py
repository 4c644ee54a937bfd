"""ffprobe's answers as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest

from taskengine.domain.errors import InputFault
from taskengine.media.probe import Probe, check_audio, check_whole, packets_argv, parse, probe_argv
from taskengine.media.timing import Timing
from tests.support.media import audio_track, video_track

VIDEO: Mapping[str, Any] = {
    "index": 0, "codec_type": "video", "codec_name": "h264", "width": 720, "height": 576, "pix_fmt": "yuv420p10le",
    "sample_aspect_ratio": "16:11", "field_order": "tt", "r_frame_rate": "25/1", "avg_frame_rate": "0/0",
    "color_transfer": "smpte2084", "nb_frames": "50", "tags": {"language": "und", "DURATION": "00:00:02.000000000"},
    "side_data_list": [{"rotation": -90}],
}  # fmt: skip
AUDIO: Mapping[str, Any] = {
    "index": 1, "codec_type": "audio", "codec_name": "ac3", "channels": 6, "channel_layout": "5.1(side)",
    "sample_rate": "48000", "start_time": "0.1", "duration": "2.1", "tags": {"language": "deu", "title": "Ton"},
}  # fmt: skip
COVER = {**VIDEO, "index": 2, "disposition": {"attached_pic": 1}}
DATA = {"index": 3, "codec_type": "data", "codec_name": "bin_data"}


def answer(*streams: Mapping[str, Any], **container: Any) -> bytes:
    """ffprobe's JSON."""
    return json.dumps({"streams": list(streams), "format": container}).encode()


def test_tracks_become_values() -> None:
    """Depth by the pixel format, rotation from 0 to 270, cover art and data counted apart."""
    found = parse("film.mov", answer(VIDEO, AUDIO, COVER, DATA, format_name="mov,mp4", start_time="1.4"), 0, "")
    video, audio = found.video[0], found.audio[0]
    assert (video.bit_depth, video.rotation, video.interlaced, video.hdr) == (10, 270, True, True)
    assert (video.sample_aspect, video.nominal_rate, video.average_rate) == (Fraction(16, 11), Fraction(25), None)
    assert (video.declared_frames, video.declared_duration, video.language) == (50, 2.0, None)
    assert video.display_size == (576, 1047)
    assert (audio.channels, audio.language, audio.start, audio.title) == (6, "de", 0.1, "Ton")
    assert (found.other_streams, found.start, len(found.video)) == (2, 1.4, 1)


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("x: Invalid data found when processing input", "film.mp4: it is not a media file"),
        ("moov atom not found\nx: Invalid data found", "it is truncated"),
        ("something else", "cannot be read as a media file: something else"),
        ("", "no reason given"),
    ],
)
def test_what_cannot_be_read_is_an_input_fault(stderr: str, words: str) -> None:
    """It names the file and tells why."""
    with pytest.raises(InputFault, match=words):
        parse("film.mp4", b"{}", 1, stderr)


def test_nonsense_is_an_input_fault() -> None:
    """An answer that is no JSON, and one without tracks."""
    with pytest.raises(InputFault, match="cannot be read"):
        parse("film.mp4", b"hello", 0, "")
    with pytest.raises(InputFault, match="no readable video or audio track"):
        parse("film.mp4", answer(DATA), 0, "")


def probe_of(**changes: Any) -> Probe:
    """An MP4 with one video track of 250 frames."""
    return Probe("mov,mp4", 0, 10, None, (video_track(**changes),), ())


def timing(packets: int, last: float) -> Timing:
    """A count."""
    return Timing(packets, packets, 0.0, last, Fraction(25), constant=True)


@pytest.mark.parametrize(
    ("found", "stderr", "words"),
    [
        (timing(200, 8.0), "", "200 of 250 frames are there"),
        (timing(250, 9.96), "stream 0: partial file", "it ends after 10.000 s"),
        (timing(250, 8.0), "", "its video ends after 8.040 s of 10.000 s"),
        (None, "", "no frames with times"),
    ],
)
def test_a_truncated_video_is_an_input_fault(found: Timing | None, stderr: str, words: str) -> None:
    """By its count, by what ffprobe complains of, by its length."""
    with pytest.raises(InputFault, match=words):
        check_whole("film.mp4", probe_of(), found, stderr)


def test_a_whole_video_passes() -> None:
    """And gives its timing back."""
    assert check_whole("film.mp4", probe_of(), timing(250, 9.96), "").frames == 250


def test_audio_is_as_long_as_its_packets() -> None:
    """A guess of the container is replaced; a near value stays."""
    assert check_audio("a.aac", audio_track(duration=13.0), (0.0, 9.98), "").duration == pytest.approx(10.0, abs=0.01)
    assert check_audio("a.aac", audio_track(duration=10.0), (0.0, 9.9), "").duration == 10.0
    with pytest.raises(InputFault, match="no packets"):
        check_audio("a.aac", audio_track(), None, "")
    with pytest.raises(InputFault, match="truncated"):
        check_audio("a.mka", audio_track(), (0.0, 5.0), "File ended prematurely")


def test_command_lines_open_files_alone() -> None:
    """No protocol but file, no demuxer that opens others."""
    for argv in (probe_argv("ffprobe", "source_1.mp4"), packets_argv("ffprobe", "source_1.mp4")):
        assert argv[argv.index("-protocol_whitelist") + 1] == "file"
        formats = argv[argv.index("-format_whitelist") + 1].split(",")
        assert not {"hls", "concat", "dash", "image2"} & set(formats)
        assert argv[-1] == "source_1.mp4"
