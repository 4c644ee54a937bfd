"""`select_segments`: which segments of archives an asset is made of, what is missing of them, and what they carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.domain.times import format_utc, parse_utc
from taskengine.handlers.splitting import kinds_in
from taskengine.handlers.stream_readers import StorageReader, stored_stream
from taskengine.handlers.streams import open_referable, with_segments
from taskengine.handlers.support import ANY, FILE, NUMBER, STRING, save, schema, tell, together, warn, within_time
from taskengine.media.archive import selecting
from taskengine.media.archive.model import SHARED, Inband, Marker, Missing, Piece, Selection, Stretch
from taskengine.media.archive.tracks import Common, common_tracks, rendition_of
from taskengine.media.streams.model import Presentation, Rendition
from taskengine.media.tracks import Track
from taskengine.ports import TaskContext

_AT_ONCE = 16
_GRACE_MS = 60_000  # after the end of a clip: what is not there then does not come
_STALL_S = 10.0  # without a new segment, or as long as three last: the broadcast has ended
_LOOK_S = 2.0
_NAMED = 5  # of the times that are missing, in a message


@dataclass(frozen=True, slots=True)
class _Clip:
    field: str
    capture_id: str
    start: int
    end: int


@dataclass(slots=True)
class _Archive:
    """An archive as it is read now."""

    reader: StorageReader
    location: str
    presentation: Presentation


class SelectSegments:
    """Reads the manifests of each clip's archive, looks whether the segments are there, and judges what is missing."""

    name = "select_segments"
    inputs: Mapping[str, Any] = schema(
        {"clips": {"type": "array"}, "storage": STRING, "output_folder": STRING, "missing_content_limit": NUMBER},
        {
            "apply_custom_drm": ANY, "profile_id": ANY, "custom_package_options": ANY,
            "transcode_proxy": ANY, "time_limit": NUMBER, "destination_storage": STRING, "output_root": ANY,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"selection": FILE, "duration": NUMBER, "missing": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `selection` (a document), its `duration` and what is `missing`, in seconds. InputFault where there is no
        such archive, where it has nothing of a clip, or where more than `missing_content_limit` seconds are missing."""
        clips = _judged(context.inputs)
        _note(context)
        async with within_time(context):
            return await _selected(context, clips)


async def _selected(context: TaskContext, clips: Sequence[_Clip]) -> Mapping[str, Any]:
    archives: dict[str, _Archive] = {}
    for clip in clips:
        if clip.capture_id not in archives:
            archives[clip.capture_id] = await _open(context, clip)
    common = common_tracks({name: archive.presentation for name, archive in archives.items()})
    common = common.without(await _silent(context, archives.values(), common))
    stretches: list[Stretch] = []
    missing: list[Missing] = []
    for number, clip in enumerate(clips, start=1):
        found, lost = await _select(context, clip, archives[clip.capture_id], common)
        stretches += found
        missing += lost
        context.report_progress(number / len(clips))
    total = sum(each.seconds for each in missing)
    _judge_missing(context, missing, total)
    markers = _markers(archives.values(), stretches)
    selection = Selection(common.tracks, stretches, common.codecs, markers, _inband(archives.values(), common.tracks))
    return {
        "selection": await save(context, "selection.json", selection, Selection),
        "duration": sum(each.seconds for each in stretches),
        "missing": round(total, 3),
    }


def _judged(inputs: Mapping[str, Any]) -> Sequence[_Clip]:
    """The clips, and what is wrong with what a job asks for, before any work."""
    folder = str(inputs["output_folder"])
    if folder == SHARED or folder.startswith(f"{SHARED}/"):
        raise InputFault(f"output_folder: {folder}: below {SHARED} lie the shared segments")
    if inputs.get("apply_custom_drm") and not inputs.get("profile_id"):
        raise InputFault("profile_id: apply_custom_drm needs the id of the profile whose keys are meant")
    found = []
    for index, clip in enumerate(inputs["clips"]):
        field = f"clips[{index}]"
        start, end = parse_utc(str(clip["start"])), parse_utc(str(clip["end"]))
        if end <= start:
            raise InputFault(f"{field}.end: {clip['end']} is not after {clip['start']}")
        found.append(_Clip(field, str(clip["capture_id"]), start, end))
    return found


def _note(context: TaskContext) -> None:
    for name in ("custom_package_options", "transcode_proxy"):
        if given := context.inputs.get(name):
            tell(context, f"{name}: {given} is noted; it changes nothing here")


async def _open(context: TaskContext, clip: _Clip) -> _Archive:
    what = f"{clip.field}.capture_id"
    reader, location = await stored_stream(context, str(context.inputs["storage"]), clip.capture_id, what)
    found = _Archive(reader, location, await _read(reader, location, what))
    _keep_apart(context, found, what)
    return found


def _keep_apart(context: TaskContext, archive: _Archive, what: str) -> None:
    """InputFault where a publication would replace the archive, or a part of it: its manifest, or folders of segments."""
    inputs = context.inputs
    target = context.storage(
        str(inputs.get("destination_storage") or inputs["storage"]), str(inputs.get("output_root") or "output_root")
    )
    folder = f"{target.full_path(str(inputs['output_folder']))}/"
    named = [archive.location]
    named += [each.media.url for rendition in archive.presentation.renditions for each in rendition.segments]
    for url in {each.rpartition("/")[0]: each for each in named}.values():
        if archive.reader.full_path(url).startswith(folder):
            raise InputFault(
                f"output_folder: {inputs['output_folder']}: a part of the archive that {what} names lies in it"
            )


async def _read(reader: StorageReader, location: str, what: str) -> Presentation:
    """All renditions with their segments; their times must be known."""
    found = await open_referable(reader, location, what)
    read = await with_segments(reader, found, found.renditions, what)
    for rendition in read.renditions:
        segments = rendition.segments
        if any(each.key or each.protection for each in segments):
            raise InputFault(
                f"{what}: the segments of the archive are encrypted: segments that are shared must be clear"
            )
        if segments and all(each.at is None for each in segments):
            raise InputFault(
                f"{what}: the archive does not tell its time of day (EXT-X-PROGRAM-DATE-TIME or availabilityStartTime)"
            )
    return read


async def _silent(context: TaskContext, archives: Iterable[_Archive], common: Common) -> frozenset[str]:
    """The sounds that would be in the segments of a picture, and that an archive has not: manifests need not tell."""
    found: set[str] = set()
    for archive in archives:
        for name, key in common.keys.items():
            rendition = rendition_of(archive.presentation, key)
            if rendition is not None and rendition.within is not None:
                kinds = await kinds_in(context, await _any_segment(archive.reader, rendition))
                found |= {name} if "audio" not in kinds else set()
    return frozenset(found)


async def _any_segment(reader: StorageReader, rendition: Rendition) -> bytes:
    """A segment of a rendition that is there, with its init segment."""
    for each in reversed(rendition.segments[:-1] or rendition.segments):  # the last one may be being written
        if not each.gap and await reader.exists(each.media.url):
            init = await reader.bytes_of(each.init) if each.init else b""
            return init + await reader.bytes_of(each.media)
    raise InputFault("clips: there is no segment in the archive")


async def _select(
    context: TaskContext, clip: _Clip, archive: _Archive, common: Common
) -> tuple[Sequence[Stretch], Sequence[Missing]]:
    newest, seen_at = 0, time.monotonic()
    while True:
        pieces = await _pieces(context, clip, archive, common)
        lost = selecting.missing(common.tracks, pieces, clip.start, clip.end)
        if _newest(archive.presentation) > newest:
            newest, seen_at = _newest(archive.presentation), time.monotonic()
        if not _may_come(archive.presentation, lost, clip) or time.monotonic() - seen_at > _stall(archive.presentation):
            break
        await asyncio.sleep(_LOOK_S)  # the last segments of a live stream are written a little later than they end
        archive.presentation = await _read(archive.reader, archive.location, f"{clip.field}.capture_id")
    stretches = selecting.stretches(clip.capture_id, common.tracks, pieces)
    if not stretches:
        raise InputFault(
            f"{clip.field}: the archive {clip.capture_id} has nothing from {format_utc(clip.start)} to {format_utc(clip.end)}"
        )
    return stretches, lost


def _newest(presentation: Presentation) -> int:
    """The time of the last segment that is there."""
    return max((each.at or 0 for rendition in presentation.renditions for each in rendition.segments[-1:]), default=0)


def _stall(presentation: Presentation) -> float:
    longest = max((each.stream.target for each in presentation.renditions if each.stream), default=0.0)
    return max(_STALL_S, 3 * longest)


def _may_come(presentation: Presentation, lost: Sequence[Missing], clip: _Clip) -> bool:
    until_the_end = bool(lost) and lost[-1].at + round(lost[-1].seconds * 1000) >= clip.end
    return until_the_end and not presentation.ended and time.time() * 1000 < clip.end + _GRACE_MS


async def _pieces(
    context: TaskContext, clip: _Clip, archive: _Archive, common: Common
) -> Mapping[str, Sequence[Piece]]:
    """Track name → the pieces of the clip. What other tracks have of the segments at both ends of the best picture counts,
    too."""
    renditions = {name: rendition_of(archive.presentation, key) for name, key in common.keys.items()}
    leading = selecting.reference(common.tracks).name
    best = selecting.covering(_segments(renditions[leading]), clip.start, clip.end)
    start, end = (min(clip.start, best[0].at), max(clip.end, best[-1].end)) if best else (clip.start, clip.end)
    found = {name: selecting.covering(_segments(each), start, end) for name, each in renditions.items()}
    found[leading] = best
    resources = {piece.media.url for pieces in found.values() for piece in pieces if piece.media}
    there = await together([archive.reader.exists(url) for url in sorted(resources)], _AT_ONCE)
    lost = frozenset(url for url, exists in zip(sorted(resources), there, strict=True) if not exists)
    if lost:
        warn(context, f"{clip.field}: {len(lost)} segments that the archive names are not there")
    return {name: selecting.without(pieces, lost) for name, pieces in found.items()}


def _segments(rendition: Rendition | None) -> Sequence[Any]:
    return rendition.segments if rendition else ()


def _judge_missing(context: TaskContext, missing: Sequence[Missing], total: float) -> None:
    if not missing:
        return
    limit = float(context.inputs["missing_content_limit"])
    named = ", ".join(f"{each.seconds:.3f} s from {format_utc(each.at)}" for each in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    if total > limit:
        raise InputFault(
            f"missing_content_limit: {total:.3f} s of the clips are missing in the archive, and {limit:g} s may be: "
            f"{named}{more}"
        )
    warn(context, f"{total:.3f} s of the clips are missing in the archive: {named}{more}")


def _markers(archives: Any, stretches: Sequence[Stretch]) -> Sequence[Marker]:
    """The messages of the manifests that were read, as far as they reach into the asset."""
    from taskengine.media.archive import markers  # its parsers are not needed before

    found: list[Marker] = []
    for archive in archives:
        presentation: Presentation = archive.presentation
        for rendition in presentation.renditions:
            if text := presentation.documents.get(rendition.location) if presentation.form == "hls" else None:
                found += markers.of_playlist(text, rendition.segments)
        if presentation.form == "dash":
            found += [each for text in presentation.documents.values() for each in markers.of_manifest(text)]
    spans = [(stretch.at, stretch.end) for stretch in stretches]
    return [each for each in markers.merged(found) if any(_reaches(each, *span) for span in spans)]


def _reaches(marker: Marker, begin: int, end: int) -> bool:
    return begin - 1 <= marker.at < end or marker.at < begin < marker.at + (marker.seconds or 0.0) * 1000


def _inband(archives: Any, tracks: Sequence[Track]) -> Mapping[str, Sequence[Inband]]:
    from taskengine.media.archive import markers

    kinds: dict[str, list[Inband]] = {}
    for archive in archives:
        if archive.presentation.form == "dash":
            for text in archive.presentation.documents.values():
                for kind, each in markers.inband_of(text).items():
                    kinds.setdefault(kind, []).extend(each)
    return {track.name: kinds[track.kind.value] for track in tracks if track.kind.value in kinds}
