"""A published asset as its `metadata.json` tells it: what is active, and its tracks. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.media.asset import VERSIONS
from taskengine.media.tracks import Media, Track, TrackKind


@dataclass(frozen=True, slots=True)
class Published:
    """What is active, and the tracks; their files are found by `folder_of`."""

    content_id: str
    version: str
    protection: str
    media: Media

    def folder_of(self, protection: str) -> str:
        """Where the set of a protection lies, relative to the asset's folder."""
        return f"{VERSIONS}/{self.version}/{protection}"


def read_published(folder: str, metadata: bytes) -> Published:
    """Read an asset's `metadata.json`; InputFault where it is none of an asset that was made here."""
    try:
        body = json.loads(metadata)
        active = body["active"]
        tracks = [_track(facts) for facts in body["tracks"]]
        media = Media(tracks, float(body["duration"]), float(body.get("segment_duration", 4.0)))
        return Published(str(body["content_id"]), str(active["version"]), str(active["protection"]), media)
    except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise InputFault(f"{folder}: its metadata.json is not one of an asset: {error!r}") from error


def _track(facts: Mapping[str, Any]) -> Track:
    rate = facts.get("frame_rate")
    return Track(
        str(facts["name"]), TrackKind(facts["kind"]), str(facts["codec"]), float(facts["duration"]),
        copied=bool(facts.get("copied")), bitrate=facts.get("bitrate"), width=facts.get("width"),
        height=facts.get("height"), frame_rate=Fraction(rate) if rate else None, frames=facts.get("frames"),
        language=str(facts.get("language") or "und"), role=facts.get("role"), channels=facts.get("channels"),
        sample_rate=facts.get("sample_rate"),
    )  # fmt: skip


def segment_paths(base: str, init: str | None, segments: Sequence[tuple[str, float]]) -> Sequence[str]:
    """The files of a track in the order in which they make one MP4; `base`: where its playlist lies."""
    return [f"{base}/{uri}" for uri in ([init] if init else []) + [uri for uri, _ in segments]]
