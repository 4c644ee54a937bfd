"""`package`: tracks into CMAF segments with an HLS and a DASH manifest, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InternalFault
from taskengine.handlers.support import (
    BOOLEAN,
    FILE,
    OPTIONAL_FILE,
    beside,
    in_thread,
    load,
    plain_command,
    process_fault,
    run,
    save,
    schema,
    together,
    warn,
)
from taskengine.media import ffmpeg, packager
from taskengine.media.tools import parse_version
from taskengine.media.tracks import Media, Package, PackagedFile, Tiles, TrackKind
from taskengine.ports import TaskContext


class PackageTracks:
    """One set without protection: one packager for all tracks; first and last segments are decoded."""

    name = "package"
    inputs: Mapping[str, Any] = schema({"media": FILE}, {"trickplay": BOOLEAN, "tiles": OPTIONAL_FILE})
    outputs: Mapping[str, Any] = schema({"package": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `package` (a document of files)."""
        media = await load(context, context.inputs["media"], "media.json", Media)
        files = await _fetch(context, media)
        trick_play = bool(context.inputs.get("trickplay")) and bool(media.of(TrackKind.VIDEO))
        tiles = await _tiles(context)
        argv = packager.package(context.tools.packager, media, files, trick_play=trick_play)
        _, version = await together([
            run(context, argv, "packaging", of_input=any(track.copied for track in media.tracks)),
            run(context, [context.tools.packager, "--version"], "asking for the version"),
        ])  # fmt: skip
        folder = context.scratch / packager.SET_FOLDER
        pairs = await in_thread(lambda: _finish(folder, media, tiles, trick_play=trick_play))
        async with beside(_decode(context, media, pairs)):
            stored = await _store(context, folder)
        known = parse_version(version.stdout.decode(errors="replace")) or "unknown"
        commands = [plain_command(argv), *(tiles.commands if tiles else [])]
        package = Package("clear", stored, media, commands, {"packager": known})
        return {"package": await save(context, "package.json", package, Package)}


async def _fetch(context: TaskContext, media: Media) -> Mapping[str, str]:
    """Track name → file; tracks of one file share it."""
    references = {str(track.file["$file"]): track for track in media.tracks}
    plain = {reference: f"{track.name}.mp4" for reference, track in references.items()}
    await together([context.workspace.fetch(track.file, plain[reference]) for reference, track in references.items()])
    return {track.name: plain[str(track.file["$file"])] for track in media.tracks}


async def _tiles(context: TaskContext) -> Tiles | None:
    """The sheets of the thumbnail track, fetched into the set that is to be."""
    if not context.inputs.get("tiles"):
        return None
    tiles = await load(context, context.inputs["tiles"], "tiles.json", Tiles)
    folder = context.scratch / packager.SET_FOLDER / packager.TILES
    await in_thread(lambda: folder.mkdir(parents=True))
    for number, sheet in enumerate(tiles.sheets, start=1):
        fetched = await context.workspace.fetch(sheet, f"tiles_{number}.jpg")
        await in_thread(fetched.rename, folder / f"{number}.jpg")
    return tiles


def _finish(folder: Path, media: Media, tiles: Tiles | None, *, trick_play: bool) -> Sequence[tuple[str, str]]:
    """Complete the manifests and check the set; the (init, segment) pairs to decode."""
    from taskengine.media import dash, hls, verify  # their parsers are not needed before

    for name, complete in ((packager.MASTER, hls.complete_groups), (packager.MPD, dash.aligned)):
        verify.whole_file(folder / name, name)
        (folder / name).write_text(complete((folder / name).read_text(encoding="utf-8")), encoding="utf-8")
    if trick_play:
        verify.trick_play(folder, media)
        manifest = folder / packager.MPD
        marked = dash.with_trick_set(manifest.read_text(encoding="utf-8"), f"{packager.TRICK}/{packager.INIT}")
        manifest.write_text(marked, encoding="utf-8")
    if tiles:
        _add_tiles(folder, tiles)
    return verify.package(folder, media)


def _add_tiles(folder: Path, tiles: Tiles) -> None:
    """Name the thumbnail track in both manifests."""
    from taskengine.media import dash, hls  # their parsers are not needed before

    grid = tiles.grid
    uris = [f"{packager.TILES}/{number}.jpg" for number in range(1, len(tiles.sheets) + 1)]
    largest = max((folder / uri).stat().st_size for uri in uris)
    bandwidth = round(largest * 8 / grid.sheet_duration)
    (folder / packager.TILES_PLAYLIST).write_text(hls.tile_playlist(grid, uris), encoding="utf-8")
    master, manifest = folder / packager.MASTER, folder / packager.MPD
    text = hls.with_tiles(master.read_text(encoding="utf-8"), grid, packager.TILES_PLAYLIST, bandwidth)
    master.write_text(text, encoding="utf-8")
    template = f"{packager.TILES}/$Number$.jpg"
    text = dash.with_tiles(manifest.read_text(encoding="utf-8"), grid, template, bandwidth)
    manifest.write_text(text, encoding="utf-8")


async def _decode(context: TaskContext, media: Media, pairs: Sequence[tuple[str, str]]) -> None:
    """Decode them all; what was encoded here must decode without a word."""
    base = packager.SET_FOLDER
    argv = ffmpeg.decode_check(context.tools.ffmpeg, [(f"{base}/{init}", f"{base}/{part}") for init, part in pairs])
    lines: list[str] = []
    result = await context.run(argv, on_line=lines.append)
    faults = [line for line in result.stderr_tail.splitlines() if "[error]" in line or "[fatal]" in line]
    if result.exit_code != 0 or lines[-1:] != ["progress=end"]:
        raise process_fault("decoding first and last segments", result)
    if faults and not any(track.copied for track in media.tracks):
        raise InternalFault(
            f"first and last segments: expected to decode, found: {faults[0]}", stderr_tail=result.stderr_tail
        )
    for fault in faults[:3]:
        warn(context, f"decoding what was packaged as it is: {fault}")


async def _store(context: TaskContext, folder: Path) -> list[PackagedFile]:
    files = await in_thread(_digests, folder)
    stored = await together([_store_one(context, folder, file) for file in files])
    return list(stored)


async def _store_one(context: TaskContext, folder: Path, file: PackagedFile) -> PackagedFile:
    return replace(file, file=await context.workspace.store(folder / file.path, file.path.replace("/", "-")))


def _digests(folder: Path) -> Sequence[PackagedFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [PackagedFile(str(path.relative_to(folder)), path.stat().st_size, digest(path)) for path in paths]


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
