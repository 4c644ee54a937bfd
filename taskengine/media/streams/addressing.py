"""How a representation of DASH lists its segments: templates with and without a time line, lists, one file with an index."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

from lxml import etree

from taskengine.media.dash import expand
from taskengine.media.streams.model import MAX_PARTS, Resource, StreamFault
from taskengine.media.streams.xml import attributes as attributes_of
from taskengine.media.streams.xml import child, children

_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII
)  # fmt: skip
_UNITS = (31_536_000, 2_592_000, 86_400, 3_600, 60, 1)


def seconds_of_duration(text: str) -> float:
    """An XML duration as `PT1H2.5S` in seconds. StreamFault where it is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise StreamFault(f"{text[:60]!r} is no duration")
    return sum(float(value) * unit for value, unit in zip(match.groups(), _UNITS, strict=True) if value)


@dataclass(frozen=True, slots=True)
class Part:
    """One segment: seconds on the media's clock; `duration` None: to the end of the period."""

    media: Resource
    begin: float
    duration: float | None
    number: int


@dataclass(frozen=True, slots=True)
class Addressing:
    """What the elements of a representation say, those below before those above. `offset`: seconds of the media's clock at
    the period's start; `index`: the bytes of a `sidx` box."""

    base: str
    init: Resource | None
    offset: float
    index: Resource | None
    kind: str
    values: Mapping[str, str]
    attributes: Mapping[str, str]
    timeline: Sequence[Mapping[str, str]] | None
    urls: Sequence[Mapping[str, str]] = ()

    @classmethod
    def of(
        cls, period: etree._Element, adaptation: etree._Element, element: etree._Element, base: str
    ) -> Addressing:  # fmt: skip
        """As it is inherited. StreamFault where it is not understood."""
        owners = (period, adaptation, element)
        kinds = ("SegmentTemplate", "SegmentList", "SegmentBase")
        kind = next((kind for owner in reversed(owners) for kind in kinds if child(owner, kind) is not None), "")
        found = [each for owner in owners if (each := child(owner, kind)) is not None] if kind else []
        attributes = {name: value for each in found for name, value in attributes_of(each).items()}
        timelines = [each for element in found if (each := child(element, "SegmentTimeline")) is not None]
        values = {"RepresentationID": element.get("id", ""), "Bandwidth": element.get("bandwidth", "")}
        timescale = int(attributes.get("timescale", "1"))
        return cls(
            base, _init(attributes, found, base, values), int(attributes.get("presentationTimeOffset", "0")) / timescale,
            _index(attributes, base) if kind == "SegmentBase" else None, kind, values, attributes,
            [attributes_of(each) for each in children(timelines[-1], "S")] if timelines else None,
            [attributes_of(each) for element in found[-1:] for each in children(element, "SegmentURL")],
        )  # fmt: skip

    def parts(self, begin: float, length: float | None, *, live: bool) -> Iterator[Part]:
        """The segments of a period of `length` seconds (None: not told), for a live one those from `begin` on that are
        complete."""
        if not self.kind or (self.kind == "SegmentBase" and self.index is None):
            yield Part(Resource(self.base), self.offset, None, 0)
            return
        timescale = int(self.attributes.get("timescale", "1"))
        first = int(self.attributes.get("startNumber", "1"))
        for number, (time, ticks) in enumerate(self._times(begin, length, timescale, live=live)):
            if number >= MAX_PARTS:
                raise StreamFault(f"it has more than {MAX_PARTS:,} segments")
            place = self._place(number, time, ticks)
            media = self._media(first + place, time, place)
            if media is None:
                return
            yield Part(media, time / timescale, ticks / timescale, first + place)

    def _place(self, number: int, time: int, ticks: int) -> int:
        """The number of a segment, counted from the period's first one."""
        if self.timeline is not None:
            return number
        return round((time - self.offset * int(self.attributes.get("timescale", "1"))) / ticks)

    def _times(self, begin: float, length: float | None, timescale: int, *, live: bool) -> Iterator[tuple[int, int]]:
        """(begin, duration) of each segment in ticks of the media's clock."""
        if self.timeline is not None:
            yield from self._listed(length, timescale)
            return
        ticks = int(self.attributes.get("duration", "0"))
        if ticks <= 0:
            raise StreamFault("a representation tells no durations of its segments")
        base = round(self.offset * timescale)
        last = len(self.urls) or None
        if self.kind == "SegmentTemplate" and length is not None:
            exact = length * timescale / ticks
            last = math.floor(exact + 1e-6) if live else math.ceil(exact - 1e-6)
        if last is None:
            raise StreamFault("a representation does not tell how many segments it has")
        if "endNumber" in self.attributes:
            last = min(last, int(self.attributes["endNumber"]) - int(self.attributes.get("startNumber", "1")) + 1)
        for number in range(math.floor(begin * timescale / ticks), last):
            yield base + number * ticks, ticks

    def _listed(self, length: float | None, timescale: int) -> Iterator[tuple[int, int]]:
        time, count, entries = 0, 0, self.timeline or ()
        for place, entry in enumerate(entries):
            time, ticks = int(entry.get("t", time)), int(entry["d"])
            repeat = int(entry.get("r", "0"))
            if ticks <= 0:
                raise StreamFault("its time line has a segment that lasts no time")
            if repeat < 0:
                following = entries[place + 1].get("t") if place + 1 < len(entries) else None
                end = int(following) if following else round(((length or 0.0) + self.offset) * timescale)
                repeat = max(0, math.ceil((end - time) / ticks) - 1)
            count += repeat + 1
            if count > MAX_PARTS:
                raise StreamFault(f"it has more than {MAX_PARTS:,} segments")
            for _ in range(repeat + 1):
                yield time, ticks
                time += ticks

    def _media(self, number: int, time: int, place: int) -> Resource | None:
        if self.kind == "SegmentList":
            if place >= len(self.urls):
                return None
            url = self.urls[place]
            return _ranged(urljoin(self.base, url.get("media", "")), url.get("mediaRange"))
        template = self.attributes.get("media", "")
        if not template:
            return Resource(self.base)
        named = {**self.values, "Number": str(number), "Time": str(time)}
        return Resource(urljoin(self.base, expand(template, named)))


def _init(
    attributes: Mapping[str, str], found: Sequence[etree._Element], base: str, values: Mapping[str, str]
) -> Resource | None:  # fmt: skip
    template = attributes.get("initialization")
    if template:
        return Resource(urljoin(base, expand(template, values)))
    for element in reversed(found):
        initialization = child(element, "Initialization")
        if initialization is not None:
            return _ranged(urljoin(base, initialization.get("sourceURL", "")), initialization.get("range"))
    return None


def _index(attributes: Mapping[str, str], base: str) -> Resource | None:
    told = attributes.get("indexRange")
    return _ranged(base, told) if told else None


def _ranged(url: str, told: str | None) -> Resource:
    """`first-last` of bytes."""
    if not told:
        return Resource(url)
    first, _, last = told.partition("-")
    return Resource(url, int(first), int(last) - int(first) + 1 if last else None)
