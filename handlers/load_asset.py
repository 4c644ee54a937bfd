"""`load_asset`: bring the tracks of a published asset back into files of their own, without encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskengine.domain.errors import InputFault, NotFound
from taskengine.domain.keys import ContentKey
from taskengine.handlers.fetching import fetch_source
from taskengine.handlers.load_tiles import load_trick_play
from taskengine.handlers.protecting import keys_of_set, run_with_keys
from taskengine.handlers.streams import join
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    OPTIONAL_FILE,
    STRING,
    in_thread,
    load_text,
    need_space,
    process_fault,
    run_ffmpeg,
    save,
    schema,
    storage_faults,
    together,
)
from taskengine.media import ffmpeg, packager
from taskengine.media.asset import METADATA
from taskengine.media.mp4 import BoxFault
from taskengine.media.protection import AES, CBCS, CENC, CLEAR, protections
from taskengine.media.published import Published, read_published, segment_paths
from taskengine.media.tracks import Media, Track, TrackKind, plain_name, text_file
from taskengine.media.verify import VerificationFault
from taskengine.ports import Storage, TaskContext

if TYPE_CHECKING:
    from taskengine.media.hls import MediaPlaylist

_AT_ONCE = 16
_COPIES = 2.2  # segments, the files made of them, and a little


class LoadAsset:
    """Reads the asset's `metadata.json`, fetches its segments and joins them by track: the clear ones, or where there are
    none, encrypted ones, which it decrypts with the keys of the client's provider. TS segments come last: they have not
    every track."""

    name = "load_asset"
    inputs: Mapping[str, Any] = schema(
        {"folder": STRING, "storage": STRING},
        {"output_root": ANY, "retries": {"type": "integer"}, "key_provider": ANY, "cpix": BOOLEAN},
    )
    outputs: Mapping[str, Any] = schema({
        "media": FILE, "duration": NUMBER, "content_id": STRING, "drm": {"type": "array"}, "protected": BOOLEAN,
        "trickplay": BOOLEAN, "tiles": OPTIONAL_FILE,
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `duration`, the asset's `content_id`, its protections (`drm`),
        whether a protected manifest is active, whether it has I-frame playlists (`trickplay`), its `tiles` (a document, or
        null)."""
        inputs = context.inputs
        folder = str(inputs["folder"])
        storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
        published = await read_asset(storage, folder)
        name = _source(published, storage.full_path(folder))
        base = f"{folder}/{published.folder_of(name)}"
        with storage_faults("source_folder"):
            stored = {file.path: file.size for file in await storage.list(base)}
        if not stored:
            raise InputFault(f"source_folder: the asset in {storage.full_path(folder)} has no {name} segments")
        await need_space(context, round(sum(stored.values()) * _COPIES), "bringing the asset back")
        tracks = published.media.tracks
        keys: Mapping[str, ContentKey] = {}
        if name != CLEAR:
            keys = await keys_of_set(context, published.content_id, name, published.sets[name], published.media)
        if name == AES:
            tracks = [track for track in tracks if track.kind is TrackKind.TEXT or track.name in keys]
        lengths: Sequence[float] = ()
        for track in tracks:  # pictures are first
            brought = await _bring(
                context, storage, base, track, lengths, keys.get(track.name) if name == AES else None
            )
            lengths = lengths or brought
        if name in {CENC, CBCS}:
            await _decrypt(context, name, tracks, keys)
        tracks = [await _stored(context, track) for track in tracks]
        media = Media(tracks, published.media.duration, published.media.segment_duration)
        return {
            "media": await save(context, "media.json", media, Media),
            "duration": media.duration,
            "content_id": published.content_id,
            "drm": protections({name: each.systems for name, each in published.sets.items()}),
            "protected": published.active.protection != CLEAR,
            **await load_trick_play(context, storage, base, published.media, stored),
        }


async def read_asset(storage: Storage, folder: str, what: str = "source_folder") -> Published:
    """What is published in a folder; InputFault where nothing is, told of the parameter `what`."""
    with storage_faults(what):
        try:
            metadata = await storage.read(f"{folder}/{METADATA}")
        except NotFound as error:
            raise InputFault(f"{what}: there is no asset in {storage.full_path(folder)}") from error
    return read_published(folder, metadata)


def _source(published: Published, folder: str) -> str:
    """The set to take the tracks from."""
    for name in (CLEAR, CENC, CBCS, AES):
        if name in published.sets:
            return name
    raise InputFault(f"source_folder: the asset in {folder} has no set of segments that is known here")


async def _bring(
    context: TaskContext, storage: Storage, base: str, track: Track, lengths: Sequence[float], key: ContentKey | None
) -> Sequence[float]:
    """The track in a file of its own in scratch; `key`: of TS segments. Returns how long each of its stretches is; `lengths`:
    those that it has to have, where they are known."""
    if track.kind is TrackKind.TEXT:
        if len(lengths) > 1:
            raise InputFault(f"source_folder: the asset is cut, and so are its texts ({track.name})")
        await _load_text(context, storage, base, track)
        return ()
    playlist, stretches, parts = await _fetched(context, storage, base, track, cuts=key is None)
    if len(stretches) > 1:
        lengths = lengths or [each.duration for each in stretches]
        await in_thread(_go_on, context.scratch, parts, [len(each.segments) for each in stretches], lengths)
    if key is None:
        await in_thread(join, context.scratch, parts, f"{track.name}.mp4")
    else:
        await _open_transport(context, track, key, playlist, parts)
    return [each.duration for each in stretches]


def _go_on(scratch: Path, parts: Sequence[str], counts: Sequence[int], lengths: Sequence[float]) -> None:
    """Let each stretch begin on the clock when the one before it ends: the track's init segment, and so many segments each."""
    from taskengine.media.archive import boxes, rewriting  # for assets of archives alone

    try:
        timescale = boxes.read_init((scratch / parts[0]).read_bytes()).timescale
        left, origin, at = list(parts[1:]), 0, 0.0
        for count, seconds in zip(counts, lengths, strict=True):
            own, left = left[:count], left[count:]
            first = boxes.first_decode_time((scratch / own[0]).read_bytes())
            origin = origin or first
            for name in own:
                data = rewriting.moved((scratch / name).read_bytes(), origin + round(at * timescale) - first)
                (scratch / name).unlink()  # it may be linked to what is stored
                (scratch / name).write_bytes(data)
            at += seconds
    except (BoxFault, ValueError) as error:
        raise InputFault(f"source_folder: its stretches cannot be joined: {error}") from error


async def _fetched(
    context: TaskContext, storage: Storage, base: str, track: Track, *, cuts: bool
) -> tuple[str, Sequence[MediaPlaylist], Sequence[str]]:
    """A track's playlist, its stretches, and its init segment and segments in scratch in their order. `cuts`: there may be
    several stretches."""
    from taskengine.media import hls  # its parser is not needed before

    text = await load_text(storage, f"{base}/{track.name}.m3u8", "source_folder")
    try:
        playlist = hls.read_media(text)
        stretches = hls.read_stretches(text)
    except hls.PlaylistFault as error:
        raise InputFault(f"source_folder: {track.name}.m3u8: {error}") from error
    alike = len({each.init for each in stretches}) == 1
    if (len(stretches) > 1 and not (cuts and alike)) or any("://" in uri for uri, _ in playlist.segments):
        raise InputFault(
            "source_folder: it is a virtual asset: what it is put together of lies elsewhere, or is not alike"
        )
    paths = segment_paths(base, playlist.init, playlist.segments)
    plain = [f"{track.name}-{number}.part" for number in range(len(paths))]
    await together(
        [fetch_source(context, storage, path, name) for path, name in zip(paths, plain, strict=True)], _AT_ONCE
    )
    return text, stretches, plain


async def _open_transport(
    context: TaskContext, track: Track, key: ContentKey, playlist: str, parts: Sequence[str]
) -> None:
    """Make an MP4 file of TS segments that are encrypted whole."""
    from taskengine.media import whole_segments  # cryptography is not needed before

    opened = [f"{part}.ts" for part in parts]
    try:
        for part, name, vector in zip(parts, opened, whole_segments.vectors(playlist), strict=True):
            await in_thread(whole_segments.decrypt, context.scratch / part, context.scratch / name, key.key, vector)
            await in_thread((context.scratch / part).unlink)
    except VerificationFault as error:
        raise InputFault(f"source_folder: {track.name}: {error}") from error
    await in_thread(join, context.scratch, opened, f"{track.name}.ts")
    argv = ffmpeg.from_transport(context.tools.ffmpeg, f"{track.name}.ts", f"{track.name}.mp4")
    await run_ffmpeg(context, argv, f"bringing {track.name} back", of_input=True)
    await in_thread((context.scratch / f"{track.name}.ts").unlink)


async def _load_text(context: TaskContext, storage: Storage, base: str, track: Track) -> None:
    """A text track is one file; what ties it to its set goes."""
    from taskengine.media.captions import vtt

    text = vtt.unmapped(await load_text(storage, f"{base}/{text_file(track.name)}", "source_folder"))
    await in_thread((context.scratch / plain_name(track)).write_bytes, text.encode())


async def _decrypt(context: TaskContext, name: str, tracks: Sequence[Track], keys: Mapping[str, ContentKey]) -> None:
    """Each file that is encrypted decrypted in its place."""
    files = [(f"{track.name}.mp4", track.kind, f"open_{track.name}.mp4") for track in tracks if track.name in keys]
    flags = f"{name}.flags"
    argv = packager.decrypt(context.tools.packager, files, flags)
    result = await run_with_keys(context, argv, flags, keys.values(), context.scratch / files[0][2])
    if result.exit_code != 0:
        raise process_fault(f"decrypting {name}", result)
    for before, kind, after in files:
        await in_thread(_replace, context.scratch / after, context.scratch / before, kind)


def _replace(opened: Path, closed: Path, kind: TrackKind) -> None:
    """Put a decrypted file in the place of the other; packager leaves out how players turn its pictures."""
    from taskengine.media import mp4

    matrix = mp4.display_matrix(closed) if kind is TrackKind.VIDEO else None
    if matrix is not None:
        mp4.set_display_matrix(opened, matrix)
    opened.replace(closed)


async def _stored(context: TaskContext, track: Track) -> Track:
    name = plain_name(track)
    return replace(track, file=await context.workspace.store(context.scratch / name, name))
