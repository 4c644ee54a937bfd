"""The texts of a clip: cues of segmented WebVTT and TTML, on the clip's time line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from taskengine.handlers.gathering import Gathered, Gathering, Taken, Wish
from taskengine.handlers.support import in_thread, warn
from taskengine.media import mp4
from taskengine.media.archive import boxes
from taskengine.media.captions.cues import CaptionFault, Captions, Cue, merged
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.streams.captured import CapturedText
from taskengine.media.streams.model import Rendition, Resource
from taskengine.media.tracks import TrackKind
from taskengine.ports import TaskContext

if TYPE_CHECKING:
    from taskengine.handlers.cutting import Span

_MAP = re.compile(r"X-TIMESTAMP-MAP=(?=.*?MPEGTS:(\d+))(?=.*?LOCAL:(?:(\d+):)?(\d+):(\d+)\.(\d+))")
_CLOCK = 90_000
_WRAP = 1 << 33


async def captured_texts(
    context: TaskContext, wish: Wish, gathering: Gathering, gathered: Gathered, spans: Sequence[Span]
) -> Sequence[CapturedText]:
    """Every text that can be read; one that cannot is left out and told."""
    found = []
    for number, rendition in enumerate(gathered.presentation.of(TrackKind.TEXT), start=1):
        cues = await _cues(context, wish, gathering, rendition, gathered.taken.get(rendition.id, []), spans)
        if not cues:
            continue
        from taskengine.media.captions import vtt  # it is not needed before

        path = context.scratch / f"text_{number}.vtt"
        await in_thread(path.write_text, vtt.write(Captions(merged(cues))))
        language = tag_of(rendition.language) or UNDETERMINED
        found.append(CapturedText(await context.workspace.store(path, path.name), language, rendition.role))
    return found


async def _cues(
    context: TaskContext, wish: Wish, gathering: Gathering, rendition: Rendition, taken: Sequence[Taken],
    spans: Sequence[Span],
) -> Sequence[Cue]:  # fmt: skip
    found: dict[tuple[int, int, str], Cue] = {}
    inits: dict[Resource, bytes] = {}
    for each in taken:
        needed = each.segment.init
        if needed is not None and needed not in inits:
            name = f"{each.file}.init"
            await gathering.pieces(each.origin).fetch(name, needed, None)
            inits[needed] = await in_thread((context.scratch / name).read_bytes)
        init = inits[needed] if needed is not None else None
        try:
            captions, base = await in_thread(_read, context.scratch / each.file, init, rendition)
        except (CaptionFault, mp4.BoxFault) as fault:
            warn(context, f"{wish.where}: {rendition.id}: captions at {each.slot.start:.3f} s are left out: {fault}")
            continue
        for span in spans:
            for cue in _on_clip(captions, base, each, span):
                found[cue.start, cue.end, cue.text] = cue
    return list(found.values())


def _read(path: Path, init: bytes | None, rendition: Rendition) -> tuple[Captions, Fraction | None]:
    """What a segment says, and what its zero is on the clock of the media, where it tells (seconds)."""
    from taskengine.media.captions import reading, wvtt

    data = path.read_bytes()
    if b"mdat" in data[:4096]:
        entry = rendition.codecs.partition(".")[0] if init is None else boxes.read_init(init).entry
        if entry == "wvtt" and init is not None:
            return wvtt.read(init, data), Fraction(0)
        if entry != "stpp":
            raise CaptionFault(f"{entry or 'its format'} in MP4 segments is not read")
        return reading.read(_documents(data), "ttml", rendition.language or None), Fraction(0)
    text = data.decode("utf-8", errors="replace")
    if not text.lstrip("\ufeff").startswith("WEBVTT"):
        return reading.read(data, "ttml", rendition.language or None), None
    match = _MAP.search(text[:4096])
    captions = reading.read(data, "vtt", rendition.language or None)
    if match is None:
        return captions, None
    ticks, hours, minutes, seconds, fraction = match.groups()
    local = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + Fraction(int(fraction), 10 ** len(fraction))
    return captions, Fraction(int(ticks), _CLOCK) - local


def _documents(data: bytes) -> bytes:
    """The media data of a segment: one TTML document."""
    for box in mp4.children(data, 0, len(data)):
        if box.kind == b"mdat":
            return data[box.start : box.end]
    return b""


def _on_clip(captions: Captions, base: Fraction | None, taken: Taken, span: Span) -> Sequence[Cue]:
    """The cues that are shown within a stretch, on the clip's time line, cut to it."""
    if base is None:  # they count from the stream's beginning
        shift = Fraction(taken.segment.shift or 0).limit_denominator(10**9)
        by = shift - span.shift - span.begin
    else:
        own = taken.segment.shift
        by = base - span.begin + (Fraction(own).limit_denominator(10**9) - span.shift if own is not None else 0)
        wrap = Fraction(_WRAP, _CLOCK)
        middle = Fraction(captions.cues[0].start, 1000) + by if captions.cues else Fraction(0)
        by -= wrap * round(middle / wrap)
    length, offset = round(span.seconds * 1000), round(span.offset * 1000)
    moved = [replace(cue, start=cue.start + round(by * 1000), end=cue.end + round(by * 1000)) for cue in captions.cues]
    return [
        replace(cue, start=max(0, cue.start) + offset, end=min(cue.end, length) + offset)
        for cue in moved
        if cue.end > 0 and cue.start < length
    ]
