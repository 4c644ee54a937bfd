"""`share_segments`: put what was selected of archives among the shared segments, and write manifests over them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.locking import Lock
from taskengine.handlers.packaging import store_set
from taskengine.handlers.protecting import INPUTS, carried, cpix_document, encryption_of, sets_of, warn_of_keys_nowhere
from taskengine.handlers.sharing import SetPlan, Sharing
from taskengine.handlers.shelf import Shelf
from taskengine.handlers.stream_readers import StorageReader, stored_stream
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    STRING,
    in_thread,
    keep_packager_version,
    load,
    save,
    schema,
    tell,
    together,
    within_time,
)
from taskengine.media.archive import selecting
from taskengine.media.archive.boxes import Init
from taskengine.media.archive.model import PlacedTrack, Selection, Stretch, Timeline
from taskengine.media.archive.naming import folders_named, upwards
from taskengine.media.archive.tracks import name_of_codec
from taskengine.media.drm import Encryption
from taskengine.media.protection import AES, CBCS, CENC, CLEAR, COMMON, FAIRPLAY, WantedSet
from taskengine.media.tracks import Media, Package, PackagedSet, SharedFile, Track, TrackKey, TrackKind, text_file
from taskengine.ports import TaskContext

CUSTOM = "custom"
_BELOW = 3  # folders from an asset's folder to a set: v, the version, the set
_AT_ONCE = 2
_SEGMENTS_LIMIT = 56 * 1024  # of the 64 KiB that outputs may have


@dataclass(slots=True)
class _Archive:
    """One archive of a job: how it is read, and its sets."""

    sharing: Sharing
    reader: StorageReader
    plans: Sequence[SetPlan] = ()


@dataclass(slots=True)
class _Work:
    """What a job makes."""

    selection: Selection
    shelf: Shelf
    archives: dict[str, _Archive] = field(default_factory=dict)
    timelines: dict[str, list[Timeline]] = field(default_factory=dict)  # set → its stretches
    texts: dict[str, str] = field(default_factory=dict)
    encryptions: dict[str, list[Encryption]] = field(default_factory=dict)


class ShareSegments:
    """Segments that are there already are used as they are. Keys are asked for by the capture id: what is encrypted is
    shared by all assets of an archive, too."""

    name = "share_segments"
    inputs: Mapping[str, Any] = schema(
        {"selection": FILE, "source_storage": STRING, "storage": STRING, "output_folder": STRING},
        {
            "output_root": ANY, "overwrite_segments": BOOLEAN, **INPUTS, "download_cpix": BOOLEAN,
            "apply_custom_drm": BOOLEAN, "profile_id": ANY, "time_limit": NUMBER,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"package": FILE, "segments": {"type": "array"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `package` (a document of manifests and of what they refer to), `segments`: the full paths of the media
        segments, or where that is too much for a message, of their folders."""
        inputs = context.inputs
        async with within_time(context):
            selection = await load(context, inputs["selection"], "selection.json", Selection)
            storage = context.storage(str(inputs["storage"]), str(inputs.get("output_root") or "output_root"))
            work = _Work(selection, Shelf(storage, overwrite=bool(inputs.get("overwrite_segments"))))
            await _open(context, work)
            tracks = await _completed(work)
            await _lock(context, work, tracks)
            for number, stretch in enumerate(selection.stretches, start=1):
                await _place(context, work, stretch, tracks)
                context.report_progress(0.9 * number / len(selection.stretches))
            package = await _package(context, work, tracks)
        shelf = work.shelf
        tell(context, f"of {len(shelf.used)} shared files {shelf.written} are written and {shelf.found} were there")
        return {
            "package": await save(context, "package.json", package, Package),
            "segments": _told([storage.full_path(path) for path in _media(shelf.used)]),
        }


async def _open(context: TaskContext, work: _Work) -> None:
    for capture_id in dict.fromkeys(stretch.capture_id for stretch in work.selection.stretches):
        reader, _ = await stored_stream(context, str(context.inputs["source_storage"]), capture_id, "clips.capture_id")
        work.archives[capture_id] = _Archive(Sharing(context, reader, work.shelf, capture_id), reader)


async def _completed(work: _Work) -> Sequence[Track]:
    """The tracks that there is something of, with what their init segments tell; all stretches are the same in it."""
    found = []
    for track in work.selection.tracks:
        stretch = next((each for each in work.selection.stretches if track.name in each.pieces), None)
        if stretch is None:
            continue
        source = await work.archives[stretch.capture_id].sharing.source(stretch, track)
        found.append(_with_init(track, source.facts) if source and track.kind is not TrackKind.TEXT else track)
    return found


def _with_init(track: Track, init: Init) -> Track:
    if init.kind != track.kind.value:
        raise InputFault(
            f"clips: {track.name} of the archive has {init.kind} in it: it needs a master playlist or a MPD"
        )
    return replace(
        track, codec=name_of_codec(init.entry), width=track.width or init.width or None,
        height=track.height or init.height or None, channels=track.channels or init.channels or None,
        sample_rate=init.sample_rate or None,
    )  # fmt: skip


async def _lock(context: TaskContext, work: _Work, tracks: Sequence[Track]) -> None:
    """Ask for the keys of each set of each archive."""
    media = Media(tracks, sum(stretch.seconds for stretch in work.selection.stretches))
    turn = asyncio.Lock()
    wanted = {each.name: (each, each.name) for each in sets_of(context.inputs)}
    if context.inputs.get("apply_custom_drm"):
        custom = _custom(context)
        wanted[CUSTOM] = (custom, custom.name)
    number = 0
    for capture_id, archive in work.archives.items():
        plans = []
        for name, (each, folder) in wanted.items():
            if name == CLEAR:
                plans.append(SetPlan(CLEAR, CLEAR))
                continue
            content_id = str(context.inputs["profile_id"]) if name == CUSTOM else capture_id
            able = carried(context, media) if name == AES else media
            encryption = await encryption_of(context, able, each, content_id, given=name != CUSTOM)
            work.encryptions.setdefault(name, []).append(encryption)
            lock = Lock(context, encryption, number, turn)
            lock.check()
            plans.append(SetPlan(name, folder, lock))
            number += 1
        archive.plans = plans
    warn_of_keys_nowhere(context, {name: each[0] for name, each in work.encryptions.items()})


def _custom(context: TaskContext) -> WantedSet:
    """The set of the profile's keys: for the systems that the job names; where it names none, for all that know the common
    box."""
    named = [each for each in sets_of(context.inputs) if each.name in {CENC, CBCS}]
    systems = list(dict.fromkeys(system for each in named for system in each.systems))
    if FAIRPLAY in systems:
        return WantedSet(CBCS, systems)
    return WantedSet(CENC, systems or [COMMON])


async def _place(context: TaskContext, work: _Work, stretch: Stretch, tracks: Sequence[Track]) -> None:
    archive = work.archives[stretch.capture_id]
    there = [track for track in tracks if track.name in stretch.pieces]
    selection = work.selection
    placed = await together(
        [
            archive.sharing.place(
                stretch,
                track,
                archive.plans,
                selection.codecs.get(track.name, ""),
                selection.inband.get(track.name, ()),
            )
            for track in there
        ],
        _AT_ONCE,
    )
    for plan in archive.plans:
        own = [each[plan.name] for each in placed if plan.name in each]
        if not own:
            continue
        timeline = _timeline(own, selecting.reference([each.track for each in own]))
        texts = [await _with_text(context, work, archive, stretch, timeline, each) for each in own]
        work.timelines.setdefault(plan.name, []).append(replace(timeline, tracks=texts))


def _timeline(placed: Sequence[PlacedTrack], leading: Track) -> Timeline:
    best = next(each for each in placed if each.track.name == leading.name)
    first, last = best.segments[0], best.segments[-1]
    seconds = (last.begin + last.duration - first.begin) / best.timescale
    if seconds <= 0:
        raise InputFault(
            "clips: the clock of the archive's segments goes backwards where its manifest names no discontinuity"
        )
    return Timeline(first.at, first.begin / best.timescale, seconds, placed)


async def _with_text(
    context: TaskContext, work: _Work, archive: _Archive, stretch: Stretch, timeline: Timeline, placed: PlacedTrack
) -> PlacedTrack:
    """A track of WebVTT with its cues in one file, which DASH has."""
    from taskengine.handlers import shared_sets  # its parsers are not needed before

    if placed.track.kind is not TrackKind.TEXT or placed.init:
        return placed
    alone = len(work.selection.stretches) == 1
    name = text_file(placed.track.name) if alone else f"{placed.track.name}/{timeline.at}.vtt"
    if name not in work.texts:
        work.texts[name] = await shared_sets.read_cues(
            context, archive.reader, timeline, stretch.pieces[placed.track.name]
        )
    return replace(placed, text=name) if work.texts[name] else placed


async def _package(context: TaskContext, work: _Work, tracks: Sequence[Track]) -> Package:
    from taskengine.handlers import shared_sets

    up = upwards(str(context.inputs["output_folder"]), _BELOW)
    base = f"{context.inputs['output_folder']}/v/version/set"
    longest = max(stretch.seconds for stretch in work.selection.stretches)
    media = shared_sets.tracks_over(Media(tracks, 0.0, longest), next(iter(work.timelines.values())))
    texts = {name: text for name, text in work.texts.items() if text}
    sets: dict[str, PackagedSet] = {}
    for name, timelines in work.timelines.items():
        folder = context.scratch / name
        own = shared_sets.tracks_in(media, timelines)
        told = shared_sets.referring(timelines, own, up)
        await in_thread(shared_sets.write, folder, name, own, told, work.selection.markers, texts)
        await in_thread(shared_sets.check, folder, name, base, work.shelf.used, own)
        sets[name] = await _packaged(context, work, name)
    custom = sets.pop(CUSTOM, None)
    versions: dict[str, str] = {}
    if work.encryptions:
        await keep_packager_version(context, versions)
    shared = [SharedFile(path, size) for path, size in sorted(work.shelf.used.items())]
    return Package(
        list(sets.values()),
        media,
        versions,
        await cpix_document(context, [each.keys for found in work.encryptions.values() for each in found]),
        shared,
        custom,
    )


async def _packaged(context: TaskContext, work: _Work, name: str) -> PackagedSet:
    encryptions = work.encryptions.get(name, [])
    plans = [plan for archive in work.archives.values() for plan in archive.plans if plan.name == name]
    commands = [command for plan in plans if plan.lock for command in plan.lock.commands]
    keys: list[TrackKey] = [
        replace(key, content_id=capture_id)
        for capture_id, each in zip(work.archives, encryptions, strict=False)
        for key in each.track_keys
    ]
    systems = encryptions[0].wanted.systems if encryptions else ()
    return PackagedSet(name, await store_set(context, name), commands, systems, keys)


def _media(used: Mapping[str, int]) -> Sequence[str]:
    """The media segments among the shared files."""
    return sorted(path for path in used if not path.rpartition("/")[2].startswith("init-"))


def _told(paths: Sequence[str]) -> Sequence[str]:
    """As many as a message takes: the files, else their folders."""
    for told in (list(paths), folders_named(paths)):
        if len(json.dumps(told, ensure_ascii=False).encode()) <= _SEGMENTS_LIMIT:
            return told
    return sorted({f"{path.rsplit('/', 3)[0]}/" for path in paths})
