"""`capture`: one clip of a stream, live or archived: its segments fetched, opened and cut to the frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.domain.urls import redacted_url
from taskengine.handlers.captured_texts import captured_texts
from taskengine.handlers.cutting import Cutter
from taskengine.handlers.gathering import Gathering, Origin, Wish
from taskengine.handlers.opening import given_key, given_seed
from taskengine.handlers.stream_readers import UrlReader, stored_stream
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    STRING,
    beside,
    keep_version,
    save,
    schema,
    tell,
)
from taskengine.media.names import file_name
from taskengine.media.streams import filters, marks
from taskengine.media.streams.captured import Captured
from taskengine.media.streams.model import StreamFault
from taskengine.media.thumbnails import seconds_of
from taskengine.ports import TaskContext


class Capture:
    """Nothing is decoded but the edges (and the sound): what lies between key frames is copied as it is."""

    name = "capture"
    inputs: Mapping[str, Any] = schema(
        {"clip": {"type": "object"}, "position": {"type": "integer"}},
        {"frame_accurate": BOOLEAN, "storage": STRING, "thumbnail_time": ANY, "mp4_filename": ANY, "noted": ANY},
    )
    outputs: Mapping[str, Any] = schema({"captured": FILE, "duration": NUMBER})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `captured` (a document), `duration` in seconds."""
        clip, where = context.inputs["clip"], f"clips[{context.inputs['position']}]"
        seconds_of(context.inputs.get("thumbnail_time") or 0, "thumbnail_time")
        file_name(str(context.inputs.get("mp4_filename") or "a.mp4"), "mp4_filename")
        noted: Mapping[str, Any] = context.inputs.get("noted") or {}
        for name in noted if context.inputs["position"] == 0 else ():
            if noted[name]:
                tell(context, f"{name}: accepted, without effect: it has no counterpart here")
        key, seed = given_key(clip.get("key_id"), clip.get("content_key"), where), given_seed(clip.get("seed"), where)
        wish = Wish(where, _window(clip, where), _judge(clip, where), key.key if key else b"" if seed else None)
        versions: dict[str, str] = {}
        async with beside(keep_version(context, "ffmpeg", context.tools.ffmpeg, versions)):
            gathering = Gathering(context, wish, await _places(context, clip, where))
            gathered = await gathering.all()
            exact = bool(context.inputs.get("frame_accurate", True))
            cutter = Cutter(context, wish, gathering, gathered, key, seed, exact=exact)
            await cutter.all()
            texts = await captured_texts(context, wish, gathering, gathered, cutter.spans)
        captured = Captured(
            cutter.stretches,
            [replace(look, parts=cutter.videos[name]) for name, look in cutter.looks.items()],
            [replace(heard, parts=cutter.sounds[name]) for name, heard in cutter.heard.items()],
            texts, gathered.missing, cutter.commands, versions,
        )  # fmt: skip
        copied = sum(part.frames for video in captured.videos for part in video.parts if part.copied)
        frames = sum(part.frames for video in captured.videos for part in video.parts)
        tell(context, f"{where}: {float(captured.seconds):.3f} s; {copied} of {frames} frames are copied")
        return {
            "captured": await save(context, "captured.json", captured, Captured), "duration": float(captured.seconds),
        }  # fmt: skip


def _window(clip: Mapping[str, Any], where: str) -> marks.Window:
    try:
        return marks.window(clip.get("start"), clip.get("end"), where)
    except StreamFault as fault:
        raise InputFault(str(fault)) from fault


def _judge(clip: Mapping[str, Any], where: str) -> filters.Judge | None:
    try:
        return filters.parse(str(clip["filter"])) if clip.get("filter") else None
    except filters.FilterFault as fault:
        raise InputFault(f"{where}.filter: {fault}") from fault


async def _places(context: TaskContext, clip: Mapping[str, Any], where: str) -> Sequence[Origin]:
    """Where the stream is: the origins in their order, or the client's storage."""
    urls = [str(url) for url in [clip.get("source"), *(clip.get("sources") or [])] if url]
    if urls:
        reader = UrlReader(context)
        return [Origin(reader, url, redacted_url(url)) for url in dict.fromkeys(urls)]
    path = str(clip["local_source"])
    stored, location = await stored_stream(
        context, str(context.inputs.get("storage") or ""), path, f"{where}.local_source"
    )
    return [Origin(stored, location, path)]
