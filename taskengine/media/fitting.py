"""Whether a source already is what a rung asks for: then it is copied, not encoded again. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from taskengine.media.encoders import VIDEO
from taskengine.media.ladder import Rendition
from taskengine.media.probe import VideoTrack
from taskengine.media.sources import Source
from taskengine.media.timing import Timing

_INDEXED = ("mp4", "matroska")  # containers that keep parameter sets out of the stream
_FULL_RANGE = "pc"


def fits(source: Source, track: VideoTrack, rendition: Rendition, segment: float) -> bool:
    """Codec, profile, size, colours, a constant rate, closed groups with key frames on the grid of segments (seconds),
    and a bit rate under the cap."""
    timing = track.timing
    return (
        timing is not None
        and any(name in source.probe.format for name in _INDEXED)
        and _same_picture(track, rendition)
        and _rank(track, rendition) <= VIDEO[rendition.encoder].ranks.get(rendition.profile, 0)
        and timing.constant
        and timing.packets == timing.frames
        and not timing.open_gop
        and not track.damaged
        and _on_the_grid(timing, segment)
        and _bitrate(source, track, timing) <= rendition.max_bitrate
    )


def _same_picture(track: VideoTrack, rendition: Rendition) -> bool:
    return (
        track.codec == rendition.codec
        and (track.width, track.height) == (rendition.width, rendition.height)
        and track.sample_aspect == Fraction(1)
        and track.rotation == 0
        and not track.interlaced
        and track.pixel_format == rendition.pixel_format
        and track.color_range != _FULL_RANGE
        and track.hdr == rendition.hdr
    )


def _rank(track: VideoTrack, rendition: Rendition) -> int:
    """Of the source's profile among those of the encoder; above all of them where it is none."""
    ranks = VIDEO[rendition.encoder].ranks
    name = (track.profile or "").lower().removeprefix("constrained ").replace(" ", "")
    return ranks.get(name, len(ranks))


def _on_the_grid(timing: Timing, segment: float) -> bool:
    """Whether a segment can begin at the first frame of each multiple of its duration."""
    frame = float(1 / timing.rate)
    keys: Sequence[float] = timing.key_frames
    if not timing.all_keys or not keys or keys[0] != 0:
        return False
    for number in range(1, int((timing.last - timing.first) / segment) + 1):
        place = bisect_left(keys, number * segment - frame / 2)
        if place == len(keys) or keys[place] > number * segment + frame:
            return False
    return True


def _bitrate(source: Source, track: VideoTrack, timing: Timing) -> float:
    """Of the track, in bit/s; of the whole file where its container does not tell."""
    return track.bitrate or source.size * 8 / timing.duration
