"""Bringing the segments of a clip: from the origins that have them, as they come where the stream is still live."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from taskengine.domain.errors import InputFault, TaskFailed
from taskengine.handlers.stream_readers import Reader
from taskengine.handlers.streams import Pieces, open_presentation, with_segments
from taskengine.handlers.support import need_space, tell, together, warn
from taskengine.media.streams import marks, origins
from taskengine.media.streams.choosing import SLACK
from taskengine.media.streams.filters import Judge
from taskengine.media.streams.marks import Window
from taskengine.media.streams.model import Presentation, Rendition, Segment, StreamFault, continued
from taskengine.media.streams.origins import Slot
from taskengine.media.tracks import TrackKind
from taskengine.ports import TaskContext

_AT_ONCE = 8
_REMEDY = "give key_id and content_key, or a seed"
_STALL_S = 20.0  # in which a live stream must go on, or five of its segments
_NEAR_S = 0.001  # is meant to be the same time
_MOST_SEGMENTS = 50_000
_COPIES = 4  # segments, what is joined of them, its picture alone, its parts


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a stream can be read."""

    reader: Reader
    location: str
    name: str  # for messages, without secrets


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a stream. `where`: the parameter, for messages; `judge`: which renditions (None: all)."""

    where: str
    window: Window
    judge: Judge | None
    content_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A segment that is here: from which origin, and in which file of the scratch."""

    slot: Slot
    origin: int
    segment: Segment
    file: str


@dataclass
class Gathered:
    """The segments of each rendition, in order, and from when to when the clip lasts on the stream's time line."""

    presentation: Presentation
    begin: float
    end: float
    taken: dict[str, list[Taken]] = field(default_factory=dict)
    missing: float = 0.0


class Gathering:
    """Reads the manifests again until the clip's end is there; each segment is tried at every origin that has it."""

    def __init__(self, context: TaskContext, wish: Wish, places: Sequence[Origin]) -> None:
        self._context, self._wish, self._places = context, wish, places
        self._pieces = [Pieces(context, place.reader, wish.content_key, wish.where, _REMEDY) for place in places]
        self._before: dict[int, Presentation] = {}  # as they were read last
        self._latest: Mapping[int, Presentation] = {}
        self._tried: dict[str, list[float]] = {}  # when the segments of a rendition begin, in order
        self._files = 0

    @property
    def several(self) -> bool:
        """Whether there is more than one origin."""
        return len(self._places) > 1

    def pieces(self, origin: int) -> Pieces:
        """What brings further parts of an origin."""
        return self._pieces[origin]

    async def of_origin(
        self, gathered: Gathered, rendition: Rendition, like: Taken, begin: float, end: float
    ) -> Sequence[Taken]:  # fmt: skip
        """The segments of a rendition in a time that the origin of another one has, of the same run; fetched where those of
        other origins were taken: each origin may have a clock of its own."""
        found = [
            each
            for each in gathered.taken.get(rendition.id, [])
            if each.origin == like.origin and each.segment.run == like.segment.run
            and each.slot.end > begin and each.slot.start < end
        ]  # fmt: skip
        matched = origins.match(rendition, self._latest[like.origin]) if like.origin in self._latest else None
        if matched is None or not self.several:
            return found
        here = {each.segment.media for each in found}
        for segment in matched.segments:
            wanted = segment.run == like.segment.run and segment.end > begin and segment.start < end
            if segment.gap or not wanted or segment.media in here:
                continue
            self._files += 1
            name = f"segment_{self._files}"
            try:
                await self._pieces[like.origin].fetch(name, segment.media, segment)
            except TaskFailed:
                continue
            found.append(Taken(Slot(segment.start, segment.duration, []), like.origin, segment, name))
        return sorted(found, key=lambda each: each.slot.start)

    async def all(self) -> Gathered:
        """All of it. InputFault where the stream has not what is wanted, or ends or halts before it is there."""
        found = await self._read()
        order = self._order(found)
        main = found[order[0]]
        try:
            begin, end = marks.bounds(
                main.reference.segments, self._wish.window, self._wish.where, ended=self._ended(found)
            )
        except StreamFault as fault:
            raise InputFault(str(fault)) from fault
        rate = sum(each.bandwidth for each in main.renditions)
        await need_space(self._context, round(rate / 8 * (end - begin) * _COPIES), f"{self._wish.where}: capturing")
        gathered = Gathered(main, begin, end)
        moved = time.monotonic()
        while True:
            before = self._reach(found)
            self._latest = found
            await self._take(gathered, found, order)
            if self._complete(found, end) or self._ended(found):
                break
            if not await self._goes_on(main, moved):
                if self._reach(found) >= end - SLACK:
                    break  # playlists round
                raise InputFault(
                    f"{self._wish.where}.end: the live stream does not go on: nothing came for {_STALL_S:.0f} s"
                )
            found = await self._read(found)
            if self._reach(found) > before + 0.001:
                moved = time.monotonic()
        if self._reach(found) < end - SLACK and self._wish.window.end:
            raise InputFault(f"{self._wish.where}.end: the stream ended {end - self._reach(found):.3f} s before it")
        self._judge(gathered)
        return gathered

    def _order(self, found: Mapping[int, Presentation]) -> Sequence[int]:
        """Those with the fewest missing segments first; of equal ones as they were given."""
        streams = {origin: each.reference.stream for origin, each in found.items()}
        return sorted(found, key=lambda origin: origins.missing_s(stream) if (stream := streams[origin]) else 0.0)

    def _ended(self, found: Mapping[int, Presentation]) -> bool:
        return all(each.ended for each in found.values())

    def _complete(self, found: Mapping[int, Presentation], end: float) -> bool:
        """Whether picture and sound are there until the end; sound that lags behind is waited for, for two segments."""
        one = max(found.values(), key=lambda each: each.reference.segments[-1].end)
        reaches = [each.segments[-1].end for each in one.renditions if each.kind is not TrackKind.TEXT]
        target = one.reference.stream.target if one.reference.stream else 0.0
        return min(reaches) >= end - _NEAR_S or self._reach(found) >= end + 2 * target

    def _reach(self, found: Mapping[int, Presentation]) -> float:
        """Until when every rendition of the one that is furthest ahead is there."""
        return max(
            min(each.segments[-1].end for each in one.renditions if each.kind is one.reference.kind)
            for one in found.values()
        )

    async def _goes_on(self, main: Presentation, moved: float) -> bool:
        """Wait for what comes next; False where nothing came for too long."""
        target = main.reference.stream.target if main.reference.stream else 0.0
        if time.monotonic() - moved > max(_STALL_S, 5 * target):
            return False
        await asyncio.sleep(min(max(target / 2, 0.5), 5.0))
        return True

    async def _read(self, before: Mapping[int, Presentation] | None = None) -> Mapping[int, Presentation]:
        """The presentation of every origin that answers, with the renditions that are wanted."""
        numbers = list(before or range(len(self._places)))
        read = await together([self._one(number) for number in numbers])
        faults = [each for each in read if isinstance(each, TaskFailed)]
        found = {
            number: each for number, each in zip(numbers, read, strict=True) if isinstance(each, Presentation)
        }  # fmt: skip
        if not found:
            raise faults[0]
        for number, each in zip(numbers, read, strict=True):
            if isinstance(each, TaskFailed) and before is None:
                warn(self._context, f"{self._wish.where}: {self._places[number].name} is left out: {each}")
        if len(self._places) > 1:
            dated = origins.by_time_of_day(list(found.values()))
            found = dict(zip(found, dated, strict=True))
        if before is not None:
            found = {number: continued(each, self._before[number]) for number, each in found.items()}
        self._before |= found
        return found

    async def _one(self, number: int) -> Presentation | TaskFailed:
        place = self._places[number]
        try:
            found = await open_presentation(place.reader, place.location, self._wish.where)
            return await with_segments(place.reader, found, self._wanted(found), self._wish.where)
        except TaskFailed as fault:
            if len(self._places) == 1:
                raise
            return fault

    def _wanted(self, found: Presentation) -> Sequence[Rendition]:
        judge = self._wish.judge
        wanted = [each for each in found.renditions if judge is None or judge(each)]
        if not any(each.kind in {TrackKind.VIDEO, TrackKind.AUDIO} for each in wanted):
            there = ", ".join(
                f"{each.kind} {each.bandwidth or each.language or each.name}" for each in found.renditions
            )
            raise InputFault(f"{self._wish.where}.filter: it leaves no picture and no sound of: {there[:500]}")
        return wanted

    async def _take(self, gathered: Gathered, found: Mapping[int, Presentation], order: Sequence[int]) -> None:
        """What is there of the clip and not here yet."""
        present = [origin for origin in order if origin in found]
        videos = {each.id for each in gathered.presentation.of(TrackKind.VIDEO)}
        work = []
        for rendition in gathered.presentation.renditions:
            if rendition.within in videos:
                continue  # it comes with the picture
            matched = [(origin, origins.match(rendition, found[origin])) for origin in present]
            candidates = [(origin, each) for origin, each in matched if each is not None]
            places = [slot for slot in origins.slots(candidates) if self._needed(gathered, rendition, slot)]
            work += [(rendition, slot) for slot in places]
        if len(work) > _MOST_SEGMENTS:
            raise InputFault(f"{self._wish.where}: it has {len(work):,} segments; at most {_MOST_SEGMENTS:,} are taken")
        done = 0

        async def one(rendition: Rendition, slot: Slot) -> None:
            nonlocal done
            await self._bring(gathered, rendition, slot)
            done += 1
            self._context.report_progress(0.5 * done / len(work), message="fetching")

        await together([one(*each) for each in work], _AT_ONCE)
        for each in gathered.taken.values():
            each.sort(key=lambda taken: taken.slot.start)

    def _needed(self, gathered: Gathered, rendition: Rendition, slot: Slot) -> bool:
        tried = self._tried.get(rendition.id, [])
        place = bisect(tried, slot.start)
        beside = tried[max(place - 1, 0) : place + 1]
        near = any(abs(start - slot.start) < 0.3 * max(slot.duration, 0.1) for start in beside)
        return not near and slot.end > gathered.begin - SLACK and slot.start < gathered.end + SLACK

    async def _bring(self, gathered: Gathered, rendition: Rendition, slot: Slot) -> None:
        insort(self._tried.setdefault(rendition.id, []), slot.start)
        for place, (origin, segment) in enumerate(slot.choices):
            self._files += 1
            name = f"segment_{self._files}"
            try:
                await self._pieces[origin].fetch(name, segment.media, segment)
            except TaskFailed as fault:
                if len(self._places) == 1:
                    raise
                tell(
                    self._context,
                    f"{self._wish.where}: a segment of {self._places[origin].name} cannot be had: {fault}",
                )
                continue
            if place:
                tell(
                    self._context,
                    f"{self._wish.where}: {rendition.id}: {slot.start:.3f} s comes from {self._places[origin].name}",
                )
            taken = Taken(slot, origin, replace(segment, start=slot.start), name)
            gathered.taken.setdefault(rendition.id, []).append(taken)
            return
        if rendition.kind is not TrackKind.TEXT:
            warn(
                self._context,
                f"{self._wish.where}: {rendition.id}: {slot.duration:.3f} s at {slot.start:.3f} s are missing everywhere",
            )

    def _judge(self, gathered: Gathered) -> None:
        """How much of the reference is missing."""
        taken = gathered.taken.get(gathered.presentation.reference.id, [])
        if not taken:
            raise InputFault(f"{self._wish.where}: no origin has anything of it")
        inner = sum(max(0.0, hole(before, after)) for before, after in pairwise(taken))
        gathered.missing = (
            inner + max(0.0, taken[0].slot.start - gathered.begin) + max(0.0, gathered.end - taken[-1].slot.end)
        )
        if gathered.missing > SLACK:
            warn(
                self._context,
                f"{self._wish.where}: {gathered.missing:.3f} s of the stream are missing: the clip is as much shorter",
            )


def hole(before: Taken, after: Taken) -> float:
    """Seconds that are missing between two segments; 0.0 where nothing is."""
    if before.segment.run != after.segment.run and before.origin == after.origin:
        return 0.0
    between = after.slot.start - before.slot.end
    if between > max(0.25, 0.5 * before.slot.duration):
        return between
    return origins.leap(before.segment, after.segment) if before.origin == after.origin else 0.0
