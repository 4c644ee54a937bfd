"""VMAF: what renditions are worth beside their source, and which rungs follow from it. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from taskengine.media.encoders import VIDEO
from taskengine.media.encoding import Chunk, VideoEncoding
from taskengine.media.ladder import Rendition
from taskengine.media.profiles import PerTitle


def parse(text: str) -> float:
    """The mean of what libvmaf wrote. Raises ValueError where that is no measurement."""
    try:
        mean = float(json.loads(text)["pooled_metrics"]["vmaf"]["mean"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no {error}") from error
    if not math.isfinite(mean):
        raise ValueError(f"its mean is {mean}")
    return mean


def samples(video: VideoEncoding, rules: PerTitle) -> Sequence[Chunk]:
    """Parts of the video, evenly spread; the whole where it is short."""
    frames = max(1, min(video.frames, round(rules.sample_duration * video.rate)))
    count = max(1, min(rules.samples, video.frames // frames))
    gap = (video.frames - count * frames) / (count + 1)
    return [Chunk(1, round(gap * (index + 1) + frames * index), frames, 0.0) for index in range(count)]


def at_most(rendition: Rendition, rules: PerTitle) -> Rendition:
    """The rendition as small as the rules allow."""
    limit = VIDEO[rendition.encoder].max_crf
    return replace(rendition, crf=min(limit, rendition.crf + rules.max_crf_increase))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The renditions that are left, and why."""

    renditions: Sequence[Rendition]
    notes: Sequence[str]


def judge(
    tried: Sequence[Rendition], best: Mapping[str, float], least: Mapping[str, float], rules: PerTitle
) -> Verdict:  # fmt: skip
    """By the VMAF of each rendition as it is (`best`) and as small as the rules allow (`least`).

    Quality falls ever faster as `crf` grows, so a straight line between the two never promises too much.
    """
    kept: list[Rendition] = []
    notes: list[str] = []
    for _, group in groupby(tried, key=lambda rendition: rendition.encoder):
        rungs = list(group)
        for rung, below in pairwise([*rungs, None]):
            if rung is None:
                continue
            if below and best[rung.name] - best[below.name] < rules.min_gain:
                notes.append(f"{_named(rung, best)}, no better than the next smaller rung: dropped")
                continue
            lowered = _lowered(rung, best[rung.name], least[rung.name], rules)
            kept.append(lowered)
            what = "as the profile says" if lowered == rung else f"encoded at crf {lowered.crf}"
            notes.append(f"{_named(rung, best)}: {what}")
    return Verdict(kept, notes)


def _named(rung: Rendition, best: Mapping[str, float]) -> str:
    return f"{rung.width}x{rung.height} of {rung.encoder}: VMAF {best[rung.name]:.1f} at crf {rung.crf}"


def _lowered(rung: Rendition, best: float, least: float, rules: PerTitle) -> Rendition:
    if best <= rules.target:
        return rung
    most = at_most(rung, rules)
    if least >= rules.target:
        return most
    share = (best - rules.target) / (best - least)
    return replace(rung, crf=rung.crf + math.floor(share * (most.crf - rung.crf)))
