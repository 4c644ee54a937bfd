"""Cutting what was gathered of a clip: each rendition at the same frames, sound at the same instants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.domain.errors import InputFault, TaskFailed
from taskengine.domain.keys import ContentKey
from taskengine.handlers.cut_pictures import Pictures, Piece
from taskengine.handlers.gathering import Gathered, Gathering, Taken, Wish, hole
from taskengine.handlers.opening import opened
from taskengine.handlers.streams import join
from taskengine.handlers.support import in_thread, run, tell
from taskengine.media import probe
from taskengine.media.streams import cut_argv, cutting
from taskengine.media.streams.captured import CapturedSound, CapturedVideo, Part, Stretch
from taskengine.media.streams.cutting import Cut, Frames
from taskengine.media.streams.marks import Mark
from taskengine.media.streams.model import Rendition
from taskengine.media.tracks import Command, Reference, TrackKind
from taskengine.ports import TaskContext

_WRAP = Fraction(1 << 33, 90_000)  # seconds, after which the clock of MPEG-TS begins anew
_MOST_STRETCHES = 200
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch on the clock of the reference's media: [begin, end) seconds; `shift` makes seconds of the stream of them.
    `offset`: where it begins in the clip."""

    begin: Fraction
    end: Fraction
    shift: Fraction
    taken: Sequence[Taken]
    offset: Fraction

    @property
    def seconds(self) -> Fraction:
        """How long it lasts."""
        return self.end - self.begin


class Cutter:
    """All stretches of one clip, one after the other."""

    def __init__(
        self, context: TaskContext, wish: Wish, gathering: Gathering, gathered: Gathered, key: ContentKey | None,
        seed: bytes | None, *, exact: bool,
    ) -> None:  # fmt: skip
        self._context, self._wish, self._gathering, self._gathered = context, wish, gathering, gathered
        self._key, self._seed, self._exact = key, seed, exact
        self._numbers = 0
        self._pictures = Pictures(context, wish.where)
        self.spans: list[Span] = []
        self.videos: dict[str, list[Part]] = {}
        self.looks: dict[str, CapturedVideo] = {}
        self.sounds: dict[str, list[Reference | None]] = {}
        self.heard: dict[str, CapturedSound] = {}

    @property
    def commands(self) -> Sequence[Command]:
        """What cut it."""
        return self._pictures.commands

    @property
    def stretches(self) -> Sequence[Stretch]:
        """What goes on without a break, in order."""
        return [Stretch(span.seconds, self._time_of_day(span)) for span in self.spans]

    def _time_of_day(self, span: Span) -> int | None:
        first = span.taken[0].segment
        if first.at is None:
            return None
        return first.at + round(float(span.begin + span.shift - Fraction(first.start)) * 1000)

    async def all(self) -> None:
        """Cut everything. InputFault where nothing is left."""
        reference = self._gathered.presentation.reference
        found = split(self._gathered.taken[reference.id])
        if len(found) > _MOST_STRETCHES:
            raise InputFault(
                f"{self._wish.where}: it breaks off {len(found)} times; at most {_MOST_STRETCHES} are joined"
            )
        if len(found) > 1 and not self._exact:
            tell(self._context, f"{self._wish.where}: the source has discontinuities: it is cut at the frame")
            self._exact = True
        for number, taken in enumerate(found):
            await self._stretch(reference, taken)
            self._context.report_progress(0.5 + 0.5 * (number + 1) / len(found), message="cutting")
        if not self.spans:
            raise InputFault(f"{self._wish.where}: there is no frame between its start and its end")

    async def _stretch(self, reference: Rendition, taken: Sequence[Taken]) -> None:
        file = await self._file(taken)
        offset = sum((span.seconds for span in self.spans), Fraction(0))
        if reference.kind is not TrackKind.VIDEO:
            span = await self._span_of_sound(taken, file, offset)
            if span is not None:
                await self._add(span, {reference.id: file})
            return
        piece = await self._pictures.piece(file)
        shift = await self._shift(reference, taken, piece.frames.begin(0))
        begin, end = self._wanted(taken, shift, piece.frames.begin(0), piece.frames.begin(len(piece.frames.ticks)))
        cut = cutting.cut(piece.frames, begin, end, exact=self._exact, edges=piece.divisible)
        if cut is None:
            return
        span = Span(piece.frames.begin(cut.first), piece.frames.begin(cut.last), shift, taken, offset)
        await self._keep_cut(reference, piece, cut)
        files = {reference.id: file}
        for rendition in self._gathered.presentation.of(TrackKind.VIDEO):
            if rendition.id != reference.id:
                files[rendition.id] = await self._rung(rendition, span, piece, cut)
        await self._drop(piece.picture)
        await self._add(span, files)

    async def _drop(self, name: str) -> None:
        await in_thread((self._context.scratch / name).unlink)

    async def _add(self, span: Span, files: Mapping[str, str]) -> None:
        """The sound of a stretch, and the stretch itself."""
        for rendition in self._gathered.presentation.of(TrackKind.AUDIO):
            file = files.get(rendition.within or rendition.id)
            reference = await self._sound(rendition, span, file)
            parts = self.sounds.setdefault(rendition.id, [None] * len(self.spans))
            parts.append(reference)
        self.spans.append(span)
        for file in set(files.values()) - {""}:
            await self._drop(file)

    def _wanted(
        self, taken: Sequence[Taken], shift: Fraction, first: Fraction, last: Fraction
    ) -> tuple[Fraction, Fraction]:
        """The clip's start and end on the clock of a stretch's media."""

        def on_clock(mark: Mark | None, otherwise: Fraction) -> Fraction:
            if mark is None:
                return otherwise
            return Fraction(mark.within(taken[0].segment)).limit_denominator(10**9) - shift

        return on_clock(self._wish.window.start, first), on_clock(self._wish.window.end, last)

    async def _shift(self, reference: Rendition, taken: Sequence[Taken], first: Fraction) -> Fraction:
        """What makes seconds of the stream of those of the media: told, or by the first picture of the segment from which
        the client's times count."""
        segment = taken[0].segment
        if segment.shift is not None:
            return Fraction(segment.shift).limit_denominator(10**9)
        here = Fraction(segment.start).limit_denominator(10**9) - first
        run = [each for each in reference.segments if each.run == segment.run and each.init == segment.init]
        counted = self._wish.window.by_day or self._wish.window.start is self._wish.window.end is None
        if counted or not run or run[0].media == segment.media or (segment.at is not None and self._gathering.several):
            return here
        try:
            name = await self._gathering.pieces(taken[0].origin).bring([run[0]])
            frames = await self._pictures.frames(await self._opened(name, segment.protection))
        except TaskFailed as fault:
            tell(self._context, f"{self._wish.where}: offsets count from the segment at {segment.start:.3f} s: {fault}")
            return here
        return Fraction(run[0].start).limit_denominator(10**9) - frames.begin(0)

    async def _rung(self, rendition: Rendition, span: Span, reference: Piece, cut: Cut) -> str:
        """Another rendition at the same frames; from the reference, where it has not all of them. The file it was cut from."""
        taken = await self._of_span(rendition, span)
        if taken:
            file = await self._file(taken)
            piece = await self._pictures.piece(file)
            by = span.shift - _told(taken, span.shift)
            begin, end = span.begin + by, span.end + by
            own = cutting.cut(piece.frames, begin, end, exact=True, edges=piece.divisible)
            if own is not None and covers(piece.frames, own, begin, end):
                await self._keep_cut(rendition, piece, own)
                await self._drop(piece.picture)
                return file
        else:
            file = ""
        tell(
            self._context,
            f"{self._wish.where}: {rendition.id} has not all frames of {reference_name(span)}: it is made of the best rendition",
        )
        size = (rendition.width or reference.track.width, rendition.height or reference.track.height)
        look = cut_argv.Look(
            "h264", size[0] // 2 * 2, size[1] // 2 * 2, "yuv420p", most=rendition.bandwidth or None, resized=True
        )
        part = await self._pictures.encoded(reference, (cut.first, cut.last), look)
        self._keep(rendition, part, look, reference)
        return file

    async def _of_span(self, rendition: Rendition, span: Span) -> Sequence[Taken]:
        """The segments of a rendition in which a stretch may be: those of its origin and run, where there are any."""
        begin, end = float(span.begin + span.shift) - 0.5, float(span.end + span.shift) + 0.5
        first = span.taken[0]
        found = await self._gathering.of_origin(self._gathered, rendition, first, begin, end)
        if not found:
            taken = self._gathered.taken.get(rendition.id, [])
            others = [each for each in taken if each.slot.end > begin and each.slot.start < end]
            found = [each for each in others if each.origin != first.origin]
        return [each for each in found if each.segment.init == found[0].segment.init]

    async def _file(self, taken: Sequence[Taken]) -> str:
        """Segments that go on from one another as one file, opened where they are encrypted."""
        self._numbers += 1
        name = f"stretch_{self._numbers}"
        kept = [each.file for each in taken]
        parts, init = list(kept), taken[0].segment.init
        if init is not None:
            await self._gathering.pieces(taken[0].origin).fetch(f"{name}.init", init, None)
            parts.insert(0, f"{name}.init")
        await in_thread(join, self._context.scratch, parts, name, kept)
        return await self._opened(
            name, next((each.segment.protection for each in taken if each.segment.protection), "")
        )

    async def _opened(self, name: str, protection: str) -> str:
        return await opened(
            self._context, name, self._wish.where, protection=protection, key=self._key, seed=self._seed
        )  # fmt: skip

    async def _keep_cut(self, rendition: Rendition, piece: Piece, cut: Cut) -> None:
        parts, look = await self._pictures.cut(rendition, piece, cut)
        for part in parts:
            self._keep(rendition, part, look, piece)

    def _keep(self, rendition: Rendition, part: Part, look: cut_argv.Look, of: Piece) -> None:
        self.videos.setdefault(rendition.id, []).append(part)
        if rendition.id in self.looks:
            return
        rate = of.track.average_rate or Fraction(1) / (of.frames.step * of.frames.tick)
        self.looks[rendition.id] = CapturedVideo(
            rendition.id, look.codec, look.width, look.height, look.pixel_format, rate, of.timescale,
            rendition.bandwidth, [],
        )  # fmt: skip

    async def _span_of_sound(self, taken: Sequence[Taken], file: str, offset: Fraction) -> Span | None:
        """A stretch without picture, by its sound."""
        first = await self._first_of_sound(file)
        shift = Fraction(taken[0].segment.start).limit_denominator(10**9) - first
        if taken[0].segment.shift is not None:
            shift = Fraction(taken[0].segment.shift).limit_denominator(10**9)
        lasting = sum(Fraction(each.slot.duration).limit_denominator(10**9) for each in taken)
        begin, end = self._wanted(taken, shift, first, first + lasting)
        begin, end = max(begin, first), min(end, first + lasting)
        return Span(begin, end, shift, taken, offset) if begin < end else None

    async def _first_of_sound(self, file: str) -> Fraction:
        answer = await run(
            self._context,
            cut_argv.sound_start(self._context.tools.ffprobe, file),
            "looking at the sound",
            of_input=True,
        )
        text = answer.stdout.decode(errors="replace").strip().split("\n")[0].strip(",")
        try:
            return Fraction(text)
        except (ValueError, ZeroDivisionError):
            raise InputFault(f"{self._wish.where}: its sound has no times") from None

    async def _sound(self, rendition: Rendition, span: Span, file: str | None) -> Reference | None:
        """The sound of a stretch, as many samples as it lasts; None where there is none."""
        own = file is None or file == ""
        if own:
            taken = await self._of_span(rendition, span)
            if not taken:
                return None
            file = await self._file(taken)
            by = span.shift - _told(taken, span.shift)
        else:
            by = Fraction(0)
        tools = self._context.tools
        answer = await run(
            self._context, probe.probe_argv(tools.ffprobe, str(file)), "looking at the sound", of_input=True
        )
        found = probe.parse(self._wish.where, answer.stdout, answer.exit_code, answer.stderr_tail)
        if not found.audio:
            return None
        track = found.audio[0]
        begin = span.begin + by
        if own:
            begin += _WRAP * round((await self._first_of_sound(str(file)) - begin) / _WRAP)
        self._numbers += 1
        output, samples = f"sound_{self._numbers}.flac", round(span.seconds * track.sample_rate)
        await self._pictures.run(
            cut_argv.sound(tools.ffmpeg, str(file), begin, samples, track.sample_rate, output), "cutting the sound"
        )
        if rendition.id not in self.heard:
            self.heard[rendition.id] = CapturedSound(
                track.codec, track.channels, track.sample_rate, track.bitrate or rendition.bandwidth or None,
                rendition.language or track.language or "", rendition.role or track.role, [],
            )  # fmt: skip
        stored = await self._context.workspace.store(self._context.scratch / output, output)
        if own:
            await self._drop(str(file))
        return stored


def split(taken: Sequence[Taken]) -> Sequence[Sequence[Taken]]:
    """The segments that go on from one another: of one origin, one run, one init segment, without a hole."""
    found: list[list[Taken]] = []
    for each in taken:
        before = found[-1][-1] if found else None
        same = before is not None and (before.origin, before.segment.run, before.segment.init) == (
            each.origin, each.segment.run, each.segment.init,
        )  # fmt: skip
        if before is not None and same and not hole(before, each):
            found[-1].append(each)
        else:
            found.append([each])
    return found


def covers(frames: Frames, cut: Cut, begin: Fraction, end: Fraction) -> bool:
    """Whether a rendition has all frames of a stretch, at its own rate."""
    step = frames.step * frames.tick
    near = abs(frames.begin(cut.first) - begin) < step and abs(frames.begin(cut.last) - end) < step
    return near and frames.whole(cut.first, cut.last)


def reference_name(span: Span) -> str:
    """A stretch in messages."""
    return f"{float(span.begin + span.shift):.3f} s to {float(span.end + span.shift):.3f} s"


def _told(taken: Sequence[Taken], otherwise: Fraction) -> Fraction:
    shift = taken[0].segment.shift
    return otherwise if shift is None else Fraction(shift).limit_denominator(10**9)
