"""`plan_remix`: how a virtual asset is put together: what is referenced where it lies, and what has to be made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.clips import KeptReader, head_of
from taskengine.handlers.remix_clips import Clip, read_clip
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    in_thread,
    save,
    schema,
    tell,
    tell_all,
    together,
    told_of,
    warn,
    within_time,
)
from taskengine.media.mp4 import BoxFault
from taskengine.media.streams.model import Resource, StreamFault
from taskengine.media.thumbnails import seconds_of
from taskengine.media.virtual import clips, profile
from taskengine.media.virtual.assembly import Make, Remix
from taskengine.media.virtual.boxes import HEAD_BYTES, first_time
from taskengine.media.virtual.clips import Offered
from taskengine.media.virtual.model import Kind, Mark, Pieces, Run
from taskengine.ports import TaskContext

_AT_ONCE = 4


class PlanRemix:
    """Reads every clip. Segments of streams whose renditions fit the target profile are referenced; files, other renditions and
    the edges that are to be on the frame are made. `live`: what players are shown from where it lies alone."""

    name = "plan_remix"
    inputs: Mapping[str, Any] = schema(
        {"clips": {"type": "array"}},
        {"drm": {"type": "array"}, "encrypt_ismv": BOOLEAN, "live": BOOLEAN, "noted": ANY, "time_limit": NUMBER},
    )
    outputs: Mapping[str, Any] = schema({"remix": FILE, "makes": {"type": "array"}, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `remix`, a document; `makes`, the places of the runs that have to be made; `duration` in seconds.
        InputFault where a clip cannot be read or used, told by its place."""
        inputs = context.inputs
        given: Sequence[Mapping[str, Any]] = inputs["clips"]
        for name, value in (inputs.get("noted") or {}).items():
            if value:
                tell(context, f"{name}: noted; it has no effect here")
        described = [number for number, clip in enumerate(given) if clip.get("output_description")]
        if len(described) > 1:
            raise InputFault(f"clips[{described[1]}].output_description: at most one clip sets the target profile")
        live = bool(inputs.get("live"))
        _check_marks(given, live=live)
        async with within_time(context):
            remix = await self._planned(context, given, described[0] if described else 0, live=live)
        makes = [place for place, make in enumerate(remix.makes) if make is not None]
        tell(
            context,
            f"{len(remix.runs) - len(makes)} runs are referenced, {len(makes)} are made; {remix.duration:.3f} s",
        )
        return {"remix": await save(context, "remix.json", remix, Remix), "makes": makes, "duration": remix.duration}

    async def _planned(
        self, context: TaskContext, given: Sequence[Mapping[str, Any]], described: int, *, live: bool
    ) -> Remix:
        inputs = context.inputs
        reader = KeptReader(context)
        read = await together([read_clip(context, reader, number, clip) for number, clip in enumerate(given)], _AT_ONCE)
        target = read[described]
        protected = bool(inputs.get("encrypt_ismv")) or bool(set(inputs.get("drm") or ()) - {"clear"})
        remix = await in_thread(_put_together, read, target, given)
        _judge(remix, live=live, protected=protected)
        tell_all(context, remix.notes)
        await _check_there(reader, remix)
        if not live:
            remix = replace(remix, runs=await _timed(context, reader, remix))
        return remix


def _check_marks(given: Sequence[Mapping[str, Any]], *, live: bool) -> None:
    for number, clip in enumerate(given):
        for event in (clip.get("markers") or {}).get("meta_events") or ():
            if live and event.get("type") == "insert":
                raise InputFault(
                    f"clips[{number}].markers.meta_events.type: insert is not for live_compose, whose time does not stand still"
                )


def _judge(remix: Remix, *, live: bool, protected: bool) -> None:
    """InputFault for what the way of publication does not allow."""
    made = [make for make in remix.makes if make is not None]
    if live and made:
        raise InputFault(
            f"clips[{made[0].clip}]: a part of it would have to be made here, and live_compose shows what lies on servers alone: "
            "give streams of one profile, without frame_accurate"
        )
    if live and protected:
        raise InputFault("drm: live_compose shows segments as they are; it protects none")
    if protected and len(made) < len(remix.runs):
        raise InputFault(
            "drm: segments that are referenced stay as they are, so that only what is made here can be protected: give files, "
            "or drm ['clear']"
        )


# --------------------------------------------------------------------------------------------------------- the pure part


def _put_together(read: Sequence[Clip], target: Clip, given: Sequence[Mapping[str, Any]]) -> Remix:
    """The runs of all clips in order."""
    matches = [_match(clip, target) for clip in read]
    notes = [
        f"clips[{clip.number}] is encoded into the target profile: {match}"
        for clip, match in zip(read, matches, strict=True)
        if isinstance(match, str)
    ]
    found = [
        {
            name
            for name, each in match.items()
            if each.told.kind is not Kind.TEXT or clips.readable(each, cut=_cut(parameters))
        }
        for match, parameters in zip(matches, given, strict=True)
        if not isinstance(match, str)
    ]
    wanted = [
        each for each in target.offered
        if each.told.kind is not Kind.TEXT or (found and all(each.told.name in names for names in found))
    ]  # fmt: skip
    names = {each.told.name for each in wanted}
    runs: list[Run] = []
    makes: list[Make | None] = []
    for clip, match, parameters in zip(read, matches, given, strict=True):
        own = None if isinstance(match, str) else {name: each for name, each in match.items() if name in names}
        with told_of(f"clips[{clip.number}]"):
            made = _of_clip(clip, own, parameters)
        runs += [run for run, _ in made]
        makes += [make for _, make in made]
    if any(makes):
        profile.check_makeable(target.rungs, [each for each in wanted if each.told.kind is not Kind.TEXT])
    renditions = [each.told for each in wanted] or list(target.told)
    duration = sum(run.duration for run in runs)
    return Remix(renditions, target.rungs, runs, makes, round(duration, 6), copies=not target.offered, notes=notes)


def _cut(parameters: Mapping[str, Any]) -> bool:
    """Whether a clip may be less than its whole stream, or more than one run."""
    markers = parameters.get("markers") or {}
    return any(parameters.get(name) is not None for name in ("start", "end")) or bool(markers.get("frame_accurate"))


def _match(clip: Clip, target: Clip) -> Mapping[str, Offered] | str:
    """The renditions that go on as the target's; else why there are none."""
    if clip.files:
        return "it is a file"
    if not target.offered:
        return "the target profile is that of a file"
    return clips.counterparts(target.offered, clip.offered)


def _of_clip(
    clip: Clip, own: Mapping[str, Offered] | None, parameters: Mapping[str, Any]
) -> Sequence[tuple[Run, Make | None]]:
    """Its runs; those without pieces are made."""
    what = f"clips[{clip.number}]"
    begin, end = clip.times(parameters)
    exact = bool(parameters.get("frame_accurate"))
    markers = parameters.get("markers") or {}
    marks = _marks(markers, end - begin, what)
    cuts: list[float] = []
    if markers.get("frame_accurate"):
        cuts = [at for mark in marks for at in (mark.at, mark.at + (0 if mark.insert else mark.duration))]
        cuts = [begin + at for at in cuts if at < end - begin]
    if own is None:
        inner = [at for at in (*cuts, *clip.breaks) if begin + clips.SLACK < at < end - clips.SLACK]
        portions = [clips.Portion(one, two, made=True) for one, two in pairwise(sorted({begin, *inner, end}))]
    else:
        reference = next(iter(own))
        portions = list(clips.portions(own[reference].stream, begin, end, cuts, exact=exact))
    if not portions:
        raise StreamFault("there is nothing between start and end")
    found: list[tuple[Run, Make | None]] = []
    for portion in portions:
        if portion.made:
            whole = bool(clip.files) and portion.begin <= 0 and abs(portion.end - clip.duration) < clips.SLACK
            make = Make(clip.number, clip.sources, portion.begin, portion.end, clip.files, whole)
            found.append((Run(round(portion.end - portion.begin, 6), {}), make))
        else:
            referenced = own or {}
            found += [
                (run, None) for run in clips.runs(referenced, next(iter(referenced)), portion.begin, portion.end, what)
            ]
    late = begin - portions[0].begin  # a clip that begins within a segment begins with all of it
    shifted = [replace(mark, at=mark.at + late) for mark in marks]
    marked = clips.marked([run for run, _ in found], shifted)
    return [(run, make) for run, (_, make) in zip(marked, found, strict=True)]


def _marks(markers: Mapping[str, Any], length: float, what: str) -> Sequence[Mark]:
    found = []
    for event in markers.get("meta_events") or ():
        at = seconds_of(event["presentation_time"], f"{what}.markers.meta_events.presentation_time")
        lasts = seconds_of(event["duration"], f"{what}.markers.meta_events.duration")
        if at > length + clips.SLACK:
            raise InputFault(
                f"{what}.markers.meta_events.presentation_time: {at:g} s is after the clip's end; it lasts {length:.3f} s"
            )
        insert = event.get("type") == "insert"
        found.append(Mark(at, lasts, insert, int(markers.get("timescale") or 1000)))
    return found


# ----------------------------------------------------------------------------------------------------- the times for DASH


async def _check_there(reader: KeptReader, remix: Remix) -> None:
    """InputFault where the last segment of a run is not where its playlist says."""
    last = [(pieces, len(pieces.uris) - 1) for run in remix.runs for pieces in run.pieces.values()]
    wanted = [Resource(pieces.uri(place), pieces.ranges[place][0] if pieces.ranges else 0, 1) for pieces, place in last]
    with told_of("clips"):
        await together([reader.bytes_of(each) for each in wanted], _AT_ONCE)


async def _timed(context: TaskContext, reader: KeptReader, remix: Remix) -> Sequence[Run]:
    """The referenced runs with the time stamps of their first segments, where all are fMP4 and can be read."""
    if any(
        not pieces.inits or pieces.ivs
        for run in remix.runs
        for name, pieces in run.pieces.items()
        if "text" not in name
    ):
        return remix.runs
    inits: dict[str, bytes] = {}

    async def one(pieces: Pieces) -> Pieces:
        part = pieces.inits[0][1]
        key = f"{part.uri} {part.offset}"
        if key not in inits:
            inits[key] = await reader.bytes_of(Resource(part.uri, part.offset, part.length))
        offset, length = pieces.ranges[0] if pieces.ranges else (0, None)
        head = await head_of(reader, Resource(pieces.uri(0), offset, length), HEAD_BYTES)
        return replace(pieces, media_time=first_time(inits[key], head))

    async def of(run: Run) -> Run:
        video = {name: pieces for name, pieces in run.pieces.items() if not name.startswith(Kind.TEXT.value)}
        timed = await together([one(pieces) for pieces in video.values()])
        return replace(run, pieces={**run.pieces, **dict(zip(video, timed, strict=True))})

    try:
        return await together([of(run) for run in remix.runs], _AT_ONCE)
    except (BoxFault, IndexError) as fault:
        warn(context, f"a segment does not tell its time, so that there is no DASH manifest: {fault}")
        return remix.runs
