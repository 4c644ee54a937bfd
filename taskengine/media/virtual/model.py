"""What a virtual asset or a channel plays: renditions, and runs of segments by URL. JSON by pydantic.

Segments are kept by columns: a channel of a day has some hundred thousand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

SOUND = frozenset({"mp4a", "ac-3", "ec-3", "opus", "flac", "alac"})
"""Codecs of sound, without their profiles."""


class Kind(StrEnum):
    """What a rendition carries; a video may have its sound in it."""

    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Rendition:
    """A rendition as a master playlist has it. `bandwidth` in bit/s; `name` is generated and names its playlist.

    `codecs` of a video are its own and those of the sound that plays with it.
    """

    name: str
    kind: Kind
    bandwidth: int = 0
    codecs: str = ""
    width: int = 0
    height: int = 0
    frame_rate: float | None = None
    video_range: str | None = None
    language: str | None = None
    label: str | None = None
    default: bool = False
    forced: bool = False
    characteristics: str | None = None
    channels: str | None = None

    @property
    def exact_rate(self) -> Fraction | None:
        """Frames per second as they are meant: 29.97 is 30000/1001."""
        if not self.frame_rate:
            return None
        whole = round(self.frame_rate * 1.001)
        if abs(self.frame_rate - round(self.frame_rate)) > 0.001 and abs(self.frame_rate * 1.001 - whole) < 0.005:
            return Fraction(whole * 1000, 1001)
        return Fraction(self.frame_rate).limit_denominator(1001)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a URL; `length` None: all of it."""

    uri: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Pieces:
    """The segments of one rendition in a run. `uris` go on after `base`; `durations` in seconds; `ranges` (offset, length)
    of each, or none; `inits` and `keys` (the attributes of EXT-X-KEY tags; none where the segments are clear) hold from the
    segment of that index on; `ivs` of each (hex), or none.

    `offset`: seconds that the first segment begins after the run (below 0: before it). `media_time`: the first segment's time
    stamp in seconds, where DASH needs to know it.
    """

    base: str
    uris: Sequence[str]
    durations: Sequence[float]
    ranges: Sequence[tuple[int, int]] = ()
    inits: Sequence[tuple[int, Part]] = ()
    keys: Sequence[tuple[int, Sequence[str]]] = ()
    ivs: Sequence[str | None] = ()
    offset: float = 0.0
    media_time: float | None = None

    def uri(self, index: int) -> str:
        """Of a segment."""
        return self.base + self.uris[index]


@dataclass(frozen=True, slots=True)
class Mark:
    """An ad marker: a break `at` seconds after the run's begin, for `duration` seconds. `insert`: its ads go between two
    pictures, else they stand in for what plays there. `timescale`: units per second in which DASH tells it."""

    at: float
    duration: float
    insert: bool = False
    timescale: int = 1000


@dataclass(frozen=True, slots=True)
class Run:
    """Segments that go on from one another, of every rendition by its name. `duration` in seconds, as its video lasts."""

    duration: float
    pieces: Mapping[str, Pieces]
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class Programme:
    """What a channel plays from `starts_at` (UTC ms) on, until the next programme begins: once, or (`loops`) for ever.

    `sequence` (by rendition) and `discontinuity` count what the channel had before, so that no number comes twice.
    """

    starts_at: int
    runs: Sequence[Run]
    loops: bool = True
    sequence: Mapping[str, int] = field(default_factory=dict)
    discontinuity: int = 0


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it is stored; every engine computes the same playlists of it. `dvr_window` in seconds; the last
    programme is the newest, earlier ones are kept while they are in the window. `sources`: what was read, by URL."""

    content_id: str
    version: str
    renditions: Sequence[Rendition]
    programmes: Sequence[Programme]
    dvr_window: float = 60.0
    running: bool = True
    workflow: str = ""
