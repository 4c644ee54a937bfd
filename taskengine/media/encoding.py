"""An encoding as values: what is decoded, into which renditions, in which part. Pure; `encode_argv` builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from taskengine.media.encoders import AUDIO, VIDEO
from taskengine.media.ladder import Rendition
from taskengine.media.light import Light
from taskengine.media.loudness import Measured
from taskengine.media.profiles import Loudness
from taskengine.media.thumbnails import Grid
from taskengine.media.tracks import Track, TrackKind

LAYOUTS: Mapping[str, int] = {"mono": 1, "stereo": 2, "5.1": 6}
NORMALISED = "normalised.mp4"  # the source of chunks, where frames could not be counted in the client's


@dataclass(frozen=True, slots=True)
class VideoEncoding:
    """The video's part: decoded once from stream `stream` of input `input`."""

    input: int
    stream: int
    interlaced: bool
    hdr: bool  # whether the source is
    rate: Fraction
    frames: int
    exact: bool  # whether `frames` must be met to the frame
    size: tuple[int, int]
    renditions: Sequence[Rendition]
    assumed_color: Mapping[str, str] = field(default_factory=dict)  # what the track leaves unsaid
    ten_bits: bool = False  # whether the source has more than eight
    begin: float = 0.0  # seconds of its input before its first frame
    light: Light | None = None  # of HDR that is kept

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.frames / self.rate)

    @property
    def last_frame(self) -> float:
        """When the last frame is, in seconds."""
        return float((self.frames - 1) / self.rate)

    @property
    def encoded(self) -> Sequence[Rendition]:
        """The renditions that are not copied."""
        return [rendition for rendition in self.renditions if not rendition.copied]

    @property
    def in_passes(self) -> Sequence[Rendition]:
        """Those whose encoder can do two passes."""
        return [rendition for rendition in self.encoded if VIDEO[rendition.encoder].two_passes]

    @property
    def copied(self) -> Sequence[Rendition]:
        """Those that are."""
        return [rendition for rendition in self.renditions if rendition.copied]

    def tracks(self, inputs: Sequence[str]) -> Sequence[Track]:
        """The tracks that it makes of these inputs, without their files."""
        return [
            Track(
                rendition.name, TrackKind.VIDEO, rendition.codec, self.duration, copied=rendition.copied,
                width=rendition.width, height=rendition.height, frame_rate=self.rate, frames=self.frames,
                source=inputs[self.input], hdr=rendition.hdr,
            )
            for rendition in self.renditions
        ]  # fmt: skip


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
    downmix: str | None = None  # how its channels become fewer
    loudness: Measured | None = None  # of the track as it is, where it is to be changed

    @property
    def channels(self) -> int:
        """Of its layout."""
        return LAYOUTS[self.layout]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the video: `frames` of them from `first` on. `keys_ahead`: how much earlier than its first frame the
    grid of key frames begins, in seconds (less than a frame)."""

    index: int
    first: int
    frames: int
    keys_ahead: float


@dataclass(frozen=True, slots=True)
class Encoding:
    """All of one encoding: one process (or two passes), one decode."""

    inputs: Sequence[str]  # plain names in scratch
    video: VideoEncoding | None
    audio: Sequence[AudioEncoding]
    audio_encoder: str
    duration: float
    segment_duration: float
    poster: float | None = None  # its time
    previews: Grid | None = None
    notes: Sequence[str] = ()
    two_passes: bool = False
    loudness: Loudness | None = None  # to bring the audio to

    @property
    def estimated_bytes(self) -> int:
        """What its outputs may take at most, roughly."""
        rates = [rendition.max_bitrate for rendition in self.video.renditions] if self.video else []
        return int((sum(rates) + sum(audio.bitrate for audio in self.audio)) / 8 * self.duration)

    def tracks(self) -> Sequence[Track]:
        """The tracks that it makes, without their files."""
        video = self.video.tracks(self.inputs) if self.video else []
        return [*video, *(self._audio_track(audio) for audio in self.audio)]

    def _audio_track(self, audio: AudioEncoding) -> Track:
        return Track(
            audio.name, TrackKind.AUDIO, AUDIO[self.audio_encoder], self.duration, bitrate=audio.bitrate,
            language=audio.language, role=audio.role, channels=audio.channels, sample_rate=audio.sample_rate,
            source=self.inputs[audio.input],
        )  # fmt: skip

    @property
    def audio_inputs(self) -> Sequence[tuple[int, int]]:
        """The (input, stream) of its audio tracks, each once."""
        return list(dict.fromkeys((audio.input, audio.stream) for audio in self.audio))

    def audio_of(self, source: tuple[int, int]) -> Encoding:
        """The audio that is made of one track, alone."""
        own = [audio for audio in self.audio if (audio.input, audio.stream) == source]
        return replace(self, video=None, audio=own, poster=None, previews=None)

    def video_part(self, renditions: Sequence[Rendition]) -> Encoding:
        """These renditions of the video, alone."""
        video = replace(self.video, renditions=renditions) if self.video else None
        return replace(self, video=video, audio=[], poster=None, previews=None)

    def of_normalised(self) -> Encoding:
        """The same of the normalised source: every frame is there, and where its number says."""
        if self.video is None:
            return self
        video = replace(
            self.video, input=0, stream=0, interlaced=False, exact=True, begin=0.0, assumed_color={},
        )  # fmt: skip
        return replace(self, inputs=[NORMALISED], video=video)
