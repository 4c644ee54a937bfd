"""Cutting the picture of one file: its frames, the parts that are copied and those that are encoded again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.handlers.support import QUIET_STALL_S, in_thread, plain_command, process_fault, run, run_ffmpeg, tell
from taskengine.media import mp4, probe
from taskengine.media.streams import cut_argv, cutting, parameter_sets
from taskengine.media.streams.captured import Part
from taskengine.media.streams.cutting import Cut, Frames
from taskengine.media.streams.model import Rendition, StreamFault
from taskengine.media.tracks import Command
from taskengine.ports import TaskContext


@dataclass(frozen=True, slots=True)
class Piece:
    """A rendition's file of a stretch, its frames and what ffprobe says of it; `picture`: the picture alone, from zero."""

    picture: str
    frames: Frames
    track: probe.VideoTrack

    @property
    def timescale(self) -> int:
        """Ticks in a second."""
        return round(1 / self.frames.tick)

    @property
    def divisible(self) -> bool:
        """Whether its edges can be encoded again and the rest copied."""
        return self.track.codec == "h264" and not self.track.interlaced


class Pictures:
    """Cuts pictures; `where`: the clip's parameter, for messages. `commands`: what did it."""

    def __init__(self, context: TaskContext, where: str) -> None:
        self._context, self._where = context, where
        self._numbers = 0
        self.commands: list[Command] = []

    async def frames(self, file: str) -> Frames:
        """When the frames of a file are shown. InputFault where it has none."""
        scan, argv = cutting.FrameScan(), cut_argv.packets(self._context.tools.ffprobe, file)
        result = await self._context.run(argv, on_line=scan.line, stall_s=QUIET_STALL_S)
        if result.exit_code != 0:
            raise process_fault("looking at the stream", result, of_input=True)
        try:
            return await in_thread(scan.frames)
        except StreamFault as fault:
            raise InputFault(f"{self._where}: {fault}") from fault

    async def piece(self, file: str) -> Piece:
        """A file's frames; its picture alone in a file beside it."""
        tools, picture = self._context.tools, f"{file}.mp4"
        frames = await self.frames(file)
        argv = cut_argv.isolated(tools.ffmpeg, file, picture, round(1 / frames.tick), frames.early)
        await run_ffmpeg(self._context, argv, "taking the picture", of_input=True)
        answer = await run(
            self._context, probe.probe_argv(tools.ffprobe, picture), "looking at the picture", of_input=True
        )
        found = probe.parse(self._where, answer.stdout, answer.exit_code, answer.stderr_tail)
        return Piece(picture, frames, found.video[0])

    async def cut(self, rendition: Rendition, piece: Piece, cut: Cut) -> tuple[Sequence[Part], cut_argv.Look]:
        """The frames of one rendition: the edges encoded again, what is between them as it is; and how they look."""
        track = piece.track
        sets = await in_thread(_sets, self._context.scratch / piece.picture) if track.codec == "h264" else None
        free = sets.free_id() if sets else None
        look = cut_argv.Look(
            track.codec if track.codec in {"h264", "hevc"} else "h264", track.width, track.height, track.pixel_format,
            sets=free or 1, most=rendition.bandwidth or None, deinterlaced=track.interlaced,
        )  # fmt: skip
        parts: list[Part | None] = [None]
        if len(cut.parts) == 1 or free is not None:
            parts = [await self._some(piece, part, look) for part in cut.parts]
        if None in parts:
            why = f"{self._where}: {rendition.id} ({track.codec}) cannot be copied between its edges: it is encoded"
            tell(self._context, why)
            parts = [await self.encoded(piece, (cut.first, cut.last), look)]
        if parts[0] is not None and parts[0].copied and len(parts) == 1:
            look = replace(look, codec=track.codec)
        return [part for part in parts if part is not None], look

    async def _some(self, piece: Piece, part: tuple[int, int, bool], look: cut_argv.Look) -> Part | None:
        first, last, copied = part
        return await self._copied(piece, first, last) if copied else await self.encoded(piece, (first, last), look)

    async def _copied(self, piece: Piece, first: int, last: int) -> Part | None:
        """Frames as they are; None where decoding cannot begin anew with the first."""
        frames, output = piece.frames, self._output()
        at = (frames.ticks[first] - frames.first) * frames.tick + frames.step * frames.tick / 2
        argv = cut_argv.copied(self._context.tools.ffmpeg, piece.picture, at, last - first, piece.timescale, output)
        await self.run(argv, "copying frames")
        anew = piece.track.codec != "h264" or await in_thread(
            parameter_sets.begins_anew, self._context.scratch / output
        )
        if not anew:
            return None
        return await self._part(output, piece, first, last, frames.delay, copied=True)

    async def encoded(self, piece: Piece, frames: tuple[int, int], look: cut_argv.Look) -> Part:
        """Frames [first, last), encoded again."""
        first, last = frames
        found, output = piece.frames, self._output()
        at = (found.ticks[first] - found.first) * found.tick - found.step * found.tick / 2
        delay = found.delay
        argv = cut_argv.encoded(
            self._context.tools.ffmpeg, piece.picture, at, last - first, piece.timescale, delay, look, output
        )
        await self.run(argv, "encoding frames")
        return await self._part(output, piece, first, last, delay, copied=False)

    async def _part(self, output: str, piece: Piece, first: int, last: int, delay: int, *, copied: bool) -> Part:
        path = self._context.scratch / output
        samples = (await in_thread(mp4.read_movie, path)).tracks[0].samples
        if samples != last - first:
            raise InputFault(
                f"{self._where}: {last - first} frames were to be cut and {samples} came: the stream is damaged"
            )
        seconds = piece.frames.begin(last) - piece.frames.begin(first)
        return Part(await self._context.workspace.store(path, output), seconds, samples, delay, copied)

    async def run(self, argv: Sequence[str], what: str) -> None:
        """Run ffmpeg over what a client's stream has."""
        await run_ffmpeg(self._context, argv, what, of_input=True)
        self.commands.append(plain_command(argv))

    def _output(self) -> str:
        self._numbers += 1
        return f"part_{self._numbers}.mp4"


def _sets(path: Path) -> parameter_sets.ParameterSets | None:
    try:
        return parameter_sets.read(path)
    except mp4.BoxFault:
        return None
