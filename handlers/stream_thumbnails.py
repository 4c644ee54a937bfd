"""`stream_thumbnails`: preview sheets of a stream, from the pieces at its marks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.streams import Opened, Pieces, lowest, open_stream
from taskengine.handlers.support import (
    FILE,
    NUMBER,
    STRING,
    in_thread,
    plain_command,
    run,
    run_ffmpeg,
    save_images,
    schema,
    tell,
    together,
)
from taskengine.media import probe
from taskengine.media.streams import argv
from taskengine.media.streams.choosing import at_marks
from taskengine.media.streams.model import Segment
from taskengine.media.thumbnails import THUMBNAIL_WIDTH, Grid, grid
from taskengine.ports import TaskContext

_MOST = 10_000
_MOST_FPS = 1_000  # what is more is the clock of a piece with one frame, not a rate
_AT_ONCE = 2


class StreamThumbnails:
    """The lowest rendition that suffices, its key frames alone where they have a playlist."""

    name = "stream_thumbnails"
    inputs: Mapping[str, Any] = schema({"source": STRING, "interval": NUMBER}, {"video_fps": NUMBER})
    outputs: Mapping[str, Any] = schema({"images": FILE})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `images` (a document). InputFault where the source is no stream that has ended."""
        choose = lowest(THUMBNAIL_WIDTH)
        opened = await open_stream(context, str(context.inputs["source"]), choose, key_frames=choose)
        stream = opened.key_frames or opened.stream
        pieces = Pieces(context)
        wanted = await _grid(context, opened, pieces)
        marks = [index * wanted.interval for index in range(wanted.count)]
        tell(context, f"{len(marks)} previews of {opened.stream.duration:.3f} s")
        work = _by_segment(at_marks(stream, marks), marks)
        done = 0

        async def one(segment: Segment, numbered: Sequence[tuple[int, float]]) -> None:
            nonlocal done
            await _pictures(context, pieces, wanted, segment, numbered)
            done += len(numbered)
            context.report_progress(0.95 * done / len(marks))

        await together([one(segment, numbered) for segment, numbered in work], _AT_ONCE)
        command = argv.sheets(context.tools.ffmpeg, wanted)
        await run_ffmpeg(context, command, "laying out previews")
        await in_thread(_verify, context, wanted.sheets)
        return {"images": await save_images(context, poster=False, previews=wanted, commands=[plain_command(command)])}


async def _grid(context: TaskContext, opened: Opened, pieces: Pieces) -> Grid:
    """By the picture of the first segment; the time of the last frame by the frame rate, where the source tells one."""
    piece = await pieces.bring([opened.stream.segments[0]])
    answer = await run(context, probe.probe_argv(context.tools.ffprobe, piece), "looking at the stream", of_input=True)
    found = probe.parse("source", answer.stdout, answer.exit_code, answer.stderr_tail)
    await pieces.drop(piece)
    if not found.video:
        raise InputFault("source: it has no picture")
    video = found.video[0]
    told = opened.variant.frame_rate if opened.variant else None
    found_rates = [float(rate) for rate in (video.average_rate, video.nominal_rate) if rate and rate <= _MOST_FPS]
    rate = next(iter(found_rates), None) or told or float(context.inputs.get("video_fps") or 24)
    duration, interval = opened.stream.duration, float(context.inputs["interval"])
    if duration / interval > _MOST:
        raise InputFault(f"preview_thumbnails_interval: {interval:g} s makes more than {_MOST:,} previews")
    return grid(video.display_size, duration, duration - 1 / rate, interval)


def _by_segment(
    segments: Sequence[Segment], marks: Sequence[float]
) -> Sequence[tuple[Segment, Sequence[tuple[int, float]]]]:
    """Segment → (number of the preview from 1, its mark), in order."""
    found: dict[int, tuple[Segment, list[tuple[int, float]]]] = {}
    for number, (segment, mark) in enumerate(zip(segments, marks, strict=True), start=1):
        found.setdefault(id(segment), (segment, []))[1].append((number, mark))
    return list(found.values())


async def _pictures(
    context: TaskContext, pieces: Pieces, wanted: Grid, segment: Segment, numbered: Sequence[tuple[int, float]]
) -> None:
    piece = await pieces.bring([segment])
    for number, mark in numbered:
        output = argv.PICTURES % number
        after = max(0.0, mark - segment.start)
        for keys_alone in (True, False):  # a piece may have no key frame of its own
            command = argv.key_picture(context.tools.ffmpeg, piece, after, wanted, output, keys_alone=keys_alone)
            await context.run(command)
            if await in_thread((context.scratch / output).is_file):
                break
        else:
            raise InputFault(f"source: there is no picture at {mark:.3f} s")
    await pieces.drop(piece)


def _verify(context: TaskContext, sheets: int) -> None:
    from taskengine.media import verify  # its parsers are not needed before

    verify.images(context.scratch, poster=False, sheets=sheets)
