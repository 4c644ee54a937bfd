"""The DASH manifest over shared segments: a period for each stretch. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from lxml import etree

from taskengine.domain.times import format_utc
from taskengine.media.archive.hls_writing import rate_of
from taskengine.media.archive.model import Marker, Placed, PlacedTrack, Timeline
from taskengine.media.dash import describe
from taskengine.media.labels import default_audio, labels
from taskengine.media.tracks import Media, TrackKind

_NS = "urn:mpeg:dash:schema:mpd:2011"
_PROFILE = "urn:mpeg:dash:profile:isoff-live:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_SWITCHING = "urn:mpeg:dash:adaptation-set-switching:2016"
_MESSAGE_TIMESCALE = 1000


def mpd(media: Media, timelines: Sequence[Timeline], markers: Sequence[Marker]) -> str:
    """The manifest of all tracks."""
    whole = sum(timeline.seconds for timeline in timelines)
    longest = max(
        (placed.seconds(each) for timeline in timelines for placed in timeline.tracks for each in placed.segments),
        default=1.0,
    )
    root = _element(
        "MPD", type="static", profiles=_PROFILE, minBufferTime=_duration(longest), mediaPresentationDuration=_duration(whole)
    )  # fmt: skip
    ids = _ids(media, timelines)
    begin = 0.0
    for number, timeline in enumerate(timelines):
        root.append(_period(number, begin, timeline, media, markers, ids, timelines))
        begin += timeline.seconds
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True).decode()


def _element(name: str, **attributes: str) -> etree._Element:
    return etree.Element(f"{{{_NS}}}{name}", attributes, nsmap={None: _NS})  # type: ignore[dict-item]


def _sub(parent: etree._Element, name: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{_NS}}}{name}", attributes)


def _duration(seconds: float) -> str:
    return f"PT{seconds:.6f}".rstrip("0").rstrip(".") + "S"


Group = tuple[str, ...]  # what tells adaptation sets apart


def _group(placed: PlacedTrack) -> Group:
    track = placed.track
    alike = (track.kind.value, placed.codecs.partition(".")[0], placed.keyed)
    own = (track.language, track.role or "", str(track.channels), track.label or "")
    return alike if track.kind is TrackKind.VIDEO else (*alike, *own)


def _ids(media: Media, timelines: Sequence[Timeline]) -> Mapping[Group, str]:
    """The same sets have the same ids in all periods, the best picture's the first."""
    order = {track.name: index for index, track in enumerate(media.tracks)}
    placed = [each for timeline in timelines for each in sorted(timeline.tracks, key=lambda one: order[one.track.name])]
    return {group: str(index) for index, group in enumerate(dict.fromkeys(map(_group, placed)))}


def _period(
    number: int, begin: float, timeline: Timeline, media: Media, markers: Sequence[Marker], ids: Mapping[Group, str],
    timelines: Sequence[Timeline],
) -> etree._Element:  # fmt: skip
    period = _element("Period", id=str(number), start=_duration(begin), duration=_duration(timeline.seconds))
    for stream in _streams(timeline, markers):
        period.append(stream)
    groups: dict[Group, list[PlacedTrack]] = {}
    for placed in timeline.tracks:
        if placed.track.kind is not TrackKind.TEXT or placed.init:
            groups.setdefault(_group(placed), []).append(placed)
    for group in sorted(groups, key=lambda each: int(ids[each])):
        period.append(_set(groups[group], ids[group], timeline, media, timelines, _switchable(group, groups, ids)))
    called = labels(media.tracks)
    for placed in timeline.tracks:
        if placed.track.kind is TrackKind.TEXT and placed.text:
            period.append(_text(placed, called[placed.track.name], ids[_group(placed)]))
    return period


def _switchable(group: Group, groups: Mapping[Group, object], ids: Mapping[Group, str]) -> str:
    """The ids of the sets of the same picture that have other keys."""
    if group[0] != TrackKind.VIDEO.value:
        return ""
    return ",".join(ids[each] for each in groups if each != group and each[:2] == group[:2])


def _streams(timeline: Timeline, markers: Sequence[Marker]) -> Iterator[etree._Element]:
    """The messages of a period, those of a scheme together."""
    schemes: dict[str, list[Marker]] = {}
    seen: set[tuple[int, str]] = set()
    for marker in sorted(markers, key=lambda each: (each.at, not each.range)):
        if (marker.at, marker.body) in seen:  # a cue tag beside a date range
            continue
        seen.add((marker.at, marker.body))
        until = marker.at + (marker.seconds or 0.0) * 1000
        if marker.body and (timeline.at - 1 <= marker.at < timeline.end or marker.at < timeline.at < until):
            schemes.setdefault(marker.scheme, []).append(marker)
    for scheme, told in schemes.items():
        # what began before the period has a time before its start: that of its own zero, not of the period's
        zero = min([0, *(marker.at - timeline.at for marker in told)])
        offset = {"presentationTimeOffset": str(-zero)} if zero else {}
        stream = _element("EventStream", schemeIdUri=scheme, timescale=str(_MESSAGE_TIMESCALE), **offset)
        for marker in sorted(told, key=lambda each: each.at):
            lasting = {"duration": str(round(marker.seconds * _MESSAGE_TIMESCALE))} if marker.seconds else {}
            numbered = {"id": marker.id} if marker.id.isdigit() else {}
            time = str(marker.at - timeline.at - zero)
            event = _sub(stream, "Event", presentationTime=time, **lasting, **numbered)
            event.append(etree.fromstring(marker.body))
        yield stream


def _set(
    placed: Sequence[PlacedTrack], number: str, timeline: Timeline, media: Media, timelines: Sequence[Timeline],
    switchable: str,
) -> etree._Element:  # fmt: skip
    first = placed[0]
    adaptation = _element(
        "AdaptationSet", id=number, contentType=first.track.kind.value, segmentAlignment="true", startWithSAP="1"
    )  # fmt: skip
    for text in first.protection:
        adaptation.append(etree.fromstring(text))
    if switchable:
        _sub(adaptation, "SupplementalProperty", schemeIdUri=_SWITCHING, value=switchable)
    for told in dict.fromkeys(one for track in placed for one in track.inband):
        _sub(adaptation, "InbandEventStream", schemeIdUri=told.scheme, **({"value": told.value} if told.value else {}))
    for each in placed:
        adaptation.append(_representation(each, timeline, timelines))
    if first.track.kind is not TrackKind.VIDEO:
        default = default_audio(media)
        main = bool(default and first.track.language == default.language and first.track.kind is TrackKind.AUDIO)
        describe(adaptation, first.track, labels(media.tracks)[first.track.name], main=main)
    return adaptation


def _representation(placed: PlacedTrack, timeline: Timeline, timelines: Sequence[Timeline]) -> etree._Element:
    track = placed.track
    kind = "application" if track.kind is TrackKind.TEXT else track.kind.value
    representation = _element(
        "Representation", id=track.name, bandwidth=str(rate_of(track, timelines)), mimeType=f"{kind}/mp4",
        **({"codecs": placed.codecs} if placed.codecs else {}),
        **({"width": str(track.width), "height": str(track.height)} if track.width and track.height else {}),
        **({"frameRate": str(track.frame_rate)} if track.frame_rate else {}),
        **({"audioSamplingRate": str(track.sample_rate)} if track.sample_rate else {}),
    )  # fmt: skip
    if track.kind is TrackKind.AUDIO and track.channels:
        _sub(representation, "AudioChannelConfiguration", schemeIdUri=_CHANNELS, value=str(track.channels))
    offset = round(Fraction(timeline.begin) * placed.timescale)
    _sub(
        representation, "ProducerReferenceTime", id="0", type="captured", wallClockTime=format_utc(timeline.at),
        presentationTime=str(offset),
    )  # fmt: skip
    folder = placed_folder(placed.segments)
    template = _sub(
        representation, "SegmentTemplate", timescale=str(placed.timescale), initialization=_escaped(placed.init),
        media=f"{_escaped(folder)}$Time$.m4s", **({"presentationTimeOffset": str(offset)} if offset else {}),
    )  # fmt: skip
    _add_timeline(template, placed.segments)
    return representation


def placed_folder(segments: Sequence[Placed]) -> str:
    """The folder of a stretch's segments, with a slash after it: all of them lie in one."""
    return next((segment.uri.rpartition("/")[0] + "/" for segment in segments if segment.uri), "")


def _escaped(uri: str) -> str:
    return uri.replace("$", "$$")


def _add_timeline(template: etree._Element, segments: Sequence[Placed]) -> None:
    timeline = _sub(template, "SegmentTimeline")
    entry: etree._Element | None = None
    end: int | None = None
    for segment in segments:
        if not segment.uri:
            continue
        if entry is not None and segment.begin == end and entry.get("d") == str(segment.duration):
            entry.set("r", str(int(entry.get("r", "0")) + 1))
        else:
            at = {} if segment.begin == end else {"t": str(segment.begin)}
            entry = _sub(timeline, "S", **at, d=str(segment.duration))
        end = segment.begin + segment.duration


def _text(placed: PlacedTrack, label: str, number: str) -> etree._Element:
    adaptation = _element("AdaptationSet", id=number, contentType="text", mimeType="text/vtt")
    size = sum(segment.size for segment in placed.segments)
    lasting = sum(placed.seconds(segment) for segment in placed.segments) or 1.0
    representation = _sub(
        adaptation, "Representation", id=placed.track.name, bandwidth=str(max(1, round(size * 8 / lasting)))
    )
    _sub(representation, "BaseURL").text = placed.text
    describe(adaptation, placed.track, label, main=False)
    return adaptation
