"""`measure`: the VMAF of each rendition beside its source, for `metadata.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain.errors import InternalFault
from taskengine.handlers.encoding import fetch_sources, load_plan
from taskengine.handlers.support import FILE, in_thread, load, plain_command, run_ffmpeg, save, schema, tell, together
from taskengine.media import quality, quality_argv
from taskengine.media.encoding import Chunk, VideoEncoding
from taskengine.media.tracks import Media, Track, TrackKind
from taskengine.ports import TaskContext

_EVERY = 5  # frames: the mean of a fifth of them is that of all to a tenth


class MeasureQuality:
    """Every fifth frame, at the source's size. HDR that is kept has no VMAF."""

    name = "measure"
    inputs: Mapping[str, Any] = schema({"sources": FILE, "plan": FILE, "media": FILE})
    outputs: Mapping[str, Any] = schema({"media": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (the document, with what was measured)."""
        encoding = (await load_plan(context)).encoding
        media = await load(context, context.inputs["media"], "media.json", Media)
        video = encoding.video
        wanted = [track for track in media.of(TrackKind.VIDEO) if not track.hdr]
        if video is None or not wanted:
            return {"media": context.inputs["media"]}
        await fetch_sources(context, [encoding.inputs[video.input]])
        await together([context.workspace.fetch(track.file, f"{track.name}.mp4") for track in wanted])
        names = [track.name for track in wanted]
        source = encoding.inputs[video.input]
        scores = await vmaf_of(context, video, source, names, every=_EVERY)
        tell(context, "; ".join(f"{name}: VMAF {score:.1f}" for name, score in scores.items()))
        command = plain_command(quality_argv.vmaf(context.tools.ffmpeg, video, source, names, every=_EVERY))
        found = replace(
            media, tracks=[_scored(track, scores) for track in media.tracks], commands=[*media.commands, command]
        )
        return {"media": await save(context, "measured.json", found, Media)}


def _scored(track: Track, scores: Mapping[str, float]) -> Track:
    return replace(track, vmaf=round(scores[track.name], 2)) if track.name in scores else track


async def vmaf_of(
    context: TaskContext, video: VideoEncoding, source: str, names: Sequence[str], *, part: Chunk | None = None,
    every: int = 1,
) -> Mapping[str, float]:  # fmt: skip
    """Name → VMAF (0–100) of the files `<name>.mp4` in scratch."""
    argv = quality_argv.vmaf(context.tools.ffmpeg, video, source, names, part=part, every=every)
    await run_ffmpeg(context, argv, "measuring the quality", of_input=True)
    scores = {}
    for name in names:
        try:
            scores[name] = quality.parse(await in_thread((context.scratch / quality_argv.vmaf_name(name)).read_text))
        except (OSError, ValueError) as error:
            raise InternalFault(f"{name}: its quality was not measured: {error}") from error
    return scores
