"""`assemble_channel`: a looping channel of VOD streams and slates, by manifests alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.channel_definitions import Definitions
from taskengine.handlers.clips import Documents, KeptReader, read_stream
from taskengine.handlers.support import BOOLEAN, NUMBER, STRING, schema, tell, together, told_of
from taskengine.media.streams.model import StreamFault
from taskengine.media.thumbnails import seconds_of
from taskengine.media.virtual import channel as channels
from taskengine.media.virtual import clips
from taskengine.media.virtual.clips import Offered
from taskengine.media.virtual.model import Channel, Mark, Run
from taskengine.ports import TaskContext

_AT_ONCE = 4
_LISTED = 6  # differences that a fault names


@dataclass(frozen=True, slots=True)
class _Break:
    """A slate at a time of a clip, seconds of its time line."""

    at: float
    slate: str


class AssembleChannel:
    """Writes the definition of a channel; engines answer players from it. A channel that is there goes on with the new
    clips."""

    name = "assemble_channel"
    inputs: Mapping[str, Any] = schema(
        {"content_id": STRING, "clips": {"type": "array"}, "storage": STRING, "public_url": STRING},
        {"restart": BOOLEAN, "update_sources": BOOLEAN, "dvr_window": NUMBER},
    )
    outputs: Mapping[str, Any] = schema({
        "message": STRING, "files": {"type": "array"}, "metadata": {"type": "object"}, "manifests": {"type": "object"},
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `message`, the URL of the channel's master playlist, `files`, its definition, `metadata.duration`, seconds
        of one pass. InputFault where the clips' renditions or codecs differ, naming what does."""
        inputs = context.inputs
        content_id = str(inputs["content_id"])
        definitions = Definitions(context, content_id, str(inputs["storage"]))
        former = await definitions.read()
        url = definitions.url(str(inputs["public_url"]), content_id)
        given: Sequence[Mapping[str, Any]] = inputs["clips"]
        read = await _read(context, definitions, given)
        first = read[str(given[0]["source"])]
        runs: list[Run] = []
        for number, clip in enumerate(given):
            with told_of(f"clips[{number}]"):
                runs += _of_clip(clip, number, first, read)
        seconds = sum(run.duration for run in runs)
        restart = bool(inputs.get("restart", True))
        channel = Channel(
            content_id, f"{context.task.job_id}-{context.task.attempt}", [each.told for each in first], [],
            float(inputs.get("dvr_window") or 0), restart or former is None or former.running, context.task.workflow,
        )  # fmt: skip
        if former is None or not former.version.startswith(f"{context.task.job_id}-"):  # an earlier try has come so far
            await definitions.write(_changed(former, channel, runs, restart=restart))
        tell(context, f"{url}: a pass lasts {seconds:.3f} s")
        return {
            "message": url, "files": [definitions.path], "metadata": {"duration": round(seconds, 6)},
            "manifests": {"hls": url, "dash": None},
        }  # fmt: skip


def _changed(former: Channel | None, channel: Channel, runs: Sequence[Run], *, restart: bool) -> Channel:
    now = round(time.time() * 1000)
    if former is None:
        return channels.on_air(channels.begun(channel, runs, now, loops=True), now)
    return channels.followed(former, channel, runs, now, restart=restart)


async def _read(
    context: TaskContext, definitions: Definitions, given: Sequence[Mapping[str, Any]]
) -> Mapping[str, Sequence[Offered]]:
    """Every source and slate once, by URL. Those that the channel has already are read again only where that is asked for."""
    named: dict[str, str] = {}
    for number, clip in enumerate(given):
        named.setdefault(str(clip["source"]), f"clips[{number}].source")
        for event in (clip.get("markers") or {}).get("meta_events") or ():
            named.setdefault(str(event["slate"]), f"clips[{number}].markers.meta_events.slate")
    known: Mapping[str, Documents] = {}
    if not context.inputs.get("update_sources"):
        known = await definitions.known_sources()
    readers = {url: KeptReader(context, known.get(url)) for url in named}
    read = await together([read_stream(readers[url], url, what) for url, what in named.items()], _AT_ONCE)
    found = {
        url: _hls(presentation.form, offered, named[url])
        for url, (presentation, offered) in zip(named, read, strict=True)
    }
    _compare(found, named)
    await definitions.keep_sources({url: reader.documents for url, reader in readers.items()})
    return found


def _hls(form: str, offered: Sequence[Offered], what: str) -> Sequence[Offered]:
    if form != "hls":
        raise InputFault(f"{what}: it is no HLS stream")
    return offered


def _compare(found: Mapping[str, Sequence[Offered]], named: Mapping[str, str]) -> None:
    (first, wanted), *others = found.items()
    for url, offered in others:
        if differ := clips.differences(wanted, offered):
            told = "; ".join(differ[:_LISTED]) + ("; and more" if len(differ) > _LISTED else "")
            raise InputFault(f"{named[url]}: its renditions are not those of {named[first]}: {told}")


def _of_clip(
    clip: Mapping[str, Any], number: int, first: Sequence[Offered], read: Mapping[str, Sequence[Offered]]
) -> Sequence[Run]:
    """The runs of a clip, cut at its breaks, with their slates."""
    own = _matched(first, read[str(clip["source"])])
    reference = first[0].told.name
    stream = own[reference].stream
    begin = clips.position(stream, clip.get("start"), f"clips[{number}].start", stream.segments[0].start)
    end = clips.position(stream, clip.get("end"), f"clips[{number}].end", stream.duration)
    if end <= begin:
        raise InputFault(f"clips[{number}].end: it is not after start")
    parts = clips.portions(stream, begin, end, (), exact=False)
    if not parts:
        raise InputFault(f"clips[{number}]: there is nothing between start and end")
    first_at, last_at = parts[0].begin, parts[-1].end
    borders = [each.start for each in stream.segments if first_at <= each.start < last_at] + [last_at]
    breaks = [
        _Break(_nearest(borders, begin + _time(event, end - begin, number)), str(event["slate"]))
        for event in (clip.get("markers") or {}).get("meta_events") or ()
    ]
    runs: list[Run] = []
    at = first_at
    for each in sorted(breaks, key=lambda each: each.at):
        if each.at > at + clips.SLACK:
            runs += clips.runs(own, reference, at, each.at, f"clips[{number}]")
        runs += _slate(first, read[each.slate], f"clips[{number}].markers.meta_events.slate")
        at = each.at
    if at < last_at - clips.SLACK:
        runs += clips.runs(own, reference, at, last_at, f"clips[{number}]")
    return runs


def _nearest(borders: Sequence[float], at: float) -> float:
    return min(borders, key=lambda border: abs(border - at))


def _time(event: Mapping[str, Any], length: float, number: int) -> float:
    field = f"clips[{number}].markers.meta_events.presentation_time"
    at = seconds_of(event.get("presentation_time") or 0, field)
    if at > length + clips.SLACK:
        raise InputFault(f"{field}: {at:g} s is after the clip's end; it lasts {length:.3f} s")
    return at


def _slate(first: Sequence[Offered], offered: Sequence[Offered], what: str) -> Sequence[Run]:
    """All of it, marked as a break."""
    own = _matched(first, offered)
    reference = first[0].told.name
    stream = own[reference].stream
    runs = clips.runs(own, reference, stream.segments[0].start, stream.duration, what)
    return [replace(runs[0], marks=[Mark(0.0, sum(run.duration for run in runs))]), *runs[1:]]


def _matched(first: Sequence[Offered], offered: Sequence[Offered]) -> Mapping[str, Offered]:
    found = clips.counterparts(first, offered)
    if isinstance(found, str):
        raise StreamFault(found)
    return found
