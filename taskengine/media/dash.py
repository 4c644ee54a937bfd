"""DASH manifests: what they name, and how one is moved above its set. Parsed without entities, DTD and network."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from lxml import etree

from taskengine.media import roles
from taskengine.media.labels import default_audio, labels
from taskengine.media.languages import UNDETERMINED
from taskengine.media.pssh import read_pssh
from taskengine.media.thumbnails import Grid
from taskengine.media.tracks import Media, Track, TrackKind, text_file

_NS = "{urn:mpeg:dash:schema:mpd:2011}"
_KID = "{urn:mpeg:cenc:2013}default_KID"
_PSSH = "{urn:mpeg:cenc:2013}pssh"
_PRO = "{urn:microsoft:playready}pro"
_TRICK_MODE = "http://dashif.org/guidelines/trickmode"
_COLOURS = "urn:mpeg:mpegB:cicp:"
_ROLES = "urn:mpeg:dash:role:2011"
_LAST = {"Rating", "Viewpoint", "BaseURL", "SegmentTemplate", "SegmentList", "SegmentBase", "Representation"}
_REFERENCES = {"media", "initialization", "sourceURL"}
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|/")
_MAX_SEGMENTS = 1_000_000
_NOTABLE_S = 0.1  # priming and rounding make up less


class ManifestFault(ValueError):
    """A manifest that is wrong, and why."""


@dataclass(frozen=True, slots=True)
class Representation:
    """A representation with a segment timeline: (URI, seconds) of each segment. One that is a file as a whole, as texts
    are, has one of no length."""

    id: str
    content: str  # video, audio, text
    init: str | None
    segments: Sequence[tuple[str, float]]
    codecs: str = ""

    @property
    def duration(self) -> float:
        """Seconds of all segments."""
        return sum(seconds for _, seconds in self.segments)


def _root(text: str) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise ManifestFault(f"it is not XML: {error}") from error
    if root.tag != f"{_NS}MPD":
        raise ManifestFault(f"its root is {root.tag}, not an MPD")
    return root


def read(text: str) -> Sequence[Representation]:
    """The representations of a static MPD whose segments are listed by templates with timelines."""
    root = _root(text)
    try:
        found = [representation for period in root.iterfind(f"{_NS}Period") for representation in _period(period)]
    except (KeyError, ValueError) as error:
        raise ManifestFault(f"it does not parse: {error!r}") from error
    if not found:
        raise ManifestFault("it has no representation")
    return found


def read_key_ids(text: str) -> Mapping[str, str]:
    """Init segment → the id (a UUID) of the key that its representation needs first."""
    found: dict[str, str] = {}
    for adaptation in _root(text).iter(f"{_NS}AdaptationSet"):
        ids = [key_id for each in adaptation.iterfind(f"{_NS}ContentProtection") if (key_id := each.get(_KID))]
        for template in adaptation.iter(f"{_NS}SegmentTemplate"):
            if ids and (init := template.get("initialization")):
                found[init] = ids[0].lower()
    return found


def read_protection(text: str) -> Mapping[str, Sequence[str]]:
    """Init segment → the ContentProtection elements of its representation, as XML."""
    found: dict[str, Sequence[str]] = {}
    for adaptation in _root(text).iter(f"{_NS}AdaptationSet"):
        elements = [
            etree.tostring(each, encoding="unicode", with_tail=False)
            for each in adaptation.iterfind(f"{_NS}ContentProtection")
        ]
        for template in adaptation.iter(f"{_NS}SegmentTemplate"):
            found[template.get("initialization", "")] = elements
    return found


def with_boxes(text: str, boxes: Mapping[str, Mapping[str, bytes]]) -> str:
    """The manifest with the PSSH boxes of a system replaced: init segment → the system's id → its box for that track's key.

    Packager has one set of boxes for all tracks.
    """
    root = _root(text)
    for adaptation in root.iter(f"{_NS}AdaptationSet"):
        inits = [template.get("initialization", "") for template in adaptation.iter(f"{_NS}SegmentTemplate")]
        own = next((boxes[init] for init in inits if init in boxes), {})
        for element in adaptation.iterfind(f"{_NS}ContentProtection"):
            box = own.get(element.get("schemeIdUri", "").lower().removeprefix("urn:uuid:"))
            if box is not None:
                _set_box(element, box)
    return _text(root)


def _set_box(element: etree._Element, box: bytes) -> None:
    for child in element:
        if child.tag == _PSSH:
            child.text = base64.b64encode(box).decode()
        elif child.tag == _PRO:
            child.text = base64.b64encode(read_pssh(box).data).decode()


def _period(period: etree._Element) -> Iterator[Representation]:
    for adaptation in period.iterfind(f"{_NS}AdaptationSet"):
        shared = adaptation.find(f"{_NS}SegmentTemplate")
        for element in adaptation.iterfind(f"{_NS}Representation"):
            own = element.find(f"{_NS}SegmentTemplate")
            template = own if own is not None else shared
            whole = element.find(f"{_NS}BaseURL")
            if template is None and whole is not None and whole.text:
                yield Representation(
                    element.get("id", ""), adaptation.get("contentType", ""), None, [(whole.text, 0.0)]
                )
                continue
            if template is None:
                raise ManifestFault(f"representation {element.get('id')} has no segment template")
            yield _representation(element, adaptation.get("contentType", ""), template)


def _representation(element: etree._Element, content: str, template: etree._Element) -> Representation:
    values = {"RepresentationID": element.get("id", ""), "Bandwidth": element.get("bandwidth", "")}
    media = template.get("media", "")
    init = template.get("initialization")
    number = int(template.get("startNumber", "1"))
    timescale = int(template.get("timescale", "1"))
    segments = [
        (expand(media, values | {"Number": str(number + index), "Time": str(time)}), duration / timescale)
        for index, (time, duration) in enumerate(_timeline(template))
    ]
    first = expand(init, values) if init else None
    return Representation(values["RepresentationID"], content, first, segments, element.get("codecs", ""))


def _timeline(template: etree._Element) -> Iterator[tuple[int, int]]:
    """(begin, duration) of each segment."""
    time, count = 0, 0
    for entry in template.iterfind(f"{_NS}SegmentTimeline/{_NS}S"):
        time = int(entry.get("t", str(time)))
        duration = int(entry.get("d", "0"))
        repeat = int(entry.get("r", "0"))
        if repeat < 0 or count + repeat > _MAX_SEGMENTS:
            raise ManifestFault(f"its timeline repeats a segment {repeat} times")
        for _ in range(repeat + 1):
            yield time, duration
            time += duration
            count += 1


def expand(template: str, values: Mapping[str, str]) -> str:
    """A URI template with its identifiers filled in (`$Number%05d$`, `$$`)."""
    parts = template.split("$")
    if len(parts) % 2 == 0:
        raise ManifestFault(f"the template {template!r} has an odd number of $")
    return "".join(part if index % 2 == 0 else _filled(part, values) for index, part in enumerate(parts))


def _filled(identifier: str, values: Mapping[str, str]) -> str:
    if not identifier:
        return "$"
    name, _, width = identifier.partition("%")
    value = values[name]
    return value.zfill(int(width.rstrip("d"))) if width else value


def aligned(text: str) -> str:
    """The manifest with one beginning for all tracks, the first video frame's (else the earliest track's).

    Where tracks begin at different times, packager at times gives each its own beginning, which would pull them apart.
    It takes the video's length for the whole one's: a longer audio track would be cut by players.
    """
    root = _root(text)
    length = 0.0
    for period in root.iterfind(f"{_NS}Period"):
        templates = list(period.iterfind(f".//{_NS}SegmentTemplate"))
        base = min(_begins(period), default=0.0)
        for template in templates:
            offset = round(base * int(template.get("timescale", "1")))
            template.attrib.pop("presentationTimeOffset", "")
            if offset:
                template.set("presentationTimeOffset", str(offset))
        length += max((_end(template) - base for template in templates), default=0.0)
    if length > _seconds(root.get("mediaPresentationDuration", "")) + _NOTABLE_S:
        root.set("mediaPresentationDuration", f"PT{length:.6f}".rstrip("0").rstrip(".") + "S")
    return _text(root)


def turned(text: str, inits: Collection[str]) -> str:
    """The manifest with the pictures of these init segments as wide as they were high: packager tells their size before
    players turn them."""
    root = _root(text)
    for adaptation in root.iter(f"{_NS}AdaptationSet"):
        representations = adaptation.findall(f"{_NS}Representation")
        own = [each for each in representations if _initialization(each) in inits]
        if not own:
            continue
        shared = {name: adaptation.attrib.pop(name) for name in ("width", "height") if name in adaptation.attrib}
        for name in ("par", "maxWidth", "maxHeight"):
            adaptation.attrib.pop(name, "")
        for representation in representations:
            for name, value in shared.items():
                representation.set(name, representation.get(name, value))
        for representation in own:
            width, height = representation.get("width", ""), representation.get("height", "")
            representation.set("width", height)
            representation.set("height", width)
            representation.set("sar", ":".join(reversed(representation.get("sar", "1:1").split(":"))))
    return _text(root)


def _initialization(representation: etree._Element) -> str:
    template = representation.find(f"{_NS}SegmentTemplate")
    return template.get("initialization", "") if template is not None else ""


def begin(text: str) -> float:
    """When its video begins on the clock of the media, in seconds; where there is none, its earliest track."""
    return min(_begins(_root(text)), default=0.0)


def _begins(root: etree._Element) -> Sequence[float]:
    begins = [(_is_video(template), _begin(template)) for template in root.iter(f"{_NS}SegmentTemplate")]
    return [begin for video, begin in begins if video] or [begin for _, begin in begins]


def described(text: str, media: Media) -> str:
    """The manifest with its audio tracks called and marked as they are, and with the text tracks, each a WebVTT file.
    Tracks are found by their init segments, `<track>/…`."""
    root = _root(text)
    called = labels(media.tracks)
    tracks = {track.name: track for track in media.tracks}
    default = default_audio(media)
    for adaptation in root.iter(f"{_NS}AdaptationSet"):
        template = adaptation.find(f".//{_NS}SegmentTemplate")
        uri = template.get("initialization", "") if template is not None else ""
        track = tracks.get(uri.partition("/")[0])
        if track is not None and track.kind is TrackKind.AUDIO:
            describe(adaptation, track, called[track.name], main=bool(default and track.language == default.language))
    period = root.find(f"{_NS}Period")
    if period is None:
        raise ManifestFault("it has no period")
    for track in media.of(TrackKind.TEXT):
        _add_text(period, track, called[track.name], media.duration)
    return _text(root)


def describe(adaptation: etree._Element, track: Track, label: str, *, main: bool) -> None:
    """Language, labels, purpose and role, in the order of the schema: before the representations."""
    for name in ("Label", "Accessibility", "Role"):
        for element in adaptation.findall(f"{_NS}{name}"):
            adaptation.remove(element)
    adaptation.attrib.pop("lang", "")
    if track.language != UNDETERMINED:
        adaptation.set("lang", track.language)
    role = track.role or ("main" if main else None)
    scheme, purpose = roles.purpose(track.role) or ("", "")
    described = [
        _element("Label", label, id="0"),
        *([_element("Label", track.description, id="1")] if track.description else []),
        *([_element("Accessibility", schemeIdUri=scheme, value=purpose)] if purpose else []),
        *([_element("Role", schemeIdUri=_ROLES, value=role)] if role else []),
    ]
    place = next(
        (index for index, child in enumerate(adaptation) if etree.QName(child).localname in _LAST), len(adaptation)
    )
    for element in reversed(described):
        adaptation.insert(place, element)


def _element(name: str, text: str | None = None, **attributes: str) -> etree._Element:
    element = etree.Element(f"{_NS}{name}", attributes)
    element.text = text
    return element


def _add_text(period: etree._Element, track: Track, label: str, duration: float) -> None:
    adaptation = etree.SubElement(period, f"{_NS}AdaptationSet", contentType="text", mimeType="text/vtt")
    describe(adaptation, track, label, main=False)
    bandwidth = str(max(1, track.bitrate or round(track.duration / max(duration, 1))))
    representation = etree.SubElement(adaptation, f"{_NS}Representation", id=track.name, bandwidth=bandwidth)
    representation.append(_element("BaseURL", text_file(track.name)))


def with_trick_set(text: str, init: str) -> str:
    """The manifest with the representation whose init segment this is in a trick-mode set of its own.

    Packager takes the key frames of a video that has one alone for a rendition like others, which players would choose.
    """
    root = _root(text)
    template = root.find(f".//{_NS}SegmentTemplate[@initialization='{init}']")
    representation = template.getparent() if template is not None else None
    adaptation = representation.getparent() if representation is not None else None
    if representation is None or adaptation is None:
        raise ManifestFault(f"it has no representation with {init}")
    if adaptation.find(f"{_NS}EssentialProperty[@schemeIdUri='{_TRICK_MODE}']") is not None:
        return text
    numbers = [int(found.get("id", "0")) for found in root.iter(f"{_NS}AdaptationSet")]
    own = etree.Element(f"{_NS}AdaptationSet", id=str(max(numbers) + 1))
    for name, value in adaptation.attrib.items():
        if name not in {"id", "frameRate", "maxFrameRate"}:
            own.set(name, value)
    own.extend(deepcopy(each) for each in adaptation.iterfind(f"{_NS}ContentProtection"))
    etree.SubElement(own, f"{_NS}EssentialProperty", schemeIdUri=_TRICK_MODE, value=adaptation.get("id", ""))
    colours = adaptation.iterfind(f"{_NS}SupplementalProperty")
    own.extend(deepcopy(each) for each in colours if each.get("schemeIdUri", "").startswith(_COLOURS))
    own.append(representation)
    adaptation.addnext(own)
    return _text(root)


def with_tiles(text: str, grid: Grid, template: str, bandwidth: int) -> str:
    """The manifest with a thumbnail track, as DASH-IF's guidelines (IOP, 6.2.6) have it. `template`: URI of a sheet by
    `$Number$`, from 1; `bandwidth` in bit/s."""
    root = _root(text)
    period = root.find(f"{_NS}Period")
    if period is None:
        raise ManifestFault("it has no period")
    adaptation = etree.SubElement(period, f"{_NS}AdaptationSet", contentType="image", mimeType="image/jpeg")
    sheet = (grid.width * grid.columns, grid.height * grid.rows)
    representation = etree.SubElement(
        adaptation, f"{_NS}Representation", id="thumbnails", bandwidth=str(bandwidth), width=str(sheet[0]),
        height=str(sheet[1]),
    )  # fmt: skip
    etree.SubElement(
        representation, f"{_NS}EssentialProperty", schemeIdUri="http://dashif.org/guidelines/thumbnail_tile",
        value=f"{grid.columns}x{grid.rows}",
    )  # fmt: skip
    etree.SubElement(
        representation, f"{_NS}SegmentTemplate", media=template, startNumber="1", timescale="1000",
        duration=str(round(grid.sheet_duration * 1000)),
    )  # fmt: skip
    return _text(root)


def _seconds(duration: str) -> float:
    """A duration as packager writes it: `PT9.5S`; infinite where it is written otherwise."""
    match = re.fullmatch(r"PT(\d+(?:\.\d+)?)S", duration)
    return float(match[1]) if match else math.inf


def _end(template: etree._Element) -> float:
    times = [time + duration for time, duration in _timeline(template)]
    return max(times, default=0) / int(template.get("timescale", "1"))


def _is_video(template: etree._Element) -> bool:
    return any(ancestor.get("contentType") == "video" for ancestor in template.iterancestors(f"{_NS}AdaptationSet"))


def _begin(template: etree._Element) -> float:
    first = next(_timeline(template), (0, 0))
    return first[0] / int(template.get("timescale", "1"))


def _text(root: etree._Element) -> str:
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode()


def with_prefix(text: str, prefix: str) -> str:
    """The manifest with its segments found below `prefix` (`v/1-1/clear/`)."""
    root = _root(text)
    refer_below(root, prefix)
    return _text(root)


def refer_below(root: etree._Element, prefix: str) -> None:
    """Prefix each relative reference in an element. Not by one more BaseURL: ffmpeg resolves no BaseURL in another one."""
    for element in root.iter():
        if element.tag == f"{_NS}BaseURL":
            if not _based(element.getparent(), root):
                element.text = _below(prefix, element.text or "")
        elif (names := _REFERENCES & set(element.keys())) and not _based(element, root):
            for name in names:
                element.set(name, _below(prefix, element.get(name) or ""))


def _based(element: etree._Element | None, root: etree._Element) -> bool:
    """Whether references of an element count from a BaseURL above it."""
    while element is not None and element is not root:
        element = element.getparent()
        if element is not None and element.find(f"{_NS}BaseURL") is not None:
            return True
    return False


def _below(prefix: str, reference: str) -> str:
    return reference if _ABSOLUTE.match(reference) else prefix + reference
