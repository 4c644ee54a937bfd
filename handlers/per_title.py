"""`per_title`: samples of the source are encoded and measured; rungs that are better than needed become smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from taskengine.handlers.encoding import fetch_sources, load_plan
from taskengine.handlers.measure import vmaf_of
from taskengine.handlers.support import FILE, run_ffmpeg, save, schema, tell_all
from taskengine.media import encode_argv, quality
from taskengine.media.chunks import Plan
from taskengine.media.encoding import Encoding
from taskengine.media.ladder import Rendition
from taskengine.media.profiles import PerTitle
from taskengine.ports import TaskContext


class AdaptLadder:
    """Changes the plan before anything is encoded by it. HDR that is kept has no VMAF: it stays as it is."""

    name = "per_title"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "plan": FILE})
    outputs: Mapping[str, Any] = schema({"plan": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `plan` (the document, with fewer or smaller renditions)."""
        plan = await load_plan(context)
        video, rules = plan.encoding.video, plan.per_title
        if video is None or rules is None:
            return {"plan": context.inputs["plan"]}
        tried = [rendition for rendition in video.encoded if not rendition.hdr]
        await fetch_sources(context, [plan.encoding.inputs[video.input]])
        best = await _measured(context, plan.encoding, tried, rules, 0.0)
        smaller = [quality.at_most(rendition, rules) for rendition in tried]
        least = await _measured(context, plan.encoding, smaller, rules, 0.5)
        verdict = quality.judge(tried, best, least, rules)
        tell_all(context, verdict.notes)
        return {"plan": await save(context, "adapted.json", _adapted(plan, tried, verdict.renditions), Plan)}


def _adapted(plan: Plan, tried: Sequence[Rendition], kept: Sequence[Rendition]) -> Plan:
    video = plan.encoding.video
    if video is None:
        return plan
    changed = {rendition.name: rendition for rendition in kept}
    names = {rendition.name for rendition in tried}
    renditions = [
        changed.get(rendition.name, rendition)
        for rendition in video.renditions
        if rendition.name in changed or rendition.name not in names
    ]
    return replace(plan, encoding=replace(plan.encoding, video=replace(video, renditions=renditions)))


async def _measured(
    context: TaskContext, encoding: Encoding, renditions: Sequence[Rendition], rules: PerTitle, done: float
) -> Mapping[str, float]:  # fmt: skip
    """The VMAF of each rendition, over all samples."""
    part = encoding.video_part(renditions)
    video = part.video
    if video is None:
        return {}
    found: dict[str, list[float]] = {rendition.name: [] for rendition in renditions}
    samples = quality.samples(video, rules)
    for number, sample in enumerate(samples, start=1):
        await run_ffmpeg(context, encode_argv.chunk(context.tools.ffmpeg, part, sample), "trying", of_input=True)
        scores = await vmaf_of(context, video, encoding.inputs[video.input], list(found), part=sample)
        for name, score in scores.items():
            found[name].append(score)
        context.report_progress(done + 0.5 * number / len(samples))
    return {name: fmean(scores) for name, scores in found.items()}
