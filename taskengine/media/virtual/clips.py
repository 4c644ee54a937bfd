"""Streams of others as what a virtual asset or a channel plays: which renditions go together, which segments of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from taskengine.media import hls
from taskengine.media.roles import FORCED, characteristics
from taskengine.media.streams import choosing
from taskengine.media.streams.model import Presentation, Rendition, Segment, Stream, StreamFault
from taskengine.media.thumbnails import seconds_of
from taskengine.media.tracks import TrackKind
from taskengine.media.virtual import model
from taskengine.media.virtual.model import SOUND, Kind, Mark, Part, Pieces, Run

_TEXT = {"wvtt", "stpp"}
SLACK = 0.02  # seconds: what playlists round, less than a frame lasts
_DEFAULT_SOUND = 128_000
_SAFE = "!#$%&'()*+,/:;=?@[]~"  # of a URL; what could end a tag's quotes or line is escaped

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offered:
    """A rendition of a clip: as a master would have it, and as it was read. `transport`: its segments are MPEG-TS;
    `sound`: a picture's segments have sound in them."""

    told: model.Rendition
    read: Rendition
    transport: bool
    sound: bool

    @property
    def stream(self) -> Stream:
        """Its segments."""
        if self.read.stream is None:
            raise StreamFault(f"the segments of {self.read.id} are not read")
        return self.read.stream

    @property
    def look(self) -> tuple[str, str, str]:
        """What players must be able to do: kind, container with its contents, codecs."""
        container = "text" if self.told.kind is Kind.TEXT else "MPEG-TS" if self.transport else "fMP4"
        return self.told.kind.value, container + (" with sound" if self.sound else ""), self.told.codecs.lower()


def playable(presentation: Presentation) -> Sequence[Rendition]:
    """The renditions that have segments of their own."""
    return [each for each in presentation.renditions if each.within is None]


def offered(presentation: Presentation) -> Sequence[Offered]:
    """What a presentation has, pictures first, the best one leading. StreamFault where it cannot be played from where it
    lies."""
    ranges = _ranges(presentation)
    carriers = {each.within for each in presentation.renditions if each.within}
    found: list[Offered] = []
    sounds = [each for each in presentation.of(TrackKind.AUDIO) if each.within is None]
    spoken = _spoken(presentation)
    for kind in (TrackKind.VIDEO, TrackKind.AUDIO, TrackKind.TEXT):
        group = [each for each in presentation.of(kind) if each.within is None]
        if kind is TrackKind.VIDEO:
            group.sort(key=lambda each: (each.width * each.height, each.bandwidth), reverse=True)
        for number, each in enumerate(group, start=1):
            _check(each)
            sound = kind is TrackKind.VIDEO and (
                bool(carriers) or (presentation.form == "hls" and not sounds and bool(spoken))
            )
            told = model.Rendition(
                f"{kind.value}_{number}", Kind(kind.value), _bandwidth(each, presentation, sounds), _codecs(each, kind, spoken),
                each.width, each.height, each.frame_rate, ranges.get(each.location), each.language or None,
                each.name or None, default=number == 1 and kind is TrackKind.AUDIO, forced=each.role == FORCED,
                characteristics=characteristics(each.role) or None, channels=str(each.channels) if each.channels else None,
            )  # fmt: skip
            first = each.segments[0]
            found.append(Offered(told, each, kind is not TrackKind.TEXT and first.init is None, sound))
    if not found:
        raise StreamFault("it has no rendition")
    return found


def _check(rendition: Rendition) -> None:
    stream = rendition.stream
    if stream is None or not stream.segments:
        raise StreamFault(f"{rendition.id}: it has no segments")
    if not stream.ended:
        raise StreamFault("it is a live stream that has not ended")
    for segment in stream.segments:
        if segment.protection:
            raise StreamFault(f"its segments are encrypted by {segment.protection}, which needs a licence")
        if segment.gap:
            raise StreamFault(f"{rendition.id}: segments are missing at {segment.start:.3f} s")


def _ranges(presentation: Presentation) -> Mapping[str, str]:
    """SDR, HLG or PQ by playlist, where an HLS master tells it."""
    master = presentation.documents.get(presentation.location, "")
    if presentation.form != "hls" or "#EXT-X-STREAM-INF" not in master:
        return {}
    return {urljoin(presentation.location, uri): told for uri, _, told in hls.read_looks(master) if told}


def families(codecs: str) -> Sequence[str]:
    """The codecs without profiles and levels."""
    return [codec.strip().partition(".")[0] for codec in codecs.split(",") if codec.strip()]


def sound_of(codecs: str) -> str:
    """The codec of the sound among those of a variant; "" where none is told."""
    return next(
        (codec.strip() for codec in codecs.split(",") if families(codec)[:1] and families(codec.lower())[0] in SOUND),
        "",
    )


def _spoken(presentation: Presentation) -> str:
    """The codec of the sound, as variants or the sound's own renditions tell it."""
    told = [each.codecs for each in presentation.renditions if each.kind is not TrackKind.TEXT]
    return next((found for codecs in told if (found := sound_of(codecs))), "")


def _codecs(rendition: Rendition, kind: TrackKind, spoken: str) -> str:
    """Of a picture with the sound beside it; of a sound its own."""
    if kind is TrackKind.AUDIO:
        return sound_of(rendition.codecs) or spoken
    if kind is TrackKind.TEXT:
        return rendition.codecs
    own = [codec.strip() for codec in rendition.codecs.split(",") if codec.strip()]
    kept = [codec for codec in own if families(codec.lower())[0] not in SOUND | _TEXT]
    return ",".join([*kept, *([spoken] if spoken else [])]) if kept else ""


def _bandwidth(rendition: Rendition, presentation: Presentation, sounds: Sequence[Rendition]) -> int:
    """Of a variant with its sound."""
    more = max((each.bandwidth for each in sounds), default=0) if presentation.form == "dash" else 0
    if rendition.kind is TrackKind.VIDEO:
        return (rendition.bandwidth or 1_000_000) + more
    return rendition.bandwidth or (_DEFAULT_SOUND if rendition.kind is TrackKind.AUDIO else 0)


# ------------------------------------------------------------------------------------------------------ what goes together


def differences(one: Sequence[Offered], other: Sequence[Offered]) -> Sequence[str]:
    """What `other` has not as `one` has it, for people: renditions by size or language, container, codecs."""
    wanted, found = _listed(one), _listed(other)
    lacks = [f"it has no {each}" for each in wanted if each not in found]
    return [*lacks, *(f"it has {each} more" for each in found if each not in wanted)]


def _listed(renditions: Sequence[Offered]) -> Sequence[str]:
    listed = []
    for each in renditions:
        kind, container, codecs = each.look
        size = f"{each.told.width}x{each.told.height} " if each.told.width else ""
        language = f"{each.told.language} " if each.told.language else ""
        listed.append(f"{size}{language}{kind} ({', '.join(part for part in (container, codecs) if part)})")
    return listed


def counterparts(target: Sequence[Offered], clip: Sequence[Offered]) -> Mapping[str, Offered] | str:
    """The clip's rendition for each one of the target profile by name; where one has none, what is missing. Texts that a clip
    lacks are missed by nobody."""
    found: dict[str, Offered] = {}
    for each in target:
        able = [other for other in clip if _fits(each, other, alone=_alone(target) and _alone(clip))]
        if able:
            found[each.told.name] = min(able, key=lambda other: abs(other.told.bandwidth - each.told.bandwidth))
        elif each.told.kind is not Kind.TEXT:
            return f"it has no {_listed([each])[0]}"
    return found


def readable(text: Offered, *, cut: bool) -> bool:
    """Whether a text can be shown with its clip: one that is a single file counts from the stream's beginning, and so not where
    the clip is `cut` or has discontinuities."""
    runs = {segment.run for segment in text.stream.segments}
    return len(text.stream.segments) > 1 or (not cut and len(runs) == 1)


def _alone(renditions: Sequence[Offered]) -> bool:
    """Whether there is but one sound, whatever its language."""
    return sum(each.told.kind is Kind.AUDIO for each in renditions) <= 1


def _fits(wanted: Offered, other: Offered, *, alone: bool) -> bool:
    one, two = wanted.told, other.told
    if (one.kind, wanted.transport, wanted.sound) != (two.kind, other.transport, other.sound):
        return False
    if families(one.codecs.lower()) != families(two.codecs.lower()):
        return False
    if one.kind is Kind.VIDEO:
        return (one.width, one.height, one.video_range or "SDR") == (two.width, two.height, two.video_range or "SDR")
    return (alone and one.kind is Kind.AUDIO) or (one.language or "") == (two.language or "")


# ---------------------------------------------------------------------------------------------------------- which segments


def position(stream: Stream, time: object, field: str, default: float) -> float:
    """Seconds from the stream's beginning of an offset or a UTC time; `default` where none is given. StreamFault where it is
    not in the stream; its very end is."""
    if time is None:
        return default
    try:
        return choosing.moment(stream, time, field).seconds
    except StreamFault:
        last = stream.segments[-1]
        text = str(time).strip()
        if text[:4].isdigit() and text[4:5] == "-":
            raise
        seconds = seconds_of(time, field)
        if last.end < seconds <= last.end + choosing.SLACK or abs(seconds - last.end) < SLACK:
            return last.end
        raise


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a clip by its time line: `made` is encoded here, else its segments are referenced."""

    begin: float
    end: float
    made: bool = False


def portions(stream: Stream, begin: float, end: float, cuts: Sequence[float], *, exact: bool) -> Sequence[Portion]:
    """How [begin, end) is played. `exact`: begin and end too are on the frame, as the `cuts` within it always are: the
    segments that they are in are made; others are referenced, whole."""
    found: list[Portion] = []
    edges = sorted({*cuts, *([begin, end] if exact else [])})
    for segment in stream.segments:
        if segment.end <= begin + SLACK or segment.start >= end - SLACK:
            continue
        inner = [edge for edge in edges if segment.start + SLACK < edge < segment.end - SLACK]
        if not inner:
            found.append(Portion(segment.start, segment.end))
            continue
        first = begin if exact and begin > segment.start + SLACK else segment.start
        last = end if exact and end < segment.end - SLACK else segment.end
        borders = [first, *(edge for edge in inner if first + SLACK < edge < last - SLACK), last]
        found += [Portion(one, two, made=True) for one, two in pairwise(borders)]
    return _merged(found)


def _merged(found: Sequence[Portion]) -> Sequence[Portion]:
    merged: list[Portion] = []
    for each in found:
        if merged and not merged[-1].made and not each.made and abs(merged[-1].end - each.begin) < SLACK:
            merged[-1] = replace(merged[-1], end=each.end)
        else:
            merged.append(each)
    return merged


def runs(found: Mapping[str, Offered], reference: str, begin: float, end: float, where: str) -> Sequence[Run]:
    """The segments of [begin, end), borders of the reference's segments, of each rendition; a run for each stretch without a
    discontinuity. StreamFault, told of `where`, where a rendition has none for one."""
    made: list[Run] = []
    for stretch in _stretches(found[reference].stream, begin, end):
        first, last = stretch[0].start, stretch[-1].end
        pieces = {
            name: _pieces(_within(each.stream, first, last, stretch[0].run), first) for name, each in found.items()
        }
        for name, each in pieces.items():
            if not each.uris:
                raise StreamFault(f"{where}: its {name} has no segments from {first:.3f} s to {last:.3f} s")
        made.append(Run(last - first, pieces))
    if not made:
        raise StreamFault(f"{where}: it has no segments from {begin:.3f} s to {end:.3f} s")
    return made


def _stretches(stream: Stream, begin: float, end: float) -> Iterator[Sequence[Segment]]:
    found: list[Segment] = []
    for segment in stream.segments:
        if not begin - SLACK < (segment.start + segment.end) / 2 < end + SLACK:
            continue
        if found and found[-1].run != segment.run:
            yield found
            found = []
        found.append(segment)
    if found:
        yield found


def _within(stream: Stream, begin: float, end: float, run: int) -> Sequence[Segment]:
    """Those whose middle is in it; else the one that covers it."""
    own = [each for each in stream.segments if each.run == run] or list(stream.segments)
    return [each for each in own if begin <= (each.start + each.end) / 2 < end] or [
        each for each in own if each.start <= begin + SLACK and end <= each.end + SLACK
    ]


def _pieces(segments: Sequence[Segment], begin: float) -> Pieces:
    if not segments:
        return Pieces("", [], [])
    urls = [_shown(each.media.url) for each in segments]
    base = _folder(min(urls), max(urls))
    ranged = [each.media for each in segments if each.media.length is not None]
    if ranged and len(ranged) != len(segments):
        raise StreamFault("some of its segments are parts of files, and others whole files")
    keyed = any(each.key for each in segments)
    return Pieces(
        base, [url[len(base) :] for url in urls], [round(each.duration, 6) for each in segments],
        [(each.offset, each.length or 0) for each in ranged],
        [(index, Part(_shown(init.url), init.offset, init.length)) for index, init in _changes([e.init for e in segments]) if init],
        _changes([[f'METHOD=AES-128,URI="{_shown(each.key.url)}"'] if each.key else [] for each in segments]) if keyed else (),
        [each.key.iv.hex() if each.key else None for each in segments] if keyed else (),
        round(segments[0].start - begin, 6),
    )  # fmt: skip


def _folder(first: str, last: str) -> str:
    """What two URLs, the first and the last in their order, and so all between have in common, up to a slash."""
    length = next((index for index, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), len(first))
    return first[: first.rfind("/", 0, length) + 1]


def _shown(url: str) -> str:
    """A URL as playlists name it. StreamFault where players must not see it, or cannot go there."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise StreamFault("it names a segment by what is no URL") from error
    if parts.scheme not in {"http", "https"}:
        raise StreamFault(f"it names {parts.scheme or 'relative'} URLs, which players cannot be sent to")
    if "@" in parts.netloc:
        raise StreamFault("its URL has credentials, which every player would be shown")
    return quote(url, safe=_SAFE)


def _changes(values: Sequence[T]) -> Sequence[tuple[int, T]]:
    """(index, value) where another one begins."""
    return [(index, value) for index, value in enumerate(values) if index == 0 or value != values[index - 1]]


def marked(made: Sequence[Run], marks: Sequence[Mark]) -> Sequence[Run]:
    """Runs with marks whose times count from the first one's begin; each goes to the run that it begins in."""
    left = sorted(marks, key=lambda mark: mark.at)
    found: list[Run] = []
    begin = 0.0
    for number, run in enumerate(made):
        last = number == len(made) - 1
        own = [mark for mark in left if last or mark.at < begin + run.duration - SLACK]
        left = [mark for mark in left if mark not in own]
        found.append(replace(run, marks=[*run.marks, *(replace(mark, at=max(0.0, mark.at - begin)) for mark in own)]))
        begin += run.duration
    return found
