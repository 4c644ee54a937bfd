"""Lines of segments as HLS playlists (RFC 8216bis), with their keys, init segments, dates and ad markers."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from taskengine.domain.times import format_utc
from taskengine.media.scte35 import splice_insert
from taskengine.media.virtual.lines import MICRO, Cue, Line, Side, line_of
from taskengine.media.virtual.model import SOUND, Kind, Part, Pieces, Rendition, Run

MEDIA_TYPE = "application/vnd.apple.mpegurl"
_VERSION = 7
_NO_KEY = "#EXT-X-KEY:METHOD=NONE"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A segment in a playlist: a place in a line, when it begins (UTC microseconds; None: dates are not told), how many
    discontinuities are before it, and in which pass of the line it is."""

    line: Line
    index: int
    at: int | None = None
    breaks: int = 0
    turn: int = 0


@dataclass(slots=True)
class _Writer:
    """Remembers what holds already."""

    init: Part | None = None
    key: Sequence[str] | None = None
    dated: bool = False
    lines: list[str] = field(default_factory=list)

    def entry(self, entry: Entry) -> None:
        run, place = entry.line.place(entry.index)
        pieces = entry.line.runs[run]
        self.lines.extend(["#EXT-X-DISCONTINUITY"] * entry.breaks)
        self._resources(pieces, place)
        if entry.at is not None and (entry.breaks or not self.dated):
            self.lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date(entry.at)}")
            self.dated = True
        for cue in entry.line.cues.get(entry.index, ()):
            self.lines.extend(_cue(cue, entry))
        self.lines.append(f"#EXTINF:{pieces.durations[place]:.6f},")
        if pieces.ranges:
            offset, length = pieces.ranges[place]
            self.lines.append(f"#EXT-X-BYTERANGE:{length}@{offset}")
        self.lines.append(pieces.uri(place))

    def _resources(self, pieces: Pieces, place: int) -> None:
        """The init segment is never encrypted whole."""
        init = _holds(pieces.inits, place)
        if init is not None and init != self.init:
            if self.key is not None and any("METHOD=AES-128" in tag for tag in self.key):
                self.key = [_NO_KEY]
                self.lines.extend(self.key)
            part = "" if init.length is None else f',BYTERANGE="{init.length}@{init.offset}"'
            self.lines.append(f'#EXT-X-MAP:URI="{init.uri}"{part}')
            self.init = init
        wanted = _keys(_holds(pieces.keys, place), pieces.ivs[place] if pieces.ivs else None)
        if wanted != (self.key or [_NO_KEY]):
            self.lines.extend(wanted)
            self.key = wanted


def _holds(changes: Sequence[tuple[int, T]], place: int) -> T | None:
    found = None
    for begin, value in changes:
        if begin > place:
            break
        found = value
    return found


def _keys(keys: Sequence[str] | None, iv: str | None) -> Sequence[str]:
    vector = f",IV=0x{iv}" if iv else ""
    return [f"#EXT-X-KEY:{key}{vector}" for key in keys] if keys else [_NO_KEY]


def _cue(cue: Cue, entry: Entry) -> Iterator[str]:
    """The tags of a break. Where dates are told, a date range has the binary too."""
    turn = entry.turn - cue.wrapped
    if turn < 0:
        return  # the break was before the first pass
    event = turn * entry.line.marks + cue.number + 1
    seconds = cue.mark.duration
    begin = cue.begins / MICRO
    if cue.side is Side.WITHIN:
        yield f"#EXT-X-CUE-OUT-CONT:ElapsedTime={cue.elapsed / MICRO:.3f},Duration={seconds:.3f}"
        return
    out = cue.side is Side.OUT
    if entry.at is not None:
        started = entry.at - entry.line.starts[entry.index] + cue.begins - cue.wrapped * entry.line.length
        yield _range(event, _date(started), begin, seconds, out=out)
    if out:
        message = base64.b64encode(splice_insert(event, out=True, at=begin, duration=seconds)).decode()
        yield f"#EXT-OATCLS-SCTE35:{message}"
        yield f"#EXT-X-CUE-OUT:{seconds:.3f}"
    else:
        yield "#EXT-X-CUE-IN"


def _range(event: int, date: str, begin: float, seconds: float, *, out: bool) -> str:
    told = f'#EXT-X-DATERANGE:ID="break-{event}",START-DATE="{date}",'
    if out:
        message = splice_insert(event, out=True, at=begin, duration=seconds)
        return f"{told}PLANNED-DURATION={seconds:.3f},SCTE35-OUT=0x{message.hex().upper()}"
    message = splice_insert(event, out=False, at=begin + seconds)
    return f"{told}DURATION={seconds:.3f},SCTE35-IN=0x{message.hex().upper()}"


def _date(at: int) -> str:
    return format_utc(round(at / 1000))


def target_duration(longest: float) -> int:
    """Whole seconds, as the tag has them."""
    return max(1, math.floor(longest + 0.5))


def playlist(head: Sequence[str], entries: Sequence[Entry], target: int, *, ended: bool) -> str:
    """A media playlist of these segments."""
    writer = _Writer()
    for entry in entries:
        writer.entry(entry)
    start = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", f"#EXT-X-TARGETDURATION:{target}", *head]
    return "\n".join([*start, *writer.lines, *(["#EXT-X-ENDLIST"] if ended else [])]) + "\n"


def on_demand(runs: Sequence[Run], rendition: str) -> str:
    """The whole of some runs. Where there are ad markers it tells dates, from 1970 on: what date ranges need."""
    line = line_of(runs, rendition)
    dated = any(run.marks for run in runs)
    entries = [
        Entry(line, index, line.starts[index] if dated else None, int(index > 0 and line.place(index)[1] == 0))
        for index in range(line.count)
    ]
    head = ["#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-MEDIA-SEQUENCE:0"]
    return playlist(head, entries, target_duration(line.longest), ended=True)


def master(renditions: Sequence[Rendition]) -> str:
    """The master, whose playlists are `<rendition>.m3u8` beside it."""
    pictures, spoken, texts = ([each for each in renditions if each.kind is kind] for kind in Kind)
    sounds = _groups(spoken) if pictures else {}
    subtitles = ['SUBTITLES="subtitles"'] if texts else []
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines += [_media(each, group) for group, found in sounds.items() for each in found]
    lines += [_media(each, "subtitles") for each in texts]
    for group, heard in sounds.items():
        for each in pictures:
            lines += [_variant(_with_sound(each, heard[0]), [f'AUDIO="{group}"', *subtitles]), f"{each.name}.m3u8"]
    if not sounds:
        for each in pictures or spoken:
            lines += [_variant(each, subtitles), f"{each.name}.m3u8"]
    return "\n".join(lines) + "\n"


def _groups(sounds: Sequence[Rendition]) -> Mapping[str, Sequence[Rendition]]:
    """Those that may stand in one group: of one codec, and each with a name of its own (RFC 8216, 4.3.4.1.1)."""
    found: list[list[Rendition]] = []
    for each in sounds:
        for group in found:
            if _codec(group[0]) == _codec(each) and _called(each) not in {_called(other) for other in group}:
                group.append(replace(each, default=False))
                break
        else:
            found.append([replace(each, default=True)])
    return {"audio" if number == 1 else f"audio_{number}": group for number, group in enumerate(found, start=1)}


def _codec(sound: Rendition) -> str:
    return sound.codecs.lower().partition(".")[0]


def _with_sound(picture: Rendition, sound: Rendition) -> Rendition:
    """A picture with the codec of the sound that it plays with."""
    if not picture.codecs or not sound.codecs:
        return picture
    own = [each for each in picture.codecs.split(",") if each.lower().partition(".")[0] not in SOUND]
    return replace(picture, codecs=",".join([*own, sound.codecs]))


def _called(each: Rendition) -> str:
    return each.label or each.language or each.name


def _media(each: Rendition, group: str) -> str:
    fields = [
        f"TYPE={'AUDIO' if each.kind is Kind.AUDIO else 'SUBTITLES'}",
        f'GROUP-ID="{group}"',
        f'NAME="{_quoted(_called(each))}"',
        *([f'LANGUAGE="{each.language}"'] if each.language else []),
        f"DEFAULT={'YES' if each.default else 'NO'}",
        "AUTOSELECT=YES",
        *(["FORCED=YES"] if each.forced else []),
        *([f'CHARACTERISTICS="{_quoted(each.characteristics)}"'] if each.characteristics else []),
        *([f'CHANNELS="{_quoted(each.channels)}"'] if each.channels else []),
        f'URI="{each.name}.m3u8"',
    ]
    return f"#EXT-X-MEDIA:{','.join(fields)}"


def _variant(each: Rendition, groups: Sequence[str]) -> str:
    fields = [
        f"BANDWIDTH={max(1, each.bandwidth)}",
        *([f'CODECS="{_quoted(each.codecs)}"'] if each.codecs else []),
        *([f"RESOLUTION={each.width}x{each.height}"] if each.width and each.height else []),
        *([f"FRAME-RATE={each.frame_rate:.3f}"] if each.frame_rate else []),
        *([f"VIDEO-RANGE={each.video_range}"] if each.video_range else []),
        *groups,
    ]
    return f"#EXT-X-STREAM-INF:{','.join(fields)}"


def _quoted(text: str) -> str:
    """What may stand between quotation marks."""
    return "".join(each for each in text if each not in '"\r\n')
