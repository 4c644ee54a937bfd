"""HLS playlists of others as values: absolute URLs, byte ranges, init segments, keys, times. A library parses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any
from urllib.parse import urljoin

import openm3u8

from taskengine.media.roles import CAPTION, DESCRIPTION, FORCED
from taskengine.media.streams.model import (
    MAX_PARTS,
    Key,
    Presentation,
    Rendition,
    Resource,
    Segment,
    Stream,
    StreamFault,
)
from taskengine.media.tracks import TrackKind

_SOUND = {"mp4a", "ac-3", "ec-3", "opus", "flac", "alac", "dtsc", "mhm1"}
_TEXT = {"wvtt", "stpp"}
_PURPOSES = {
    "public.accessibility.describes-video": DESCRIPTION,
    "public.accessibility.transcribes-spoken-dialog": CAPTION,
    "public.easy-to-read": "easyreader",
}


def read(text: str, url: str) -> Presentation | Stream:
    """What a playlist that came from `url` is: a master, or the segments of one rendition. Raises StreamFault."""
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise StreamFault("it is no HLS playlist: it does not begin with #EXTM3U")
    try:
        playlist = openm3u8.loads(text.lstrip("\ufeff"))
        if playlist.is_variant:
            return _master(playlist, url, text)
        return _stream(playlist, url)
    except StreamFault:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, openm3u8.ParseError) as error:
        raise StreamFault(f"it does not parse: {str(error)[:200]}") from error


def alone(stream: Stream, url: str, text: str) -> Presentation:
    """A stream that is one playlist without a master: a picture, and what sound its segments may carry."""
    video = Rendition("video_1", TrackKind.VIDEO, location=url, stream=stream)
    audio = replace(video, id="audio_1", kind=TrackKind.AUDIO, within="video_1")
    return Presentation("hls", [video, audio], url, documents={url: text})


def _master(playlist: Any, url: str, text: str) -> Presentation:
    pictures = [each for each in playlist.playlists if _has_picture(each.stream_info)]
    videos = _numbered(_variants(pictures, url), "video")
    audio = list(_grouped(playlist.media, "AUDIO", url, _heard(playlist)))
    if not audio and videos:
        audio = list(_carried(playlist, pictures, videos))
    if not audio:
        sounds = [each for each in playlist.playlists if not _has_picture(each.stream_info)]
        audio = [replace(each, kind=TrackKind.AUDIO) for each in _variants(sounds, url)]
    texts = _grouped(playlist.media, "SUBTITLES", url)
    found = [*videos, *_numbered(audio, "audio"), *_numbered(texts, "text")]
    if not found:
        raise StreamFault("it names no rendition")
    keys = [_rendition(each, each.iframe_stream_info, url) for each in playlist.iframe_playlists]
    return Presentation("hls", found, url, keys, {url: text})


def _numbered(renditions: Any, word: str) -> list[Rendition]:
    """Each playlist once, named by its kind and number."""
    unique = {each.location: each for each in reversed(list(renditions))}
    return [replace(each, id=f"{word}_{number}") for number, each in enumerate(reversed(unique.values()), start=1)]


def _variants(playlists: Sequence[Any], url: str) -> Iterator[Rendition]:
    """The variants, one for each playlist: with the fewest bits that it is named with (other sound makes more of them)."""
    found: dict[str, Rendition] = {}
    for each in playlists:
        made = _rendition(each, each.stream_info, url)
        known = found.get(made.location)
        if known is None or made.bandwidth < known.bandwidth:
            found[made.location] = made
    yield from found.values()


def _rendition(each: Any, info: Any, url: str) -> Rendition:
    width, height = info.resolution or (0, 0)
    rate = getattr(info, "frame_rate", None)
    return Rendition(
        "", TrackKind.VIDEO, int(info.bandwidth or 0), int(width), int(height), float(rate) if rate else None,
        str(info.codecs or ""), location=urljoin(url, each.uri),
    )  # fmt: skip


def _codecs(info: Any) -> set[str]:
    return {codec.strip().partition(".")[0].lower() for codec in str(info.codecs or "").split(",") if codec.strip()}


def _has_picture(info: Any) -> bool:
    """By its size or its codecs; where neither is told it may have one."""
    codecs = _codecs(info)
    return bool(info.resolution) or not codecs or bool(codecs - _SOUND - _TEXT)


def _grouped(
    media: Sequence[Any], kind: str, url: str, codecs: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Rendition]:
    """The renditions of EXT-X-MEDIA that have playlists of their own. `codecs`: group → what its variants tell."""
    for each in media:
        if each.type == kind and each.uri:
            told = codecs.get(str(each.group_id), "")
            yield replace(_described(each, kind), location=urljoin(url, each.uri), codecs=told)


def _heard(playlist: Any) -> Mapping[str, str]:
    """Group of sounds → its codec, where the variants that play it tell one alone."""
    told: dict[str, set[str]] = {}
    for each in playlist.playlists:
        words = {word.strip() for word in str(each.stream_info.codecs or "").split(",")}
        told.setdefault(str(each.stream_info.audio or ""), set()).update(
            word for word in words if word.partition(".")[0].lower() in _SOUND
        )
    return {group: next(iter(found)) for group, found in told.items() if len(found) == 1}


def _described(each: Any, kind: str) -> Rendition:
    purposes = [_PURPOSES[word] for word in str(each.characteristics or "").split(",") if word in _PURPOSES]
    forced = [FORCED] if str(each.forced or "").upper() == "YES" else []
    channels = str(each.channels or "").partition("/")[0]
    return Rendition(
        "", TrackKind.AUDIO if kind == "AUDIO" else TrackKind.TEXT, language=str(each.language or ""),
        role=next(iter([*forced, *purposes]), None), name=str(each.name or ""),
        channels=int(channels) if channels.isdigit() else None,
    )  # fmt: skip


def _carried(playlist: Any, pictures: Sequence[Any], videos: Sequence[Rendition]) -> Iterator[Rendition]:
    """The sound within the segments of the best picture, where its codecs do not say that there is none."""
    best = max(videos, key=lambda each: (each.width * each.height, each.bandwidth))
    if not any(not _codecs(each.stream_info) or _codecs(each.stream_info) & _SOUND for each in pictures):
        return
    named = [_described(each, "AUDIO") for each in playlist.media if each.type == "AUDIO"]
    described = named[0] if named else Rendition("", TrackKind.AUDIO)
    yield replace(described, location=best.location, within=best.id)


def _stream(playlist: Any, url: str) -> Stream:
    if not playlist.segments:
        raise StreamFault("it has no segments")
    if len(playlist.segments) > MAX_PARTS:
        raise StreamFault(f"it has more than {MAX_PARTS:,} segments")
    segments: list[Segment] = []
    start, run, sequence = 0.0, int(playlist.discontinuity_sequence or 0), int(playlist.media_sequence or 0)
    ends: dict[str, int] = {}  # where a byte range without an offset begins
    for number, each in enumerate(playlist.segments):
        run += bool(each.discontinuity and number)
        media = _resource(each.uri, each.byterange, url, ends)
        init = each.init_section
        key, protection = _key(each.key, url, sequence + number)
        segments.append(
            Segment(
                media, start, float(each.duration or 0.0), run,
                _resource(init.uri, init.byterange, url, {}) if init else None, key,
                _milliseconds(each.current_program_date_time or each.program_date_time), sequence + number,
                bool(each.gap_tag), protection=protection,
            )
        )  # fmt: skip
        start += segments[-1].duration
    longest = max(each.duration for each in segments)
    return Stream(segments, bool(playlist.is_endlist), float(playlist.target_duration or 0) or longest)


def _resource(uri: str, byterange: str | None, url: str, ends: dict[str, int]) -> Resource:
    whole = urljoin(url, uri)
    if not byterange:
        return Resource(whole)
    length, _, offset = str(byterange).partition("@")
    begin = int(offset) if offset else ends.get(whole, 0)
    ends[whole] = begin + int(length)
    return Resource(whole, begin, int(length))


def _key(key: Any, url: str, sequence: int) -> tuple[Key | None, str]:
    """The key of a segment, or by what it is protected that needs a licence."""
    if key is None or key.method in {None, "NONE"}:
        return None, ""
    iv = (int(key.iv, 16) if key.iv else sequence).to_bytes(16, "big")
    if key.method != "AES-128":
        return None, str(key.method)
    if (key.keyformat or "identity") != "identity":
        return Key("", iv), f"AES-128 of {key.keyformat}"
    return Key(urljoin(url, key.uri), iv), ""


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
