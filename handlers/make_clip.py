"""`make_clip`: a portion of a clip that cannot be referenced, in the target profile of its virtual asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.clips import KeptReader, read_streams
from taskengine.handlers.streams import Pieces
from taskengine.handlers.support import (
    FILE,
    NUMBER,
    in_thread,
    keep_version,
    load,
    plain_command,
    run,
    run_ffmpeg,
    save,
    schema,
    tell,
    within_time,
)
from taskengine.media import probe
from taskengine.media.languages import UNDETERMINED, tag_of
from taskengine.media.mp4 import read_movie
from taskengine.media.streams.model import Rendition, Segment
from taskengine.media.tracks import Command, Media, Track, TrackKind
from taskengine.media.virtual import clips, make_argv, profile
from taskengine.media.virtual.assembly import Make, Remix, Rung
from taskengine.media.virtual.make_argv import Portion, Sound
from taskengine.ports import TaskContext


class MakeClip:
    """Files that are the target profile, whole, are copied; all else is encoded, picture and sound, from the best rendition."""

    name = "make_clip"
    inputs: Mapping[str, Any] = schema({"remix": FILE, "place": {"type": "integer"}}, {"time_limit": NUMBER})
    outputs: Mapping[str, Any] = schema({"media": FILE, "place": {"type": "integer"}})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media`, a document of tracks that are called as the rungs of the profile; `place`, that of the run."""
        place = int(context.inputs["place"])
        remix = await load(context, context.inputs["remix"], "remix.json", Remix)
        make = remix.makes[place]
        if make is None:
            raise InputFault(f"place: the run {place} is referenced")
        async with within_time(context):
            media = await self._made(context, remix, make)
        return {"media": await save(context, "media.json", media, Media), "place": place}

    async def _made(self, context: TaskContext, remix: Remix, make: Make) -> Media:
        versions: dict[str, str] = {}
        await keep_version(context, "ffmpeg", context.tools.ffmpeg, versions)
        starts = await _files(context, make) if make.files else await _pieces(context, make)
        inputs = list(starts)
        found = [await _probed(context, name, make) for name in inputs]
        command = None
        if remix.copies and make.whole:
            command = _copy(context, inputs, found, remix.ladder)
        if command is None:
            command = _encode(context, starts, found, remix.ladder, make)
        else:
            tell(context, f"clips[{make.clip}] is copied")
        await run_ffmpeg(context, command, f"making clips[{make.clip}]", of_input=True)
        return await _media(context, remix.ladder, [plain_command(command)], versions)


async def _files(context: TaskContext, make: Make) -> Mapping[str, float]:
    """File → where it begins on the clip's time line."""
    names: dict[str, float] = {}
    for number, reference in enumerate(make.files):
        name = f"file_{number}.bin"
        await context.workspace.fetch(reference, name)
        names[name] = 0.0
    return names


async def _probed(context: TaskContext, name: str, make: Make) -> probe.Probe:
    argv = probe.probe_argv(context.tools.ffprobe, name)
    answer = await run(context, argv, f"clips[{make.clip}]: looking at it", of_input=True)
    return probe.parse(f"clips[{make.clip}]", answer.stdout, answer.exit_code, answer.stderr_tail)


async def _pieces(context: TaskContext, make: Make) -> Mapping[str, float]:
    """The best picture of a stream around the portion, and each sound that is apart from it: file → where it begins."""
    what = f"clips[{make.clip}].source"
    reader = KeptReader(context)
    presentation, _ = await read_streams(reader, make.sources, what)
    pieces = Pieces(context, reader, what=what)
    best = presentation.reference
    sounds = [each for each in presentation.of(TrackKind.AUDIO) if each.within is None]
    names: dict[str, float] = {}
    for each in (best, *sounds):
        segments = _covering(each, make)
        names[await pieces.bring(segments)] = segments[0].start
    return names


def _covering(rendition: Rendition, make: Make) -> Sequence[Segment]:
    found = [
        each for each in rendition.segments
        if each.end > make.begin + clips.SLACK and each.start < make.end - clips.SLACK
    ]  # fmt: skip
    if not found:
        raise InputFault(f"clips[{make.clip}].source: it has no segments from {make.begin:.3f} s to {make.end:.3f} s")
    if any((each.run, each.init) != (found[0].run, found[0].init) for each in found):
        raise InputFault(
            f"clips[{make.clip}].source: what has to be made of it, from {make.begin:.3f} s to {make.end:.3f} s, has a "
            "discontinuity"
        )
    return found


def _copy(
    context: TaskContext, inputs: Sequence[str], found: Sequence[probe.Probe], ladder: Sequence[Rung]
) -> Command | None:
    """How files are copied that are the profile's own; None where they are not."""
    told, rungs = profile.of_files(found)
    if len(told) != len(ladder) or [_look(rung) for rung in rungs] != [_look(rung) for rung in ladder]:
        return None
    places = profile.places_of(found)
    if any(codec != rung.codec for rung, (_, _, codec) in zip(ladder, places, strict=True)):
        return None
    tracks = [(rung, file, stream) for rung, (file, stream, _) in zip(ladder, places, strict=True)]
    return make_argv.copy(context.tools.ffmpeg, inputs, tracks)


def _look(rung: Rung) -> tuple[str, int, int, str]:
    return rung.codec, rung.width, rung.height, rung.language


def _encode(
    context: TaskContext, starts: Mapping[str, float], found: Sequence[probe.Probe], ladder: Sequence[Rung], make: Make
) -> Command:
    inputs = list(starts)
    pictures = [rung for rung in ladder if rung.height]
    spoken = [rung for rung in ladder if not rung.height]
    files = sorted(
        (place for place, each in enumerate(found) if each.video),
        key=lambda place: found[place].video[0].width * found[place].video[0].height,
        reverse=True,
    )
    if not files:
        raise InputFault(f"clips[{make.clip}]: it has no picture")
    first = files[0]
    order = [first, *(place for place in range(len(inputs)) if place != first)]
    begins = [make.begin - starts[inputs[place]] for place in order]
    video = found[first].video[0]
    rate = _rate(pictures[0].frame_rate if pictures else "", video)
    sounds = [_sound(rung, [found[place] for place in order], begins) for rung in spoken]
    portion = Portion([inputs[place] for place in order], video, begins[0], make.end - make.begin, rate, sounds)
    return make_argv.encode(context.tools.ffmpeg, portion, pictures, spoken)


def _rate(told: str, video: probe.VideoTrack) -> Fraction:
    for each in (Fraction(told) if told else None, video.average_rate, video.nominal_rate):
        if each and 1 <= each <= 300:
            return each
    return Fraction(25)


def _sound(rung: Rung, found: Sequence[probe.Probe], begins: Sequence[float]) -> Sound | None:
    """The track of its language, else the first one; None where there is none."""
    tracks = [(place, track) for place, each in enumerate(found) for track in each.audio]
    same = [pair for pair in tracks if (tag_of(str(pair[1].language)) or UNDETERMINED) == rung.language]
    for place, track in same or tracks:
        return Sound(place, str(track.index), begins[place])
    return None


async def _media(
    context: TaskContext, ladder: Sequence[Rung], commands: Sequence[Command], versions: Mapping[str, str]
) -> Media:
    tracks = []
    for rung in ladder:
        name = f"{rung.name}.mp4"
        movie = await in_thread(read_movie, context.scratch / name)
        track = movie.tracks[0]
        kind = TrackKind.VIDEO if rung.height else TrackKind.AUDIO
        rate = (
            Fraction(track.samples, 1) / Fraction(track.seconds).limit_denominator(100_000) if track.seconds else None
        )
        tracks.append(
            Track(
                rung.name, kind, rung.codec, track.seconds, await context.workspace.store(context.scratch / name, name),
                bitrate=rung.bitrate, width=rung.width or None, height=rung.height or None,
                frame_rate=rate if kind is TrackKind.VIDEO else None, language=rung.language,
                channels=rung.channels if kind is TrackKind.AUDIO else None,
            )
        )  # fmt: skip
    videos = [track.duration for track in tracks if track.kind is TrackKind.VIDEO]
    return Media(tracks, max(videos or [track.duration for track in tracks]), make_argv.SEGMENT_S, commands, versions)
