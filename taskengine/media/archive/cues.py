"""Cues of WebVTT segments on the time line of a stretch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from taskengine.media.captions import vtt
from taskengine.media.captions.cues import Captions, Cue, milliseconds

_MAP = re.compile(r"^X-TIMESTAMP-MAP=(.*)$", re.MULTILINE)
_LOCAL = re.compile(r"LOCAL:(?:(\d{2,}):)?(\d{2}):(\d{2})\.(\d{3})")
_MPEG = re.compile(r"MPEGTS:(\d+)")
_WRAP_MS = round((1 << 33) / vtt.MPEG_CLOCK * 1000)  # where the clock of MPEG-TS begins anew


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


def later(text: str, seconds: float) -> str:
    """A WebVTT segment beside media whose clock is so much ahead."""
    told = _MAP.search(text)
    mpeg = _MPEG.search(told[1]) if told else None
    at = (int(mpeg[1]) if mpeg else 0) + round(seconds * vtt.MPEG_CLOCK)
    if told and mpeg:
        begin = told.start(1) + mpeg.start(1)
        return f"{text[:begin]}{at % (1 << 33)}{text[told.start(1) + mpeg.end(1) :]}"
    head, line, rest = text.partition("\n")
    return f"{head}\nX-TIMESTAMP-MAP=MPEGTS:{at},LOCAL:00:00:00.000{line}{rest}"


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
