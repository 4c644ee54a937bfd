"""TTML, DFXP, IMSC and EBU-TT-D: what is said when, with italics, bold, underline, the usual colours and the place.

Own code, for the library that there is takes a time that grows with the square of the cues, leaves `&` and `<` as they
are in WebVTT, passes over times that it cannot read, and does not know the older namespaces. Parsed without entities,
DTD and network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from lxml import etree

from taskengine.media.captions.cues import OPEN_END, CaptionFault, Captions, Cue, escaped, in_order
from taskengine.media.captions.ttml_time import Interval, TimeBase, interval, time_base

_XML = "{http://www.w3.org/XML/1998/namespace}"
_COLORS = {
    "white": "ffffff", "lime": "00ff00", "cyan": "00ffff", "red": "ff0000", "yellow": "ffff00", "magenta": "ff00ff",
    "blue": "0000ff", "black": "000000",
}  # fmt: skip
_COLOR_OF = {code: name for name, code in _COLORS.items()}
_ALIGN = {"start": "start", "left": "left", "end": "end", "right": "right"}
_STYLED = {"fontStyle", "fontWeight", "textDecoration", "color", "textAlign", "origin", "extent", "displayAlign"}
_LOWER_HALF = 50
_MAX_DEPTH = 40
_MAX_RUNS = 2000

Styles = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds for an element: when it is active, its style, whether its white space is kept."""

    when: Interval = field(default_factory=Interval)
    style: Styles = field(default_factory=dict)
    keep: bool = False


@dataclass(frozen=True, slots=True)
class _Text:
    """A run of text."""

    text: str
    scope: _Scope


@dataclass(slots=True)
class _Reader:
    base: TimeBase
    styles: Mapping[str, etree._Element]
    regions: Mapping[str, Styles] = field(default_factory=dict)
    cues: list[Cue] = field(default_factory=list)

    def walk(self, element: etree._Element, outer: _Scope, at: Fraction) -> Interval:
        """Gather the cues of `body` or `div`; when it is active."""
        scope = self._scope(element, outer, at)
        then = scope.when.begin
        for child in element.iterchildren(tag=etree.Element):
            if _name(child) == "p":
                shown = self._paragraph(child, scope, then)
            elif _name(child) == "div":
                shown = self.walk(child, scope, then)
            else:
                continue
            if _attributes(element).get("timeContainer") == "seq":
                then = shown.end if shown.end is not None else shown.begin
        return scope.when

    def _scope(self, element: etree._Element, outer: _Scope, at: Fraction) -> _Scope:
        attributes = _attributes(element)
        when = interval(attributes, self.base, outer.when, at, _line(element))
        region = self.regions.get(attributes.get("region", ""), {})
        space = element.get(f"{_XML}space")
        return _Scope(
            when, {**outer.style, **region, **self.styled(element)}, space == "preserve" if space else outer.keep
        )

    def styled(self, element: etree._Element, depth: int = 0) -> Styles:
        """What the element's referenced styles and itself say."""
        attributes = _attributes(element)
        found: dict[str, str] = {}
        for name in attributes.get("style", "").split():
            if name in self.styles and depth < _MAX_DEPTH:
                found |= self.styled(self.styles[name], depth + 1)
        return found | {name: value for name, value in attributes.items() if name in _STYLED}

    def _paragraph(self, element: etree._Element, outer: _Scope, at: Fraction) -> Interval:
        """A `p` gives a cue for every time in which the same of its spans are shown."""
        scope = self._scope(element, outer, at)
        runs = list(self._runs(element, scope))
        if len(runs) > _MAX_RUNS:
            raise CaptionFault(f"it has more than {_MAX_RUNS} pieces of text in one paragraph", _line(element))
        times = {time for run in runs for time in (run.scope.when.begin, run.scope.when.end) if time is not None}
        for begin, end in pairwise([*sorted(times), None]):
            shown = [run for run in runs if begin is not None and _active(run.scope.when, begin)]
            if begin is not None and (text := _payload(shown)):
                until = _ms(end) if end is not None else OPEN_END
                self.cues.append(Cue(_ms(begin), until, text, _settings(scope.style)))
        return scope.when

    def _runs(self, element: etree._Element, scope: _Scope, depth: int = 0) -> Iterator[_Text]:
        if depth > _MAX_DEPTH:
            raise CaptionFault(f"its elements lie more than {_MAX_DEPTH} deep in one another", _line(element))
        yield from _run(element.text, scope)
        for child in element:  # comments and references have text after them, too
            tag: object = child.tag
            name = _name(child) if isinstance(tag, str) else ""
            if name == "br":
                yield _Text("\n", _Scope(scope.when))
            elif name == "span":
                yield from self._runs(child, self._scope(child, scope, scope.when.begin), depth + 1)
            yield from _run(child.tail, scope)


def _active(when: Interval, time: Fraction) -> bool:
    return when.begin <= time and (when.end is None or when.end > time)


def read(data: bytes) -> Captions:
    """The cues of a TTML document. Raises CaptionFault."""
    root = _root(data)
    attributes = _attributes(root)
    styles = {str(element.get(f"{_XML}id")): element for element in _all(root, "style") if element.get(f"{_XML}id")}
    reader = _Reader(time_base(attributes, _line(root)), styles)
    reader.regions = {str(element.get(f"{_XML}id")): _region(reader, element) for element in _all(root, "region")}
    body = next(iter(_all(root, "body")), None)
    if body is not None:
        reader.walk(body, _Scope(keep=root.get(f"{_XML}space") == "preserve"), Fraction(0))
    cues = in_order(reader.cues)
    if not cues:
        pictures = " (it has pictures alone, which cannot be made text)" if _all(root, "image") else ""
        raise CaptionFault(f"it has no text that is shown at any time{pictures}")
    return Captions(cues, root.get(f"{_XML}lang") or None)


def _root(data: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise CaptionFault(f"it is not XML: {error.msg}", error.lineno) from error
    if _name(root) != "tt":
        raise CaptionFault(f"its root is {_name(root)!r}, not 'tt'", _line(root))
    return root


def _region(reader: _Reader, element: etree._Element) -> Styles:
    """The style of a region: of its attributes, and of the style elements in it."""
    within = [reader.styled(child) for child in element.iterchildren(tag=etree.Element) if _name(child) == "style"]
    return {name: value for styles in [*within, reader.styled(element)] for name, value in styles.items()}


def _run(text: str | None, scope: _Scope) -> Iterator[_Text]:
    if text:
        yield _Text(text if scope.keep else re.sub(r"\s+", " ", text), scope)


def _payload(runs: Sequence[_Text]) -> str:
    text = "".join(_marked(_escaped(run.text), run.scope.style) for run in runs)
    lines = (re.sub(r"[ \t]{2,}", " ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if re.sub(r"<[^<>]*>", "", line).strip())


def _escaped(text: str) -> str:
    """Text of XML, whose references are resolved already: every `&` is one."""
    return escaped(text.replace("&", "&amp;"))


def _marked(text: str, style: Styles) -> str:
    if not text.strip():
        return text
    tags = [("i", style.get("fontStyle") in {"italic", "oblique"}), ("b", style.get("fontWeight") == "bold"),
            ("u", "underline" in style.get("textDecoration", "").split())]  # fmt: skip
    for tag, holds in tags:
        text = f"<{tag}>{text}</{tag}>" if holds else text
    color = _color(style.get("color", ""))
    return f"<c.{color}>{text}</c>" if color and color != "white" else text


def _color(value: str) -> str | None:
    """One of the colours that WebVTT has classes for."""
    value = value.strip().lower()
    return value if value in _COLORS else _COLOR_OF.get(value.removeprefix("#")[:6])


def _settings(style: Styles) -> str:
    """Where it stands: what is in the upper half is said, the lower one is where players put it."""
    settings = []
    share = [_percent(part) for part in style.get("origin", "").split()]
    extent = [_percent(part) for part in style.get("extent", "").split()]
    top = share[1] if len(share) == 2 else None
    height = extent[1] if len(extent) == 2 and extent[1] is not None else 10.0
    if top is not None:
        after = style.get("displayAlign") == "after"
        place = top + height if after else top
        if place < _LOWER_HALF:
            settings.append(f"line:{max(0, round(place - (10 if after else 0)))}%")
    if align := _ALIGN.get(style.get("textAlign", "")):
        settings.append(f"align:{align}")
    return " ".join(settings)


def _percent(text: str) -> float | None:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%", text)
    return float(match[1]) if match else None


def _ms(time: Fraction) -> int:
    return min(OPEN_END, round(time * 1000))


def _all(root: etree._Element, name: str) -> Sequence[etree._Element]:
    return [element for element in root.iter(etree.Element) if _name(element) == name]


def _name(element: etree._Element) -> str:
    return etree.QName(element).localname


def _attributes(element: etree._Element) -> Mapping[str, str]:
    """By local name: namespaces differ from year to year."""
    return {etree.QName(str(name)).localname: str(value) for name, value in element.attrib.items()
            if not str(name).startswith(_XML)}  # fmt: skip


def _line(element: etree._Element) -> int | None:
    line: object = element.sourceline
    return line if isinstance(line, int) else None
