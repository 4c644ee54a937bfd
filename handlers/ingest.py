"""`ingest`: find the sources of a folder, fetch and probe them; fail fast where no asset can come of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain.errors import InputFault, TimeoutFault
from taskengine.handlers.fetching import fetch_source
from taskengine.handlers.support import (
    ANY,
    BOOLEAN,
    FILE,
    NUMBER,
    STRING,
    beside,
    in_thread,
    keep_version,
    plain_command,
    save,
    schema,
    storage_faults,
    tell,
    tell_all,
    together,
    warn,
)
from taskengine.media import asset, ffmpeg, probe
from taskengine.media.captions.cues import MAX_BYTES
from taskengine.media.light import Light, light_argv, parse_light
from taskengine.media.names import extension, file_name, file_stem
from taskengine.media.profile_book import Profiles
from taskengine.media.roles import ROLES, role_of
from taskengine.media.sources import (
    CaptionSource,
    Selection,
    Source,
    Sources,
    audio_choices,
    check_together,
    has_texts,
    properties_of,
    select,
)
from taskengine.media.thumbnails import seconds_of
from taskengine.media.timing import PacketScan
from taskengine.ports import ProcessResult, Storage, StoredFile, TaskContext

_AT_ONCE = 4
_PROBE_STALL_S = 45.0
_NO_EFFECT = {
    "create_dref": "there is no counterpart of the original's reference MP4 here",
    "encoding_region": "workers are chosen by queue here",
    "encoder_version": "the workers' one encoder is used",
    "extract_audio": "it is about encoding; sources that are packaged as they are keep their audio",
}
_USUAL = {"create_dref": False, "encoder_version": "STABLE", "encoding_region": None, "extract_audio": False}


class Ingest:
    """Lists the folder through its storage, fetches what is media, probes it, judges it."""

    name = "ingest"
    inputs: Mapping[str, Any] = schema(
        {"source_folder": STRING, "source_storage": STRING, "content_id": STRING, "encode_source": BOOLEAN},
        {
            "encoding_profile": STRING, "retries": {"type": "integer"}, "file_properties": ANY, "mp4_filename": ANY,
            "thumbnail_time": ANY, "preview_thumbnails_interval": NUMBER, "extract_audio": ANY, "noted": ANY,
        },
    )  # fmt: skip
    outputs: Mapping[str, Any] = schema({
        "sources": FILE, "has_video": BOOLEAN, "has_audio": BOOLEAN, "has_text": BOOLEAN, "count": {"type": "integer"},
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `sources` (a document), whether there is video and audio."""
        _judge_request(context.inputs)
        if context.inputs["encode_source"]:
            await in_thread(_judge_profile, context)
        folder = str(context.inputs["source_folder"])
        storage = context.storage(str(context.inputs["source_storage"]), "source_root")
        with storage_faults("source_folder"):
            listed = await _listed(storage, folder)
        selection = select(folder, list(listed))
        _tell(context, selection)
        versions: dict[str, str] = {}
        async with beside(keep_version(context, "ffprobe", context.tools.ffprobe, versions)):
            sources = await together(
                [
                    _source(context, storage, number, listed[name])
                    for number, name in enumerate(selection.media, start=1)
                ],
                _AT_ONCE,
            )
        captions = await together(
            [
                _captions(context, storage, number, listed[name])
                for number, name in enumerate(selection.captions, start=1)
            ],
            _AT_ONCE,
        )
        check_together(sources, encode=bool(context.inputs["encode_source"]))
        commands = [plain_command(probe.probe_argv("ffprobe", source.plain)) for source in sources]
        found = Sources(sources, folder, list(listed.values()), commands, versions=versions, captions=captions)
        return {
            "sources": await save(context, "sources.json", found, Sources),
            "has_video": any(source.video for source in sources),
            "has_audio": bool(audio_choices(sources, all_tracks=True)),
            "has_text": bool(captions) or any(has_texts(source) for source in sources),
            "count": len(sources),
        }


def _judge_request(inputs: Mapping[str, Any]) -> None:
    """Faults that later steps would find when much work is done."""
    seconds_of(inputs.get("thumbnail_time") or 0, "thumbnail_time")
    if inputs.get("mp4_filename"):
        stem = file_stem(str(inputs["content_id"]))
        name = file_name(str(inputs["mp4_filename"]), "mp4_filename")
        taken = {f"{stem}.m3u8", f"{stem}.mpd", f"{stem}.vtt", "metadata.json", "thumbnail.jpg", "v"}
        if name in taken or name.startswith(f"{stem}_sprite"):
            raise InputFault(f"mp4_filename: {name!r} is the name of another file of the asset")


def _judge_profile(context: TaskContext) -> None:
    Profiles(context.profile_folders).get(str(context.inputs.get("encoding_profile") or "H264"), context.task.client)


def _tell(context: TaskContext, selection: Selection) -> None:
    """What is used and what is not; what has no effect here."""
    for name in selection.ignored:
        tell(context, f"{name}: it is no media file: ignored")
    noted: Mapping[str, Any] = context.inputs.get("noted") or {}
    tell_all(
        context,
        (
            f"{name}: accepted, without effect: {_NO_EFFECT.get(name, 'it has no counterpart here')}"
            for name, value in noted.items()
            if value != _USUAL.get(name)
        ),
    )
    properties: Mapping[str, Any] = context.inputs.get("file_properties") or {}
    for name in properties:
        if name not in {*selection.media, *selection.captions}:
            warn(context, f"file_properties: there is no source {name!r}")


async def _listed(storage: Storage, folder: str) -> Mapping[str, StoredFile]:
    """The files of the folder by name; those of an asset that was published into the same folder are no sources."""
    files = {file.path.rpartition("/")[2]: file for file in await storage.list(folder, recursive=False)}
    if asset.METADATA not in files:
        return files
    owned = asset.owned_names(await storage.read(files[asset.METADATA].path))
    return {name: file for name, file in files.items() if name not in owned}


async def _source(context: TaskContext, storage: Storage, number: int, file: StoredFile) -> Source:
    """Fetch and probe one file."""
    name = file.path.rpartition("/")[2]
    language, role = _properties(context, file, name)
    plain = f"source_{number}.{extension(name)}"
    await fetch_source(context, storage, file.path, plain)
    found = await _probe(context, name, plain)
    light = await _light(context, plain) if found.video and found.video[0].hdr else None
    reference = await context.workspace.store(context.scratch / plain, plain)
    return Source(name, plain, file.size, reference, found, language, role, light)


def _properties(context: TaskContext, file: StoredFile, name: str) -> tuple[str | None, str | None]:
    """The language and the role of a file, which must not be empty."""
    if file.size == 0:
        raise InputFault(f"{name}: it is empty")
    language, kind = properties_of(name, context.inputs.get("file_properties"))
    role = role_of(kind) if kind else None
    if kind and role is None:
        tell(context, f"file_properties: {name}: the kind {kind!r} is no role; there are {', '.join(ROLES)}")
    return language, role


async def _captions(context: TaskContext, storage: Storage, number: int, file: StoredFile) -> CaptionSource:
    """Fetch one caption file."""
    name = file.path.rpartition("/")[2]
    language, role = _properties(context, file, name)
    if file.size > MAX_BYTES:
        raise InputFault(f"{name}: it is {file.size:,} bytes large; captions may have {MAX_BYTES:,}")
    plain = f"captions_{number}.{extension(name)}"
    await fetch_source(context, storage, file.path, plain)
    reference = await context.workspace.store(context.scratch / plain, plain)
    return CaptionSource(name, plain, file.size, reference, language, role)


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
    damaged = await _damaged(context, name, plain, found)
    first = replace(track, timing=timing, captioned=probe.has_captions(pictures.stdout), damaged=damaged)
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
