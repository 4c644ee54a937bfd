"""`thumbnails`: the poster and the previews of sources that are packaged as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    OPTIONAL_FILE,
    in_thread,
    load,
    run_ffmpeg,
    save_images,
    schema,
    together,
)
from taskengine.media import ffmpeg, probe
from taskengine.media.ladder import even_size
from taskengine.media.probe import VideoTrack
from taskengine.media.sources import Source, Sources, by_quality
from taskengine.media.thumbnails import Grid, grid, seconds_of
from taskengine.ports import TaskContext

_TRIED = 8  # key frames
_A_LITTLE_S = 0.001


class Thumbnails:
    """Takes the best video; the poster and the sheets are made beside one another."""

    name = "thumbnails"
    inputs: Mapping[str, Any] = schema(
        {"sources": FILE},
        {
            "create_thumbnail": BOOLEAN, "thumbnail_time": ANY, "preview_thumbnails": BOOLEAN,
            "preview_thumbnails_interval": NUMBER,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"images": OPTIONAL_FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `images` (a document, or null where there is no video)."""
        sources = await load(context, context.inputs["sources"], "sources.json", Sources)
        videos = by_quality(sources.sources)
        if not videos:
            return {"images": None}
        source = videos[0]
        await context.workspace.fetch(source.file, source.plain)
        poster = bool(context.inputs.get("create_thumbnail", True))
        wanted = _grid(context.inputs, source) if context.inputs.get("preview_thumbnails") else None
        keys_alone = wanted is not None and await _keys_alone(context, source)
        commands = _commands(context, source, poster=poster, previews=wanted, keys_alone=keys_alone)
        await together([run_ffmpeg(context, argv, what, of_input=True) for what, argv in commands.items()])
        await in_thread(lambda: verify_images(context.scratch, poster=poster, sheets=wanted.sheets if wanted else 0))
        return {"images": await save_images(context, poster=poster, previews=wanted, commands=list(commands.values()))}


def last_frame(source: Source) -> float:
    """When the last picture of a source is shown, in seconds from its first."""
    timing = source.video.timing if source.video else None
    return timing.last - timing.first if timing else 0.0


def _grid(inputs: Mapping[str, Any], source: Source) -> Grid:
    video = source.video
    duration = video.timing.duration if video and video.timing else 0.0
    size = video.display_size if video else (2, 2)
    return grid(size, duration, last_frame(source), float(inputs.get("preview_thumbnails_interval", 10)))


async def _keys_alone(context: TaskContext, source: Source) -> bool:
    """Whether key frames alone decode in their order: in H.264 those of open groups do not, however they begin."""
    video = source.video
    if video is None or video.timing is None or video.codec != "h264":
        return True
    keys = video.timing.key_frames[:_TRIED]
    if len(keys) < 2 or video.timing.open_gop:
        return not video.timing.open_gop
    argv = probe.key_frames_argv(context.tools.ffprobe, source.plain, video.timing.first + keys[-1] + _A_LITTLE_S)
    return probe.in_order((await context.run(argv)).stdout, len(keys))


def _commands(
    context: TaskContext, source: Source, *, poster: bool, previews: Grid | None, keys_alone: bool
) -> Mapping[str, list[str]]:  # fmt: skip
    video = source.video
    if video is None:
        return {}
    commands = {}
    if poster:
        wanted = seconds_of(context.inputs.get("thumbnail_time") or 0, "thumbnail_time")
        commands["taking the poster"] = take_poster(context, source, video, min(wanted, last_frame(source)))
    if previews:
        commands["taking previews"] = ffmpeg.previews(
            context.tools.ffmpeg, source.plain, video.index, previews, keys_alone=keys_alone, look=_look(video)
        )
    return commands


def take_poster(context: TaskContext, source: Source, video: VideoTrack, time: float) -> list[str]:
    """The command that takes the picture at a time of a source's track."""
    size = even_size(video.display_size)
    return ffmpeg.poster(context.tools.ffmpeg, source.plain, video.index, time, size, look=_look(video))


def _look(video: VideoTrack) -> list[str]:
    return [*ffmpeg.assumed(video.assumed_color), *ffmpeg.TONE_MAP] if video.hdr else []


def verify_images(scratch: Path, *, poster: bool, sheets: int) -> None:
    """The JPEGs that were made are whole. Reads files: call it in a thread."""
    from taskengine.media import verify  # its parsers are not needed before

    verify.images(scratch, poster=poster, sheets=sheets)
