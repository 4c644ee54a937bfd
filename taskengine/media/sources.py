"""Which files of a folder are sources, and what may be done with them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.light import Light
from taskengine.media.names import SourceKind, language_of, source_kind
from taskengine.media.probe import AudioTrack, Probe, VideoTrack
from taskengine.media.roles import accessible
from taskengine.ports import StoredFile


@dataclass(frozen=True, slots=True)
class Source:
    """One file that is used. `name` is the client's and never reaches a command line; `file` is in the workspace."""

    name: str
    plain: str  # its generated name: source_1.mp4
    size: int
    file: Mapping[str, Any]
    probe: Probe
    language: str | None = None  # as its properties or its name say, for tracks that do not say it themselves
    role: str | None = None
    light: Light | None = None  # of an HDR picture

    @property
    def video(self) -> VideoTrack | None:
        """Its video track (the first one: what a player would show)."""
        return self.probe.video[0] if self.probe.video else None


@dataclass(frozen=True, slots=True)
class CaptionSource:
    """One caption file. `name` is the client's; `file` is in the workspace."""

    name: str
    plain: str
    size: int
    file: Mapping[str, Any]
    language: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """What `ingest` found. `listed`: every file that lay in the folder at the beginning, used or not. `clock`: the time of
    day (UTC ms) at seconds of the asset, where the manifests are to tell it."""

    sources: Sequence[Source]
    folder: str = ""
    listed: Sequence[StoredFile] = ()
    commands: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    versions: Mapping[str, str] = field(default_factory=dict)
    captions: Sequence[CaptionSource] = ()
    clock: Sequence[tuple[float, int]] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The names of a folder, sorted into what is used and what is not."""

    media: Sequence[str]
    captions: Sequence[str]
    ignored: Sequence[str]


def select(folder: str, names: Sequence[str]) -> Selection:
    """Sort the names of a folder's files; InputFault where none is a source."""
    if not names:
        raise InputFault(f"source_folder: {folder!r} is empty or is not there")
    kinds = {name: source_kind(name) for name in sorted(names)}
    media = [name for name, kind in kinds.items() if kind in {SourceKind.VIDEO, SourceKind.AUDIO}]
    captions = [name for name, kind in kinds.items() if kind is SourceKind.TEXT]
    ignored = [name for name, kind in kinds.items() if kind is None]
    if not media:
        raise InputFault(f"source_folder: {folder!r} has no usable source among its {len(names)} files")
    return Selection(media, captions, ignored)


def properties_of(name: str, file_properties: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    """(language, role) of a source by `file_properties`, else by its name. InputFault where they cannot be."""
    given = (file_properties or {}).get(name)
    if given is None:
        return language_of(name), None
    if not isinstance(given, Mapping):
        raise InputFault(f"file_properties: {name!r} is not an object with kind and language")
    language, role = given.get("language"), given.get("kind")
    if language and tag_of(str(language)) is None and str(language) != UNDETERMINED:
        raise InputFault(f"file_properties: {name!r}: {language!r} is not a language")
    return (tag_of(str(language)) if language else language_of(name)), (str(role) if role else None)


def check_together(sources: Sequence[Source], *, encode: bool) -> None:
    """Raise an InputFault where these sources cannot make one asset."""
    videos = [source.name for source in sources if source.video]
    if encode and len(videos) > 1:
        raise InputFault(f"encode_source takes one video source; the folder has {len(videos)}: {', '.join(videos)}")


@dataclass(frozen=True, slots=True)
class AudioChoice:
    """One audio track to use, with what is known of it."""

    source: Source
    track: AudioTrack
    language: str
    role: str | None


def audio_choices(sources: Sequence[Source], *, all_tracks: bool, from_video: bool = True) -> Sequence[AudioChoice]:
    """The audio tracks to use, in order; `all_tracks` false: the one of the highest bit rate of each language, one for
    accessibility only where there is no other."""
    choices = [
        AudioChoice(source, track, _language(source, track), source.role or track.role)
        for source in sources
        if from_video or not source.video
        for track in source.probe.audio
    ]
    if all_tracks:
        return choices
    best: dict[str, AudioChoice] = {}
    for choice in choices:
        if choice.language not in best or _rank(choice) > _rank(best[choice.language]):
            best[choice.language] = choice
    return list(best.values())


def _rank(choice: AudioChoice) -> tuple[bool, int, int]:
    return (not accessible(choice.role), choice.track.bitrate or 0, choice.track.channels)


def _language(source: Source, track: AudioTrack) -> str:
    """Properties and the name of an audio file speak for its one track; in a video file each track speaks for itself."""
    own = not source.video and len(source.probe.audio) == 1
    said = (source.language, track.language) if own else (track.language, source.language)
    return said[0] or said[1] or UNDETERMINED


def by_quality(sources: Sequence[Source]) -> Sequence[Source]:
    """Those with video, the largest picture first, then the highest bit rate."""
    return sorted((source for source in sources if source.video), key=_quality, reverse=True)


def _quality(source: Source) -> tuple[int, int]:
    width, height = source.video.display_size if source.video else (0, 0)
    bitrate = (source.video.bitrate if source.video else None) or source.probe.bitrate or source.size
    return width * height, bitrate


def has_texts(source: Source) -> bool:
    """Whether there are subtitles or captions within a source."""
    return bool(source.probe.texts) or bool(source.video and source.video.captioned)


def longest(sources: Sequence[Source]) -> float:
    """Seconds of the longest video; where there is none, of the longest sound."""
    videos = [source.video.timing.duration for source in sources if source.video and source.video.timing]
    sounds = [track.duration or 0.0 for source in sources for track in source.probe.audio]
    return max(videos or sounds, default=0.0)
