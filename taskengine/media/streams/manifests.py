"""Manifests in XML of others as values. DASH: every way in which segments are listed, several periods, live windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from lxml import etree

from taskengine.domain.times import parse_utc
from taskengine.media.languages import UNDETERMINED
from taskengine.media.roles import role_of
from taskengine.media.streams import smooth
from taskengine.media.streams.addressing import Addressing, seconds_of_duration
from taskengine.media.streams.model import Presentation, Rendition, Resource, Segment, Stream, StreamFault
from taskengine.media.streams.xml import attributes, child, children, name_of, root_of
from taskengine.media.tracks import TrackKind

_KINDS = {"video": TrackKind.VIDEO, "audio": TrackKind.AUDIO, "text": TrackKind.TEXT}
_TEXTS = ("ttml", "vtt")
_SPECIAL = ("trickmode", "thumbnail_tile")
_WHOLE_S = 86_400.0  # of a file that tells no length


@dataclass(frozen=True, slots=True)
class _Period:
    """A period: seconds on the presentation's time line; `end` None where it is not told."""

    element: etree._Element
    number: int
    start: float
    end: float | None


@dataclass(frozen=True, slots=True)
class _Clock:
    """UTC milliseconds of the presentation's zero (None: not told), and now; the length of a live window in seconds."""

    zero: int | None
    now: int
    live: bool
    window: float | None


def read(text: str, url: str, now: int) -> Presentation:
    """An MPD, or a manifest of Smooth Streaming, that came from `url` at `now` (UTC ms). Raises StreamFault."""
    root = root_of(text)
    if name_of(root) not in {"MPD", "SmoothStreamingMedia"}:
        raise StreamFault(f"its root is {name_of(root)}, not an MPD")
    try:
        if name_of(root) == "SmoothStreamingMedia":
            return smooth.read(root, text, url)
        renditions = _renditions(root, url, now)
    except StreamFault:
        raise
    except (ValueError, KeyError, ArithmeticError) as error:
        raise StreamFault(f"it does not parse: {str(error)[:200]}") from error
    if not renditions:
        raise StreamFault("it has no representation")
    return Presentation("dash", _from_beginning(renditions), url, documents={url: text})


def _renditions(root: etree._Element, url: str, now: int) -> list[Rendition]:
    live = root.get("type", "static") == "dynamic"
    zero = root.get("availabilityStartTime")
    depth = root.get("timeShiftBufferDepth")
    clock = _Clock(parse_utc(zero) if zero else None, now, live, seconds_of_duration(depth) if depth else None)
    base = _base(root, url)
    found: list[Rendition] = []
    for period in _periods(root):
        here = [made for made in _of_period(period, base, clock) if made.index or made.segments]
        found = _joined(found, here)
    return found


def _periods(root: etree._Element) -> Sequence[_Period]:
    """With their times: told, or from those of their neighbours."""
    elements = list(children(root, "Period"))
    if not elements:
        raise StreamFault("it has no period")
    if any("href" in attributes(each) for each in elements):
        raise StreamFault("it names periods that are in other documents (xlink), which is not supported")
    told = root.get("mediaPresentationDuration")
    starts: list[float] = []
    for number, each in enumerate(elements):
        before = elements[number - 1].get("duration") if number else None
        start = each.get("start")
        if start is not None:
            starts.append(seconds_of_duration(start))
        elif number and before is None:
            raise StreamFault(f"its period {number + 1} does not tell when it begins")
        else:
            starts.append(starts[-1] + seconds_of_duration(before or "PT0S") if number else 0.0)
    ends: list[float | None] = [*starts[1:], seconds_of_duration(told) if told else None]
    return [
        _Period(each, number, start, start + seconds_of_duration(length) if (length := each.get("duration")) else end)
        for number, (each, start, end) in enumerate(zip(elements, starts, ends, strict=True))
    ]


def _of_period(period: _Period, base: str, clock: _Clock) -> Iterator[Rendition]:
    counts: dict[TrackKind, int] = {}
    at = _base(period.element, base)
    for adaptation in children(period.element, "AdaptationSet"):
        if _special(adaptation):
            continue
        for element in children(adaptation, "Representation"):
            kind = _kind(adaptation, element)
            if kind is None or _special(element):
                continue
            counts[kind] = counts.get(kind, 0) + 1
            described = _described(adaptation, element, kind, f"{kind.value}_{counts[kind]}")
            yield _listed(described, period, adaptation, element, _base(element, _base(adaptation, at)), clock)


def _special(element: etree._Element) -> bool:
    """Whether it is for trick play or thumbnails."""
    properties = children(element, "EssentialProperty")
    return any(word in each.get("schemeIdUri", "") for each in properties for word in _SPECIAL)


def _said(adaptation: etree._Element, element: etree._Element, name: str) -> str:
    return element.get(name) or adaptation.get(name) or ""


def _kind(adaptation: etree._Element, element: etree._Element) -> TrackKind | None:
    """By its content type, its MIME type or its codecs."""
    form, codecs = _said(adaptation, element, "mimeType").lower(), _said(adaptation, element, "codecs").lower()
    if any(word in form for word in _TEXTS) or codecs.startswith(("wvtt", "stpp")):
        return TrackKind.TEXT
    for word in (_said(adaptation, element, "contentType").lower(), form.partition("/")[0]):
        if word in _KINDS:
            return _KINDS[word]
    return None


def _described(adaptation: etree._Element, element: etree._Element, kind: TrackKind, name: str) -> Rendition:
    rate = _said(adaptation, element, "frameRate")
    over, _, under = rate.partition("/")
    roles = [role_of(each.get("value", "")) for each in children(adaptation, "Role")]
    label = child(adaptation, "Label")
    channels = next((each.get("value", "") for each in _configurations(adaptation, element)), "")
    language = _said(adaptation, element, "lang")
    return Rendition(
        name, kind, int(element.get("bandwidth") or 0), int(_said(adaptation, element, "width") or 0),
        int(_said(adaptation, element, "height") or 0), float(over) / float(under or 1) if over else None,
        _said(adaptation, element, "codecs") or _said(adaptation, element, "mimeType"),
        "" if language == UNDETERMINED else language, next((role for role in roles if role and role != "main"), None),
        (label.text or "").strip() if label is not None else "", int(channels) if channels.isdigit() else None,
    )  # fmt: skip


def _configurations(adaptation: etree._Element, element: etree._Element) -> Iterator[etree._Element]:
    for owner in (element, adaptation):
        yield from children(owner, "AudioChannelConfiguration")


def _listed(
    rendition: Rendition, period: _Period, adaptation: etree._Element, element: etree._Element, base: str, clock: _Clock
) -> Rendition:
    """With its segments, or where the index of them is."""
    protected = any(children(owner, "ContentProtection") for owner in (element, adaptation))
    protection = "cenc" if protected else ""
    found = Addressing.of(period.element, adaptation, element, base)
    end = period.end
    if end is None and clock.live and clock.zero is not None:
        end = (clock.now - clock.zero) / 1000
    shift = period.start - found.offset
    if found.index is not None:
        rendition = replace(rendition, index=found.index)
        whole = [Segment(Resource(found.base), period.start, 0.0, period.number, found.init, protection=protection)]
        return replace(rendition, stream=Stream([replace(whole[0], at=clock.zero, shift=shift)], not clock.live))
    begin = 0.0
    if clock.live and clock.window is not None and end is not None:
        begin = max(0.0, end - clock.window - period.start)
    length = None if end is None else end - period.start
    parts = list(found.parts(begin, length, live=clock.live))
    segments = [
        Segment(
            part.media, shift + part.begin, part.duration or _length(length), period.number, found.init, None,
            None if clock.zero is None else clock.zero + round((shift + part.begin) * 1000), part.number,
            shift=shift, protection=protection,
        )
        for part in parts
    ]  # fmt: skip
    longest = max((each.duration for each in segments), default=0.0)
    return replace(rendition, stream=Stream(segments, not clock.live, longest))


def _length(period: float | None) -> float:
    return _WHOLE_S if period is None else period


def _joined(before: Sequence[Rendition], after: Sequence[Rendition]) -> list[Rendition]:
    """The renditions of a further period put to those that they go on from: what is nearest of the same kind."""
    if not before:
        return list(after)
    left, found = list(after), []
    for each in before:
        match = min(
            (other for other in left if _goes_on(each, other)), key=lambda other: _distance(each, other), default=None
        )
        if match is None or each.index or match.index:
            found.append(each)
            continue
        left.remove(match)
        stream = Stream(
            [*each.segments, *match.segments], bool(match.stream and match.stream.ended), _target(each, match)
        )
        found.append(replace(each, stream=stream))
    return found


def _target(*renditions: Rendition) -> float:
    return max(each.stream.target for each in renditions if each.stream)


def _goes_on(one: Rendition, other: Rendition) -> bool:
    return one.kind is other.kind and (one.kind is TrackKind.VIDEO or one.language == other.language)


def _distance(one: Rendition, other: Rendition) -> tuple[bool, int, int]:
    return (one.role != other.role, abs(one.height - other.height), abs(one.bandwidth - other.bandwidth))


def _from_beginning(renditions: Sequence[Rendition]) -> Sequence[Rendition]:
    """A live stream counts from the first segment that is there, as an HLS playlist does."""
    if all(each.stream is None or each.stream.ended for each in renditions):
        return renditions
    first = min((each.segments[0].start for each in renditions if each.stream and each.segments), default=0.0)
    return [replace(each, stream=_earlier(each.stream, first)) if each.stream else each for each in renditions]


def _earlier(stream: Stream, by: float) -> Stream:
    segments = [
        replace(each, start=each.start - by, shift=None if each.shift is None else each.shift - by)
        for each in stream.segments
    ]
    return replace(stream, segments=segments)


def _base(element: etree._Element, base: str) -> str:
    found = child(element, "BaseURL")
    return urljoin(base, (found.text or "").strip()) if found is not None else base


def with_index(rendition: Rendition, parts: Sequence[tuple[Resource, float, float]]) -> Rendition:
    """A rendition whose index was read: (bytes, seconds of the media's clock, duration) of each segment."""
    whole = rendition.segments[0]
    shift = whole.shift or 0.0
    segments = [
        replace(
            whole, media=media, start=begin + shift, duration=duration, number=number,
            at=None if whole.at is None else whole.at + round((begin + shift) * 1000),
        )
        for number, (media, begin, duration) in enumerate(parts)
    ]  # fmt: skip
    longest = max((each.duration for each in segments), default=0.0)
    ended = rendition.stream.ended if rendition.stream else True
    return replace(rendition, index=None, stream=Stream(segments, ended, longest))
