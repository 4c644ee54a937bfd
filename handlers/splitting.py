"""Archives that are no CMAF: tracks are taken out of muxed MP4 and TS segments, without decoding, each segment by itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.handlers.support import in_thread, run
from taskengine.media.archive import boxes, rewriting
from taskengine.media.archive.boxes import Init
from taskengine.media.mp4 import BoxFault
from taskengine.media.probe import INPUT_LIMITS
from taskengine.media.tracks import TrackKind
from taskengine.ports import TaskContext

_WHOLE_S = 100_000  # longer than any segment: packager must not cut one
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Source:
    """How the segments of a track become CMAF: as they are after `init`, or taken out of muxed ones, which need `head` before
    them (the init segment of all tracks; TS needs none). `origin`: where they come from, which is the same in every job."""

    init: bytes
    facts: Init
    origin: str
    head: bytes | None = None

    @property
    def muxed(self) -> bool:
        """Whether segments have to be split."""
        return self.head is not None


async def kinds_in(context: TaskContext, segment: bytes) -> frozenset[str]:
    """What a whole segment has in it: video, audio …"""
    name = f"looked_at_{next(_NUMBERS)}.seg"
    await in_thread((context.scratch / name).write_bytes, segment)
    asked = ["-show_entries", "stream=codec_type", "-of", "csv=p=0"]
    result = await run(
        context,
        [context.tools.ffprobe, "-v", "error", *INPUT_LIMITS, *asked, name],
        "looking at a segment",
        of_input=True,
    )
    await in_thread((context.scratch / name).unlink)
    return frozenset(result.stdout.decode(errors="replace").replace(",", " ").split())


async def split(
    context: TaskContext, kind: TrackKind, segments: Sequence[bytes], what: str
) -> list[tuple[bytes, bytes]]:
    """(init segment, segment) of one track of each of these."""
    names = [f"split_{next(_NUMBERS)}" for _ in segments]
    for data, name in zip(segments, names, strict=True):
        await in_thread((context.scratch / name).write_bytes, data)
    descriptors = [
        f"in={name},stream={kind.value},init_segment={name}.out/init.mp4,segment_template={name}.out/$Number$.m4s"
        for name in names
    ]
    argv = [context.tools.packager, "--quiet", *descriptors, "--segment_duration", str(_WHOLE_S)]
    await run(context, argv, f"taking the {kind.value} out of {what}", of_input=True)
    try:
        return [await in_thread(_taken, context.scratch, name, what) for name in names]
    except BoxFault as error:
        raise InputFault(f"{what}: its {kind.value} cannot be taken out: {error}") from error


def _taken(scratch: Path, name: str, what: str) -> tuple[bytes, bytes]:
    found = sorted((scratch / f"{name}.out").glob("*.m4s"))
    if len(found) != 1:
        raise InputFault(f"{what}: expected one segment of a track in a segment, found {len(found)}")
    init = rewriting.normalised((scratch / f"{name}.out" / "init.mp4").read_bytes())
    segment = found[0].read_bytes()
    shutil.rmtree(scratch / f"{name}.out")
    (scratch / name).unlink()
    return init, segment


def aligned(source: Source, init: bytes, segment: bytes, what: str) -> bytes:
    """A segment that was taken out, as it is after the init segment of its track. InputFault where that is another one's."""
    if rewriting.description(init) != rewriting.description(source.init):
        raise InputFault(f"{what}: what decoders must know changes where the manifest names no discontinuity")
    own = boxes.read_init(init)
    decoded = boxes.read_times(segment, own).decoded
    return rewriting.with_decode_time(segment, max(0, decoded - own.shift))  # what is before zero is priming
