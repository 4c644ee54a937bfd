"""`assemble_remix`: the manifests of a virtual asset, over segments that lie elsewhere and those that were made for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskengine.handlers.support import FILE, in_thread, load, save, schema, tell
from taskengine.media.packager import MASTER, MPD
from taskengine.media.protection import AES, CLEAR
from taskengine.media.tracks import Media, Package, PackagedFile, PackagedSet, Track, TrackKind
from taskengine.media.virtual import assembly, mpd, playlists
from taskengine.media.virtual.assembly import EMPTY_TEXT, Remix, folder_of
from taskengine.media.virtual.model import Kind, Pieces, Run
from taskengine.ports import TaskContext


@dataclass(frozen=True, slots=True)
class _Made:
    """What was packaged of a run for one set: the set, and the text of each of its manifests and playlists."""

    made: PackagedSet
    texts: Mapping[str, str]


class AssembleRemix:
    """One set for each protection; without anything that was made here, a clear one of manifests alone."""

    name = "assemble_remix"
    inputs: Mapping[str, Any] = schema({"remix": FILE, "makes": {"type": "array"}, "packages": {"type": "array"}})
    outputs: Mapping[str, Any] = schema({"package": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `package`, a document as `package` gives it."""
        remix = await load(context, context.inputs["remix"], "remix.json", Remix)
        packages: dict[int, Package] = {}
        for number, (make, made) in enumerate(zip(context.inputs["makes"], context.inputs["packages"], strict=True)):
            packages[int(make["place"])] = await load(context, made["package"], f"package_{number}.json", Package)
        first = next(iter(packages.values()), None)
        names = [each.name for each in first.sets] if first else [CLEAR]
        sets = [await _set(context, remix, name, packages) for name in names]
        versions = {name: version for each in packages.values() for name, version in each.versions.items()}
        media = Media(
            _tracks(remix), remix.duration, commands=[c for each in packages.values() for c in each.media.commands]
        )
        package = Package(sets, media, versions, first.cpix if first else None)
        return {"package": await save(context, "package.json", package, Package)}


async def _set(context: TaskContext, remix: Remix, name: str, packages: Mapping[int, Package]) -> PackagedSet:
    """The set of one protection."""
    made = {place: await _texts(context, package, name, place) for place, package in packages.items()}
    runs = [_whole(remix, run, made[place], place) if place in made else run for place, run in enumerate(remix.runs)]
    texts = await in_thread(_manifests, remix, runs, made, name)
    lack = mpd.lack(remix.renditions, [run for place, run in enumerate(remix.runs) if place not in made])
    if lack and name != AES:
        tell(context, f"there is no DASH manifest: {lack}")
    if any(EMPTY_TEXT in pieces.uris for run in runs for pieces in run.pieces.values()):
        texts = {**texts, EMPTY_TEXT: "WEBVTT\n"}
    files = [await _stored(context, name, path, text) for path, text in texts.items()]
    for place, each in made.items():
        files += [
            PackagedFile(f"{folder_of(place)}/{file.path}", file.size, file.sha256, file.file)
            for file in each.made.files
            if file.path not in each.texts
        ]
    one = next(iter(made.values()), None)
    commands = [command for each in made.values() for command in each.made.commands]
    return PackagedSet(name, files, commands, one.made.systems if one else (), one.made.keys if one else ())


async def _texts(context: TaskContext, package: Package, name: str, place: int) -> _Made:
    made = next(each for each in package.sets if each.name == name)
    texts = {}
    for file in made.files:
        if "/" not in file.path and file.path.endswith((".m3u8", ".mpd")):
            local = await context.workspace.fetch(file.file, f"{name}_{place}_{file.path}")
            texts[file.path] = await in_thread(local.read_text, "utf-8")
    return _Made(made, texts)


def _whole(remix: Remix, run: Run, made: _Made, place: int) -> Run:
    """A run with the pieces that were made for it."""
    pieces: dict[str, Pieces] = {}
    for rung in remix.ladder:
        pieces[rung.name] = assembly.made_pieces(made.texts[f"{rung.name}.m3u8"], folder_of(place))
    duration = sum(pieces[remix.ladder[0].name].durations)
    for each in remix.renditions:
        if each.kind is Kind.TEXT:
            pieces[each.name] = assembly.empty_text(duration)
    return Run(round(duration, 6), pieces, run.marks)


def _manifests(remix: Remix, runs: Sequence[Run], made: Mapping[int, _Made], name: str) -> Mapping[str, str]:
    """By file. Where all was made of files, the master is packager's, which knows their codecs."""
    texts = {f"{each.name}.m3u8": playlists.on_demand(runs, each.name) for each in remix.renditions}
    texts[MASTER] = made[0].texts[MASTER] if remix.copies and made else playlists.master(remix.renditions)
    if name != AES and mpd.lack(remix.renditions, [run for place, run in enumerate(runs) if place not in made]) is None:
        taken = {place: (folder_of(place), each.texts[MPD]) for place, each in made.items()}
        texts[MPD] = mpd.manifest(remix.renditions, runs, taken)
    return texts


async def _stored(context: TaskContext, name: str, path: str, text: str) -> PackagedFile:
    data = text.encode()
    plain = f"{name}-{path}"
    await in_thread((context.scratch / plain).write_bytes, data)
    reference = await context.workspace.store(context.scratch / plain, plain)
    return PackagedFile(path, len(data), hashlib.sha256(data).hexdigest(), reference)


def _tracks(remix: Remix) -> Sequence[Track]:
    codecs = {rung.name: rung.codec for rung in remix.ladder}
    return [
        Track(
            each.name, TrackKind(each.kind.value), codecs.get(each.name, "webvtt"), remix.duration, bitrate=each.bandwidth or None,
            width=each.width or None, height=each.height or None, language=each.language or "und", label=each.label,
            frame_rate=each.exact_rate,
        )
        for each in remix.renditions
    ]  # fmt: skip
