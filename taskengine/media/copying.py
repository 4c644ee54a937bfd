"""Deciding what to package as it is: each video file a rendition, each audio track a track. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from taskengine.media.names import extension
from taskengine.media.packager import check_codec
from taskengine.media.probe import VideoTrack
from taskengine.media.sources import AudioChoice, Source, audio_choices, by_quality
from taskengine.media.tracks import Media, Track, TrackKind

SEGMENT_S = 4.0
_NOTABLE_S = 0.1
_FIT = {"mp4", "m4v", "m4a"}


@dataclass(frozen=True, slots=True)
class Copy:
    """One track to package: `file` is where it lies in scratch, the source itself or what is copied out of it."""

    track: Track  # with the length that its source says
    source: Source
    stream: int
    file: str
    least_frames: int | None  # that must be there after copying


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
    def remuxed(self) -> Sequence[tuple[str, Sequence[tuple[int, str, str]], float]]:
        """(source, its streams with codec and file, their delay) of each source whose tracks are copied out of it."""
        return [
            (source.plain, streams, _preroll(source))
            for source in self.sources
            if (streams := [
                (copy.stream, copy.track.codec, copy.file)
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
    return Plan(copies, [note for source in videos for note in _notes(source)] + _alignment(videos))


def _video(source: Source, number: int) -> Copy:
    track = source.probe.video[0]
    check_codec(source.name, TrackKind.VIDEO, track.codec)
    timing = track.timing
    planned = Track(
        name=f"video_{number}",
        kind=TrackKind.VIDEO,
        codec=track.codec,
        duration=timing.duration if timing else track.declared_duration or 0.0,
        copied=True,
        bitrate=track.bitrate,
        width=track.width,
        height=track.height,
        frame_rate=timing.rate if timing else None,
        frames=timing.packets if timing else None,
    )
    return Copy(planned, source, track.index, _file(source, planned.name), _least_frames(track))


def _least_frames(track: VideoTrack) -> int | None:
    """Copying begins at a key frame: what is before it is not kept."""
    timing = track.timing
    whole = timing and timing.key_frames and timing.key_frames[0] == 0
    return timing.frames if timing and whole else None


def _audio(choice: AudioChoice, number: int) -> Copy:
    track = choice.track
    check_codec(choice.source.name, TrackKind.AUDIO, track.codec)
    planned = Track(
        name=f"audio_{number}",
        kind=TrackKind.AUDIO,
        codec=track.codec,
        duration=track.duration or choice.source.probe.duration or 0.0,
        copied=True,
        bitrate=track.bitrate,
        language=choice.language,
        role=choice.role,
        channels=track.channels,
        sample_rate=track.sample_rate,
    )
    return Copy(planned, choice.source, track.index, _file(choice.source, planned.name), None)


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
        notes.append(f"{source.name}: players may not turn it by its {track.rotation} degrees; encode_source does")
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
