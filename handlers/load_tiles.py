"""The trick play of a set that is there: whether it has I-frame playlists, and its track of thumbnails."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.fetching import fetch_source
from taskengine.handlers.support import load_text, save, together
from taskengine.media import packager
from taskengine.media.tracks import Media, Tiles, TrackKind
from taskengine.ports import Storage, TaskContext


async def load_trick_play(
    context: TaskContext, storage: Storage, base: str, media: Media, stored: Collection[str]
) -> Mapping[str, Any]:
    """`trickplay`, and `tiles` (a document, or null) of the set below `base`, whose files are `stored`."""
    frames = [f"{base}/{packager.iframe_playlist(track.name)}" for track in media.of(TrackKind.VIDEO)]
    tiles = None
    if f"{base}/{packager.TILES_PLAYLIST}" in stored:
        tiles = await save(context, "tiles.json", await _tiles(context, storage, base), Tiles)
    return {"trickplay": bool(frames) and all(name in stored for name in frames), "tiles": tiles}


async def _tiles(context: TaskContext, storage: Storage, base: str) -> Tiles:
    from taskengine.media import hls  # its parser is not needed before

    text = await load_text(storage, f"{base}/{packager.TILES_PLAYLIST}", "source_folder")
    try:
        grid, uris = hls.read_tiles(text)
    except hls.PlaylistFault as error:
        raise InputFault(f"source_folder: {packager.TILES_PLAYLIST}: {error}") from error
    names = [f"sheet_{number}.jpg" for number in range(1, len(uris) + 1)]
    await together([
        fetch_source(context, storage, f"{base}/{uri}", name) for uri, name in zip(uris, names, strict=True)
    ])  # fmt: skip
    return Tiles(await together([context.workspace.store(context.scratch / name, name) for name in names]), grid)
