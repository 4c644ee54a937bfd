"""The published asset: its names, its versions, its metadata. Pure."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskengine.media.names import file_stem
from taskengine.media.protection import Active
from taskengine.media.tracks import Media, PackagedSet, Track, TrackKind

METADATA = "metadata.json"
POSTER = "thumbnail.jpg"
CPIX_NAME = "cpix.xml"
VERSIONS = "v"
_VERSION = re.compile(r"(?:^|[\s\"'>/])v/(\d+-\d+)/")
_ISM = re.compile(r"[^/]+_(?:no)?drm_[0-9a-f-]{36}\.ism/\.(?:m3u8|mpd)")
_SEGMENT = re.compile(r"/v/\d+-\d+/[^/]+/[^/]+/[^/]+$")


def version_name(job_id: int, attempt: int) -> str:
    """The name of one attempt's version of an asset, below `v`."""
    return f"{job_id}-{attempt}"


def manifest_stem(content_id: str, manifest_name: object = None) -> str:
    """What the active manifests are called but for their extensions: as the content, or as a client wants them called."""
    name = str(manifest_name or "")
    for ending in (".m3u8", ".mpd", ".ism"):
        name = name.removesuffix(ending)
    return file_stem(name or content_id)


def taken(stem: str, name: str) -> bool:
    """Whether a name beside the manifests of this stem is that of another file than an MP4."""
    fixed = {METADATA, POSTER, CPIX_NAME, VERSIONS, *(f"{stem}{ending}" for ending in (".m3u8", ".mpd", ".vtt"))}
    return name in fixed or name.startswith(f"{stem}_sprite")


def stem_of(metadata: bytes) -> str | None:
    """The stem of the manifests of the asset that this describes; None where it is somebody else's."""
    if not published_names(metadata):
        return None
    return str(json.loads(metadata)["active"]["hls"]).removesuffix(".m3u8")


def versions_in(manifest: str) -> frozenset[str]:
    """The versions that an active manifest points into."""
    return frozenset(_VERSION.findall(manifest))


def published_names(metadata: bytes) -> frozenset[str]:
    """The names of the files beside a `metadata.json` that belong to its asset; none where it is somebody else's."""
    try:
        body = json.loads(metadata)
        active = [body["active"]["hls"], body["active"]["dash"]]
        names = {METADATA, *(str(name) for name in active if name), *(str(file["path"]) for file in body["files"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()
    return frozenset(names)


def versions_of(metadata: bytes) -> frozenset[str]:
    """The versions that an asset's sets are in, and those that were to be removed when this was written."""
    if not published_names(metadata):
        return frozenset()
    body = json.loads(metadata)
    sets = [str(each["version"]) for each in body.get("sets", {}).values()]
    return frozenset([*sets, *map(str, body.get("superseded", ()))])


def written_by(metadata: bytes) -> str | None:
    """The version whose publication has written this."""
    return str(json.loads(metadata).get("written_by")) if published_names(metadata) else None


def owned_names(metadata: bytes) -> frozenset[str]:
    """As `published_names`, with those of former versions that were to be removed when this was written."""
    return published_names(metadata) | {str(file["path"]) for file in outdated(metadata, kept=True)}


def outdated(metadata: bytes, *, kept: bool) -> Sequence[Mapping[str, Any]]:
    """The files beside the versions that go with the asset that this describes, unless it is `kept`, and those that were to
    be removed when this was written; as they are listed (path, size, sha256). None where the file is somebody else's."""
    if not published_names(metadata):
        return ()
    body = json.loads(metadata)
    listed = [] if kept else [file for file in body["files"] if "/" not in str(file["path"])]
    return [*listed, *body.get("superseded_files", ())]


@dataclass(frozen=True, slots=True)
class Former:
    """What a `metadata.json` tells that stays true when a new version of the same tracks is published."""

    files: Sequence[Mapping[str, Any]] = ()
    sources: Sequence[Mapping[str, Any]] = ()
    commands: Sequence[Sequence[str]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def former(metadata: bytes, *, without: Sequence[str]) -> Former:
    """The files beside the versions (`without` these names), where they come from and what made them; nothing where the
    file is somebody else's."""
    if not published_names(metadata):
        return Former()
    body = json.loads(metadata)
    files = [
        file for file in body["files"] if file["path"] not in without and not file["path"].startswith(f"{VERSIONS}/")
    ]
    return Former(files, body.get("sources", ()), body.get("commands", ()), body.get("tools", {}))


def with_file(metadata: bytes, entry: Mapping[str, Any], command: Sequence[str] | None) -> bytes | None:
    """A `metadata.json` that lists one more file (path, size, sha256) and what made it; None where it is somebody else's."""
    if not published_names(metadata):
        return None
    body = json.loads(metadata)
    others = [file for file in body["files"] if file["path"] != entry["path"]]
    commands = [*body.get("commands", ()), *([command] if command else ())]
    return _dumped(body | {"files": [*others, dict(entry)], "commands": _once(commands)})


def _once(commands: Iterable[Sequence[str]]) -> list[list[str]]:
    """What made several sets, and a file again, is told once."""
    return [list(command) for command in dict.fromkeys(map(tuple, commands))]


def _dumped(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, ensure_ascii=False, indent=1) + "\n").encode()


def ism_name(stem: str, protection: str, place: str) -> str:
    """The folder of manifests for clients that append `/.m3u8` or `/.mpd` to an `.ism` path; another one for each version
    of an asset (`place` names it)."""
    return f"{stem}_{'nodrm' if protection == 'clear' else 'drm'}_{uuid.uuid5(uuid.NAMESPACE_URL, place)}.ism"


def ism_folders(metadata: bytes) -> frozenset[str]:
    """The `.ism` folders of the asset that a `metadata.json` describes."""
    return frozenset(name.partition("/")[0] for name in published_names(metadata) if _ISM.fullmatch(name))


def callback_files(paths: Sequence[str], limit: int) -> Sequence[str]:
    """The files that a job callback lists: all, or where that is over `limit` bytes of JSON, all but segments.

    `metadata.json` lists every file in any case.
    """
    if _json_size(paths) <= limit:
        return list(paths)
    return [path for path in paths if not _SEGMENT.search(path)]


def _json_size(paths: Sequence[str]) -> int:
    return len(json.dumps(paths, ensure_ascii=False).encode())


def callback_metadata(media: Media) -> Mapping[str, Any]:
    """The `metadata` of a job callback."""
    video = media.of(TrackKind.VIDEO)
    audio = media.of(TrackKind.AUDIO)
    found: dict[str, Any] = {
        "duration": round(media.duration, 6), "renditions": len(video), "audio_tracks": len(audio),
        "text_tracks": len(media.of(TrackKind.TEXT)),
    }  # fmt: skip
    if video:
        best = video[0]
        found |= {"width": best.width, "height": best.height, "frames": best.frames}
        found |= {"frame_rate": round(float(best.frame_rate), 3)} if best.frame_rate else {}
    return found


def track_facts(track: Track) -> Mapping[str, Any]:
    """A track as `metadata.json` describes it."""
    rate = str(track.frame_rate) if track.frame_rate else None
    facts = {
        "name": track.name, "kind": track.kind.value, "codec": track.codec, "duration": round(track.duration, 6),
        "bitrate": track.bitrate, "width": track.width, "height": track.height, "frame_rate": rate,
        "frames": track.frames, "language": track.language if track.kind is not TrackKind.VIDEO else None,
        "role": track.role, "label": track.label, "description": track.description, "source": track.source,
        "channels": track.channels, "sample_rate": track.sample_rate, "copied": track.copied, "hdr": track.hdr or None,
        "vmaf": track.vmaf,
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value is not None}


def metadata(
    media: Media, *, content_id: str, job_id: int, written_by: str, active: Mapping[str, Any], sets: Mapping[str, Any],
    superseded: Iterable[str], superseded_files: Iterable[Mapping[str, Any]], files: Iterable[Mapping[str, Any]],
    sources: Iterable[Mapping[str, Any]], commands: Sequence[Sequence[str]], versions: Mapping[str, str],
    shared: Sequence[Mapping[str, Any]] = (),
) -> bytes:  # fmt: skip
    """The content of `metadata.json`. `superseded`, `superseded_files`: versions, and files beside them, that go once this
    one is in place. `shared`: what other assets use too (path below the output root, size)."""
    body = {
        "content_id": content_id,
        "job_id": job_id,
        "written_by": written_by,
        "duration": round(media.duration, 6),
        "segment_duration": media.segment_duration,
        "active": dict(active),
        "sets": dict(sets),
        "superseded": sorted(superseded),
        "superseded_files": list(superseded_files),
        "tracks": [track_facts(track) for track in media.tracks],
        "sources": list(sources),
        "files": list(files),
        **({"shared": list(shared)} if shared else {}),
        "tools": dict(versions),
        "commands": _once(commands),
    }
    return _dumped(body)


def active_facts(active: Active, stem: str, version: str) -> Mapping[str, Any]:
    """What is active, as `metadata.json` tells it."""
    return {
        "protection": active.protection,
        "version": version,
        "hls": f"{stem}.m3u8",
        "dash": f"{stem}.mpd" if active.dash else None,
        "sets": {"hls": active.hls, "dash": active.dash},
    }


def set_facts(made: PackagedSet, version: str) -> Mapping[str, Any]:
    """A set as `metadata.json` describes it: where it is, and by which keys it is protected."""
    keys = [
        {"track": key.track, "label": key.label, "key_id": key.key_id, "check": key.check}
        | ({"content_id": key.content_id} if key.content_id else {})
        for key in made.keys
    ]
    protected = {"systems": list(made.systems), "keys": keys} if keys else {}
    return {"version": version, **protected}


@dataclass(frozen=True, slots=True)
class Change:
    """What another protection changes of an asset. `removed`: names of files, and folders with a slash after them, that it
    has no longer; `superseded`: folders of sets below `v` that go once this is in place."""

    active: Mapping[str, Any]
    sets: Mapping[str, Any]
    files: Sequence[Mapping[str, Any]]
    removed: Sequence[str]
    superseded: Sequence[str]
    commands: Sequence[Sequence[str]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)  # of the tools that made new sets


def switched(metadata: bytes, change: Change, version: str, there: Collection[str]) -> bytes:
    """The `metadata.json` of an asset after it, written by the publication of `version`; of what was superseded before, what
    lies in versions that are still `there`."""
    body = json.loads(metadata)
    new = {file["path"] for file in change.files}
    kept = [
        file for file in body["files"]
        if file["path"] not in {*new, *change.removed} and not file["path"].startswith(_folders(change.removed))
    ]  # fmt: skip
    return _dumped(
        body
        | {
            "written_by": version,
            "active": dict(change.active),
            "sets": {**sets_of(body), **change.sets},
            "superseded": sorted({*_within(body.get("superseded", ()), there), *change.superseded}),
            "files": [*kept, *change.files],
            "tools": {**body.get("tools", {}), **change.versions},
            "commands": _once([*body.get("commands", ()), *change.commands]),
        }
    )


def _within(superseded: Iterable[str], there: Collection[str]) -> Iterable[str]:
    return (name for name in superseded if name.partition("/")[0] in there)


def _folders(removed: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in removed if name.endswith("/"))


def sets_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its sets by name; an asset of the first version of this file has one, which is active."""
    active = body["active"]
    found: Mapping[str, Any] = body.get("sets") or {active["protection"]: {"version": active["version"]}}
    return found
