"""`package`: tracks into the segments of each protection, with an HLS and a DASH manifest, verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.packaging import Contents, make_clear_set, sheet_names
from taskengine.handlers.protected import make_protected_set
from taskengine.handlers.protecting import INPUTS, cpix_document, encryptions, sets_of, warn_of_keys_nowhere
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    OPTIONAL_FILE,
    STRING,
    beside,
    in_thread,
    keep_packager_version,
    load,
    need_space,
    save,
    schema,
    together,
)
from taskengine.media.drm import Encryption
from taskengine.media.protection import CLEAR, WantedSet
from taskengine.media.tracks import Media, Package, PackagedSet, Tiles, TrackKind, plain_name
from taskengine.ports import TaskContext

_AT_ONCE = 2


class PackageTracks:
    """One packager for all tracks of a set; first and last segments are decoded. The keys of protected sets are asked of
    the client's key provider here and go nowhere else."""

    name = "package"
    inputs: Mapping[str, Any] = schema(
        {"media": FILE, "content_id": STRING},
        {"trickplay": BOOLEAN, "tiles": OPTIONAL_FILE, **INPUTS, "download_cpix": BOOLEAN, "only": ANY},
    )
    outputs: Mapping[str, Any] = schema({"package": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `package` (a document of files)."""
        package = await make_package(context, await _contents(context))
        return {"package": await save(context, "package.json", package, Package)}


async def make_package(context: TaskContext, contents: Contents) -> Package:
    """The sets that the step's inputs ask for, of tracks in scratch, verified and in the workspace."""
    only = context.inputs.get("only")
    wanted = [each for each in sets_of(context.inputs) if only is None or each.name in only]
    await need_space(context, await in_thread(contents.size, context.scratch) * len(wanted), "packaging")
    versions: dict[str, str] = {}
    async with beside(keep_packager_version(context, versions)):
        keys = await encryptions(context, contents.media, wanted)
        warn_of_keys_nowhere(context, keys)
        sets = await together([_make(context, contents, each, keys) for each in wanted], _AT_ONCE)
    return Package(sets, contents.media, versions, await cpix_document(context, [each.keys for each in keys.values()]))


async def _make(
    context: TaskContext, contents: Contents, wanted: WantedSet, keys: Mapping[str, Encryption]
) -> PackagedSet:
    if wanted.name == CLEAR:
        return await make_clear_set(context, contents)
    return await make_protected_set(context, contents, keys[wanted.name])


async def _contents(context: TaskContext) -> Contents:
    media = await load(context, context.inputs["media"], "media.json", Media)
    files = await fetch_tracks(context, media)
    tiles = await _tiles(context)
    trick_play = bool(context.inputs.get("trickplay")) and bool(media.of(TrackKind.VIDEO))
    return Contents(media, files, trick_play=trick_play, tiles=tiles)


async def fetch_tracks(context: TaskContext, media: Media) -> Mapping[str, str]:
    """Bring the tracks' files. Track name → file; tracks of one file share it."""
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
