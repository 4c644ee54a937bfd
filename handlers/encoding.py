"""What the handlers that encode share: the plan, its sources, ffmpeg with its progress, tracks as they are found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from taskengine.domain.errors import InternalFault
from taskengine.handlers.support import (
    beside,
    in_thread,
    keep_version,
    load,
    run_ffmpeg,
    tell,
    together,
    warn,
)
from taskengine.media import audio_argv, loudness
from taskengine.media.chunks import Plan
from taskengine.media.encoding import AudioEncoding, Encoding
from taskengine.media.progress import EncodeProgress
from taskengine.media.sources import Sources
from taskengine.media.tracks import Command, Track, TrackKind
from taskengine.ports import TaskContext


async def load_plan(context: TaskContext) -> Plan:
    """What is to be encoded."""
    return await load(context, context.inputs["plan"], "plan.json", Plan)


async def fetch_sources(context: TaskContext, names: Sequence[str]) -> Sources:
    """The sources, those of these plain names fetched."""
    sources = await load(context, context.inputs["sources"], "sources.json", Sources)
    wanted = [source for source in sources.sources if source.plain in names]
    await together([context.workspace.fetch(source.file, source.plain) for source in wanted])
    return sources


async def encode(
    context: TaskContext, encoding: Encoding, commands: Sequence[Command], *, faultless: bool = False
) -> Mapping[str, str]:
    """Run them, one pass after the other, asking for the version beside it, which is returned. `faultless`: an error that
    ffmpeg names and passes over is an InternalFault."""
    versions: dict[str, str] = {}
    async with beside(keep_version(context, "ffmpeg", context.tools.ffmpeg, versions)):
        for index, argv in enumerate(commands):
            done = EncodeProgress(
                frames=encoding.video.frames if encoding.video else None,
                rate=encoding.video.rate if encoding.video else None,
                duration=encoding.duration,
                clock=time.monotonic,
                before=index / len(commands),
                share=1 / len(commands),
            )
            result = await run_ffmpeg(context, argv, "encoding", done, of_input=True)
            if faultless and "[error]" in result.stderr_tail:
                raise InternalFault("encoding: ffmpeg passed over an error", stderr_tail=result.stderr_tail)
    return versions


async def with_loudness(context: TaskContext, encoding: Encoding) -> tuple[Encoding, Sequence[Command]]:
    """The encoding with what its audio measures now, where it is to be changed, and the command that measured it."""
    if not encoding.loudness or not encoding.audio:
        return encoding, ()
    argv = audio_argv.measure_loudness(context.tools.ffmpeg, encoding)
    await run_ffmpeg(context, argv, "measuring the loudness", of_input=True)
    audio = [await _measured(context, audio) for audio in encoding.audio]
    for track in audio:
        _tell_of(context, track, encoding)
    return replace(encoding, audio=audio), [argv]


async def _measured(context: TaskContext, audio: AudioEncoding) -> AudioEncoding:
    path = context.scratch / audio_argv.loudness_name(audio)
    try:
        return replace(audio, loudness=loudness.parse(await in_thread(path.read_text)))
    except (OSError, ValueError) as error:
        raise InternalFault(f"{audio.name}: its loudness was not measured: {error}") from error


def _tell_of(context: TaskContext, audio: AudioEncoding, encoding: Encoding) -> None:
    found, target = audio.loudness, encoding.loudness
    if found is None or target is None:
        return
    if found.silent:
        tell(context, f"{audio.name}: it is silent: its loudness is left")
        return
    reached = loudness.reachable(target, found)
    tell(context, f"{audio.name}: its loudness is {found.integrated:.1f} LUFS: brought to {reached:.1f}")
    if reached < target.integrated - 0.1:
        warn(context, f"{audio.name}: its peaks allow no more than {reached:.1f} of {target.integrated:.1f} LUFS")


def as_found(scratch: Path, track: Track, samples: int) -> Track:
    """The track with the bit rate and the frames that its file has."""
    size = (scratch / f"{track.name}.mp4").stat().st_size
    bitrate = round(size * 8 / track.duration) if track.duration else None
    if track.kind is TrackKind.AUDIO or track.frame_rate is None:
        return replace(track, bitrate=bitrate)
    return replace(track, bitrate=bitrate, frames=samples, duration=float(samples / track.frame_rate))


def verified(scratch: Path, encoding: Encoding) -> Sequence[Track]:
    """Check every output; the tracks as they are. Reads files: call it in a thread."""
    from taskengine.media import verify  # its parsers are not needed before

    counts = verify.encoding(scratch, encoding)
    return [as_found(scratch, track, counts[track.name]) for track in encoding.tracks()]


async def stored(context: TaskContext, tracks: Sequence[Track]) -> Sequence[Track]:
    """The tracks with their files in the workspace."""

    async def one(track: Track) -> Track:
        name = f"{track.name}.mp4"
        return replace(track, file=await context.workspace.store(context.scratch / name, name))

    return await together([one(track) for track in tracks])
