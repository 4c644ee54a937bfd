"""The tracks that an asset has: those which all archives of its clips have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.domain.errors import InputFault
from taskengine.media.archive.boxes import Init
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.streams.model import Presentation, Rendition
from taskengine.media.timing import STANDARD_RATES
from taskengine.media.tracks import Track, TrackKind

Key = tuple[object, ...]  # what makes tracks of two archives the same

_NAMES = {
    "avc1": "h264", "avc3": "h264", "hvc1": "hevc", "hev1": "hevc", "av01": "av1", "vp09": "vp9", "mp4a": "aac", "ac-3": "ac3",
    "ec-3": "eac3", "opus": "opus", "flac": "flac", "stpp": "ttml", "wvtt": "webvtt",
}  # fmt: skip
_SOUND = {"mp4a", "ac-3", "ec-3", "opus", "flac", "alac"}
_TEXT = {"wvtt", "stpp"}


@dataclass(frozen=True, slots=True)
class Common:
    """The tracks, the best picture first, and by their names what the manifest says of their codecs."""

    tracks: Sequence[Track]
    codecs: Mapping[str, str]
    keys: Mapping[str, Key]  # by which each is found in an archive

    def without(self, names: frozenset[str]) -> Common:
        """The others."""
        left = {name: key for name, key in self.keys.items() if name not in names}
        return Common([track for track in self.tracks if track.name in left], self.codecs, left)


def common_tracks(archives: Mapping[str, Presentation]) -> Common:
    """What all archives have. InputFault where they have no picture in common though they have pictures, or nothing."""
    keyed = {name: dict(_keyed(presentation)) for name, presentation in archives.items()}
    first = next(iter(keyed.values()))
    shared = [key for key in first if all(key in each for each in keyed.values())]
    pictured = any(key[0] is TrackKind.VIDEO for each in keyed.values() for key in each)
    if not shared or (pictured and not any(key[0] is TrackKind.VIDEO for key in shared)):
        names = ", ".join(archives)
        raise InputFault(f"clips: the archives {names} have no picture of one size and codec, or nothing, in common")
    counts: dict[TrackKind, int] = {}
    tracks: list[Track] = []
    codecs: dict[str, str] = {}
    keys: dict[str, Key] = {}
    sound = ",".join(_sound_codecs(archives.values()))
    for key in shared:
        rendition = first[key]
        counts[rendition.kind] = counts.get(rendition.kind, 0) + 1
        track = _track(rendition, f"{rendition.kind.value}_{counts[rendition.kind]}")
        tracks.append(track)
        keys[track.name] = key
        codecs[track.name] = codecs_of(rendition) or (sound if rendition.kind is TrackKind.AUDIO else "")
    return Common(tracks, codecs, keys)


def rendition_of(presentation: Presentation, wanted: Key) -> Rendition | None:
    """The rendition of an archive that this key is of."""
    return next((rendition for key, rendition in _keyed(presentation) if key == wanted), None)


def _keyed(presentation: Presentation) -> Iterator[tuple[Key, Rendition]]:
    """Each rendition by what describes it; the best of each kind first. Those that are described alike are told apart by
    their place."""
    order = list(TrackKind)
    ranked = sorted(
        presentation.renditions,
        key=lambda each: (order.index(each.kind), -each.width * each.height, -each.bandwidth if each.width else 0),
    )
    seen: dict[Key, int] = {}
    for rendition in ranked:
        if rendition.stream is None or not rendition.segments:
            continue
        own = (rendition.language, rendition.role, rendition.channels)
        size = (rendition.width, rendition.height, codecs_of(rendition).partition(".")[0])
        key = (rendition.kind, *(size if rendition.kind is TrackKind.VIDEO else own))
        seen[key] = seen.get(key, 0) + 1
        yield (*key, seen[key]), rendition


def codecs_of(rendition: Rendition) -> str:
    """What a manifest says of a rendition alone: a variant of HLS names the codecs of its sound, too."""
    kinds = {TrackKind.AUDIO: _SOUND, TrackKind.TEXT: _TEXT}
    found = [word.strip() for word in rendition.codecs.split(",") if word.strip() and "/" not in word]
    if rendition.kind is TrackKind.VIDEO:
        return next((word for word in found if word.partition(".")[0].lower() not in _SOUND | _TEXT), "")
    return next((word for word in found if word.partition(".")[0].lower() in kinds[rendition.kind]), "")


def _sound_codecs(presentations: Iterable[Presentation]) -> Sequence[str]:
    """The codecs of sound that variants of HLS name."""
    words = [word.strip() for each in presentations for one in each.renditions for word in one.codecs.split(",")]
    return list(dict.fromkeys(word for word in words if word.partition(".")[0].lower() in _SOUND))


def codecs_by(told: str, init: Init) -> str:
    """What players must be able to decode, by what a manifest tells and the init segment. InputFault where neither says it."""
    words = [word.strip() for word in told.split(",") if word.strip()]
    named = next((word for word in words if word.partition(".")[0].lower() == init.entry.lower()), "")
    found = named or codecs_of_init(init)
    if not found:
        raise InputFault(
            f"clips: the archive does not tell the codecs of {init.entry}: it needs a master playlist or a MPD that does"
        )
    return found


def codecs_of_init(init: Init) -> str:
    """What an init segment alone says of it; "" where it does not."""
    return init.codecs or {"mp4a": "mp4a.40.2"}.get(init.entry, "")


def name_of_codec(entry: str) -> str:
    """A codec by the type of its samples: h264 for avc1."""
    return _NAMES.get(entry.lower(), entry.lower())


def _track(rendition: Rendition, name: str) -> Track:
    entry = codecs_of(rendition).partition(".")[0]
    text = rendition.kind is TrackKind.TEXT
    return Track(
        name, rendition.kind, name_of_codec(entry) if entry else ("webvtt" if text else ""), 0.0, copied=True,
        bitrate=rendition.bandwidth or None, width=rendition.width or None, height=rendition.height or None,
        frame_rate=usual_rate(rendition.frame_rate), language=tag_of(rendition.language) or UNDETERMINED, role=rendition.role,
        channels=rendition.channels, label=rendition.name or None,
    )  # fmt: skip


def usual_rate(rate: float | None) -> Fraction | None:
    """Frames per second as the rate that is in use, where it is one but for rounding."""
    if not rate:
        return None
    near = min(STANDARD_RATES, key=lambda each: abs(float(each) - rate))
    return near if abs(float(near) - rate) < 0.002 else Fraction(rate).limit_denominator(1001)
