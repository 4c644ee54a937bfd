"""HLS playlists over shared segments. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from taskengine.domain.times import format_utc
from taskengine.media.archive.model import Marker, Placed, PlacedTrack, Timeline
from taskengine.media.hls_media import quoted
from taskengine.media.packager import audio_groups
from taskengine.media.tracks import Media, Track, TrackKind

_VERSION = 8  # EXT-X-GAP
_NO_KEY = "#EXT-X-KEY:METHOD=NONE"
GAP = "gap.m4s"  # what is named where nothing is: it is not asked for


def media_playlist(name: str, timelines: Sequence[Timeline], markers: Sequence[Marker]) -> str:
    """The playlist of one track. Stretches of which it has nothing are gaps in it: players tell discontinuities by their
    number."""
    lines: list[str] = []
    longest = 1.0
    locked = any(placed.keys for timeline in timelines if (placed := timeline.of(name)))
    for number, timeline in enumerate(timelines):
        placed = timeline.of(name)
        if number:
            lines.append("#EXT-X-DISCONTINUITY")
        if placed is None:
            lines += [_date(timeline.at), "#EXT-X-GAP", f"#EXTINF:{timeline.seconds:.6f},", GAP]
            longest = max(longest, timeline.seconds)
            continue
        longest = max(longest, *(placed.seconds(segment) for segment in placed.segments))
        told = _told(markers, timeline) if placed.track.kind is not TrackKind.TEXT else ()
        lines += _stretch(placed, told, locked=locked)
    head = [
        "#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", f"#EXT-X-TARGETDURATION:{math.ceil(longest - 0.001)}",
        "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS",
    ]  # fmt: skip
    return "\n".join([*head, *lines, "#EXT-X-ENDLIST"]) + "\n"


def _stretch(placed: PlacedTrack, markers: Sequence[Marker], *, locked: bool) -> Iterator[str]:
    whole = any(segment.iv for segment in placed.segments)
    if placed.init:
        if whole:
            yield _NO_KEY  # it is not encrypted
        yield f'#EXT-X-MAP:URI="{placed.init}"'
    if not whole:
        yield from placed.keys or ([_NO_KEY] if locked else [])
    left = list(markers)
    after_gap = True
    for index, segment in enumerate(placed.segments):
        end = segment.at + placed.seconds(segment) * 1000
        last = index + 1 == len(placed.segments)
        while left and (last or left[0].at < end - 1):
            yield left.pop(0).line
        if after_gap:
            yield _date(segment.at)
        yield from _segment(placed, segment)
        after_gap = not segment.uri


def _segment(placed: PlacedTrack, segment: Placed) -> Iterator[str]:
    if not segment.uri:
        yield "#EXT-X-GAP"
    elif segment.iv:
        yield from (f"{line},IV=0x{segment.iv}" for line in placed.keys)
    yield f"#EXTINF:{placed.seconds(segment):.6f},"
    yield segment.uri or GAP


def _date(at: int) -> str:
    return f"#EXT-X-PROGRAM-DATE-TIME:{format_utc(at)}"


def _told(markers: Sequence[Marker], timeline: Timeline) -> Sequence[Marker]:
    """Those that HLS tells within a stretch, in order; ranges that reach into it, too."""
    found = []
    for marker in markers:
        until = marker.at + (marker.seconds or 0.0) * 1000
        inside = timeline.at - 1 <= marker.at < timeline.end
        if marker.line and (inside or (marker.range and marker.at < timeline.at < until)):
            found.append(marker)
    return sorted(found, key=lambda marker: marker.at)


def master(media: Media, timelines: Sequence[Timeline]) -> str:
    """The master, its renditions as `hls_media.described` completes them."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "", "#EXT-X-INDEPENDENT-SEGMENTS", ""]
    audio = media.of(TrackKind.AUDIO)
    groups = audio_groups(audio)
    rates = {track.name: _rates(track, timelines) for track in media.packaged}
    lines += [_rendition(track, groups[track.name]) for track in audio if media.of(TrackKind.VIDEO)]
    for track in media.of(TrackKind.VIDEO) or audio[:1]:
        for group in dict.fromkeys(groups.values()) if media.of(TrackKind.VIDEO) and audio else [""]:
            members = [each for each in audio if groups[each.name] == group]
            lines += [*_variant(track, group, members, timelines, rates), f"{track.name}.m3u8"]
    return "\n".join(lines) + "\n"


def _rendition(track: Track, group: str) -> str:
    channels = f",CHANNELS={quoted(str(track.channels))}" if track.channels else ""
    return (
        f"#EXT-X-MEDIA:TYPE=AUDIO,URI={quoted(f'{track.name}.m3u8')},GROUP-ID={quoted(group)},"
        f"NAME={quoted(track.name)}{channels}"
    )


def _variant(
    track: Track, group: str, audio: Sequence[Track], timelines: Sequence[Timeline],
    rates: Mapping[str, tuple[int, int]],
) -> Iterator[str]:  # fmt: skip
    most = [max((rates[each.name][which] for each in audio), default=0) for which in (0, 1)]
    codecs = dict.fromkeys(
        each for name in [track.name, *(one.name for one in audio)] for each in codecs_of(name, timelines)
    )
    attributes = [
        f"BANDWIDTH={rates[track.name][0] + most[0]}", f"AVERAGE-BANDWIDTH={rates[track.name][1] + most[1]}",
        f"CODECS={quoted(','.join(codecs))}",
        *([f"RESOLUTION={track.width}x{track.height}"] if track.width and track.height else []),
        *([f"FRAME-RATE={float(track.frame_rate):.3f}"] if track.frame_rate else []),
        *([f"AUDIO={quoted(group)}"] if group else []),
    ]  # fmt: skip
    yield f"#EXT-X-STREAM-INF:{','.join(attributes)}"


def codecs_of(name: str, timelines: Sequence[Timeline]) -> Sequence[str]:
    """What players must be able to decode for a track, each once."""
    found = [placed.codecs for timeline in timelines if (placed := timeline.of(name))]
    return list(dict.fromkeys(each for each in found if each))


def _rates(track: Track, timelines: Sequence[Timeline]) -> tuple[int, int]:
    """(most, on the average) bits per second of a track."""
    placed = [
        (each, segment) for timeline in timelines if (each := timeline.of(track.name)) for segment in each.segments
    ]
    there = [(segment.size * 8, each.seconds(segment)) for each, segment in placed if segment.uri]
    seconds = sum(lasting for _, lasting in there)
    peak = max((bits / lasting for bits, lasting in there if lasting > 0), default=1.0)
    return max(1, math.ceil(peak)), max(1, math.ceil(sum(bits for bits, _ in there) / seconds)) if seconds else 1


def rate_of(track: Track, timelines: Sequence[Timeline]) -> int:
    """The most bits per second of a track."""
    return _rates(track, timelines)[0]
