"""An archive's part of an asset as values: what was chosen of it, and where it lies once it is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskengine.media.streams.model import Resource
from taskengine.media.tracks import Track, TrackKind

SHARED = "segments"  # the folder below an output root that has the shared segments


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment of an archive: when it begins (UTC ms), how long it lasts (seconds), the init segment that it needs (None:
    it is WebVTT). `run` counts the archive's discontinuities. `media` is None where it is missing."""

    at: int
    seconds: float
    media: Resource | None
    init: Resource | None = None
    run: int = 0

    @property
    def end(self) -> int:
        """UTC ms."""
        return self.at + round(self.seconds * 1000)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What plays without a break: the pieces of each track, by its name. `at` (UTC ms) and `seconds` are those of its best
    picture."""

    capture_id: str
    at: int
    seconds: float
    pieces: Mapping[str, Sequence[Piece]]

    @property
    def end(self) -> int:
        """UTC ms."""
        return self.at + round(self.seconds * 1000)


@dataclass(frozen=True, slots=True)
class Missing:
    """A time of a clip (UTC ms, seconds) of which a track has nothing."""

    at: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Marker:
    """A message about a time of the archive: an ad marker, mostly.

    `at` is UTC ms, `seconds` None where it is not told how long it holds. `line`: as HLS has it ("" where it came from DASH),
    `range`: whether that is an EXT-X-DATERANGE, which names its own time. `scheme`, `body`: as DASH has it (the XML within an
    Event; "" where HLS alone can tell it).
    """

    at: int
    seconds: float | None = None
    id: str = ""
    line: str = ""
    range: bool = False
    scheme: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class Inband:
    """Messages within the segments of a track (emsg), as a MPD declares them."""

    scheme: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a job takes. `codecs`: track name → what the archive's manifest says players must decode; `inband`: track name →
    messages in its segments."""

    tracks: Sequence[Track]
    stretches: Sequence[Stretch]
    codecs: Mapping[str, str] = field(default_factory=dict)
    markers: Sequence[Marker] = ()
    inband: Mapping[str, Sequence[Inband]] = field(default_factory=dict)

    def of(self, kind: TrackKind) -> Sequence[Track]:
        """Its tracks of one kind, in order."""
        return [track for track in self.tracks if track.kind is kind]


@dataclass(frozen=True, slots=True)
class Placed:
    """A segment as manifests name it: its URI, when it begins (UTC ms), and on the clock of the media when it begins and how
    long it lasts, in ticks; bytes and samples. `iv`: 32 hex digits where it is encrypted whole. One without a URI is
    missing."""

    uri: str
    at: int
    begin: int
    duration: int
    size: int = 0
    samples: int = 0
    iv: str = ""


@dataclass(frozen=True, slots=True)
class PlacedTrack:
    """A track of one stretch, placed. `keys`: EXT-X-KEY lines; `protection`: ContentProtection elements; `keyed`: which key it
    has, "" for none."""

    track: Track
    init: str
    timescale: int
    segments: Sequence[Placed]
    codecs: str = ""
    keys: Sequence[str] = ()
    protection: Sequence[str] = ()
    keyed: str = ""
    inband: Sequence[Inband] = ()
    text: str = ""  # URI of all its cues in one WebVTT file, for DASH

    def seconds(self, segment: Placed) -> float:
        """How long one of its segments lasts."""
        return segment.duration / self.timescale


@dataclass(frozen=True, slots=True)
class Timeline:
    """One stretch of an asset, as manifests tell it: `begin` is on the clock of the media, seconds."""

    at: int
    begin: float
    seconds: float
    tracks: Sequence[PlacedTrack]

    @property
    def end(self) -> int:
        """UTC ms."""
        return self.at + round(self.seconds * 1000)

    def of(self, name: str) -> PlacedTrack | None:
        """A track by its name; None where the stretch has nothing of it."""
        return next((each for each in self.tracks if each.track.name == name), None)
