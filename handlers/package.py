"""`package`: tracks into the segments of each protection, with an HLS and a DASH manifest, verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.packaging import Contents, make_set, sheet_names
from taskengine.handlers.support import BOOLEAN, FILE, OPTIONAL_FILE, beside, load, run, save, schema, together
from taskengine.media.protection import wanted_sets
from taskengine.media.tools import parse_version
from taskengine.media.tracks import Media, Package, Tiles, TrackKind, plain_name
from taskengine.ports import TaskContext

_AT_ONCE = 2


class PackageTracks:
    """One packager for all tracks of a set; first and last segments are decoded."""

    name = "package"
    inputs: Mapping[str, Any] = schema({"media": FILE}, {"trickplay": BOOLEAN, "tiles": OPTIONAL_FILE})
    outputs: Mapping[str, Any] = schema({"package": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `package` (a document of files)."""
        contents = await _contents(context)
        versions: dict[str, str] = {}
        async with beside(_keep_version(context, versions)):
            sets = await together([make_set(context, contents, wanted) for wanted in wanted_sets([])], _AT_ONCE)
        package = Package(sets, contents.media, versions)
        return {"package": await save(context, "package.json", package, Package)}


async def _keep_version(context: TaskContext, versions: dict[str, str]) -> None:
    result = await run(context, [context.tools.packager, "--version"], "asking for the version")
    versions["packager"] = parse_version(result.stdout.decode(errors="replace")) or "unknown"


async def _contents(context: TaskContext) -> Contents:
    media = await load(context, context.inputs["media"], "media.json", Media)
    files = await _fetch(context, media)
    tiles = await _tiles(context)
    trick_play = bool(context.inputs.get("trickplay")) and bool(media.of(TrackKind.VIDEO))
    return Contents(media, files, trick_play=trick_play, tiles=tiles)


async def _fetch(context: TaskContext, media: Media) -> Mapping[str, str]:
    """Track name → file; tracks of one file share it."""
    references = {str(track.file["$file"]): track for track in media.tracks}
    plain = {reference: plain_name(track) for reference, track in references.items()}
    await together([context.workspace.fetch(track.file, plain[reference]) for reference, track in references.items()])
    return {track.name: plain[str(track.file["$file"])] for track in media.tracks}


async def _tiles(context: TaskContext) -> Tiles | None:
    """The sheets of the thumbnail track, under the names that `Contents` knows."""
    if not context.inputs.get("tiles"):
        return None
    tiles = await load(context, context.inputs["tiles"], "tiles.json", Tiles)
    await together([
        context.workspace.fetch(sheet, name) for sheet, name in zip(tiles.sheets, sheet_names(tiles), strict=True)
    ])  # fmt: skip
    return tiles
