"""What a channel shows now: a pure function of its definition and the clock, so that every engine answers alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from taskengine.media.virtual.lines import Line, line_of
from taskengine.media.virtual.model import Channel, Kind, Programme
from taskengine.media.virtual.playlists import Entry, playlist, target_duration

_LEAST_TARGETS = 3  # target durations that a live playlist has, whatever the window (RFC 8216, 6.2.2)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A programme of one rendition: its segments have the numbers from `first` on; `until` (microseconds after its begin)
    is where the next programme begins, None: there is none."""

    programme: Programme
    line: Line
    first: int
    until: int | None

    def whole_by(self, now: int) -> int:
        """How many of its segments are there at `now` (UTC ms)."""
        at = self._after(now)
        most = self.line.count if not self.programme.loops else None
        count = self.line.whole_by(at if self.programme.loops else min(at, self.line.length))
        return count if most is None else min(count, most)

    def ended(self, now: int) -> bool:
        """Whether it has played to its end, with nothing after it."""
        return not self.programme.loops and self.until is None and self._after(now) >= self.line.length

    def _after(self, now: int) -> int:
        at = (now - self.programme.starts_at) * 1000
        return at if self.until is None else min(at, self.until)

    def entry(self, index: int, breaks: int) -> Entry:
        """A segment of it, counted over all passes."""
        turn, place = divmod(index, self.line.count)
        at = self.programme.starts_at * 1000 + turn * self.line.length + self.line.starts[place]
        return Entry(self.line, place, at, breaks, turn)

    def discontinuity(self, index: int) -> int:
        """The number of the run that a segment is in."""
        turn, place = divmod(index, self.line.count)
        return self.programme.discontinuity + turn * len(self.line.runs) + self.line.place(place)[0]

    def whole_at(self, index: int) -> int:
        """When a segment is there (UTC ms, rounded up)."""
        turn, place = divmod(index, self.line.count)
        return self.programme.starts_at + -(-(turn * self.line.length + self.line.whole[place]) // 1000)


class Schedule:
    """A channel with what is computed of it once."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._stretches: dict[str, Sequence[_Stretch]] = {}

    @cached_property
    def names(self) -> frozenset[str]:
        """Of its renditions."""
        return frozenset(each.name for each in self.channel.renditions)

    @cached_property
    def reference(self) -> str:
        """The rendition that its clock goes by."""
        videos = [each.name for each in self.channel.renditions if each.kind is Kind.VIDEO]
        return (videos or [each.name for each in self.channel.renditions])[0]

    def _of(self, rendition: str) -> Sequence[_Stretch]:
        if rendition not in self._stretches:
            programmes = self.channel.programmes
            ends: list[int | None] = [
                (after.starts_at - before.starts_at) * 1000 for before, after in pairwise(programmes)
            ]
            self._stretches[rendition] = [
                _Stretch(each, line_of(each.runs, rendition), each.sequence.get(rendition, 0), until)
                for each, until in zip(programmes, [*ends, None], strict=True)
            ]
        return self._stretches[rendition]

    def count(self, rendition: str, now: int) -> int:
        """The number that the next segment will have: what the playlist depends on, beside whether it has ended."""
        return max((each.first + each.whole_by(now) for each in self._of(rendition)), default=0)

    def ended(self, now: int) -> bool:
        """Whether it has played to its end."""
        return self._of(self.reference)[-1].ended(now)

    def target(self, rendition: str) -> int:
        """Seconds."""
        return target_duration(max(each.line.longest for each in self._of(rendition)))

    def begins_at(self) -> int:
        """When its first segments are there (UTC ms)."""
        return max(self._of(name)[0].whole_at(0) for name in self.names)

    def playlist(self, rendition: str, now: int) -> str | None:
        """The media playlist of a rendition; None while there is no segment."""
        target = self.target(rendition)
        wanted = max(self.channel.dvr_window, _LEAST_TARGETS * target)
        shown: list[tuple[_Stretch, int]] = []
        seconds = 0.0
        for stretch, index in self._backwards(rendition, now):
            shown.append((stretch, index))
            seconds += stretch.line.duration(index % stretch.line.count)
            if seconds >= wanted:
                break
        if not shown:
            return None
        shown.reverse()
        first, index = shown[0]
        head = [
            f"#EXT-X-MEDIA-SEQUENCE:{first.first + index}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.discontinuity(index)}",
        ]
        runs = [stretch.discontinuity(at) for stretch, at in shown]
        entries = [
            stretch.entry(at, run - before)
            for (stretch, at), run, before in zip(shown, runs, [runs[0], *runs], strict=False)
        ]
        return playlist(head, entries, target, ended=self.ended(now))

    def _backwards(self, rendition: str, now: int) -> Iterator[tuple[_Stretch, int]]:
        """The segments that are there, the newest first."""
        for stretch in reversed(self._of(rendition)):
            for index in range(stretch.whole_by(now) - 1, -1, -1):
                yield stretch, index

    def after(self, now: int) -> tuple[int, Mapping[str, int], int]:
        """Where a programme can follow that interrupts this: when (UTC ms; as soon as the picture's segment is whole), and
        the numbers that it goes on with: of segments by rendition, and of discontinuities."""
        stretch = self._of(self.reference)[-1]
        count = stretch.whole_by(now)
        plays = stretch.programme.loops or count < stretch.line.count
        at = stretch.whole_at(count) if plays else now
        return at, *self.numbers(at)

    def seam(self, now: int) -> tuple[int, Mapping[str, int], int]:
        """As `after`, at the end of the pass that plays."""
        stretch = self._of(self.reference)[-1]
        length = stretch.line.length
        passed = max(0, (now - stretch.programme.starts_at) * 1000)
        turns = max(1, -(-passed // length))
        at = stretch.programme.starts_at + -(-turns * length // 1000)
        return at, *self.numbers(at)

    def numbers(self, at: int) -> tuple[Mapping[str, int], int]:
        """The numbers that follow all that is whole by then."""
        sequence = {name: self.count(name, at) for name in self.names}
        highest = 0
        for name in self.names:
            for stretch in self._of(name):
                if there := stretch.whole_by(at):
                    highest = max(highest, stretch.discontinuity(there - 1) + 1)
        return sequence, highest
