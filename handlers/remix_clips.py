"""The clips of a virtual asset as they are read: streams with all their renditions, or files, fetched and probed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.clips import KeptReader, is_file, read_streams
from taskengine.handlers.support import run, tell, told_of
from taskengine.media import probe
from taskengine.media.names import extension
from taskengine.media.thumbnails import seconds_of
from taskengine.media.tracks import Reference
from taskengine.media.virtual import clips, model, profile
from taskengine.media.virtual.assembly import Rung
from taskengine.media.virtual.clips import Offered
from taskengine.ports import TaskContext

_FILE_BYTES = 512 * 1024**3


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip: `offered` of a stream, or `files` in the workspace; as a target profile its `told` and `rungs`. Seconds."""

    number: int
    sources: Sequence[str]
    duration: float
    offered: Sequence[Offered] = ()
    files: Sequence[Reference] = ()
    told: Sequence[model.Rendition] = ()
    rungs: Sequence[Rung] = ()

    @property
    def breaks(self) -> Sequence[float]:
        """Where its time stamps begin anew."""
        segments = self.offered[0].stream.segments if self.offered else ()
        return [
            after.start for before, after in pairwise(segments) if (before.run, before.init) != (after.run, after.init)
        ]

    def times(self, parameters: Mapping[str, Any]) -> tuple[float, float]:
        """Where it begins and ends on its own time line. InputFault where that is not within it."""
        what = f"clips[{self.number}]"
        with told_of(what):
            begin, end = self._positions(parameters.get("start"), parameters.get("end"), what)
        if end <= begin:
            raise InputFault(f"{what}.end: it is not after start")
        return begin, end

    def _positions(self, start: Any, end: Any, what: str) -> tuple[float, float]:
        if self.offered:
            stream = self.offered[0].stream
            return (
                clips.position(stream, start, f"{what}.start", stream.segments[0].start),
                clips.position(stream, end, f"{what}.end", stream.duration),
            )
        return self._offset(start, f"{what}.start", 0.0), self._offset(end, f"{what}.end", self.duration)

    def _offset(self, time: Any, field: str, default: float) -> float:
        if time is None:
            return default
        if str(time).strip()[4:5] == "-":
            raise InputFault(f"{field}: a file does not tell its time of day: give an offset")
        seconds = seconds_of(time, field)
        if seconds > self.duration + clips.SLACK:
            raise InputFault(f"{field}: {time} is not in the file, which lasts {self.duration:.3f} s")
        return min(seconds, self.duration)


async def read_clip(context: TaskContext, reader: KeptReader, number: int, given: Mapping[str, Any]) -> Clip:
    """One clip. InputFault, told of its place, where it cannot be used."""
    what = f"clips[{number}].source{'s' if given.get('sources') else ''}"
    urls = [str(url) for url in given.get("sources") or [given["source"]]]
    files = [is_file(url) for url in urls]
    if any(files) and not all(files):
        raise InputFault(f"{what}: streams and files are mixed in one clip")
    if files[0]:
        return await _files(context, number, urls, what)
    _, offered = await read_streams(reader, urls, what)
    told = [each.told for each in offered]
    return Clip(number, urls, offered[0].stream.duration, offered, told=told, rungs=profile.of_stream(told))


async def _files(context: TaskContext, number: int, urls: Sequence[str], what: str) -> Clip:
    found: list[probe.Probe] = []
    references: list[Reference] = []
    for place, url in enumerate(urls):
        plain = f"clip_{number}_{place}.{extension(url.partition('?')[0])}"
        with told_of(what):
            await context.outbound.download(url, context.scratch / plain, max_bytes=_FILE_BYTES)
        argv = probe.probe_argv(context.tools.ffprobe, plain)
        answer = await run(context, argv, f"{what}: looking at the file", of_input=True)
        found.append(probe.parse(what, answer.stdout, answer.exit_code, answer.stderr_tail))
        references.append(await context.workspace.store(context.scratch / plain, plain))
    if not any(each.video for each in found):
        raise InputFault(f"{what}: it has no picture")
    duration = max(profile.length(each) for each in found if each.video)
    if duration <= 0:
        raise InputFault(f"{what}: it does not tell how long it is")
    tell(context, f"clips[{number}]: {len(urls)} files of {duration:.3f} s")
    told, rungs = profile.of_files(found)
    return Clip(number, urls, duration, files=references, told=told, rungs=rungs)
