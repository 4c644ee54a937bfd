"""What a caption file says, whatever its format was: cues on the time line, their text as WebVTT has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_BYTES = 32 * 1024 * 1024  # of a file
OPEN_END = 100 * 3600 * 1000  # of a cue that says no end: the asset's counts
HOUR = 3600 * 1000
_MARKUP = re.compile(r"</?(?:[biucv]|lang|ruby|rt)(?:[.\s][^<>]*)?>|<\d{2,}(?::\d{2}){1,2}\.\d{3}>")
_DROPPED = re.compile(r"</?(?:font|span|div|p|s|strong|em)(?:\s[^<>]*)?/?>", re.IGNORECASE)
_CAPITAL = re.compile(r"</?[BIU]>")
_INNER = re.compile(r"<(?:(\d{2,}):)?(\d{2}):(\d{2})\.(\d{3})>")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_ENTITY = re.compile(r"&(?:amp|lt|gt|nbsp|lrm|rlm|quot|apos|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")


class CaptionFault(ValueError):
    """A caption file that is broken: what is wrong, and in which line (from 1) where that can be said."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Cue:
    """A text on the time line, in milliseconds. `text` is a WebVTT payload, `settings` are WebVTT cue settings."""

    start: int
    end: int
    text: str
    settings: str = ""


@dataclass(frozen=True, slots=True)
class Captions:
    """The cues of one track in the order of their times. `language`: what the file itself says."""

    cues: Sequence[Cue]
    language: str | None = None
    blocks: Sequence[str] = ()  # STYLE and REGION blocks of a WebVTT file
    notes: Sequence[str] = ()
    hour: int = HOUR  # that its time codes count, in milliseconds


def in_order(cues: Sequence[Cue]) -> Sequence[Cue]:
    """The cues by time; those without text or length left out."""
    return sorted((cue for cue in cues if cue.text and cue.end > cue.start), key=lambda cue: (cue.start, cue.end))


def merged(cues: Sequence[Cue]) -> Sequence[Cue]:
    """The cues in order; those that go on where the same one ended, as segments divide them, are one."""
    found: list[Cue] = []
    open_ones: dict[tuple[str, str], int] = {}
    for cue in in_order(cues):
        place = open_ones.get((cue.text, cue.settings))
        if place is not None and found[place].end == cue.start:
            found[place] = replace(found[place], end=cue.end)
            continue
        open_ones[cue.text, cue.settings] = len(found)
        found.append(cue)
    return found


def payload(text: str) -> str:
    """Text with styling tags as a WebVTT payload: tags that WebVTT knows are kept, those of HTML that it does not know
    are dropped, all other `<`, `>` and `&` are escaped. Blank lines, which would end the cue, go."""
    text = _DROPPED.sub("", _BREAK.sub("\n", _CONTROL.sub("", text)))
    text = _CAPITAL.sub(lambda match: match[0].lower(), text)
    parts: list[str] = []
    place = 0
    for match in _MARKUP.finditer(text):
        parts += [escaped(text[place : match.start()]), match[0]]
        place = match.end()
    parts.append(escaped(text[place:]))
    lines = (line.strip() for line in lines_of("".join(parts)))
    return "\n".join(line for line in lines if line)


def lines_of(text: str) -> Sequence[str]:
    """The lines of a text, whatever ends them; other characters that Python takes for ends of lines are none."""
    return _LINE_END.split(text)


def escaped(text: str) -> str:
    """Plain text in a payload; what is written as a character reference already stays."""
    parts = []
    place = 0
    for match in _ENTITY.finditer(text):
        parts += [_escaped(text[place : match.start()]), match[0]]
        place = match.end()
    return "".join([*parts, _escaped(text[place:])])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def without_hours(captions: Captions, length: int) -> Captions:
    """The captions of an asset of `length` ms from its beginning on. Programmes often begin at 01:00:00 or 10:00:00: where
    every cue lies beyond the asset's end, whole hours are taken off."""
    first = min((cue.start for cue in captions.cues), default=0)
    hours = first // captions.hour
    off = hours * captions.hour
    if not hours or first < length or first - off >= length:
        return captions
    notes = [*captions.notes, f"its times begin at {hours} h: taken off"]
    return replace(captions, cues=[_moved(cue, -off) for cue in captions.cues], notes=notes)


def fitted(captions: Captions, length: int, delay: int = 0) -> Captions:
    """The captions on an asset's time line of `length` ms, `delay` ms later than the file says; 0: of unknown length.
    What is shown before the beginning or after the end is cut."""
    moved = [_moved(cue, delay) for cue in captions.cues]
    kept = in_order([replace(cue, end=min(cue.end, length)) if length else cue for cue in moved])
    lost = len(captions.cues) - len(kept)
    notes = (
        [f"{lost} of its {len(captions.cues)} cues lie outside of the asset's {length / 1000:.3f} s"] if lost else []
    )
    return replace(captions, cues=kept, notes=[*captions.notes, *notes])


def _moved(cue: Cue, by: int) -> Cue:
    text = (
        _INNER.sub(lambda match: f"<{stamp(max(0, milliseconds(match.groups()) + by))}>", cue.text) if by else cue.text
    )
    return replace(cue, start=max(0, cue.start + by), end=cue.end + by, text=text)


def milliseconds(fields: Sequence[str | None]) -> int:
    """Hours (may be None), minutes, seconds and milliseconds as one number."""
    hours, minutes, seconds, fraction = (int(field or 0) for field in fields)
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction


def stamp(time: int) -> str:
    """Milliseconds as WebVTT writes them."""
    return f"{time // 3_600_000:02d}:{time // 60_000 % 60:02d}:{time // 1000 % 60:02d}.{time % 1000:03d}"
