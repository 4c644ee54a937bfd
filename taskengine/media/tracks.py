"""What passes between the tasks of a workflow about media: tracks, images, packaged files. JSON by pydantic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar

from pydantic import TypeAdapter

from taskengine.media.thumbnails import Grid

Reference = Mapping[str, Any]  # a file in the workspace
Command = Sequence[str]
T = TypeVar("T")


class TrackKind(StrEnum):
    """What a track carries."""

    VIDEO = "video"
    AUDIO = "audio"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Track:
    """One track in an MP4 file of its own (text: a WebVTT file), ready to be packaged. `name` is generated; times are
    seconds, languages BCP 47."""

    name: str
    kind: TrackKind
    codec: str
    duration: float
    file: Reference = field(default_factory=dict)
    copied: bool = False  # as the source had it, not encoded here
    bitrate: int | None = None
    width: int | None = None  # as players show it
    height: int | None = None
    frame_rate: Fraction | None = None
    frames: int | None = None  # exact, where it is known
    language: str = "und"
    role: str | None = None
    channels: int | None = None
    sample_rate: int | None = None
    label: str | None = None  # what players call it, where a client says so
    description: str | None = None
    source: str | None = None  # the name of the file that it comes from
    hdr: bool = False
    vmaf: float | None = None  # 0-100, where it was measured

    @property
    def tolerance(self) -> float:
        """How far a duration may be off: a frame, or an audio frame with its priming."""
        if self.kind is TrackKind.VIDEO:
            return float(1 / self.frame_rate) if self.frame_rate else 0.05
        return 2048 / (self.sample_rate or 48_000)


@dataclass(frozen=True, slots=True)
class Media:
    """The tracks of an asset to be, the best of each kind first. `clock`: (seconds, UTC ms) where the manifests are to tell the
    time of day."""

    tracks: Sequence[Track]
    duration: float
    segment_duration: float = 4.0
    commands: Sequence[Command] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    clock: Sequence[tuple[float, int]] = ()

    def of(self, kind: TrackKind) -> Sequence[Track]:
        """Its tracks of one kind, in order."""
        return [track for track in self.tracks if track.kind is kind]

    @property
    def packaged(self) -> Sequence[Track]:
        """Those that are cut into CMAF segments: all but text."""
        return [track for track in self.tracks if track.kind is not TrackKind.TEXT]


@dataclass(frozen=True, slots=True)
class Images:
    """The poster and the preview sheets of an asset."""

    poster: Reference | None = None
    sheets: Sequence[Reference] = ()
    previews: Grid | None = None
    commands: Sequence[Command] = ()


@dataclass(frozen=True, slots=True)
class Tiles:
    """The sheets of a trick-play thumbnail track."""

    sheets: Sequence[Reference]
    grid: Grid
    commands: Sequence[Command] = ()


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file of a packaged set: `path` is relative to the set's folder."""

    path: str
    size: int
    sha256: str
    file: Reference = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackKey:
    """Which key a track of a set is encrypted with: its label (SD, HD, AUDIO …) and id (32 hex digits); never the key.

    `check`: PlayReady's checksum of the key (16 hex digits), by which another key of the same id is known. `content_id`: whose
    key it is, where it is not the asset's own content.
    """

    track: str
    label: str
    key_id: str
    check: str = ""
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class PackagedSet:
    """The segments of one protection with their media playlists, an HLS master and an MPD (`aes` has none).

    `name` is its folder: clear, cenc, cbcs, aes.
    """

    name: str
    files: Sequence[PackagedFile]
    commands: Sequence[Command] = ()
    systems: Sequence[str] = ()
    keys: Sequence[TrackKey] = ()


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file that several assets use: `path` is relative to the output root; bytes."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Package:
    """The packaged sets of an asset, one for each protection, all of the same tracks. `cpix`: the document of their keys,
    without the keys. `shared`: files that the sets refer to and that lie beside all assets. `custom`: one more set, which is
    never active: its manifests have a name of their own."""

    sets: Sequence[PackagedSet]
    media: Media
    versions: Mapping[str, str] = field(default_factory=dict)
    cpix: Reference | None = None
    shared: Sequence[SharedFile] = ()
    custom: PackagedSet | None = None

    @property
    def commands(self) -> Sequence[Command]:
        """What made them."""
        return [command for each in self.sets for command in each.commands]


def plain_name(track: Track) -> str:
    """The name of a track's file in scratch."""
    return f"{track.name}.{'vtt' if track.kind is TrackKind.TEXT else 'mp4'}"


def text_file(name: str) -> str:
    """The WebVTT file of a text track, relative to its set."""
    return f"{name}/text.vtt"


def to_json(value: T, kind: type[T]) -> bytes:
    """A document as it is kept in the workspace."""
    return TypeAdapter(kind).dump_json(value)


def from_json(data: bytes, kind: type[T]) -> T:
    """Read it back."""
    return TypeAdapter(kind).validate_json(data)
