"""Looking into media files: what is in them, when their frames are, whether players would stop within them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from taskengine.domain.errors import InputFault, TimeoutFault
from taskengine.handlers.support import in_thread, together
from taskengine.media import ffmpeg, probe
from taskengine.media.light import Light, light_argv, parse_light
from taskengine.media.sources import Source
from taskengine.media.timing import PacketScan
from taskengine.ports import ProcessResult, TaskContext

_PROBE_STALL_S = 45.0


async def looked_into(
    context: TaskContext, name: str, plain: str, *, copied: Callable[[Source], bool], language: str | None = None,
    role: str | None = None,
) -> Source:  # fmt: skip
    """The file `plain` of scratch, which its owner calls `name`, as a source, kept in the workspace. InputFault where there
    is nothing to work with. `copied`: whether its picture will be packaged as it is: then it is read once more for damage,
    which an encoder would find by itself."""
    path = context.scratch / plain
    found = await _probe(context, name, plain)
    light = await _light(context, plain) if found.video and found.video[0].hdr else None
    reference = await context.workspace.store(path, plain)
    size = (await in_thread(path.stat)).st_size
    source = Source(name, plain, size, reference, found, language, role, light)
    if source.video is None or not copied(source) or not await _damaged(context, name, plain, found):
        return source
    return replace(source, probe=replace(found, video=(replace(source.video, damaged=True), *found.video[1:])))


async def _probe(context: TaskContext, name: str, plain: str) -> probe.Probe:
    """What is in it, when its frames are, and whether they carry captions: three reads at once."""
    tools = context.tools
    scan = PacketScan()
    answer, packets, pictures = await together([
        _asked(context, name, probe.probe_argv(tools.ffprobe, plain)),
        _asked(context, name, probe.packets_argv(tools.ffprobe, plain), scan.line),
        _asked(context, name, probe.captions_argv(tools.ffprobe, plain)),
    ])  # fmt: skip
    found = probe.parse(name, answer.stdout, answer.exit_code, answer.stderr_tail)
    if not found.video:
        return await _measured_audio(context, name, plain, found)
    track = found.video[0]
    timing = probe.check_whole(
        name,
        found,
        scan.timing(track.nominal_rate, track.average_rate, joined=found.leaps),
        answer.stderr_tail + packets.stderr_tail,
    )
    first = replace(track, timing=timing, captioned=probe.has_captions(pictures.stdout))
    return replace(found, video=(first, *found.video[1:]))


async def _damaged(context: TaskContext, name: str, plain: str, found: probe.Probe) -> bool:
    """Whether players would stop within the picture; an encoder goes on. Told in time where nobody decodes it."""
    if found.framed is None:
        return False
    argv = ffmpeg.divide_check(context.tools.ffmpeg, plain, found.video[0].index, found.framed)
    return ffmpeg.DAMAGED in (await _asked(context, name, argv)).stderr_tail


async def _light(context: TaskContext, plain: str) -> Light | None:
    """What HDR10 says of itself, which containers do not always repeat."""
    return parse_light((await context.run(light_argv(context.tools.ffprobe, plain))).stdout)


async def _asked(
    context: TaskContext, name: str, argv: Sequence[str], on_line: Callable[[str], bool | None] | None = None
) -> ProcessResult:
    """What a program says of a file; an InputFault where it comes to no end of it."""
    try:
        return await context.run(argv, on_line=on_line, stall_s=_PROBE_STALL_S)
    except TimeoutFault as fault:
        raise InputFault(f"{name}: ffprobe comes to no end with it: {fault}", stderr_tail=fault.stderr_tail) from fault


async def _measured_audio(context: TaskContext, name: str, plain: str, found: probe.Probe) -> probe.Probe:
    """Containers of raw audio only guess their length: the packets tell it."""
    scan = PacketScan()
    result = await _asked(context, name, probe.packets_argv(context.tools.ffprobe, plain, "a:0"), scan.line)
    audio = probe.check_audio(name, found.audio[0], scan.span(), result.stderr_tail)
    return replace(found, audio=(audio, *found.audio[1:]))
