"""HLS playlists of others as values: absolute URLs, byte ranges, init segments, keys, times. A library parses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

import openm3u8

MAX_PARTS = 100_000


class StreamFault(ValueError):
    """A playlist that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Bytes of a URL: `length` from `offset` on; None is to the end."""

    url: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """What segments are encrypted with: AES-128, whole segments. `iv` has 16 bytes."""

    url: str
    iv: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendition: seconds from the stream's beginning, and UTC milliseconds where the playlist tells them."""

    media: Resource
    start: float
    duration: float
    run: int  # counts discontinuities: timestamps go on within one run alone
    init: Resource | None = None
    key: Key | None = None
    at: int | None = None

    @property
    def end(self) -> float:
        """Seconds from the stream's beginning."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class Stream:
    """One rendition."""

    segments: Sequence[Segment]
    ended: bool

    @property
    def duration(self) -> float:
        """Seconds of all segments."""
        return self.segments[-1].end


@dataclass(frozen=True, slots=True)
class Variant:
    """A rendition that a master names: bit/s, pixels (0: not told), frames per second (None: not told)."""

    url: str
    bandwidth: int
    width: int = 0
    height: int = 0
    frame_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Master:
    """The renditions with picture, and the playlists of key frames alone."""

    variants: Sequence[Variant]
    key_frames: Sequence[Variant]


def read(text: str, url: str) -> Master | Stream:
    """What a playlist that came from `url` is. Raises StreamFault."""
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise StreamFault("it is no HLS playlist: it does not begin with #EXTM3U")
    try:
        playlist = openm3u8.loads(text.lstrip("\ufeff"))
        if playlist.is_variant:
            return _master(playlist, url)
        return _stream(playlist, url)
    except StreamFault:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, openm3u8.ParseError) as error:
        raise StreamFault(f"it does not parse: {str(error)[:200]}") from error


def _master(playlist: Any, url: str) -> Master:
    variants = [_variant(each, url) for each in playlist.playlists if _has_picture(each.stream_info)]
    if not variants:
        raise StreamFault("it names no rendition with picture")
    return Master(variants, [_variant(each, url) for each in playlist.iframe_playlists])


def _variant(each: Any, url: str) -> Variant:
    info = getattr(each, "stream_info", None) or each.iframe_stream_info
    width, height = info.resolution or (0, 0)
    rate = getattr(info, "frame_rate", None)
    return Variant(urljoin(url, each.uri), int(info.bandwidth or 0), width, height, float(rate) if rate else None)


def _has_picture(info: Any) -> bool:
    """By its size or its codecs; where neither is told it may have one."""
    codecs = [codec.strip().partition(".")[0] for codec in str(info.codecs or "").split(",") if codec.strip()]
    sound = {"mp4a", "ac-3", "ec-3", "Opus", "opus", "fLaC", "flac", "alac"}
    return bool(info.resolution) or not codecs or any(codec not in sound for codec in codecs)


def _stream(playlist: Any, url: str) -> Stream:
    if not playlist.segments:
        raise StreamFault("it has no segments")
    if len(playlist.segments) > MAX_PARTS:
        raise StreamFault(f"it has more than {MAX_PARTS:,} segments")
    segments: list[Segment] = []
    start, run = 0.0, 0
    ends: dict[str, int] = {}  # where a byte range without an offset begins
    for number, each in enumerate(playlist.segments):
        run += bool(each.discontinuity and number)
        media = _resource(each.uri, each.byterange, url, ends)
        init = each.init_section
        segments.append(
            Segment(
                media, start, float(each.duration or 0.0), run,
                _resource(init.uri, init.byterange, url, {}) if init else None,
                _key(each.key, url, int(playlist.media_sequence or 0) + number),
                _milliseconds(each.current_program_date_time or each.program_date_time),
            )
        )  # fmt: skip
        start += segments[-1].duration
    return Stream(segments, bool(playlist.is_endlist))


def _resource(uri: str, byterange: str | None, url: str, ends: dict[str, int]) -> Resource:
    whole = urljoin(url, uri)
    if not byterange:
        return Resource(whole)
    length, _, offset = str(byterange).partition("@")
    begin = int(offset) if offset else ends.get(whole, 0)
    ends[whole] = begin + int(length)
    return Resource(whole, begin, int(length))


def _key(key: Any, url: str, sequence: int) -> Key | None:
    if key is None or key.method in {None, "NONE"}:
        return None
    if key.method != "AES-128" or (key.keyformat or "identity") != "identity":
        raise StreamFault(f"its segments are encrypted by {key.method}, which needs a licence")
    iv = int(key.iv, 16) if key.iv else sequence
    return Key(urljoin(url, key.uri), iv.to_bytes(16, "big"))


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
