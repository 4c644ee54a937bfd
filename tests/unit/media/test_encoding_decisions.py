"""Deciding what is copied, where chunks begin, which rungs are needed, how loud a track becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskengine.media.chunks import MAX_CHUNKS, Plan, cut, joined_list, needs_normalising
from taskengine.media.deciding import Wishes, decide
from taskengine.media.encoding import Encoding, VideoEncoding
from taskengine.media.fitting import fits
from taskengine.media.ladder import Rendition
from taskengine.media.light import Light, parse_light
from taskengine.media.loudness import Measured, options, parse, reachable
from taskengine.media.profile_book import Profiles
from taskengine.media.profiles import AudioProfile, Chunks, Loudness, PerTitle
from taskengine.media.quality import judge, samples
from taskengine.media.quality import parse as parse_vmaf
from taskengine.media.timing import PacketScan, Timing
from tests.support.media import audio_track, source_of, video_track

H264 = Profiles().get("H264", "demo")
KEYS = Timing(250, 250, 0.0, 9.96, Fraction(25), constant=True, key_frames=(0.0, 2.0, 4.0, 6.0, 8.0), all_keys=True)
RUNG = Rendition("video_1", 1920, 1080, 21, 5_500_000, 3_600_000, "libx264", "veryfast", "high", "yuv420p")


def fitting(**changes: Any) -> dict[str, Any]:
    """A track that is what the rung asks for, but for these."""
    return {"profile": "High", "pixel_format": "yuv420p", "timing": KEYS} | changes


def test_a_source_that_is_what_a_rung_asks_for_is_copied() -> None:
    """The other rungs are encoded; a profile may forbid it."""
    source = source_of(video_track(**fitting()))
    video = decide([source], H264, Wishes()).video
    assert video is not None
    assert [rendition.copied for rendition in video.renditions] == [True, False, False, False]
    forbidden = decide([source], H264.model_copy(update={"copy_fitting": False}), Wishes()).video
    assert forbidden is not None
    assert not forbidden.copied


@pytest.mark.parametrize(
    "change",
    [
        {"codec": "hevc"}, {"profile": "High 10"}, {"profile": None}, {"pixel_format": "yuvj420p"}, {"width": 1918},
        {"sample_aspect": Fraction(4, 3)}, {"rotation": 180}, {"interlaced": True}, {"bitrate": 6_000_000},
        {"transfer": "smpte2084"}, {"color_range": "pc"}, {"timing": None},
        {"timing": replace(KEYS, constant=False)}, {"timing": replace(KEYS, open_gop=True)},
        {"timing": replace(KEYS, all_keys=False)}, {"timing": replace(KEYS, packets=252)},
        {"timing": replace(KEYS, key_frames=(0.0, 5.0, 8.0))}, {"timing": replace(KEYS, key_frames=(0.0, 4.0))},
        {"timing": replace(KEYS, key_frames=(0.08, 4.0, 8.0))},
    ],
)  # fmt: skip
def test_what_differs_in_anything_is_encoded(change: dict[str, Any]) -> None:
    """Codec, profile, colours, size, aspect, rotation, fields, rate, groups, grid, bits."""
    track = video_track(**fitting())
    assert fits(source_of(track), track, RUNG, 4.0)
    other = replace(track, **change)
    assert not fits(source_of(other), other, RUNG, 4.0)


def test_only_containers_that_keep_parameter_sets_apart_are_copied_from() -> None:
    """And where no bit rate is said, the file's counts."""
    track = video_track(**fitting(bitrate=None))
    source = source_of(track)
    assert fits(source, track, RUNG, 4.0)
    assert not fits(replace(source, size=10_000_000), track, RUNG, 4.0)
    stream = replace(source, probe=replace(source.probe, format="mpegts"))
    assert not fits(stream, track, RUNG, 4.0)


def test_all_key_frames_are_known_unless_there_are_too_many() -> None:
    """Those that an edit list leaves out are none."""
    scan = PacketScan()
    for line in ("-0.04,-0.04,KD_", "0.00,0.00,K__", "0.04,0.04,__", "0.08,0.08,K__"):
        scan.line(line)
    found = scan.timing(Fraction(25), None)
    assert found is not None
    assert (found.key_frames, found.all_keys) == ((0.0, 0.08), True)


def long_video(frames: int, rate: Fraction) -> Encoding:
    """An encoding of so many frames."""
    timing = Timing(frames, frames, 0.0, float((frames - 1) / rate), rate, constant=True)
    return decide([source_of(video_track(timing=timing))], H264, Wishes())


RATES = st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(25, 2)])


@settings(deadline=None)  # a machine that is busy is no fault
@given(st.integers(1, 400_000), RATES, st.floats(0.5, 200), st.floats(0, 2000))
def test_chunks_are_all_of_the_video_and_begin_at_segments(
    frames: int, rate: Fraction, duration: float, above: float
) -> None:  # fmt: skip
    """No frame is twice or missing; the first frame of each is the first at or after a multiple of the segment."""
    encoding = long_video(frames, rate)
    chunks = cut(encoding, Chunks(above=above, duration=duration))
    video = encoding.video
    assert video is not None
    if not chunks:
        segment = max(1, round(Fraction(str(duration)) / 4)) * 4
        assert video.duration <= above or (frames - 1) / rate < segment  # its last frame begins before the next one
        return
    assert len(chunks) <= MAX_CHUNKS
    place = 0
    for chunk in chunks:
        assert chunk.first == place
        assert chunk.frames > 0
        place += chunk.frames
        begins = chunk.first / rate - Fraction(str(chunk.keys_ahead))
        assert abs(begins / 4 - round(begins / 4)) < Fraction(1, 100_000)
        assert 0 <= chunk.keys_ahead < 1 / rate
    assert place == frames


def test_what_is_short_or_has_two_passes_is_not_cut() -> None:
    """Nor where the profile says never."""
    encoding = long_video(25 * 100, Fraction(25))
    rules = Chunks(above=60, duration=60)
    assert len(cut(encoding, rules)) == 2
    assert cut(encoding, None) == []
    assert cut(encoding, Chunks(above=100, duration=60)) == []
    assert cut(replace(encoding, two_passes=True), rules) == []
    assert joined_list(["a.mp4", "b.mp4"]) == "ffconcat version 1.0\nfile a.mp4\nfile b.mp4\n"


@pytest.mark.parametrize(
    ("changes", "form", "needed"),
    [
        ({}, "mov,mp4", False),
        ({}, "matroska,webm", False),
        ({}, "mpegts", True),
        ({"interlaced": True}, "mov,mp4", True),
        ({"timing": replace(KEYS, constant=False)}, "mov,mp4", True),
        ({"timing": replace(KEYS, open_gop=True)}, "mov,mp4", True),
        ({"timing": replace(KEYS, packets=252)}, "mov,mp4", True),
    ],
)
def test_frames_that_cannot_be_counted_are_made_countable(changes: dict[str, Any], form: str, *, needed: bool) -> None:
    """Varying rates, fields, open groups, edits, containers without an index."""
    source = source_of(video_track(**fitting(**changes)))
    source = replace(source, probe=replace(source.probe, format=form))
    video = decide([source], H264, Wishes()).video
    assert video is not None
    assert needs_normalising(source, video) is needed


def test_a_plan_says_what_it_takes_of_ffmpeg() -> None:
    """Nothing special for H.264 and AAC; encoders and filters where a profile asks for more."""
    plain = Plan(decide([source_of(video_track(), audio_track())], H264, Wishes()))
    assert plain.needs == {"encoders": [], "filters": []}
    audio = AudioProfile(encoder="eac3", loudness=Loudness())
    mix = Profiles().get("H264_H265", "demo").model_copy(update={"audio": audio})
    encoding = decide([source_of(video_track(transfer="smpte2084"), audio_track())], mix, Wishes())
    found = Plan(encoding, measure_quality=True).needs
    assert found == {"encoders": ["eac3", "libx265"], "filters": ["libvmaf", "loudnorm", "tonemap", "zscale"]}


def rungs(*crfs: int) -> list[Rendition]:
    """Renditions from the largest on."""
    return [replace(RUNG, name=f"video_{number}", crf=crf) for number, crf in enumerate(crfs, start=1)]


def test_rungs_that_are_better_than_needed_become_smaller() -> None:
    """By a straight line between what was measured, never further than allowed."""
    best = {"video_1": 99.0, "video_2": 96.0, "video_3": 80.0}
    least = {"video_1": 95.5, "video_2": 92.0, "video_3": 70.0}
    verdict = judge(rungs(20, 21, 22), best, least, PerTitle(target=95, max_crf_increase=8))
    assert [rung.crf for rung in verdict.renditions] == [28, 23, 22]
    assert "VMAF 99.0 at crf 20: encoded at crf 28" in verdict.notes[0]
    assert verdict.notes[2].endswith("as the profile says")


def test_a_rung_that_is_no_better_than_the_next_is_dropped() -> None:
    """The smallest of an encoder stays; encoders are judged apart."""
    best = {"video_1": 97.0, "video_2": 96.5, "video_3": 60.0, "video_4": 60.5}
    tried = [*rungs(20, 21, 22), replace(RUNG, name="video_4", encoder="libx265")]
    verdict = judge(tried, best, dict.fromkeys(best, 50.0), PerTitle(target=99, min_gain=2))
    assert [rung.name for rung in verdict.renditions] == ["video_2", "video_3", "video_4"]
    assert "dropped" in verdict.notes[0]


def test_samples_are_spread_over_the_video() -> None:
    """None overlaps; a short video is one sample."""
    video = long_video(25 * 100, Fraction(25)).video
    assert isinstance(video, VideoEncoding)
    found = samples(video, PerTitle(samples=4, sample_duration=5))
    assert [(chunk.first, chunk.frames) for chunk in found] == [(400, 125), (925, 125), (1450, 125), (1975, 125)]
    short = replace(video, frames=50)
    assert [(chunk.first, chunk.frames) for chunk in samples(short, PerTitle())] == [(0, 50)]


def test_what_vmaf_wrote_is_read() -> None:
    """Anything else is a fault, not a zero."""
    assert parse_vmaf('{"pooled_metrics": {"vmaf": {"mean": 93.25}}}') == 93.25
    for text in ("", "{}", '{"pooled_metrics": {"vmaf": {"mean": NaN}}}'):
        with pytest.raises(ValueError, match=r"it has no|mean|Expecting"):
            parse_vmaf(text)


def test_what_loudnorm_wrote_is_read() -> None:
    """Silence measures minus infinity."""
    text = '{{"input_i": "{0}", "input_tp": "-3.10", "input_lra": "5.00", "input_thresh": "-30.2"}}'
    assert parse(text.format("-20.1")) == Measured(-20.1, -3.1, 5.0, -30.2)
    assert parse(text.format("-inf")).silent
    for wrong in ("", '{"input_i": "-1"}'):
        with pytest.raises(ValueError, match=r"it has no|not found"):
            parse(wrong)


def test_a_gain_never_passes_the_peak() -> None:
    """A quiet track with a high peak stays quieter than wished."""
    target = Loudness(integrated=-16, true_peak=-1)
    assert reachable(target, Measured(-20.0, -9.0, 5.0, -30.0)) == -16
    assert reachable(target, Measured(-30.0, -3.0, 5.0, -40.0)) == -28
    assert "measured_LRA=0.10" in options(target, Measured(-20.0, -9.0, 0.0, -30.0))


def test_what_hdr10_says_of_itself_is_read() -> None:
    """What is not there, or is not to be read, is no fault."""
    entry = {
        "side_data_type": "Mastering display metadata",
        "max_luminance": "10000000/10000",
        "min_luminance": "1/10000",
    }
    entry |= {f"{point}_{axis}": "25000/50000" for point in ("red", "green", "blue", "white_point") for axis in "xy"}
    levels = {"side_data_type": "Content light level metadata", "max_content": 1000, "max_average": 400}
    whole = parse_light(json.dumps({"frames": [{"side_data_list": [entry, levels]}]}).encode())
    assert whole == Light([0.5] * 8 + [1000.0, 0.0001], [1000, 400])
    only = parse_light(json.dumps({"frames": [{"side_data_list": [levels]}]}).encode())
    assert only is not None
    assert (only.of_x265(), only.of_svtav1()) == (":max-cll=1000,400", ":content-light=1000,400")
    for answer in (b"", b"{}", b'{"frames": [{}]}', b'{"frames": []}'):
        assert parse_light(answer) is None
