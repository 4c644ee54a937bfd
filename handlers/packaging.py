"""Making one packaged set: the packager's run, the manifests completed, the checks, the files into the workspace."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taskengine.domain.errors import InternalFault
from taskengine.handlers.support import beside, in_thread, plain_command, process_fault, run, together, warn
from taskengine.media import ffmpeg, packager
from taskengine.media.protection import CLEAR
from taskengine.media.tracks import Media, PackagedFile, PackagedSet, Tiles, TrackKind
from taskengine.ports import TaskContext


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into every set. `files`: track name → plain name of its file in scratch, where the sheets of the tiles
    lie too."""

    media: Media
    files: Mapping[str, str]
    trick_play: bool
    tiles: Tiles | None

    @property
    def sheets(self) -> Sequence[str]:
        """The sheets' plain names."""
        return sheet_names(self.tiles) if self.tiles else ()

    def size(self, scratch: Path) -> int:
        """Bytes of its files there, which are about those of a set."""
        return sum((scratch / name).stat().st_size for name in {*self.files.values(), *self.sheets})

    @property
    def copied(self) -> bool:
        """Whether a track is as the client's source had it."""
        return any(track.copied for track in self.media.tracks)


def sheet_names(tiles: Tiles) -> Sequence[str]:
    """The plain names of the sheets."""
    return [f"tiles_{number}.jpg" for number in range(1, len(tiles.sheets) + 1)]


async def make_clear_set(context: TaskContext, contents: Contents) -> PackagedSet:
    """Package the tracks as they are, verify what came of it, store it."""
    folder = context.scratch / CLEAR
    await in_thread(place_sheets, context.scratch, folder, contents.sheets)
    argv = packager.package(
        context.tools.packager, contents.media, contents.files, CLEAR, trick_play=contents.trick_play
    )
    await run(context, argv, "packaging", of_input=contents.copied)
    pairs = await in_thread(finish_cmaf, folder, contents)
    async with beside(_decode(context, contents, pairs)):
        stored = await store_set(context, CLEAR)
    return PackagedSet(CLEAR, stored, commands_of(contents, argv))


def commands_of(contents: Contents, *commands: Sequence[str]) -> Sequence[Sequence[str]]:
    """What made a set, as it is kept beside the asset."""
    return [*map(plain_command, commands), *(contents.tiles.commands if contents.tiles else [])]


def place_sheets(scratch: Path, folder: Path, sheets: Sequence[str]) -> None:
    """Put the sheets of the tiles into a set."""
    if sheets:
        (folder / packager.TILES).mkdir(parents=True)
    for number, sheet in enumerate(sheets, start=1):
        shutil.copyfile(scratch / sheet, folder / packager.TILES / f"{number}.jpg")


def finish_cmaf(folder: Path, contents: Contents) -> Sequence[tuple[str, str]]:
    """Complete the manifests and check the set; the (init, segment) pairs to decode."""
    from taskengine.media import dash, texts, verify  # their parsers are not needed before

    for name in (packager.MASTER, packager.MPD):
        verify.whole_file(folder / name, name)
    _turn(folder, contents)
    edit(folder / packager.MPD, dash.aligned)
    texts.describe(folder, contents.media, texts_of(folder.parent, contents))
    if contents.trick_play:
        verify.trick_play(folder, contents.media)
        edit(folder / packager.MPD, lambda text: dash.with_trick_set(text, f"{packager.TRICK}/{packager.INIT}"))
    if contents.tiles:
        add_tiles(folder, contents.tiles)
    return verify.package(folder, contents.media)


def _turn(folder: Path, contents: Contents) -> None:
    """Have players turn the pictures as those of the sources are, and manifests tell their size as it is then: packager
    leaves that out."""
    from taskengine.media import dash, hls, mp4  # their parsers are not needed before

    videos = contents.media.of(TrackKind.VIDEO)
    turned = {track.name: matrix for track in videos if (matrix := _matrix(folder, contents.files[track.name]))}
    if contents.trick_play and (matrix := turned.get(packager.least(videos).name)):
        turned[packager.TRICK] = matrix
    for name, matrix in turned.items():
        mp4.set_display_matrix(folder / name / packager.INIT, matrix)
    swapped = [name for name, matrix in turned.items() if mp4.quarter_turned(matrix)]
    if swapped:
        playlists = [uri for name in swapped for uri in (f"{name}.m3u8", packager.iframe_playlist(name))]
        edit(folder / packager.MASTER, lambda text: hls.turned(text, playlists))
        edit(folder / packager.MPD, lambda text: dash.turned(text, [f"{name}/{packager.INIT}" for name in swapped]))


def _matrix(folder: Path, name: str) -> bytes | None:
    from taskengine.media import mp4

    try:
        return mp4.display_matrix(folder.parent / name)
    except mp4.BoxFault:  # packager takes more than is read here
        return None


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Change a manifest."""
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def texts_of(scratch: Path, contents: Contents) -> Mapping[str, str]:
    """The WebVTT of each text track."""
    tracks = contents.media.of(TrackKind.TEXT)
    return {track.name: (scratch / contents.files[track.name]).read_text(encoding="utf-8") for track in tracks}


def add_tiles(folder: Path, tiles: Tiles) -> None:
    """Name the thumbnail track in the manifests."""
    from taskengine.media import dash, hls  # their parsers are not needed before

    grid = tiles.grid
    uris = [f"{packager.TILES}/{number}.jpg" for number in range(1, len(tiles.sheets) + 1)]
    largest = max((folder / uri).stat().st_size for uri in uris)
    bandwidth = round(largest * 8 / grid.sheet_duration)
    (folder / packager.TILES_PLAYLIST).write_text(hls.tile_playlist(grid, uris), encoding="utf-8", newline="\n")
    if (folder / packager.MPD).exists():
        template = f"{packager.TILES}/$Number$.jpg"
        edit(folder / packager.MPD, lambda text: dash.with_tiles(text, grid, template, bandwidth))
    edit(folder / packager.MASTER, lambda text: hls.with_tiles(text, grid, packager.TILES_PLAYLIST, bandwidth))


async def _decode(context: TaskContext, contents: Contents, pairs: Sequence[tuple[str, str]]) -> None:
    argv = ffmpeg.decode_check(context.tools.ffmpeg, [f"concat:{CLEAR}/{init}|{CLEAR}/{part}" for init, part in pairs])
    await check_decoding(context, contents, argv)


async def check_decoding(context: TaskContext, contents: Contents, argv: Sequence[str]) -> None:
    """Decode first and last segments; what was encoded here must decode without a word."""
    lines: list[str] = []
    result = await context.run(argv, on_line=lines.append)
    faults = [line for line in result.stderr_tail.splitlines() if "[error]" in line or "[fatal]" in line]
    if result.exit_code != 0 or lines[-1:] != ["progress=end"]:
        raise process_fault("decoding first and last segments", result, of_input=contents.copied)
    if faults and not contents.copied:
        raise InternalFault(
            f"first and last segments: expected to decode, found: {faults[0]}", stderr_tail=result.stderr_tail
        )
    for fault in faults[:3]:
        warn(context, f"decoding what was packaged as it is: {fault}")


async def store_set(context: TaskContext, name: str) -> list[PackagedFile]:
    """Put the files of a set into the workspace."""
    files = await in_thread(_digests, context.scratch / name)
    return await together([_store_one(context, name, file) for file in files])


async def _store_one(context: TaskContext, name: str, file: PackagedFile) -> PackagedFile:
    plain = f"{name}-{file.path.replace('/', '-')}"
    return replace(file, file=await context.workspace.store(context.scratch / name / file.path, plain))


def _digests(folder: Path) -> Sequence[PackagedFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [PackagedFile(path.relative_to(folder).as_posix(), path.stat().st_size, digest(path)) for path in paths]


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
