"""SubRip: numbered blocks of times and text. Read as players read it, broken times refused by their line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from taskengine.media.captions.cues import CaptionFault, Captions, Cue, in_order, lines_of, payload

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_LIKE_TIMES = re.compile(r"\s*\d{1,3}:\d{1,2}[:.,]\S*\s*(?:[-–—]+>?|$)")  # dashes as word processors set them
_PLACED = re.compile(r"\{\\an?(\d{1,2})\}")
_OVERRIDES = re.compile(r"\{\\[^{}]*\}")
_TOP, _MIDDLE = {"7", "8", "9"}, {"4", "5", "6"}
_LEFT, _RIGHT = {"1", "4", "7"}, {"3", "6", "9"}


def read(text: str) -> Captions:
    """The cues of a SubRip file. Raises CaptionFault."""
    lines = lines_of(text)
    cues = [_cue(lines, line, end) for line, end in _blocks(lines)]
    if not cues:
        raise CaptionFault(
            "it has no cue: expected times such as 00:00:01,000 --> 00:00:02,500", 1 if text.strip() else None
        )
    return Captions(in_order(cues))


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(the line with the times, where the next block begins) of each block, from 0."""
    heads = [index for index, line in enumerate(lines) if _is_head(lines, index, line)]
    before = next((index for index, line in enumerate(lines) if line.strip()), 0)
    first = _begin(lines, heads[0]) if heads else before
    if before < first:
        raise CaptionFault(f"it is no cue: {lines[before].strip()[:60]!r}", before + 1)
    for index, head in enumerate(heads):
        yield head, _begin(lines, heads[index + 1]) if index + 1 < len(heads) else len(lines)


def _is_head(lines: Sequence[str], index: int, line: str) -> bool:
    """Whether it is the line with a cue's times; a fault where it must be one and cannot be read."""
    if _TIMES.fullmatch(line):
        return True
    after_number = index > 0 and lines[index - 1].strip().isdigit() and (index == 1 or not lines[index - 2].strip())
    if after_number and (_LIKE_TIMES.match(line) or "-->" in line):
        raise CaptionFault(
            f"its times cannot be read: {line.strip()[:60]!r}; expected such as 00:00:01,000 --> 00:00:02,500",
            index + 1,
        )
    return False


def _begin(lines: Sequence[str], head: int) -> int:
    """Where a block begins: at its number, where it has one."""
    return head - 1 if head and lines[head - 1].strip().isdigit() else head


def _cue(lines: Sequence[str], head: int, end: int) -> Cue:
    fields = [field for match in [_TIMES.fullmatch(lines[head])] if match for field in match.groups()]
    start, stop = _milliseconds(fields[:4], head), _milliseconds(fields[4:8], head)
    if stop < start:
        raise CaptionFault(f"its cue ends before it begins: {lines[head].strip()[:60]!r}", head + 1)
    text = "\n".join(lines[head + 1 : end])
    return Cue(start, stop, payload(_OVERRIDES.sub("", text)), _settings(text))


def _milliseconds(fields: Sequence[str | None], line: int) -> int:
    hours, minutes, seconds, fraction = (field or "0" for field in fields)
    if int(minutes) > 59 or int(seconds) > 59:
        raise CaptionFault(f"its times cannot be read: there are no {minutes} minutes {seconds} seconds", line + 1)
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))


def _settings(text: str) -> str:
    """Where the text stands, as an alignment of SubStation (7 to 9: above) says it."""
    match = _PLACED.search(text)
    place = match[1] if match else ""
    line = ["line:0"] if place in _TOP else ["line:50%"] if place in _MIDDLE else []
    align = ["align:left"] if place in _LEFT else ["align:right"] if place in _RIGHT else []
    return " ".join([*line, *align])
