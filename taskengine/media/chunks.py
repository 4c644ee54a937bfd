"""Cutting a long video into chunks that are encoded apart and joined without a seam. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.media.encoding import Chunk, Encoding, VideoEncoding
from taskengine.media.profiles import Chunks, PerTitle
from taskengine.media.sources import Source

MAX_CHUNKS = 500
_ALWAYS = {"libx264", "aac"}
_SEEKABLE = ("mp4", "matroska")  # containers with an index: a seek finds the key frame before


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be encoded, and how it is divided: in one process where there are no chunks."""

    encoding: Encoding
    chunks: Sequence[Chunk] = ()
    normalise: bool = False  # whether frames can be counted only in a copy that is made first
    per_title: PerTitle | None = None
    measure_quality: bool = False

    @property
    def needs(self) -> Mapping[str, Sequence[str]]:
        """What it takes of ffmpeg beyond what every job takes: `encoders` and `filters`."""
        video, audio = self.encoding.video, self.encoding.audio
        encoders = {rendition.encoder for rendition in video.encoded} if video else set[str]()
        mapped = video is not None and video.hdr and any(not rendition.hdr for rendition in video.encoded)
        wanted = {
            ("zscale", "tonemap"): mapped,
            ("libvmaf",): self.measure_quality or self.per_title is not None,
            ("loudnorm",): self.encoding.loudness is not None and bool(audio),
        }
        return {
            "encoders": sorted((encoders | ({self.encoding.audio_encoder} if audio else set())) - _ALWAYS),
            "filters": sorted(name for names, wants in wanted.items() if wants for name in names),
        }

    @property
    def of_chunks(self) -> Encoding:
        """The encoding as chunks see it."""
        return self.encoding.of_normalised() if self.normalise else self.encoding


def cut(encoding: Encoding, rules: Chunks | None) -> Sequence[Chunk]:
    """The chunks of an encoding; none where it is short, has two passes (which divide the bits of the whole) or has
    nothing to encode. Each begins at a segment, at most `MAX_CHUNKS` of them."""
    video = encoding.video
    if rules is None or video is None or encoding.two_passes or not video.encoded or video.duration <= rules.above:
        return []
    segment = Fraction(str(encoding.segment_duration))
    segments = max(1, round(Fraction(str(rules.duration)) / segment))
    while segments * segment * MAX_CHUNKS < video.duration:
        segments += 1
    chunks = _chunks(video, segments * segment)
    return chunks if len(chunks) > 1 else []


def _chunks(video: VideoEncoding, duration: Fraction) -> Sequence[Chunk]:
    count = math.ceil(video.frames / video.rate / duration)
    firsts = [math.ceil(number * duration * video.rate) for number in range(count)]
    firsts = [first for first in firsts if first < video.frames]
    return [
        Chunk(index, first, after - first, round(float(first / video.rate - index * duration), 6))
        for index, (first, after) in enumerate(zip(firsts, [*firsts[1:], video.frames], strict=True))
    ]


def needs_normalising(source: Source, video: VideoEncoding) -> bool:
    """Whether a frame's number does not tell its place, or it does not decode from the key frame before it: a varying
    rate, fields, edits, open groups, a container without an index."""
    timing = source.video.timing if source.video else None
    if timing is None or not video.exact or timing.open_gop or timing.packets != timing.frames:
        return True
    return not any(name in source.probe.format for name in _SEEKABLE)


def joined_list(names: Sequence[str]) -> str:
    """The list that ffmpeg's concat demuxer reads."""
    return "\n".join(["ffconcat version 1.0", *(f"file {name}" for name in names)]) + "\n"
