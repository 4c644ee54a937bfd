"""What players call a track where nobody has named it, and which tracks are the same but for their bit rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskengine.media.languages import UNDETERMINED, name_of
from taskengine.media.roles import accessible, wording
from taskengine.media.tracks import Media, Track, TrackKind

_UNNAMED = {TrackKind.VIDEO: "Video", TrackKind.AUDIO: "Audio", TrackKind.TEXT: "Subtitles"}


def identities(tracks: Sequence[Track]) -> Mapping[str, str]:
    """Track name → the name of the first track that differs from it in nothing but its bit rate and its channels."""
    first: dict[tuple[str, ...], str] = {}
    return {track.name: first.setdefault(_identity(track), track.name) for track in tracks}


def labels(tracks: Sequence[Track]) -> Mapping[str, str]:
    """Track name → what players call it: its own label, else its language in itself and its role. No two tracks of a kind
    that differ are called the same."""
    found: dict[str, str] = {}
    taken: dict[tuple[TrackKind, str], str] = {}
    for name, identity in identities(tracks).items():
        track = next(track for track in tracks if track.name == name)
        wanted = label = _wanted(track)
        again = 1
        while taken.setdefault((track.kind, label), identity) != identity:
            again += 1
            label = f"{wanted} {again}"
        found[name] = label
    return found


def _identity(track: Track) -> tuple[str, ...]:
    own = track.name if track.kind is TrackKind.TEXT else ""  # texts have no bit rates
    return track.kind, track.language, track.role or "", track.label or "", own


def _wanted(track: Track) -> str:
    if track.label:
        return track.label
    name = _UNNAMED[track.kind] if track.language == UNDETERMINED else name_of(track.language)
    role = wording(track.role)
    return f"{name} ({role})" if role else name


def default_audio(media: Media) -> Track | None:
    """The audio track that plays where nobody chooses: the first one without a role or with `main`; else the first one that
    is not for accessibility."""
    tracks = [track for track in media.of(TrackKind.AUDIO) if not accessible(track.role)]
    return next((track for track in tracks if track.role in {None, "main"}), tracks[0] if tracks else None)
