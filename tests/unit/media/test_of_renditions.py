"""Renditions that were made apart: how they become one asset, and the rung of one height."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from taskengine.domain.errors import InputFault
from taskengine.media.ladder import of_height, renditions
from taskengine.media.profiles import Rung, VideoProfile
from taskengine.media.renditions import together
from taskengine.media.tracks import Media, Track, TrackKind


def part(
    height: int, *, seconds: float = 10.0, segment: float = 4.0, codec: str = "h264", source: str = "a.mp4"
) -> Media:
    """A rendition with one sound."""
    values: dict[str, Any] = {"duration": seconds, "source": source, "file": {"$file": f"{source}-{height}"}}
    video = Track("video_1", TrackKind.VIDEO, codec, width=2 * height, height=height, frame_rate=Fraction(25), **values)
    return Media(
        [video, Track("audio_1", TrackKind.AUDIO, "aac", channels=2, **values)], seconds, segment, [["x"]], {"x": "1"}
    )


def test_pictures_are_sorted_and_sound_is_there_once() -> None:
    """A size that two have is there once; another source's sound is another one."""
    media = together([part(360), part(720), part(360), part(480, codec="hevc"), part(90, source="b.mp4")])
    assert [(track.name, track.codec, track.height) for track in media.of(TrackKind.VIDEO)] == [
        ("video_1", "h264", 720), ("video_2", "h264", 360), ("video_3", "h264", 90), ("video_4", "hevc", 480),
    ]  # fmt: skip
    assert [(track.name, track.source) for track in media.of(TrackKind.AUDIO)] == [
        ("audio_1", "a.mp4"), ("audio_2", "b.mp4"),
    ]  # fmt: skip
    assert (media.duration, media.segment_duration, len(media.commands), media.versions) == (10.0, 4.0, 5, {"x": "1"})


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([], "there is none"),
        ([part(90), part(180, segment=2)], "their segments last 2 s and 4 s"),
        ([part(90), part(180, seconds=9)], r"they last 9.000 s and 10.000 s"),
    ],
)
def test_what_does_not_fit_together_is_refused(parts: list[Media], fault: str) -> None:
    """With both numbers."""
    with pytest.raises(InputFault, match=f"^renditions: {fault}"):
        together(parts)


RUNGS = (
    Rung(width=1280, height=720, crf=21, max_bitrate=3_000_000, bitrate=2_000_000),
    Rung(width=640, height=360, crf=23, max_bitrate=800_000),
)


@pytest.mark.parametrize(
    ("height", "crf", "least", "most"),
    [(720, 21, 3_000_000, 3_000_000), (360, 23, 800_000, 800_000), (1080, 21, 5_000_000, 6_000_000), (180, 23, 250_000, 350_000)],
)  # fmt: skip
def test_any_height_has_a_rung(height: int, crf: int, least: int, most: int) -> None:
    """That of the nearest one, its bit rates by the number of pixels."""
    rung = of_height(RUNGS, height)
    assert (rung.height, rung.crf) == (height, crf)
    assert least <= rung.max_bitrate <= most


@pytest.mark.parametrize(
    ("size", "expected"), [((1920, 800), (1728, 720)), ((1080, 1920), (720, 1280)), ((320, 180), (320, 180))]
)
def test_the_height_is_met_whatever_the_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Wide pictures, portrait; none is made larger."""
    group = VideoProfile(encoder="libx264", rungs=(of_height(RUNGS, 720),))
    found = renditions(size, [group])
    assert [(each.width, each.height) for each in found] == [expected]
