"""Ad markers and other messages that an archive's manifests carry, as HLS and as DASH tell them.

HLS: EXT-X-DATERANGE, and the tags that are older than it. DASH: EventStream of SCTE-35. A message of one is told by the other
too, where its payload is known. What lies within the segments (emsg) goes with them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lxml import etree

from taskengine.domain.times import format_utc, parse_utc
from taskengine.media.archive.model import Inband, Marker
from taskengine.media.hls_media import quoted
from taskengine.media.streams.addressing import seconds_of_duration
from taskengine.media.streams.model import Segment

XML_BIN = "urn:scte:scte35:2014:xml+bin"
_SCTE35 = "urn:scte:scte35:"
_SIGNAL = "http://www.scte.org/schemas/35/2016"
_RANGE = "#EXT-X-DATERANGE:"
_CUES = (
    "#EXT-X-CUE-OUT", "#EXT-X-CUE-IN", "#EXT-X-CUE:", "#EXT-OATCLS-SCTE35", "#EXT-X-SCTE35", "#EXT-X-SPLICEPOINT-SCTE35",
    "#EXT-X-CUE-SPAN", "#EXT-X-ASSET:",
)  # fmt: skip
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_DASH = "{urn:mpeg:dash:schema:mpd:2011}"


def of_playlist(text: str, segments: Sequence[Segment]) -> Sequence[Marker]:
    """The messages of a media playlist whose segments are these. Those whose time is not told are left out."""
    found: list[Marker] = []
    number = 0
    for line in (each.strip() for each in text.splitlines()):
        if line.startswith(_RANGE):
            found += _range(line)
        elif line.startswith(_CUES) and number < len(segments) and (at := segments[number].at) is not None:
            found.append(_cue(line, at))
        elif line and not line.startswith("#"):
            number += 1
    return found


def _range(line: str) -> Iterator[Marker]:
    values = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.removeprefix(_RANGE))}
    try:
        at = parse_utc(values["START-DATE"])
        seconds = _seconds(values, at)
    except (KeyError, ValueError):
        return
    payload = next((values[name] for name in ("SCTE35-OUT", "SCTE35-IN", "SCTE35-CMD") if name in values), "")
    try:
        body = _body(bytes.fromhex(payload.lower().removeprefix("0x")))
    except ValueError:
        body = ""
    yield Marker(at, seconds, values.get("ID", ""), line, range=True, scheme=XML_BIN if body else "", body=body)


def _seconds(values: Mapping[str, str], at: int) -> float | None:
    if "END-DATE" in values:
        return max(0.0, (parse_utc(values["END-DATE"]) - at) / 1000)
    told = values.get("DURATION") or values.get("PLANNED-DURATION")
    return float(told) if told else None


def _cue(line: str, at: int) -> Marker:
    """A tag that stands before a segment; some have the payload in them."""
    words = [
        line.partition(":")[2],
        *(value.strip('"') for name, value in _ATTRIBUTE.findall(line) if name in {"CUE", "SCTE35"}),
    ]
    body = ""
    if not line.startswith("#EXT-X-CUE-OUT-CONT"):  # it repeats what was told at the beginning
        body = next((_body(payload) for word in words if (payload := _payload(word))), "")
    return Marker(at, None, "", line, scheme=XML_BIN if body else "", body=body)


def _payload(word: str) -> bytes:
    """A splice_info_section in base64: it begins with the table id 0xFC."""
    try:
        data = base64.b64decode(word, validate=True)
    except ValueError:
        return b""
    return data if data[:1] == b"\xfc" else b""


def _body(payload: bytes) -> str:
    if not payload:
        return ""
    return f'<Signal xmlns="{_SIGNAL}"><Binary>{base64.b64encode(payload).decode()}</Binary></Signal>'


def of_manifest(text: str) -> Sequence[Marker]:
    """The SCTE-35 messages of a MPD with the time of day."""
    root = _root(text)
    available = root.get("availabilityStartTime") if root is not None else None
    if root is None or not available:
        return []
    zero = parse_utc(available) / 1000
    found: list[Marker] = []
    start = 0.0
    for period in root.iterfind(f"{_DASH}Period"):
        start = seconds_of_duration(period.get("start", "")) if period.get("start") else start
        for stream in period.iterfind(f"{_DASH}EventStream"):
            if stream.get("schemeIdUri", "").startswith(_SCTE35):
                found += _events(stream, zero + start)
        start += seconds_of_duration(period.get("duration", "")) if period.get("duration") else 0.0
    return found


def _events(stream: etree._Element, start: float) -> Iterator[Marker]:
    scheme, timescale = stream.get("schemeIdUri", ""), int(stream.get("timescale", "1"))
    offset = int(stream.get("presentationTimeOffset", "0"))
    for number, event in enumerate(stream.iterfind(f"{_DASH}Event"), start=1):
        inner = next(event.iterchildren("*"), None)
        if inner is None:
            continue
        at = round((start + (int(event.get("presentationTime", "0")) - offset) / timescale) * 1000)
        seconds = int(event.get("duration", "0")) / timescale or None
        marker = Marker(at, seconds, event.get("id") or str(number), range=True, scheme=scheme, body=_alone(inner))
        yield replace(marker, line=_line(marker, inner))


def _alone(element: etree._Element) -> str:
    return etree.tostring(element, encoding="unicode", with_tail=False).strip()


def _line(marker: Marker, inner: etree._Element) -> str:
    """As HLS tells it: the payload where it is there, else the XML in an attribute of our own."""
    binary = next((each for each in inner.iter() if etree.QName(each).localname == "Binary"), None)
    try:
        payload = base64.b64decode("".join((binary.text or "").split()), validate=True) if binary is not None else b""
    except ValueError:
        payload = b""
    told = (
        f"SCTE35-CMD=0x{payload.hex().upper()}"
        if payload
        else f"X-COM-SCTE35-XML=0x{marker.body.encode().hex().upper()}"
    )
    lasting = f",PLANNED-DURATION={marker.seconds:.3f}" if marker.seconds else ""
    name = f"scte35-{marker.id}-{marker.at}"
    return f"{_RANGE}ID={quoted(name)},START-DATE={quoted(format_utc(marker.at))}{lasting},{told}"


def inband_of(text: str) -> Mapping[str, Sequence[Inband]]:
    """Kind of content → the messages that a MPD says are within its segments."""
    root = _root(text)
    found: dict[str, dict[Inband, None]] = {}
    for adaptation in root.iter(f"{_DASH}AdaptationSet") if root is not None else ():
        kind = adaptation.get("contentType") or _kind(adaptation)
        for each in adaptation.iter(f"{_DASH}InbandEventStream"):
            found.setdefault(kind, {})[Inband(each.get("schemeIdUri", ""), each.get("value", ""))] = None
    return {kind: list(each) for kind, each in found.items()}


def _kind(adaptation: etree._Element) -> str:
    types = [each.get("mimeType", "") for each in adaptation.iter("*") if each.get("mimeType")]
    return next((each.partition("/")[0] for each in types), "")


def _root(text: str) -> etree._Element | None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError:
        return None
    return root if root.tag == f"{_DASH}MPD" else None


def merged(markers: Sequence[Marker]) -> Sequence[Marker]:
    """Each message once, in order of time: playlists of all renditions tell the same, and HLS and DASH too."""
    unique: dict[tuple[object, ...], Marker] = {}
    for marker in markers:
        key = (
            (marker.line,)
            if not marker.body
            else (round(marker.at / 500), marker.body, marker.line if not marker.range else "")
        )
        unique.setdefault(key, marker)
    return sorted(unique.values(), key=lambda marker: marker.at)
