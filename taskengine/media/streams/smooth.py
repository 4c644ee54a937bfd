"""Smooth Streaming manifests of others as values (MS-SSTR): its media have no init segments and no times of their own."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urljoin

from lxml import etree

from taskengine.media.languages import UNDETERMINED
from taskengine.media.pssh import PsshFault, playready_header, playready_key_ids
from taskengine.media.roles import CAPTION, DESCRIPTION
from taskengine.media.streams import smooth_init
from taskengine.media.streams.model import (
    MAX_PARTS,
    Presentation,
    Rendition,
    Resource,
    Segment,
    Stream,
    StreamFault,
    later,
)
from taskengine.media.streams.xml import attributes, child, children
from taskengine.media.tracks import TrackKind

_TICKS = "10000000"  # in a second, where nothing else is said
_LEAD_S = 10  # by which the media's clock is ahead: what is shown first is decoded before, and no clock goes below zero
_DATED_S = 946_684_800  # the year 2000: clocks beyond it count from 1970 and tell the time of day
_KINDS = {"video": TrackKind.VIDEO, "audio": TrackKind.AUDIO, "text": TrackKind.TEXT}
_TEXTS = {"ttml", "dfxp"}
_ROLES = {"capt": CAPTION, "desc": DESCRIPTION}
_PLAYREADY = "9a04f079-9840-4286-ab92-e65be0885f95"
_FIELD = re.compile(r"\{([^{}]+)\}")


def read(root: etree._Element, text: str, url: str) -> Presentation:
    """A client manifest that came from `url`. Raises StreamFault, and ValueError or KeyError where a field is none.

    Times count from the first fragment of the reference. Fragments say when they are shown in their URLs alone.
    """
    key_id = _key_id(root)
    found: list[Rendition] = []
    for index in children(root, "StreamIndex"):
        kind = _KINDS.get(index.get("Type", "").lower())
        if kind is None or index.get("ParentStreamIndex"):
            continue  # commands and markers
        number = sum(each.kind is kind for each in found)
        for level in children(index, "QualityLevel"):
            if kind is TrackKind.TEXT and level.get("FourCC", "").lower() not in _TEXTS:
                continue
            number += 1
            found.append(_rendition(root, index, level, f"{kind.value}_{number}", kind, url, key_id))
    found = [each for each in found if each.segments]
    if not found:
        raise StreamFault("it has no fragments of picture or sound")
    presentation = Presentation("smooth", found, url, documents={url: text})
    zero = presentation.reference.segments[0].start
    return Presentation("smooth", [later(each, -zero) for each in found], url, documents={url: text})


def _rendition(
    root: etree._Element, index: etree._Element, level: etree._Element, name: str, kind: TrackKind, url: str,
    key_id: bytes | None,
) -> Rendition:  # fmt: skip
    timescale = int(index.get("TimeScale") or root.get("TimeScale") or _TICKS)
    sample = smooth_init.sample_of(kind, attributes(level), index.get("FourCC", ""))
    init = smooth_init.written(sample, timescale, key_id) if kind is not TrackKind.TEXT else None
    ended = root.get("IsLive", "").lower() != "true"
    segments = [
        _segment(Resource(urljoin(url, address)), time, ticks, timescale, init, protected=key_id is not None)
        for time, ticks, address in _fragments(index, level)
    ]
    language = index.get("Language", "")
    return Rendition(
        name, kind, int(level.get("Bitrate", "0")), sample.width, sample.height, None, sample.codecs,
        "" if language.lower() == UNDETERMINED else language, _ROLES.get(index.get("Subtype", "").lower()),
        index.get("Name", ""), sample.channels or None,
        stream=Stream(segments, ended, max((each.duration for each in segments), default=0.0)),
    )  # fmt: skip


def _segment(
    media: Resource, time: int, ticks: int, timescale: int, init: bytes | None, *, protected: bool
) -> Segment:  # fmt: skip
    begin, timed = time / timescale, init is not None
    at = round(time * 1000 / timescale) if begin >= _DATED_S else None
    return Segment(
        media, begin, ticks / timescale, 0, None if init is None else Resource("", content=init), None, at, time,
        shift=-_LEAD_S if timed else 0.0, protection="cenc" if protected and timed else "",
        time=(time + _LEAD_S * timescale, timescale) if timed else None,
    )  # fmt: skip


def _fragments(index: etree._Element, level: etree._Element) -> Iterator[tuple[int, int, str]]:
    """(begin and duration in ticks, address) of each."""
    template, entries = index.get("Url", ""), children(index, "c")
    if entries and not template:
        raise StreamFault("a stream index has no Url")
    custom = child(level, "CustomAttributes")
    told = children(custom, "Attribute") if custom is not None else []
    fields = {
        "bitrate": level.get("Bitrate", "0"),
        "customattributes": ",".join(f"{each.get('Name')}={each.get('Value')}" for each in told),
    }
    for time, ticks in _times(entries):
        yield time, ticks, _filled(template, {**fields, "starttime": str(time)})


def _filled(template: str, fields: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda found: fields[re.sub(r"[ _]", "", found[1]).lower()], template)


def _times(entries: Sequence[etree._Element]) -> Iterator[tuple[int, int]]:
    """What is not told follows from the neighbours."""
    time, ticks, count = 0, 0, 0
    for place, entry in enumerate(entries):
        time, repeat = int(entry.get("t", time)), int(entry.get("r", "1"))
        following = entries[place + 1].get("t") if place + 1 < len(entries) else None
        if "d" in entry.attrib:
            ticks = int(entry.get("d", ""))
        elif following is not None:
            ticks = (int(following) - time) // max(repeat, 1)
        if ticks <= 0:
            raise StreamFault("it has a fragment that lasts no time")
        count += repeat
        if count > MAX_PARTS:
            raise StreamFault(f"it has more than {MAX_PARTS:,} fragments")
        for _ in range(repeat):
            yield time, ticks
            time += ticks


def _key_id(root: etree._Element) -> bytes | None:
    """The key that its samples are encrypted with; 16 zeros where it does not tell which."""
    protection = child(root, "Protection")
    if protection is None:
        return None
    for header in children(protection, "ProtectionHeader"):
        if header.get("SystemID", "").strip("{}").lower() == _PLAYREADY:
            try:
                record = base64.b64decode("".join((header.text or "").split()), validate=True)
                return next(iter(playready_key_ids(playready_header(record))), bytes(16))
            except (binascii.Error, PsshFault) as fault:
                raise StreamFault(f"its protection header cannot be read: {fault}") from fault
    return bytes(16)
