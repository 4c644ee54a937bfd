"""WebVTT: read strictly where times are concerned, as players read it elsewhere; written for HLS and DASH."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taskengine.media.captions.cues import CaptionFault, Captions, Cue, in_order, lines_of, milliseconds, payload, stamp

_TIME = r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMES = re.compile(rf"\s*{_TIME}[ \t]+-->[ \t]+{_TIME}(?:[ \t]+(.*))?\s*")
_SETTING = re.compile(r"(?:vertical|line|position|size|align|region):\S+")
_MAP = "X-TIMESTAMP-MAP="
MPEG_CLOCK = 90_000


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines between blank lines; `line`: the number of the first one, from 1."""

    line: int
    lines: Sequence[str]


def read(text: str) -> Captions:
    """The cues of a WebVTT file, with its STYLE and REGION blocks. Raises CaptionFault."""
    lines = lines_of(text)
    if not re.fullmatch(r"WEBVTT(?:[ \t].*)?", lines[0]):
        raise CaptionFault("it does not begin with WEBVTT", 1)
    header, *blocks = _blocks(lines)
    if early := next((index for index, line in enumerate(header.lines) if "-->" in line), 0):
        blocks.insert(0, _Block(early + 1, header.lines[early:]))
    cues: list[Cue] = []
    kept: list[str] = []
    for block in blocks:
        first = block.lines[0].strip()
        if first in {"STYLE", "REGION"} and not cues:
            kept.append("\n".join(line.replace("-->", "") for line in block.lines))
        elif first != "NOTE" and not first.startswith(("NOTE ", "NOTE\t")) and first not in {"STYLE", "REGION"}:
            cues.append(_cue(block))
    language = next((line.partition(":")[2].strip() for line in header.lines if line.startswith("Language:")), None)
    return Captions(in_order(cues), language, kept)


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    """The header and what follows it."""
    begin = 0
    for index, line in enumerate([*lines, ""]):
        if not line.strip():
            if index > begin:
                yield _Block(begin + 1, lines[begin:index])
            begin = index + 1


def _cue(block: _Block) -> Cue:
    place = next((index for index, line in enumerate(block.lines[:2]) if "-->" in line), None)
    if place is None:
        raise CaptionFault(f"it is no cue: {block.lines[0].strip()[:60]!r} has no times", block.line)
    number = block.line + place
    match = _TIMES.fullmatch(block.lines[place])
    if match is None:
        said = block.lines[place].strip()[:60]
        raise CaptionFault(
            f"its times cannot be read: {said!r}; expected such as 00:00:01.000 --> 00:00:02.500", number
        )
    start, end = milliseconds(match.groups()[:4]), milliseconds(match.groups()[4:8])
    if end < start:
        raise CaptionFault(f"its cue ends before it begins: {block.lines[place].strip()[:60]!r}", number)
    return Cue(start, end, payload("\n".join(block.lines[place + 1 :])), " ".join(_SETTING.findall(match[9] or "")))


def write(captions: Captions) -> str:
    """The captions as a WebVTT file."""
    cues = [f"{stamp(cue.start)} --> {stamp(cue.end)} {cue.settings}".rstrip() + f"\n{cue.text}\n"
            for cue in captions.cues]  # fmt: skip
    return "\n".join(["WEBVTT\n", *(f"{block}\n" for block in captions.blocks), *cues])


def mapped(text: str, begin: float) -> str:
    """The file for HLS: its zero is where the media is at `begin` seconds. A map that it has is replaced."""
    first, *rest = text.splitlines(keepends=True)
    kept = [line for line in rest if not line.startswith(_MAP)]
    return f"{first}{_MAP}MPEGTS:{round(begin * MPEG_CLOCK)},LOCAL:00:00:00.000\n{''.join(kept)}"


def unmapped(text: str) -> str:
    """The file without what ties it to one packaging of the media."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_MAP))


def last_end(text: str) -> int:
    """When the last cue of a file ends, in milliseconds; 0 where it has none."""
    return max((cue.end for cue in read(text).cues), default=0)
