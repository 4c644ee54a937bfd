"""What was captured of a clip: its pictures, sounds and texts in parts, cut to the frame. JSON by pydantic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from taskengine.media.tracks import Command, Reference


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture: a file whose first frame is shown at zero; seconds; ticks that decoding is ahead of showing."""

    file: Reference
    seconds: Fraction
    frames: int
    delay: int = 0
    copied: bool = False


@dataclass(frozen=True, slots=True)
class CapturedVideo:
    """A rendition. `timescale`: ticks of its parts in a second; `rate`: frames per second; `bitrate` in bit/s."""

    id: str
    codec: str
    width: int
    height: int
    pixel_format: str
    rate: Fraction
    timescale: int
    bitrate: int
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class CapturedSound:
    """A track of sound, for each stretch a file (None: silence) of as many samples as that lasts."""

    codec: str
    channels: int
    sample_rate: int
    bitrate: int | None
    language: str
    role: str | None
    parts: Sequence[Reference | None]


@dataclass(frozen=True, slots=True)
class CapturedText:
    """A track of text: a WebVTT file on the clip's time line."""

    file: Reference
    language: str
    role: str | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """What goes on without a break: seconds, and the time of day of its beginning (UTC ms) where the stream tells it."""

    seconds: Fraction
    at: int | None


@dataclass(frozen=True, slots=True)
class Captured:
    """One clip. `missing`: seconds that no origin has."""

    stretches: Sequence[Stretch]
    videos: Sequence[CapturedVideo]
    sounds: Sequence[CapturedSound]
    texts: Sequence[CapturedText]
    missing: float = 0.0
    commands: Sequence[Command] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> Fraction:
        """How long it lasts."""
        return sum((each.seconds for each in self.stretches), Fraction(0))
