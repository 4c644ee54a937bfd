"""Deciding an encoding: one source video and its audio into the renditions of a profile. Pure; `ffmpeg` builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from taskengine.domain.errors import InputFault
from taskengine.media.ladder import Rendition, ladder
from taskengine.media.probe import VideoTrack
from taskengine.media.profiles import AudioProfile, Profile, VideoProfile
from taskengine.media.sources import AudioChoice, Source, audio_choices
from taskengine.media.thumbnails import Grid, grid
from taskengine.media.timing import Timing
from taskengine.media.tracks import Track, TrackKind

_LAYOUTS = {"mono": 1, "stereo": 2, "5.1": 6}
_HDR_COLOR = {"colorspace": "bt2020nc", "color_primaries": "bt2020"}
SURROUND_FROM = 3  # channels
NOTABLE_S = 0.1  # a difference of lengths that the log tells


@dataclass(frozen=True, slots=True)
class VideoEncoding:
    """The video's part: decoded once from stream `stream` of input `input`."""

    input: int
    stream: int
    interlaced: bool
    hdr: bool
    rate: Fraction
    frames: int
    exact: bool  # whether `frames` must be met to the frame
    size: tuple[int, int]
    renditions: Sequence[Rendition]
    settings: VideoProfile
    assumed_color: Mapping[str, str] = field(default_factory=dict)  # what an HDR track leaves unsaid

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.rate)

    @property
    def last_frame(self) -> float:
        """When the last frame is, in seconds."""
        return float((self.frames - 1) / self.rate)


@dataclass(frozen=True, slots=True)
class AudioEncoding:
    """One audio rendition. `offset`: seconds of its input before the video's first frame."""

    name: str
    input: int
    stream: int
    offset: float
    layout: str
    bitrate: int
    sample_rate: int
    language: str
    role: str | None

    @property
    def channels(self) -> int:
        """Of its layout."""
        return _LAYOUTS[self.layout]


@dataclass(frozen=True, slots=True)
class Encoding:
    """All of one encoding: one process, one decode."""

    inputs: Sequence[str]  # plain names in scratch
    video: VideoEncoding | None
    audio: Sequence[AudioEncoding]
    audio_encoder: str
    duration: float
    segment_duration: float
    poster: float | None = None  # its time
    previews: Grid | None = None
    notes: Sequence[str] = ()

    @property
    def estimated_bytes(self) -> int:
        """What its outputs may take at most, roughly."""
        rates = [rendition.max_bitrate for rendition in self.video.renditions] if self.video else []
        return int((sum(rates) + sum(audio.bitrate for audio in self.audio)) / 8 * self.duration)

    def tracks(self) -> Sequence[Track]:
        """The tracks that it makes, without their files."""
        return [*self._video_tracks(), *(self._audio_track(audio) for audio in self.audio)]

    def _video_tracks(self) -> Sequence[Track]:
        if not self.video:
            return []
        return [
            Track(
                rendition.name, TrackKind.VIDEO, "h264", self.video.duration, width=rendition.width,
                height=rendition.height, frame_rate=self.video.rate, frames=self.video.frames,
                source=self.inputs[self.video.input],
            )
            for rendition in self.video.renditions
        ]  # fmt: skip

    def _audio_track(self, audio: AudioEncoding) -> Track:
        return Track(
            audio.name, TrackKind.AUDIO, "aac", self.duration, bitrate=audio.bitrate, language=audio.language,
            role=audio.role, channels=audio.channels, sample_rate=audio.sample_rate, source=self.inputs[audio.input],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the job asks of an encoding."""

    all_audio_tracks: bool = True
    extract_audio: bool = True
    poster_time: float | None = None  # None: no poster
    preview_interval: float | None = None  # None: no previews


def decide(sources: Sequence[Source], profile: Profile, wishes: Wishes) -> Encoding:
    """The encoding of these sources; InputFault where nothing is left to encode."""
    video = _video(sources, profile.video)
    choices = audio_choices(sources, all_tracks=wishes.all_audio_tracks, from_video=wishes.extract_audio)
    if not video and not choices:
        raise InputFault("extract_audio: there is no video and no audio left to encode")
    duration = video.duration if video else max(choice.track.duration or 0.0 for choice in choices)
    audio = _audio(sources, choices, profile.audio)
    return Encoding(
        inputs=[source.plain for source in sources],
        video=video,
        audio=audio,
        audio_encoder=profile.audio.encoder,
        duration=duration,
        segment_duration=profile.segment_duration,
        poster=_poster(video, wishes),
        previews=_previews(video, wishes),
        notes=[*_video_notes(sources, video), *_audio_notes(choices, duration)],
    )


def _timing(source: Source, track: VideoTrack) -> Timing:
    if track.timing is None:
        raise InputFault(f"{source.name}: its video track has no frames with times")
    return track.timing


def _video(sources: Sequence[Source], settings: VideoProfile) -> VideoEncoding | None:
    for number, source in enumerate(sources):
        if (track := source.video) is not None:
            timing = _timing(source, track)
            frames = timing.frames if timing.constant else max(1, round(timing.duration * timing.rate))
            return VideoEncoding(
                input=number,
                stream=track.index,
                interlaced=track.interlaced,
                hdr=track.hdr,
                rate=timing.rate,
                frames=frames,
                exact=timing.constant and not track.interlaced,
                size=track.display_size,
                renditions=ladder(track.display_size, settings.rungs),
                settings=settings,
                assumed_color=_assumed_color(track) if track.hdr else {},
            )
    return None


def _assumed_color(track: VideoTrack) -> Mapping[str, str]:
    """HDR is BT.2020 wherever it does not say; without both, no brightness can be mapped."""
    said = {"colorspace": track.matrix, "color_primaries": track.primaries}
    return {name: usual for name, usual in _HDR_COLOR.items() if said[name] in {None, "unknown", "reserved"}}


def _audio(sources: Sequence[Source], choices: Sequence[AudioChoice], settings: AudioProfile) -> list[AudioEncoding]:
    """Stereo (or mono) of every track first, then the surround ones: each group of renditions is whole in itself."""
    plain = [(choice, _plain_layout(choice)) for choice in choices]
    surround = [(choice, "5.1") for choice in choices if choice.track.channels >= SURROUND_FROM]
    numbers = {source.plain: number for number, source in enumerate(sources)}
    bitrates = {"mono": settings.bitrates.mono, "stereo": settings.bitrates.stereo, "5.1": settings.bitrates.surround}
    return [
        AudioEncoding(
            name=f"audio_{number}",
            input=numbers[choice.source.plain],
            stream=choice.track.index,
            offset=_offset(choice.source),
            layout=layout,
            bitrate=bitrates[layout],
            sample_rate=44_100 if choice.track.sample_rate == 44_100 else settings.sample_rate,
            language=choice.language,
            role=choice.role,
        )
        for number, (choice, layout) in enumerate([*plain, *surround], start=1)
    ]


def _plain_layout(choice: AudioChoice) -> str:
    return "mono" if choice.track.channels == 1 else "stereo"


def _offset(source: Source) -> float:
    if source.video is None or source.video.timing is None:
        return 0.0
    return round(source.video.timing.first - source.probe.start, 6)


def _poster(video: VideoEncoding | None, wishes: Wishes) -> float | None:
    if video is None or wishes.poster_time is None:
        return None
    return min(wishes.poster_time, video.last_frame)


def _previews(video: VideoEncoding | None, wishes: Wishes) -> Grid | None:
    if video is None or wishes.preview_interval is None:
        return None
    return grid(video.size, video.duration, video.last_frame, wishes.preview_interval)


def _video_notes(sources: Sequence[Source], video: VideoEncoding | None) -> Sequence[str]:
    if video is None:
        return ["there is no video: the asset has audio alone"]
    source = sources[video.input]
    facts: Mapping[str, bool] = {
        "it is interlaced: deinterlaced": video.interlaced,
        f"its frame rate varies: made constant at {float(video.rate):.3f} frames per second": not _constant(source),
        "it is HDR: mapped to SDR": video.hdr,
    }
    return [f"{source.name}: {fact}" for fact, holds in facts.items() if holds]


def _constant(source: Source) -> bool:
    return bool(source.video and source.video.timing and source.video.timing.constant)


def _audio_notes(choices: Sequence[AudioChoice], duration: float) -> Sequence[str]:
    notes = []
    for choice in choices:
        length = choice.track.duration
        if length is not None and abs(length - duration) > NOTABLE_S:
            verb = "trimmed" if length > duration else "padded with silence"
            notes.append(f"{choice.source.name}: its audio is {length:.3f} s long, {verb} to {duration:.3f} s")
    return notes
