"""`remux`: bring sources that are packaged as they are into MP4 files with one track of a kind, without encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskengine.handlers.support import (
    BOOLEAN,
    FILE,
    NUMBER,
    beside,
    in_thread,
    keep_version,
    load,
    plain_command,
    run_ffmpeg,
    save,
    schema,
    tell_all,
    together,
)
from taskengine.media import copying, ffmpeg
from taskengine.media.sources import Sources
from taskengine.media.tracks import Media, Track
from taskengine.ports import TaskContext


class Remux:
    """Each video file is a rendition; each audio track a track. Files that fit are taken as they are."""

    name = "remux"
    inputs: Mapping[str, Any] = schema({"sources": FILE}, {"all_audio_tracks": BOOLEAN})
    outputs: Mapping[str, Any] = schema({"media": FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `duration`."""
        sources = (await load(context, context.inputs["sources"], "sources.json", Sources)).sources
        plan = copying.decide(sources, all_audio_tracks=bool(context.inputs.get("all_audio_tracks", True)))
        tell_all(context, plan.notes)
        await together([context.workspace.fetch(source.file, source.plain) for source in plan.sources])
        commands = [ffmpeg.remux(context.tools.ffmpeg, *remuxed) for remuxed in plan.remuxed]
        versions: dict[str, str] = {}
        async with beside(keep_version(context, "ffmpeg", context.tools.ffmpeg, versions)):
            await together([run_ffmpeg(context, argv, "copying tracks", of_input=True) for argv in commands], limit=2)
        tracks = await in_thread(_measured, context.scratch, plan)
        files = {file: await context.workspace.store(context.scratch / file, file) for file in plan.files}
        media = Media(
            [replace(track, file=files[copy.file]) for track, copy in zip(tracks, plan.copies, strict=True)],
            max(track.duration for track in tracks),
            commands=[plain_command(argv) for argv in commands],
            versions=versions,
        )
        tell_all(context, copying.length_notes(media))
        return {"media": await save(context, "media.json", media, Media), "duration": media.duration}


def _measured(scratch: Path, plan: copying.Plan) -> Sequence[Track]:
    from taskengine.media import verify  # its parsers are not needed before

    return [verify.copied_track(scratch / copy.file, copy.track, copy.least_frames) for copy in plan.copies]
