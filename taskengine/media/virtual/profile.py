"""The target profile of a virtual asset: what clips that do not fit are encoded into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from taskengine.domain.errors import InputFault
from taskengine.media import packager
from taskengine.media.probe import AudioTrack, Probe, VideoTrack
from taskengine.media.tracks import TrackKind
from taskengine.media.virtual.assembly import Rung
from taskengine.media.virtual.clips import Offered, families, sound_of
from taskengine.media.virtual.model import Kind, Rendition

_PICTURES = {"avc1": "h264", "avc3": "h264", "hvc1": "hevc", "hev1": "hevc", "av01": "av1"}
_SOUNDS = {"mp4a": "aac", "ac-3": "ac3", "ec-3": "eac3"}
_PROFILES = {"42": "baseline", "4d": "main", "64": "high"}
_AVC = re.compile(r"\bavc[13]\.([0-9a-f]{2})[0-9a-f]{2}([0-9a-f]{2})\b")
_SOUND_BITS, _BITS_PER_PIXEL = 128_000, 3.0


def of_stream(told: Sequence[Rendition]) -> Sequence[Rung]:
    """The rungs of a stream's renditions; a codec that is not told is H.264, AAC."""
    return [_rung(each) for each in told if each.kind is not Kind.TEXT]


def _rung(each: Rendition) -> Rung:
    if each.kind is Kind.AUDIO:
        word = (families(sound_of(each.codecs).lower()) or ["mp4a"])[0]
        bits = each.bandwidth if 0 < each.bandwidth < 1_000_000 else _SOUND_BITS
        channels = int((each.channels or "2").partition("/")[0]) if (each.channels or "2")[:1].isdigit() else 2
        return Rung(each.name, _SOUNDS.get(word, word), bits, language=each.language or "und", channels=channels)
    word = (families(each.codecs.lower()) or ["avc1"])[0]
    rate = str(each.exact_rate or "")
    profile, level = _profile(each.codecs)
    return Rung(
        each.name, _PICTURES.get(word, word), each.bandwidth, each.width, each.height, rate, profile=profile, level=level
    )  # fmt: skip


def _profile(codecs: str) -> tuple[str, int]:
    """Profile and level of H.264 as RFC 6381 has them: `avc1.64001f`."""
    match = _AVC.search(codecs.lower())
    if match is None or match[1] not in _PROFILES:
        return "", 0
    return _PROFILES[match[1]], int(match[2], 16)


def of_files(found: Sequence[Probe]) -> tuple[Sequence[Rendition], Sequence[Rung]]:
    """The tracks of files, the best picture first; the sound of the first file that has any, and of files without picture."""
    videos = sorted(
        (probe.video[0] for probe in found if probe.video),
        key=lambda video: video.display_size[0] * video.display_size[1],
        reverse=True,
    )
    rungs = [_picture(video, number) for number, video in enumerate(videos, start=1)]
    spoken = next((probe.audio for probe in found if probe.video and probe.audio), ())
    sounds = [*spoken, *(track for probe in found if not probe.video for track in probe.audio)]
    rungs += [_sound(track, number) for number, track in enumerate(sounds, start=1)]
    return [_told(rung) for rung in rungs], rungs


def _picture(video: VideoTrack, number: int) -> Rung:
    width, height = (side + side % 2 for side in video.display_size)
    rate = video.average_rate or video.nominal_rate
    codec = video.codec if packager.can_package(TrackKind.VIDEO, video.codec) else "h264"
    bits = video.bitrate or round(width * height * _BITS_PER_PIXEL)
    return Rung(f"video_{number}", codec, bits, width, height, str(rate) if rate else "")


def _sound(track: AudioTrack, number: int) -> Rung:
    codec = track.codec if track.codec in set(_SOUNDS.values()) else "aac"
    return Rung(
        f"audio_{number}",
        codec,
        track.bitrate or _SOUND_BITS,
        language=track.language or "und",
        channels=track.channels,
    )


def _told(rung: Rung) -> Rendition:
    kind = Kind.VIDEO if rung.height else Kind.AUDIO
    rate = float(Fraction(rung.frame_rate)) if rung.frame_rate else None
    return Rendition(rung.name, kind, rung.bitrate, "", rung.width, rung.height, rate, language=rung.language)


def length(found: Probe) -> float:
    """Seconds of a file's picture."""
    return found.video[0].declared_duration or found.duration or 0.0 if found.video else 0.0


def check_makeable(rungs: Sequence[Rung], wanted: Sequence[Offered]) -> None:
    """InputFault where clips cannot be made in the target profile."""
    if any(each.transport or each.sound for each in wanted):
        raise InputFault(
            "clips: a clip has to be made in the target profile, whose segments are MPEG-TS or have picture and sound together; "
            "let a stream of fMP4 with the sound apart set it (output_description)"
        )
    for rung in rungs:
        able = set(_PICTURES.values()) if rung.height or rung.name.startswith("video") else set(_SOUNDS.values())
        if rung.codec not in able:
            raise InputFault(
                f"clips: a clip has to be made in the target profile, and {rung.codec} is not encoded here"
            )
        if rung.name.startswith("video") and not rung.height:
            raise InputFault("clips: a clip has to be made in the target profile, whose master does not tell its sizes")


def places_of(found: Sequence[Probe]) -> Sequence[tuple[int, int, str]]:
    """(number of the file, stream, codec) of what `of_files` makes rungs of, in their order."""
    videos = [(place, probe.video[0]) for place, probe in enumerate(found) if probe.video]
    videos.sort(key=lambda pair: pair[1].display_size[0] * pair[1].display_size[1], reverse=True)
    spoken = next((place for place, probe in enumerate(found) if probe.video and probe.audio), None)
    sounds = [
        (place, track) for place, probe in enumerate(found) for track in probe.audio
        if place == spoken or not probe.video
    ]  # fmt: skip
    sounds.sort(key=lambda pair: pair[0] != spoken)
    picture = [(place, video.index, video.codec) for place, video in videos]
    return picture + [(place, track.index, track.codec) for place, track in sounds]
