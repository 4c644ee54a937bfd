"""`load_asset`: bring the tracks of a published asset back into files of their own, without encoding."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault, NotFound
from taskengine.handlers.fetching import fetch_source
from taskengine.handlers.support import (
    ANY,
    FILE,
    NUMBER,
    STRING,
    in_thread,
    load_text,
    need_space,
    save,
    schema,
    storage_faults,
    together,
)
from taskengine.media.asset import METADATA
from taskengine.media.protection import CLEAR
from taskengine.media.published import Published, read_published, segment_paths
from taskengine.media.tracks import Media, Track, TrackKind, plain_name, text_file
from taskengine.ports import Storage, TaskContext

_AT_ONCE = 16
_COPIES = 2.2  # segments, the files made of them, and a little


class LoadAsset:
    """Reads the asset's `metadata.json`, fetches the clear segments of the active version and joins them by track."""

    name = "load_asset"
    inputs: Mapping[str, Any] = schema(
        {"folder": STRING, "storage": STRING}, {"output_root": ANY, "retries": {"type": "integer"}}
    )
    outputs: Mapping[str, Any] = schema({"media": FILE, "duration": NUMBER, "content_id": STRING})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of tracks), `duration`, the asset's `content_id`."""
        inputs = context.inputs
        folder = str(inputs["folder"])
        storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
        published = await read_asset(storage, folder)
        base = f"{folder}/{published.folder_of(CLEAR)}" if CLEAR in published.sets else None
        with storage_faults("source_folder"):
            stored = {file.path: file.size for file in await storage.list(base)} if base else {}
        if not base or not stored:
            raise InputFault(f"source_folder: the asset in {storage.full_path(folder)} has no clear segments")
        await need_space(context, round(sum(stored.values()) * _COPIES), "bringing the asset back")
        tracks = [await _joined(context, storage, base, track) for track in published.media.tracks]
        media = Media(tracks, published.media.duration, published.media.segment_duration)
        document = await save(context, "media.json", media, Media)
        return {"media": document, "duration": media.duration, "content_id": published.content_id}


async def read_asset(storage: Storage, folder: str) -> Published:
    """What is published in a folder; InputFault where nothing is."""
    with storage_faults("source_folder"):
        try:
            metadata = await storage.read(f"{folder}/{METADATA}")
        except NotFound as error:
            raise InputFault(f"source_folder: there is no asset in {storage.full_path(folder)}") from error
    return read_published(folder, metadata)


async def _joined(context: TaskContext, storage: Storage, base: str, track: Track) -> Track:
    """The track in a file of its own: init segment and media segments, one after the other."""
    if track.kind is TrackKind.TEXT:
        return await _text(context, storage, base, track)
    from taskengine.media import hls  # its parser is not needed before

    text = await load_text(storage, f"{base}/{track.name}.m3u8", "source_folder")
    try:
        playlist = hls.read_media(text)
    except hls.PlaylistFault as error:
        raise InputFault(f"source_folder: {track.name}.m3u8: {error}") from error
    paths = segment_paths(base, playlist.init, playlist.segments)
    plain = [f"{track.name}-{number}.part" for number in range(len(paths))]
    await together(
        [fetch_source(context, storage, path, name) for path, name in zip(paths, plain, strict=True)], _AT_ONCE
    )
    name = f"{track.name}.mp4"
    await in_thread(_join, context.scratch, plain, name)
    return replace(track, file=await context.workspace.store(context.scratch / name, name))


async def _text(context: TaskContext, storage: Storage, base: str, track: Track) -> Track:
    """A text track is one file; what ties it to its set goes."""
    from taskengine.media.captions import vtt

    text = vtt.unmapped(await load_text(storage, f"{base}/{text_file(track.name)}", "source_folder"))
    path = context.scratch / plain_name(track)
    await in_thread(path.write_bytes, text.encode())
    return replace(track, file=await context.workspace.store(path, path.name))


def _join(scratch: Path, parts: Sequence[str], name: str) -> None:
    with (scratch / name).open("wb") as whole:
        for part in parts:
            with (scratch / part).open("rb") as source:
                shutil.copyfileobj(source, whole, 1024 * 1024)
            (scratch / part).unlink()
