"""The rungs that a source gets: never above it, its own size on top."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from taskengine.media.encoders import TEN_BITS, VIDEO
from taskengine.media.profiles import Rung, VideoProfile

_ANY_WIDTH = 1_000_000  # pixels
_GROWTH = 0.75  # bits grow by this power of the number of pixels
_NEAR = 0.9  # a rung of this part of the source's size stands for it


@dataclass(frozen=True, slots=True)
class Rendition:
    """One encoding of the video: even sizes, square pixels. Bit rates in bit/s."""

    name: str
    width: int
    height: int
    crf: int
    max_bitrate: int
    average: int  # of two passes
    encoder: str
    preset: str
    profile: str
    pixel_format: str
    hdr: bool = False  # HDR that is kept
    copied: bool = False  # the source is this already

    @property
    def codec(self) -> str:
        """What its track is called."""
        return VIDEO[self.encoder].codec


def renditions(size: tuple[int, int], groups: Sequence[VideoProfile], *, hdr: bool = False) -> Sequence[Rendition]:
    """The renditions of a source of this display size: those of each encoder in order, the largest first.

    `hdr`: whether the source is; encoders that keep it have ten bits then.
    """
    found = [(group, box, rung) for group in groups for box, rung in ladder(size, group.rungs)]
    return [
        _rendition(f"video_{number}", group, box, rung, hdr=hdr and group.hdr == "keep")
        for number, (group, box, rung) in enumerate(found, start=1)
    ]


def _rendition(name: str, group: VideoProfile, size: tuple[int, int], rung: Rung, *, hdr: bool) -> Rendition:
    pixel_format = TEN_BITS if hdr else group.pixel_format
    fitting = VIDEO[group.encoder].profile_for(pixel_format)
    given = None if pixel_format == TEN_BITS else rung.profile
    return Rendition(
        name=name, width=size[0], height=size[1], crf=rung.crf, max_bitrate=rung.max_bitrate, average=rung.average,
        encoder=group.encoder, preset=group.preset, profile=given or fitting, pixel_format=pixel_format, hdr=hdr,
    )  # fmt: skip


def ladder(size: tuple[int, int], rungs: Sequence[Rung]) -> Sequence[tuple[tuple[int, int], Rung]]:
    """The sizes that a source of this display size gets, each with its rung, the largest first.

    A rung is a box, turned for portrait. One that the source does not fill is above it and is dropped; where no rung
    that is left comes near the source's size, the smallest dropped one is kept at the source's own size.
    """
    ordered = sorted(rungs, key=lambda rung: rung.width * rung.height, reverse=True)
    below = [rung for rung in ordered if _scale(size, rung) <= 1]
    above = [rung for rung in ordered if _scale(size, rung) > 1]
    if above and (not below or _scale(size, below[0]) < _NEAR):
        below.insert(0, above[-1])
    sizes: dict[tuple[int, int], Rung] = {}
    for rung in below:
        sizes.setdefault(_fit(size, rung), rung)
    return list(sizes.items())


def of_height(rungs: Sequence[Rung], height: int) -> Rung:
    """A rung of this height (the short edge of portrait) whatever the width: as the nearest one of these, its bit rates by
    the number of pixels."""
    near = min(rungs, key=lambda rung: (abs(math.log(rung.height / height)), -rung.height))
    if near.height == height:
        return near.model_copy(update={"width": _ANY_WIDTH})
    share = (height / near.height) ** (2 * _GROWTH)
    average = round(near.bitrate * share) if near.bitrate else None
    return near.model_copy(
        update={
            "width": _ANY_WIDTH,
            "height": height,
            "max_bitrate": round(near.max_bitrate * share),
            "bitrate": average,
        }
    )


def _scale(size: tuple[int, int], rung: Rung) -> float:
    """How much the source would grow (over 1) or shrink to fill the rung's box."""
    width, height = size
    across, along = (rung.width, rung.height) if width >= height else (rung.height, rung.width)
    return min(across / width, along / height)


def _fit(size: tuple[int, int], rung: Rung) -> tuple[int, int]:
    scale = min(1.0, _scale(size, rung))
    return _even(size[0] * scale, size[0]), _even(size[1] * scale, size[1])


def _even(value: float, limit: int) -> int:
    """The nearest even number, not above `limit`, at least 2."""
    return max(2, min(2 * round(value / 2), limit - limit % 2))


def fit_width(size: tuple[int, int], width: int) -> tuple[int, int]:
    """An even size of this width (never above the source's) with the source's aspect."""
    scale = min(1.0, width / size[0])
    return _even(size[0] * scale, size[0]), _even(size[1] * scale, size[1])


def fit_within(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """An even size in this box (turned for portrait), never above the source's, with its aspect."""
    across, along = box if size[0] >= size[1] else (box[1], box[0])
    scale = min(1.0, across / size[0], along / size[1])
    return _even(size[0] * scale, size[0]), _even(size[1] * scale, size[1])


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size itself, odd edges cut by one pixel."""
    return _even(size[0], size[0]), _even(size[1], size[1])
