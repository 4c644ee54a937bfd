"""A published asset as its `metadata.json` tells it: what is active, and its tracks. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

from taskengine.domain.errors import InputFault
from taskengine.media.asset import VERSIONS, sets_of
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.protection import Active
from taskengine.media.tracks import Media, Track, TrackKey, TrackKind


@dataclass(frozen=True, slots=True)
class StoredSet:
    """One set of an asset: the version it lies in, the systems it is for, and which key each track has."""

    version: str
    systems: Sequence[str] = ()
    keys: Sequence[TrackKey] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """What is active, the sets by name, and the tracks; their files are found by `folder_of`."""

    content_id: str
    active: Active
    sets: Mapping[str, StoredSet]
    media: Media

    def folder_of(self, name: str) -> str:
        """Where a set lies, relative to the asset's folder."""
        return f"{VERSIONS}/{self.sets[name].version}/{name}"


def read_published(folder: str, metadata: bytes) -> Published:
    """Read an asset's `metadata.json`; InputFault where it is none of an asset that was made here."""
    try:
        body = json.loads(metadata)
        active = body["active"]
        tracks = [_track(facts) for facts in body["tracks"]]
        media = Media(tracks, float(body["duration"]), float(body.get("segment_duration", 4.0)))
        sets = {str(name): _set(facts) for name, facts in sets_of(body).items()}
        names = active.get("sets") or {"hls": active["protection"], "dash": active["protection"]}
        hls, dash = str(names["hls"]), names["dash"] and str(names["dash"])
        if not {hls, dash} - {None} <= sets.keys():
            raise KeyError("sets")
        return Published(str(body["content_id"]), Active(hls, dash), sets, media)
    except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError, AttributeError) as error:
        raise InputFault(
            f"{folder}: its metadata.json is not one of an asset: {type(error).__name__}: {error}"
        ) from error


def _set(facts: Mapping[str, Any]) -> StoredSet:
    keys = [
        TrackKey(
            str(key["track"]),
            str(key["label"]),
            str(key["key_id"]),
            str(key.get("check", "")),
            str(key.get("content_id", "")),
        )
        for key in facts.get("keys", ())
    ]
    return StoredSet(str(facts["version"]), [str(system) for system in facts.get("systems", ())], keys)


def _track(facts: Mapping[str, Any]) -> Track:
    rate = facts.get("frame_rate")
    return Track(
        str(facts["name"]), TrackKind(facts["kind"]), str(facts["codec"]), float(facts["duration"]),
        copied=bool(facts.get("copied")), bitrate=facts.get("bitrate"), width=facts.get("width"),
        height=facts.get("height"), frame_rate=Fraction(rate) if rate else None, frames=facts.get("frames"),
        language=tag_of(str(facts.get("language"))) or UNDETERMINED, role=facts.get("role"), channels=facts.get("channels"),
        sample_rate=facts.get("sample_rate"), label=facts.get("label"), description=facts.get("description"),
        source=facts.get("source"), hdr=bool(facts.get("hdr")), vmaf=facts.get("vmaf"),
    )  # fmt: skip


def segment_paths(base: str, init: str | None, segments: Sequence[tuple[str, float]]) -> Sequence[str]:
    """The files of a track in the order in which they make one MP4; `base`: where its playlist lies. Those that assets share
    lie elsewhere below the same root."""
    return [normpath(f"{base}/{unquote(uri)}") for uri in ([init] if init else []) + [uri for uri, _ in segments]]
