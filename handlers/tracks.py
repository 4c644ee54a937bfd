"""`tracks`: all tracks of an asset together: what they are called and what they are for, texts fitted to its length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    OPTIONAL_FILE,
    in_thread,
    load,
    save,
    schema,
    tell,
    warn,
)
from taskengine.media import properties
from taskengine.media.sources import Sources, by_quality
from taskengine.media.tracks import Media, Track, TrackKind, plain_name
from taskengine.ports import TaskContext


class Tracks:
    """Joins what was encoded or copied with the texts, and applies `track_properties`."""

    name = "tracks"
    inputs: Mapping[str, Any] = schema(
        {"media": FILE, "sources": FILE},
        {
            "texts": OPTIONAL_FILE, "combine_sources": BOOLEAN, "apply_track_properties": BOOLEAN,
            "track_properties": ANY,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({"media": FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `media` (a document of all tracks), `duration`."""
        inputs = context.inputs
        media = await load(context, inputs["media"], "media.json", Media)
        sources = await load(context, inputs["sources"], "sources.json", Sources)
        texts = await load(context, inputs["texts"], "texts.json", Media) if inputs.get("texts") else Media([], 0.0)
        names = _names(sources)
        fitted = [await _fitted(context, track, media, sources, names) for track in texts.tracks]
        tracks: Sequence[Track] = [*media.tracks, *(track for track in fitted if track is not None)]
        tracks = _with_properties(context, tracks)
        if not inputs.get("combine_sources", True):
            tracks = _by_source(tracks, list(names))
        tracks = [replace(track, source=names.get(track.source or "", track.source)) for track in tracks]
        joined = replace(
            media, tracks=tracks, commands=[*media.commands, *texts.commands], clock=media.clock or sources.clock
        )
        return {"media": await save(context, "tracks.json", joined, Media), "duration": joined.duration}


def _names(sources: Sources) -> Mapping[str, str]:
    """Plain name → the client's name of each source."""
    media = {source.plain: source.name for source in sources.sources}
    return media | {source.plain: source.name for source in sources.captions}


async def _fitted(
    context: TaskContext, track: Track, media: Media, sources: Sources, names: Mapping[str, str]
) -> Track | None:
    """A text on the asset's time line; None where nothing of it is left."""
    from taskengine.media.captions import cues, vtt

    path = await context.workspace.fetch(track.file, f"read_{plain_name(track)}")
    captions = vtt.read(await in_thread(path.read_text))
    fitted = cues.fitted(captions, int(media.duration * 1000), round(_preroll(media, sources) * 1000))
    name = names.get(track.source or "", track.name)
    for note in fitted.notes:
        warn(context, f"{name}: {note}")
    if not fitted.cues:
        warn(context, f"{name}: it has no cue: left out")
        return None
    data = vtt.write(fitted).encode()
    written = context.scratch / plain_name(track)
    await in_thread(written.write_bytes, data)
    return replace(
        track, file=await context.workspace.store(written, written.name), duration=max(cue.end for cue in fitted.cues) / 1000,
        bitrate=max(1, round(len(data) * 8 / max(media.duration, 1))),
    )  # fmt: skip


def _preroll(media: Media, sources: Sources) -> float:
    """What is shown before the source's first frame where the video is packaged as it is."""
    copied = any(track.copied for track in media.of(TrackKind.VIDEO))
    best = next(iter(by_quality(sources.sources)), None)
    return best.video.timing.preroll if copied and best and best.video and best.video.timing else 0.0


def _with_properties(context: TaskContext, tracks: Sequence[Track]) -> Sequence[Track]:
    """The tracks as the client calls them."""
    given = context.inputs.get("track_properties")
    if not context.inputs.get("apply_track_properties"):
        if given:
            tell(context, "track_properties: without effect, as apply_track_properties is false")
        return tracks
    if not given:
        warn(context, "apply_track_properties: there are none, neither the job's nor the client's")
        return tracks
    rules = properties.read(given)
    for note in rules.notes:
        warn(context, note)
    for rule in rules.rules:
        if not any(rule.matches(track) for track in tracks):
            tell(context, f"{rule.where}: it matches no track")
    return properties.applied(tracks, rules)


def _by_source(tracks: Sequence[Track], order: Sequence[str]) -> Sequence[Track]:
    """The tracks in files that tell the source that they come from: `source_2_audio_1` is the first audio track of the
    second source."""
    counts: dict[tuple[str, TrackKind], int] = {}
    named = []
    for track in tracks:
        number = order.index(track.source) + 1 if track.source in order else 0
        key = (str(number), track.kind)
        counts[key] = counts.get(key, 0) + 1
        named.append(replace(track, name=f"source_{number}_{track.kind}_{counts[key]}"))
    return named
