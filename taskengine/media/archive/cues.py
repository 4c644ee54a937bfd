"""Cues of WebVTT segments on the time line of a stretch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from taskengine.media.captions import vtt
from taskengine.media.captions.cues import Captions, Cue, milliseconds, stamp

_MAP = re.compile(r"^X-TIMESTAMP-MAP=(.*)$", re.MULTILINE)
_LOCAL = re.compile(r"LOCAL:(?:(\d{2,}):)?(\d{2}):(\d{2})\.(\d{3})")
_MPEG = re.compile(r"MPEGTS:(\d+)")
_FIRST = re.compile(r"^[ \t]*(?:(\d{2,}):)?(\d{2}):(\d{2})\.(\d{3})[ \t]+-->", re.MULTILINE)
_WRAP = 1 << 33  # where the clock of MPEG-TS begins anew
_WRAP_MS = round(_WRAP / vtt.MPEG_CLOCK * 1000)


def joined(texts: Sequence[str], begin: float, seconds: float) -> str:
    """The cues of these segments as one WebVTT file. `begin`: when the stretch begins on the clock of the media (seconds),
    which is the zero of the file; what is outside of its `seconds` is cut off. Raises CaptionFault."""
    cues: dict[Cue, None] = {}
    blocks: dict[str, None] = {}
    for text in texts:
        captions = vtt.read(vtt.unmapped(text.lstrip("\ufeff")))
        shift = _shift(text) - round(begin * 1000)
        shift += _WRAP_MS * round((-shift - (captions.cues[0].start if captions.cues else 0)) / _WRAP_MS)
        blocks |= dict.fromkeys(captions.blocks)
        for cue in captions.cues:
            start, end = max(0, cue.start + shift), min(round(seconds * 1000), cue.end + shift)
            if start < end:
                cues[replace(cue, start=start, end=end)] = None
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    return vtt.write(Captions(_whole(ordered), None, list(blocks)))


def tied(text: str, ahead: float = 0.0) -> str:
    """A WebVTT segment whose map names its first cue's time on the clock of the media beside it, which is `ahead` (seconds)
    of the archive's. Players disagree about a segment without a map after a discontinuity, and about a map of the clock's zero
    where the clock of MPEG-TS has begun anew since. One without a cue says nothing, and is left as it is."""
    first = _FIRST.search(text)
    if first is None:
        return text
    start = milliseconds(first.groups())
    told = _MAP.search(text)
    mpeg, local = (_MPEG.search(told[1]), _LOCAL.search(told[1])) if told else (None, None)
    since = start - (milliseconds(local.groups()) if local else 0)
    at = (int(mpeg[1]) if mpeg else 0) + round((since / 1000 + ahead) * vtt.MPEG_CLOCK)
    line = f"X-TIMESTAMP-MAP=MPEGTS:{at % _WRAP},LOCAL:{stamp(start)}"
    if told:
        return f"{text[: told.start()]}{line}{text[told.end() :]}"
    head, end, rest = text.partition("\n")
    return f"{head}\n{line}{end}{rest}"


def _shift(text: str) -> int:
    """Milliseconds from the times of a segment to those of the media."""
    told = _MAP.search(text)
    if told is None:
        return 0
    local, mpeg = _LOCAL.search(told[1]), _MPEG.search(told[1])
    at = milliseconds(local.groups()) if local else 0
    return round(int(mpeg[1]) / vtt.MPEG_CLOCK * 1000) - at if mpeg else -at


def _whole(cues: Sequence[Cue]) -> Sequence[Cue]:
    """A cue that goes on in the next segment, as one."""
    found: list[Cue] = []
    for cue in cues:
        place = next(
            (
                index for index, each in enumerate(found)
                if each.end >= cue.start and (each.text, each.settings) == (cue.text, cue.settings)
            ),
            None,
        )  # fmt: skip
        if place is None:
            found.append(cue)
        else:
            found[place] = replace(found[place], end=max(found[place].end, cue.end))
    return found
