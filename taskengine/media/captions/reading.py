"""A caption file of any format into cues."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from taskengine.media.captions import scc, srt, ttml, vtt
from taskengine.media.captions.charset import decode
from taskengine.media.captions.cues import CaptionFault, Captions

MAX_CUES = 100_000
_TEXTS: Mapping[str, Callable[[str], Captions]] = {"srt": srt.read, "vtt": vtt.read, "scc": scc.read}
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


def read(data: bytes, extension: str, language: str | None = None) -> Captions:
    """The cues of a file. Its beginning tells the format, else the extension of its name; `language`, where it is known,
    helps with character sets. Raises CaptionFault."""
    text, charset = decode(data, language)
    kind = _kind(text, extension)
    captions = _xml(data, text) if kind == "ttml" else _TEXTS[kind](text)
    if len(captions.cues) > MAX_CUES:
        raise CaptionFault(f"it has {len(captions.cues)} cues; {MAX_CUES} are allowed")
    if charset and kind != "ttml":
        return replace(captions, notes=[f"it is read as {charset}", *captions.notes])
    return captions


def _kind(text: str, extension: str) -> str:
    begin = text.lstrip()[:400]
    if begin.startswith("WEBVTT"):
        return "vtt"
    if begin.startswith("Scenarist_SCC"):
        return "scc"
    if begin.startswith("<"):
        return "ttml"
    return extension if extension in _TEXTS else "ttml"


def _xml(data: bytes, text: str) -> Captions:
    """XML says its character set itself; where it says a wrong one, the text that was found counts."""
    try:
        return ttml.read(data)
    except CaptionFault:
        repaired = _DECLARATION.sub("", text, count=1).encode()
        if repaired == data:
            raise
        return ttml.read(repaired)
