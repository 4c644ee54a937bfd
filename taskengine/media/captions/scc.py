"""Scenarist closed captions: CEA-608 byte pairs by time code, one pair a frame."""

from __future__ import annotations

import re

from taskengine.media.captions.cea608 import LINGERS_MS, Cea608
from taskengine.media.captions.cues import HOUR, CaptionFault, Captions, in_order, lines_of

_SIGNATURE = "Scenarist_SCC V1.0"
_LINE = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.,])(\d{2})[ \t]+(.*)")
_NOMINAL = 30


def read(text: str) -> Captions:
    """The captions of the first channel that has some. Raises CaptionFault."""
    lines = lines_of(text.rstrip())
    if lines[0].strip() != _SIGNATURE:
        raise CaptionFault(f"it does not begin with {_SIGNATURE!r}", 1)
    decoder, frame = Cea608(), 0
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            frame = max(frame, _feed(decoder, line.strip(), number, frame))
    channels = decoder.finish(_ms(frame) + LINGERS_MS)
    if not channels:
        raise CaptionFault("it has no caption", len(lines))
    name, cues = next(iter(channels.items()))
    others = [f"its captions of {other} are left out; {name} is used" for other in channels if other != name]
    drops = any(match[4] in ";," for match in map(_LINE.fullmatch, lines) if match)
    return Captions(in_order(cues), notes=others, hour=HOUR if drops else _ms(3600 * _NOMINAL))


def _feed(decoder: Cea608, line: str, number: int, before: int) -> int:
    """Feed one line; the frame after its last pair. Lines that overlap follow one another, as they would on air."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise CaptionFault(
            f"it cannot be read: {line[:40]!r}; expected such as 00:00:01:15, then words of four hexadecimal digits",
            number,
        )
    frame = max(before, _frame(match, number))
    for word in match[6].split():
        if not re.fullmatch(r"[0-9A-Fa-f]{4}", word):
            raise CaptionFault(f"it has {word[:20]!r} where four hexadecimal digits are expected", number)
        decoder.feed(0, _ms(frame), *bytes.fromhex(word))
        frame += 1
    return frame


def _frame(match: re.Match[str], number: int) -> int:
    """The number of the frame that a time code names; with `;` two numbers a minute are dropped, but each tenth."""
    hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
    if minutes > 59 or seconds > 59 or frames >= _NOMINAL:
        raise CaptionFault(f"there is no time {match[0].split()[0]}", number)
    frame = ((hours * 60 + minutes) * 60 + seconds) * _NOMINAL + frames
    passed = hours * 60 + minutes
    return frame - 2 * (passed - passed // 10) if match[4] in ";," else frame


def _ms(frame: int) -> int:
    return round(frame * 1001 / _NOMINAL)
