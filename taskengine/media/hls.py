"""HLS playlists: what they name, and how a master is moved above its set. A library parses; nothing is fetched."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import openm3u8

from taskengine.media.thumbnails import Grid


class PlaylistFault(ValueError):
    """A playlist that is wrong, and why."""


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A media playlist: (URI, seconds) of each segment. `init` is None where there is no EXT-X-MAP."""

    init: str | None
    segments: Sequence[tuple[str, float]]
    ended: bool

    @property
    def duration(self) -> float:
        """Seconds of all segments."""
        return sum(seconds for _, seconds in self.segments)


@dataclass(frozen=True, slots=True)
class MasterPlaylist:
    """A master: the URIs of its variants and of its renditions."""

    variants: Sequence[str]
    renditions: Sequence[str]


def _load(text: str) -> openm3u8.M3U8:
    if not text.startswith("#EXTM3U"):
        raise PlaylistFault("it does not begin with #EXTM3U")
    try:
        return openm3u8.loads(text)
    except (ValueError, openm3u8.ParseError, KeyError, IndexError) as error:
        raise PlaylistFault(f"it does not parse: {error!r}") from error


def read_master(text: str) -> MasterPlaylist:
    """Parse a master playlist; PlaylistFault where it is none."""
    playlist = _load(text)
    if not playlist.is_variant:
        raise PlaylistFault("it is no master playlist")
    variants = [str(variant.uri) for variant in playlist.playlists]
    renditions = [str(media.uri) for media in playlist.media if media.uri]
    return MasterPlaylist(variants, renditions)


def read_media(text: str) -> MediaPlaylist:
    """Parse a media playlist; PlaylistFault where it is none."""
    playlist = _load(text)
    segments = [(str(segment.uri), float(segment.duration or 0.0)) for segment in playlist.segments]
    if playlist.is_variant or not segments:
        raise PlaylistFault("it has no segments")
    init = playlist.segment_map[0].uri if playlist.segment_map else None
    return MediaPlaylist(str(init) if init else None, segments, bool(playlist.is_endlist))


def read_stretches(text: str) -> Sequence[MediaPlaylist]:
    """A media playlist as its stretches, each up to a discontinuity. PlaylistFault where a segment is missing."""
    playlist = _load(text)
    found: list[list[openm3u8.Segment]] = []
    for segment in playlist.segments:
        if segment.gap_tag:
            raise PlaylistFault("a part of it is missing")
        if segment.discontinuity or not found:
            found.append([])
        found[-1].append(segment)
    return [
        MediaPlaylist(
            str(each[0].init_section.uri) if each[0].init_section else None,
            [(str(segment.uri), float(segment.duration or 0.0)) for segment in each],
            bool(playlist.is_endlist),
        )
        for each in found
    ]


def read_looks(text: str) -> Sequence[tuple[str, Sequence[str], str | None]]:
    """(URI, codecs, video range) of each variant of a master playlist."""
    return [
        (str(variant.uri), str(variant.stream_info.codecs or "").split(","), variant.stream_info.video_range)
        for variant in _load(text).playlists
    ]


def with_prefix(text: str, prefix: str) -> str:
    """The playlist with every URI that it names moved below `prefix` (`v/1-1/clear/`)."""
    lines = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            lines.append(prefix + line)
        else:
            lines.append(re.sub(r'\bURI="([^"]*)"', lambda match: f'URI="{prefix}{match[1]}"', line))
    return "\n".join(lines) + "\n"


def turned(text: str, uris: Collection[str]) -> str:
    """The master with the pictures of these variants and I-frame playlists as wide as they were high: packager tells their
    size before players turn them."""
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("#EXT-X-STREAM-INF:"):
            uri = next((below for below in lines[index + 1 :] if below and not below.startswith("#")), "")
        elif line.startswith("#EXT-X-I-FRAME-STREAM-INF:") and (match := re.search(r'\bURI="([^"]*)"', line)):
            uri = match[1]
        else:
            continue
        if uri in uris:
            lines[index] = re.sub(r"\bRESOLUTION=(\d+)x(\d+)", r"RESOLUTION=\2x\1", line)
    return "\n".join(lines) + "\n"


def read_key_frames(text: str) -> Sequence[tuple[str, int, int]]:
    """(URI, offset, length) of each key frame of an I-frame playlist; PlaylistFault where it is none."""
    playlist = _load(text)
    if not playlist.is_i_frames_only or not playlist.segments:
        raise PlaylistFault("it has no key frames")
    found = []
    for segment in playlist.segments:
        length, _, offset = str(segment.byterange or "").partition("@")
        if not (length.isdigit() and offset.isdigit()):
            raise PlaylistFault(f"{segment.uri} has no byte range")
        found.append((str(segment.uri), int(offset), int(length)))
    return found


def tile_playlist(grid: Grid, uris: Sequence[str]) -> str:
    """The playlist of a thumbnail track: sheets of tiles, as Roku's extension of HLS (EXT-X-TILES) has them."""
    tiles = (
        f"#EXT-X-TILES:RESOLUTION={grid.width}x{grid.height},LAYOUT={grid.columns}x{grid.rows},"
        f"DURATION={grid.interval:.3f}"
    )
    lines = [
        "#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{math.ceil(grid.sheet_duration)}",
        "#EXT-X-MEDIA-SEQUENCE:1", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-IMAGES-ONLY",
    ]  # fmt: skip
    for number, uri in enumerate(uris):
        lasting = min(grid.sheet_duration, grid.duration - number * grid.sheet_duration)
        lines += [f"#EXTINF:{lasting:.3f},", tiles, uri]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def read_tiles(text: str) -> tuple[Grid, Sequence[str]]:
    """What `tile_playlist` wrote: the grid, and the URIs of the sheets; PlaylistFault where it is none."""
    found = re.search(r"#EXT-X-TILES:RESOLUTION=(\d+)x(\d+),LAYOUT=(\d+)x(\d+),DURATION=(\d+\.\d+)", text)
    uris = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not text.startswith("#EXTM3U") or found is None or not uris:
        raise PlaylistFault("it has no tiles")
    width, height, columns, rows = (int(found[number]) for number in range(1, 5))
    interval = float(found[5])
    duration = sum(float(seconds) for seconds in re.findall(r"#EXTINF:(\d+\.\d+)", text))
    full = (len(uris) - 1) * columns * rows
    count = min(max(math.ceil(duration / interval - 0.001), full + 1), full + columns * rows)
    return Grid(count, interval, columns, rows, width, height, duration), uris


def with_tiles(master: str, grid: Grid, uri: str, bandwidth: int) -> str:
    """The master with a thumbnail track; `bandwidth` in bit/s."""
    line = (
        f'#EXT-X-IMAGE-STREAM-INF:BANDWIDTH={bandwidth},CODECS="jpeg",RESOLUTION={grid.width}x{grid.height},URI="{uri}"'
    )
    return f"{master.rstrip()}\n\n{line}\n"
