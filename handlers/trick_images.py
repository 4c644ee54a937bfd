"""`trick_images`: the sheets of a trick-play thumbnail track, from the best video track of an asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.support import (
    FILE,
    NUMBER,
    in_thread,
    load,
    plain_command,
    run_ffmpeg,
    save,
    schema,
    together,
)
from taskengine.media import ffmpeg
from taskengine.media.thumbnails import jpeg_q, tile_grid
from taskengine.media.tracks import Media, Tiles, Track, TrackKind
from taskengine.ports import TaskContext


class TrickImages:
    """One decode; of what was encoded here, key frames alone."""

    name = "trick_images"
    inputs: Mapping[str, Any] = schema({"media": FILE, "size": NUMBER, "interval": NUMBER, "quality": NUMBER})
    outputs: Mapping[str, Any] = schema({"tiles": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `tiles` (a document). InputFault where there is no video."""
        inputs = context.inputs
        media = await load(context, inputs["media"], "media.json", Media)
        video = next(iter(sorted(media.of(TrackKind.VIDEO), key=lambda track: track.hdr)), None)
        if video is None or not (video.width and video.height):
            raise InputFault("trickplay_thumbnails: there is no video")
        grid = tile_grid(
            (video.width, video.height), media.duration, _last_frame(video), float(inputs["interval"]),
            int(inputs["size"]),
        )  # fmt: skip
        await context.workspace.fetch(video.file, "video.mp4")
        argv = ffmpeg.previews(
            context.tools.ffmpeg, "video.mp4", 0, grid, keys_alone=not video.copied, q=jpeg_q(int(inputs["quality"])),
            look=ffmpeg.TONE_MAP if video.hdr else (),
        )  # fmt: skip
        await run_ffmpeg(context, argv, "taking trick-play thumbnails", of_input=True)
        names = [f"sheet_{number}.jpg" for number in range(1, grid.sheets + 1)]
        await in_thread(_verify, context, names)
        sheets = await together([context.workspace.store(context.scratch / name, name) for name in names])
        tiles = Tiles(sheets, grid, [plain_command(argv)])
        return {"tiles": await save(context, "tiles.json", tiles, Tiles)}


def _last_frame(video: Track) -> float:
    return video.duration - float(1 / video.frame_rate) if video.frame_rate else video.duration


def _verify(context: TaskContext, names: list[str]) -> None:
    from taskengine.media import verify  # its parsers are not needed before

    verify.whole_jpegs(context.scratch, names)
