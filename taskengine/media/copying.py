"""Deciding what to package as it is: each video file a rendition, each audio track a track. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from taskengine.domain.errors import InputFault
from taskengine.media.names import extension
from taskengine.media.packager import can_package, check_codec
from taskengine.media.probe import AudioTrack, VideoTrack
from taskengine.media.profiles import AudioBitrates
from taskengine.media.sources import AudioChoice, Source, audio_choices, by_quality
from taskengine.media.tracks import Media, Track, TrackKind

SEGMENT_S = 4.0
_NOTABLE_S = 0.1
_FIT = {"mp4", "m4v", "m4a"}
_CHANNELS = {"mono": 1, "stereo": 2, "5.1": 6}
_SAMPLE_RATES = {44_100, 48_000}


class AudioOutput(NamedTuple):
    """How a track is encoded that no CMAF segment can carry."""

    layout: str
    bitrate: int
    sample_rate: int


class Output(NamedTuple):
    """A stream of a source and the file that it goes to."""

    stream: int
    codec: str
    file: str
    encoded: AudioOutput | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """One track to package: `file` is where it lies in scratch, the source itself or what comes out of it."""

    track: Track  # with the length that its source says
    source: Source
    stream: int
    file: str
    least_frames: int | None  # that must be there after copying
    encoded: AudioOutput | None = None  # where it cannot be packaged as it is


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    copies: Sequence[Copy]
    notes: Sequence[str]

    @property
    def sources(self) -> Sequence[Source]:
        """The sources that are used."""
        return list({copy.source.plain: copy.source for copy in self.copies}.values())

    @property
    def files(self) -> Sequence[str]:
        """The files that the tracks lie in."""
        return list(dict.fromkeys(copy.file for copy in self.copies))

    @property
    def remuxed(self) -> Sequence[tuple[str, Sequence[Output], float]]:
        """(source, what comes out of it, the delay of that) of each source that is not taken as it is."""
        return [
            (source.plain, streams, _preroll(source))
            for source in self.sources
            if (streams := [
                Output(copy.stream, copy.track.codec, copy.file, copy.encoded)
                for copy in self.copies
                if copy.source is source and copy.file != source.plain
            ])
        ]  # fmt: skip


def decide(sources: Sequence[Source], *, all_audio_tracks: bool) -> Plan:
    """The tracks of these sources; InputFault where one's codec cannot be packaged."""
    videos = by_quality(sources)
    copies = [_video(source, number) for number, source in enumerate(videos, start=1)]
    choices = audio_choices(sources, all_tracks=all_audio_tracks)
    copies += [_audio(choice, number) for number, choice in enumerate(choices, start=1)]
    notes = [note for source in videos for note in _notes(source)] + _alignment(videos)
    return Plan(copies, notes + _encoding_notes(choices))


def _encoding_notes(choices: Sequence[AudioChoice]) -> list[str]:
    return [
        f"{choice.source.name}: its audio ({choice.track.codec}) cannot be packaged as it is: encoded as AAC"
        for choice in choices
        if not can_package(TrackKind.AUDIO, choice.track.codec)
    ]


def _video(source: Source, number: int) -> Copy:
    track = source.probe.video[0]
    check_codec(source.name, TrackKind.VIDEO, track.codec)
    if track.damaged:
        raise InputFault(f"{source.name}: its picture is damaged: players would stop there; encode_source mends it")
    timing = track.timing
    width, height = track.display_size
    planned = Track(
        name=f"video_{number}",
        kind=TrackKind.VIDEO,
        codec=track.codec,
        duration=timing.duration if timing else track.declared_duration or 0.0,
        copied=True,
        bitrate=track.bitrate,
        width=width,
        height=height,
        frame_rate=timing.rate if timing else None,
        frames=timing.packets if timing else None,
        source=source.plain,
    )
    return Copy(planned, source, track.index, _file(source, planned.name), _least_frames(track))


def _least_frames(track: VideoTrack) -> int | None:
    """Copying begins at a key frame: what is before it is not kept."""
    timing = track.timing
    whole = timing and timing.key_frames and timing.key_frames[0] == 0
    return timing.frames if timing and whole else None


def _audio(choice: AudioChoice, number: int) -> Copy:
    track = choice.track
    encoded = None if can_package(TrackKind.AUDIO, track.codec) else _encoded(track)
    planned = Track(
        name=f"audio_{number}",
        kind=TrackKind.AUDIO,
        codec="aac" if encoded else track.codec,
        duration=track.duration or choice.source.probe.duration or 0.0,
        copied=not encoded,
        bitrate=encoded.bitrate if encoded else track.bitrate,
        language=choice.language,
        role=choice.role,
        channels=_CHANNELS[encoded.layout] if encoded else track.channels,
        sample_rate=encoded.sample_rate if encoded else track.sample_rate,
        source=choice.source.plain,
    )
    file = f"{planned.name}.mp4" if encoded else _file(choice.source, planned.name)
    return Copy(planned, choice.source, track.index, file, None, encoded)


def _encoded(track: AudioTrack) -> AudioOutput:
    bitrates = AudioBitrates()
    sample_rate = track.sample_rate if track.sample_rate in _SAMPLE_RATES else 48_000
    if track.channels == 1:
        return AudioOutput("mono", bitrates.mono, sample_rate)
    if track.channels == 2:
        return AudioOutput("stereo", bitrates.stereo, sample_rate)
    return AudioOutput("5.1", bitrates.surround, sample_rate)


def _file(source: Source, name: str) -> str:
    return source.plain if _fits(source) else f"{name}.mp4"


def _fits(source: Source) -> bool:
    """Whether packager can take the file as it is: an MP4 with at most one track of a kind and no edits of frames."""
    found = source.probe
    simple = len(found.video) <= 1 and len(found.audio) <= 1 and not found.other_streams
    timing = source.video.timing if source.video else None
    unedited = timing is None or timing.packets == timing.frames
    return extension(source.plain) in _FIT and "mp4" in found.format and found.brand != "qt" and simple and unedited


def _preroll(source: Source) -> float:
    """What comes before the first frame to show, down to the key frame that copying needs."""
    return source.video.timing.preroll if source.video and source.video.timing else 0.0


def _notes(source: Source) -> list[str]:
    track = source.video
    notes = []
    if preroll := _preroll(source):
        notes.append(
            f"{source.name}: it is cut between key frames: copied from {preroll:.3f} s before; encode_source cuts"
        )
    if track and track.rotation:
        notes.append(
            f"{source.name}: players turn it by its {track.rotation} degrees, not every one does; encode_source turns it for all"
        )
    if len(source.probe.video) > 1:
        notes.append(f"{source.name}: its first video track is used; it has {len(source.probe.video)}")
    keys = track.timing.key_frames if track and track.timing else ()
    gap = max((after - before for before, after in pairwise(keys)), default=0.0)
    if gap > 2 * SEGMENT_S:
        notes.append(f"{source.name}: its key frames are up to {gap:.1f} s apart, and so its segments are as long")
    return notes


def _alignment(videos: Sequence[Source]) -> list[str]:
    """Players switch renditions at key frames that all have."""
    keys = [source.video.timing.key_frames for source in videos if source.video and source.video.timing]
    aligned = all(
        len(other) == len(keys[0]) and all(abs(a - b) < 0.05 for a, b in zip(keys[0], other, strict=True))
        for other in keys
    )
    return (
        [] if aligned else ["the key frames of the video sources do not lie at the same times: switching may stutter"]
    )


def length_notes(media: Media) -> list[str]:
    """Tracks that are shorter or longer than the first video track."""
    videos = media.of(TrackKind.VIDEO)
    if not videos:
        return []
    length = videos[0].duration
    return [
        f"{track.name} is {track.duration:.3f} s long, the video {length:.3f} s"
        for track in media.tracks
        if abs(track.duration - length) > _NOTABLE_S
    ]
