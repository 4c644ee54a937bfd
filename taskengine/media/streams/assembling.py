"""Which renditions and tracks the clips of a job make together, and which of them must be encoded for that. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.domain.errors import InputFault
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.streams.captured import Captured, CapturedSound, CapturedVideo
from taskengine.media.streams.cut_argv import sound_codec
from taskengine.media.tracks import Reference

_BITRATES = {1: 96_000, 2: 128_000}
_SURROUND, _LEAST = 384_000, 32_000
_CHANNELS = {1, 2, 6, 8}
_SAMPLE_RATES = {44_100, 48_000}


@dataclass(frozen=True, slots=True)
class Rung:
    """A rendition of the first clip, and what each clip has for it; `alike`: whether that may be taken as it is."""

    target: CapturedVideo
    clips: Sequence[CapturedVideo]
    alike: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Voice:
    """A track of sound: how it is encoded; (file or None for silence, seconds) of every stretch of every clip."""

    codec: str
    channels: int
    sample_rate: int
    bitrate: int
    language: str
    role: str | None
    parts: Sequence[tuple[Reference | None, Fraction]]


def rungs(clips: Sequence[Captured]) -> Sequence[Rung]:
    """The ladder of the first clip. InputFault where some clips have pictures and others have none."""
    without = [number for number, clip in enumerate(clips) if not clip.videos]
    if without and len(without) < len(clips):
        raise InputFault(f"clips[{without[0]}]: it has no picture, and other clips have")
    return [_rung(target, clips) for target in (clips[0].videos if not without else ())]


def _rung(target: CapturedVideo, clips: Sequence[Captured]) -> Rung:
    chosen = [_nearest(target, clip.videos) for clip in clips]
    return Rung(target, chosen, [_alike(target, each) for each in chosen])


def _nearest(target: CapturedVideo, among: Sequence[CapturedVideo]) -> CapturedVideo:
    """The same rendition; else the smallest that is large enough, else the largest."""

    def rank(each: CapturedVideo) -> tuple[bool, bool, int, int]:
        smaller = each.width < target.width or each.height < target.height
        size = each.width * each.height
        return (not _alike(target, each), smaller, -size if smaller else size, abs(each.bitrate - target.bitrate))

    return min(among, key=rank)


def _alike(one: CapturedVideo, other: CapturedVideo) -> bool:
    """Whether one can follow the other without being encoded, as far as is told here."""
    return (one.codec, one.width, one.height, one.pixel_format, one.rate, one.timescale) == (
        other.codec, other.width, other.height, other.pixel_format, other.rate, other.timescale,
    )  # fmt: skip


def voices(clips: Sequence[Captured]) -> Sequence[Voice]:
    """Every language and role that any clip has; where a clip has not, its sound of the language, else silence."""
    wanted: dict[tuple[str, str | None, int], CapturedSound] = {}
    for clip in clips:
        seen: dict[tuple[str, str | None], int] = {}
        for sound in clip.sounds:
            named = (_language(sound), sound.role)
            seen[named] = seen.get(named, 0) + 1
            wanted.setdefault((*named, seen[named]), sound)
    return [_voice(each, number, clips) for (_, _, number), each in wanted.items()]


def _language(sound: CapturedSound) -> str:
    return tag_of(sound.language) or UNDETERMINED


def _voice(wanted: CapturedSound, number: int, clips: Sequence[Captured]) -> Voice:
    parts: list[tuple[Reference | None, Fraction]] = []
    for clip in clips:
        sound = _same(wanted, number, clip.sounds)
        files = sound.parts if sound else [None] * len(clip.stretches)
        parts += [(file, stretch.seconds) for file, stretch in zip(files, clip.stretches, strict=True)]
    channels = wanted.channels if wanted.channels in _CHANNELS else (2 if wanted.channels < 6 else 6)
    usual = _BITRATES.get(channels, _SURROUND)
    codec = sound_codec(wanted.codec)
    bitrate = max(_LEAST, wanted.bitrate) if wanted.bitrate and codec == wanted.codec else usual
    rate = 48_000 if codec == "opus" or wanted.sample_rate not in _SAMPLE_RATES else wanted.sample_rate
    return Voice(codec, channels, rate, min(bitrate, 2 * _SURROUND), _language(wanted), wanted.role, parts)


def _same(wanted: CapturedSound, number: int, among: Sequence[CapturedSound]) -> CapturedSound | None:
    """The track of a clip for this one: of its language and role, else of its language, else the only one."""
    exact = [each for each in among if (_language(each), each.role) == (_language(wanted), wanted.role)]
    if exact:
        return exact[min(number, len(exact)) - 1]
    language = [each for each in among if _language(each) == _language(wanted) and wanted.role is None]
    if language:
        return language[0]
    return among[0] if len(among) == 1 and wanted.role is None and among[0].role is None else None
