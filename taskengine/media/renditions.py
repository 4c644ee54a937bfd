"""Renditions that were encoded apart, as the tracks of one asset. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from taskengine.domain.errors import InputFault
from taskengine.media.tracks import Media, Track, TrackKind


def together(parts: Sequence[Media]) -> Media:
    """All pictures, those of each codec from the largest to the smallest, each size once; the sound of each source once.

    InputFault where there is none, or where they do not fit beside one another.
    """
    if not any(part.tracks for part in parts):
        raise InputFault("renditions: there is none")
    segments = sorted({part.segment_duration for part in parts})
    if len(segments) > 1:
        raise InputFault(f"renditions: their segments last {segments[0]:g} s and {segments[-1]:g} s")
    tracks = [track for part in parts for track in part.tracks]
    video = _numbered(TrackKind.VIDEO, _pictures(tracks))
    _judge_lengths(video)
    sound = _numbered(TrackKind.AUDIO, _once(tracks))
    lengths = [track.duration for track in video or sound]
    return Media(
        [*video, *sound],
        max(lengths),
        segments[0],
        [command for part in parts for command in part.commands],
        {name: version for part in parts for name, version in part.versions.items()},
    )


def _pictures(tracks: Sequence[Track]) -> Sequence[Track]:
    sizes: dict[tuple[object, ...], Track] = {}
    for track in tracks:
        if track.kind is TrackKind.VIDEO:
            sizes.setdefault((track.codec, track.hdr, track.width, track.height), track)
    codecs = list(dict.fromkeys((track.codec, track.hdr) for track in sizes.values()))
    return sorted(sizes.values(), key=lambda track: (codecs.index((track.codec, track.hdr)), -_pixels(track)))


def _pixels(track: Track) -> int:
    return (track.width or 0) * (track.height or 0)


def _once(tracks: Sequence[Track]) -> Sequence[Track]:
    """Each rendition of a source has the same sound under the same name."""
    found: dict[tuple[object, ...], Track] = {}
    for track in tracks:
        if track.kind is TrackKind.AUDIO:
            found.setdefault((track.source, track.name, track.codec, track.channels), track)
    return list(found.values())


def _numbered(kind: TrackKind, tracks: Sequence[Track]) -> Sequence[Track]:
    return [replace(track, name=f"{kind}_{number}") for number, track in enumerate(tracks, start=1)]


def _judge_lengths(video: Sequence[Track]) -> None:
    if not video:
        return
    least = min(video, key=lambda track: track.duration)
    most = max(video, key=lambda track: track.duration)
    if most.duration - least.duration > most.tolerance + least.tolerance:
        raise InputFault(f"renditions: they last {least.duration:.3f} s and {most.duration:.3f} s")
