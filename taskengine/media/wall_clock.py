"""The time of day in manifests: EXT-X-PROGRAM-DATE-TIME in HLS, availabilityStartTime and ProducerReferenceTime in DASH."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lxml import etree

from taskengine.domain.times import format_utc
from taskengine.media.streams.xml import child, root_of

Clock = Sequence[tuple[float, int]]  # (seconds of the asset, UTC ms there), in order
_NEAR_S = 0.001
_EXTINF = re.compile(r"#EXTINF:(\d+(?:\.\d+)?)")
_BEFORE = {"FramePacking", "AudioChannelConfiguration", "ContentProtection", "OutputProtection", "EssentialProperty",
           "SupplementalProperty", "InbandEventStream", "Switching", "RandomAccess", "GroupLabel", "Label"}  # fmt: skip


def in_playlist(text: str, clock: Clock) -> str:
    """A media playlist that tells the time of day of its first segment, and of each that is the first of another time line."""
    lines: list[str] = []
    at, last = 0.0, -1
    for line in text.splitlines():
        match = _EXTINF.match(line)
        if match:
            place = max((index for index, (begin, _) in enumerate(clock) if begin <= at + _NEAR_S), default=-1)
            if place > last:
                begin, utc = clock[place]
                lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{format_utc(utc + round((at - begin) * 1000))}")
                last = place
            at += float(match[1])
        lines.append(line)
    return "\n".join(lines) + "\n"


def in_mpd(text: str, clock: Clock) -> str:
    """A manifest that tells when its beginning was, and when each of its time lines."""
    root = root_of(text)
    begin, utc = clock[0]
    root.set("availabilityStartTime", format_utc(utc - round(begin * 1000)))
    for adaptation in root.iter("{*}AdaptationSet"):
        template = next(adaptation.iter("{*}SegmentTemplate"), None)
        if template is None or child(adaptation, "Representation") is None:
            continue
        timescale = int(template.get("timescale", "1"))
        offset = int(template.get("presentationTimeOffset", "0"))
        found = [
            etree.Element(
                f"{{{etree.QName(root).namespace}}}ProducerReferenceTime", id=str(number), type="captured",
                wallClockTime=format_utc(at), presentationTime=str(offset + round(seconds * timescale)),
            )
            for number, (seconds, at) in enumerate(clock)
        ]  # fmt: skip
        place = sum(1 for each in adaptation if etree.QName(each).localname in _BEFORE)
        for element in reversed(found):
            adaptation.insert(place, element)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode()
