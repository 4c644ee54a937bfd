"""Runs as a DASH manifest: a period for each, segments by URL, ad markers as events (SCTE 214-1)."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import groupby

from lxml import etree

from taskengine.media import dash
from taskengine.media.scte35 import SCHEME, splice_insert
from taskengine.media.virtual.model import SOUND, Kind, Mark, Part, Pieces, Rendition, Run

_NS = "urn:mpeg:dash:schema:mpd:2011"
_EMPTY = f'<MPD xmlns="{_NS}" xmlns:cenc="urn:mpeg:cenc:2013" xmlns:mspr="urn:microsoft:playready"/>'
_SCTE = "http://www.scte.org/schemas/35/2016"
_PROFILE = "urn:mpeg:dash:profile:isoff-main:2011"
_TICKS = 90_000  # of a second, where segments are listed
_MIME = {Kind.VIDEO: "video/mp4", Kind.AUDIO: "audio/mp4", Kind.TEXT: "text/vtt"}


def lack(renditions: Sequence[Rendition], runs: Sequence[Run]) -> str | None:
    """Why DASH players could not play these referenced runs; None: they can."""
    if runs and any(not each.codecs for each in renditions if each.kind is not Kind.TEXT):
        return "a rendition does not tell its codecs"
    for run in runs:
        for each in renditions:
            pieces = run.pieces.get(each.name)
            if each.kind is Kind.TEXT or pieces is None:
                continue
            if not pieces.inits:
                return "there are segments of MPEG-TS"
            if pieces.ivs:
                return "there are segments that are encrypted whole (AES-128)"
            if len(pieces.inits) > 1:
                return "a clip changes its init segment"
            if pieces.media_time is None:
                return "a segment does not tell its time"
    return None


def manifest(renditions: Sequence[Rendition], runs: Sequence[Run], made: Mapping[int, tuple[str, str]]) -> str:
    """The manifest. `made`: number of a run → (folder, MPD) of what was packaged for it here: its period is taken."""
    root = etree.fromstring(_EMPTY)
    total = sum(run.duration for run in runs)
    longest = max(max(pieces.durations) for run in runs for pieces in run.pieces.values())
    for name, value in {
        "profiles": _PROFILE, "type": "static", "mediaPresentationDuration": _duration(total), "minBufferTime": "PT2S",
        "maxSegmentDuration": _duration(math.ceil(longest)),
    }.items():  # fmt: skip
        root.set(name, value)
    begin, event = 0.0, 0
    for number, run in enumerate(runs):
        attributes = {"id": str(number + 1), "start": _duration(begin), "duration": _duration(run.duration)}
        period = etree.SubElement(root, f"{{{_NS}}}Period", attributes)
        if run.marks:
            period.append(_events(run.marks, begin, event))
        event += len(run.marks)
        if number in made:
            _taken(period, *made[number])
        else:
            _listed(period, renditions, run)
        begin += run.duration
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True).decode()


def _duration(seconds: float) -> str:
    return f"PT{seconds:.6f}".rstrip("0").rstrip(".") + "S"


def _events(marks: Sequence[Mark], begin: float, before: int) -> etree._Element:
    """Each with the message itself; `begin` of the period, for the message's own time."""
    timescale = marks[0].timescale
    stream = etree.Element(f"{{{_NS}}}EventStream", schemeIdUri=SCHEME, timescale=str(timescale))
    for number, mark in enumerate(marks, start=before + 1):
        event = etree.SubElement(
            stream, f"{{{_NS}}}Event", presentationTime=str(round(mark.at * timescale)),
            duration=str(0 if mark.insert else round(mark.duration * timescale)), id=str(number),
        )  # fmt: skip
        signal = etree.SubElement(event, f"{{{_SCTE}}}Signal", nsmap={"scte35": _SCTE})
        message = splice_insert(number, out=True, at=begin + mark.at, duration=mark.duration)
        etree.SubElement(signal, f"{{{_SCTE}}}Binary").text = base64.b64encode(message).decode()
    return stream


def _taken(period: etree._Element, folder: str, text: str) -> None:
    """What packager made of a clip, found in its folder."""
    root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    dash.refer_below(root, f"{folder}/")
    found = root.find(f"{{{_NS}}}Period")
    for child in found if found is not None else ():
        period.append(deepcopy(child))


def _listed(period: etree._Element, renditions: Sequence[Rendition], run: Run) -> None:
    number = 0
    for (kind, _), group in groupby(renditions, key=_adaptation):
        there = [each for each in group if each.name in run.pieces and _told(kind, run.pieces[each.name])]
        if not there:
            continue
        adaptation = etree.SubElement(period, f"{{{_NS}}}AdaptationSet", id=str(number), contentType=kind.value)
        number += 1
        adaptation.set("mimeType", _MIME[kind])
        if kind is not Kind.TEXT:
            adaptation.set("segmentAlignment", "true")
            adaptation.set("startWithSAP", "1")
        _describe(adaptation, there[0])
        for each in there:
            adaptation.append(_representation(each, run.pieces[each.name]))


def _told(kind: Kind, pieces: Pieces) -> bool:
    """Whether DASH has a way to tell it: WebVTT is one file in a period."""
    return kind is not Kind.TEXT or len(pieces.uris) == 1


def _adaptation(each: Rendition) -> tuple[Kind, str]:
    """Pictures are one set; each sound and text is one of its own."""
    return each.kind, "" if each.kind is Kind.VIDEO else each.name


def _describe(adaptation: etree._Element, rendition: Rendition) -> None:
    if rendition.language:
        adaptation.set("lang", rendition.language)
    if rendition.label:
        etree.SubElement(adaptation, f"{{{_NS}}}Label").text = rendition.label
    if rendition.default:
        etree.SubElement(adaptation, f"{{{_NS}}}Role", schemeIdUri="urn:mpeg:dash:role:2011", value="main")


def _representation(rendition: Rendition, pieces: Pieces) -> etree._Element:
    element = etree.Element(
        f"{{{_NS}}}Representation", id=rendition.name, bandwidth=str(max(1, rendition.bandwidth or 1000))
    )
    if rendition.kind is Kind.TEXT:
        etree.SubElement(element, f"{{{_NS}}}BaseURL").text = pieces.uri(0)
        return element
    element.set("codecs", _own_codecs(rendition))
    if rendition.width:
        element.set("width", str(rendition.width))
        element.set("height", str(rendition.height))
    if rendition.exact_rate:
        element.set("frameRate", str(rendition.exact_rate))
    if pieces.base:
        etree.SubElement(element, f"{{{_NS}}}BaseURL").text = pieces.base
    element.append(_segments(pieces))
    return element


def _own_codecs(rendition: Rendition) -> str:
    """Without those of the sound beside a picture."""
    codecs = [codec for codec in rendition.codecs.split(",") if codec]
    if rendition.kind is Kind.AUDIO:
        return codecs[0]
    return ",".join(codec for codec in codecs if not codec.lower().startswith(tuple(SOUND)))


def _segments(pieces: Pieces) -> etree._Element:
    # The first segment may begin a little before or after the run; its time stamp is the run's then, too.
    first = round((pieces.media_time or 0.0) * _TICKS)
    offset = first - round(pieces.offset * _TICKS)
    found = etree.Element(f"{{{_NS}}}SegmentList", timescale=str(_TICKS), presentationTimeOffset=str(max(0, offset)))
    init = pieces.inits[0][1]
    etree.SubElement(found, f"{{{_NS}}}Initialization", {"sourceURL": init.uri, **_range("range", init)})
    timeline = etree.SubElement(found, f"{{{_NS}}}SegmentTimeline")
    seconds, ends = 0.0, first
    for number, duration in enumerate(pieces.durations):
        begin, seconds = ends, seconds + duration
        ends = first + round(seconds * _TICKS)
        _entry(timeline, begin, ends - begin, told=number == 0)
    for number, uri in enumerate(pieces.uris):
        part = Part(uri, *pieces.ranges[number]) if pieces.ranges else Part(uri)
        named = {"media": part.uri} if part.uri else {}
        etree.SubElement(found, f"{{{_NS}}}SegmentURL", {**named, **_range("mediaRange", part)})
    return found


def _entry(timeline: etree._Element, begin: int, ticks: int, *, told: bool) -> None:
    """One more segment; those that last the same are one entry."""
    last = timeline[-1] if len(timeline) else None
    if last is not None and last.get("d") == str(ticks):
        last.set("r", str(int(last.get("r", "0")) + 1))
        return
    etree.SubElement(timeline, f"{{{_NS}}}S", {**({"t": str(begin)} if told else {}), "d": str(ticks)})


def _range(name: str, part: Part) -> dict[str, str]:
    if part.length is None:
        return {}
    return {name: f"{part.offset}-{part.offset + part.length - 1}"}
