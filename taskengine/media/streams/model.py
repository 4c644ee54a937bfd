"""Streams of others as values: their renditions, the segments of these on one time line, and where the bytes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from taskengine.media.tracks import TrackKind

MAX_PARTS = 100_000


class StreamFault(ValueError):
    """A playlist or manifest that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Bytes of a URL: `length` from `offset` on; None is to the end. `content`: the bytes themselves, which no URL has."""

    url: str
    offset: int = 0
    length: int | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """What segments are encrypted with: AES-128, whole segments. `iv` has 16 bytes."""

    url: str
    iv: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendition: seconds from the stream's beginning, and UTC milliseconds where the manifest tells them.

    `shift`: seconds that are to be added to the times in the media to have those of the stream, where the manifest says so
    (DASH does); else a segment's first picture is taken to be at its `start`. `protection`: by what samples, or segments
    whose key is no plain file, are encrypted ("" where they are not). `time`: (ticks, ticks in a second) of the media's clock
    at which it is shown, where the media do not tell it (Smooth Streaming).
    """

    media: Resource
    start: float
    duration: float
    run: int  # counts discontinuities: timestamps go on within one run alone
    init: Resource | None = None
    key: Key | None = None
    at: int | None = None
    number: int = 0  # HLS: the media sequence number; DASH: its place in the manifest
    gap: bool = False  # the manifest says that it is missing
    shift: float | None = None
    protection: str = ""
    time: tuple[int, int] | None = None

    @property
    def end(self) -> float:
        """Seconds from the stream's beginning."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class Stream:
    """The segments of one rendition, in order. `ended`: nothing is added any more. `target`: the longest segment, seconds."""

    segments: Sequence[Segment]
    ended: bool
    target: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds from the stream's beginning to the end of the last segment."""
        return self.segments[-1].end


@dataclass(frozen=True, slots=True)
class Rendition:
    """One picture, one sound or one text, as its manifest describes it: bit/s, pixels (0: not told), frames per second
    (None: not told), BCP 47 or other words for the language ("": not told).

    `location`: the playlist that has its segments, `index`: the bytes (a `sidx` box) that tell them; `stream` is there once
    they are read, and at once where the manifest itself lists them. `within`: the rendition whose segments carry it too.
    """

    id: str
    kind: TrackKind
    bandwidth: int = 0
    width: int = 0
    height: int = 0
    frame_rate: float | None = None
    codecs: str = ""
    language: str = ""
    role: str | None = None
    name: str = ""
    channels: int | None = None
    location: str = ""
    index: Resource | None = None
    within: str | None = None
    stream: Stream | None = None

    @property
    def segments(self) -> Sequence[Segment]:
        """Its segments; StreamFault where they are not read yet."""
        if self.stream is None:
            raise StreamFault(f"the segments of {self.id} are not read")
        return self.stream.segments


@dataclass(frozen=True, slots=True)
class Presentation:
    """All that a stream offers. `form`: hls, dash or smooth. `documents`: the text of each manifest and playlist that was read, by
    its location, for what is not kept here (ad markers). `key_frames`: HLS playlists of key frames alone."""

    form: str
    renditions: Sequence[Rendition]
    location: str = ""
    key_frames: Sequence[Rendition] = ()
    documents: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: TrackKind) -> Sequence[Rendition]:
        """Its renditions of one kind, in order."""
        return [each for each in self.renditions if each.kind is kind]

    @property
    def reference(self) -> Rendition:
        """The one by which times are told: the best picture, else the first rendition. StreamFault where there is none."""
        videos = self.of(TrackKind.VIDEO)
        if videos:
            return max(videos, key=lambda each: (each.width * each.height, each.bandwidth))
        if not self.renditions:
            raise StreamFault("it has no rendition")
        return self.renditions[0]

    @property
    def ended(self) -> bool:
        """Whether nothing is added any more to what was read."""
        return all(each.stream.ended for each in self.renditions if each.stream)


def aligned(presentation: Presentation) -> Presentation:
    """The presentation with all renditions on the time line of its reference.

    Playlists of a live stream are read one after the other: their first segments need not be the same one. The time of day
    tells where they are, else the number of a segment.
    """
    reference = presentation.reference.stream
    if presentation.form != "hls" or reference is None or reference.ended:
        return presentation
    return replace(presentation, renditions=[_moved(each, reference) for each in presentation.renditions])


def continued(presentation: Presentation, before: Presentation) -> Presentation:
    """A live presentation that was read again, on the time line of the first time."""
    new, old = presentation.reference.stream, before.reference.stream
    if new is None or old is None or not new.segments or not old.segments:
        return presentation
    first, known = new.segments[0], old.segments[0]
    if presentation.form == "smooth" and first.shift is not None and known.shift is not None:
        by = known.shift - first.shift  # its clock goes on
    else:
        by = _offset(new.segments, old.segments) + known.start - first.start
    return replace(presentation, renditions=[later(each, by) for each in presentation.renditions])


def later(rendition: Rendition, by: float) -> Rendition:
    """A rendition so many seconds later on the time line."""
    if rendition.stream is None:
        return rendition
    segments = [
        replace(each, start=each.start + by, shift=None if each.shift is None else each.shift + by)
        for each in rendition.stream.segments
    ]
    return replace(rendition, stream=replace(rendition.stream, segments=segments))


def _moved(rendition: Rendition, reference: Stream) -> Rendition:
    if rendition.stream is None or not rendition.stream.segments or rendition.stream is reference:
        return rendition
    return later(rendition, _offset(rendition.stream.segments, reference.segments))


def _offset(own: Sequence[Segment], reference: Sequence[Segment]) -> float:
    """Seconds from the first segment of the reference to the first of another rendition."""
    first, other = own[0], reference[0]
    if first.at is not None and other.at is not None:
        return (first.at - other.at) / 1000
    if first.number >= other.number:
        after = next((each.start for each in reference if each.number == first.number), None)
        return after if after is not None else reference[-1].end
    before = next((each.start for each in own if each.number == other.number), None)
    return -before if before is not None else 0.0
