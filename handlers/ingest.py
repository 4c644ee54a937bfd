"""`ingest`: find the sources of a folder, fetch and probe them; fail fast where no asset can come of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.fetching import fetch_source
from taskengine.handlers.probing import looked_into
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
from taskengine.media import asset, probe
from taskengine.media.captions.cues import MAX_BYTES
from taskengine.media.deciding import copies
from taskengine.media.names import extension, file_name, file_stem
from taskengine.media.profile_book import Profiles
from taskengine.media.profiles import Profile
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
from taskengine.ports import Storage, StoredFile, TaskContext

_AT_ONCE = 4
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
        profile = await in_thread(_profile, context) if context.inputs["encode_source"] else None
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
                    _source(context, storage, number, listed[name], profile)
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
        name = file_name(str(inputs["mp4_filename"]), "mp4_filename")
        if asset.taken(file_stem(str(inputs["content_id"])), name):
            raise InputFault(f"mp4_filename: {name!r} is the name of another file of the asset")


def _profile(context: TaskContext) -> Profile:
    return Profiles(context.profile_folders).get(
        str(context.inputs.get("encoding_profile") or "H264"), context.task.client
    )


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


async def _source(
    context: TaskContext, storage: Storage, number: int, file: StoredFile, profile: Profile | None
) -> Source:
    """Fetch and probe one file; `profile`: by which it is encoded, if it is."""
    name = file.path.rpartition("/")[2]
    language, role = _properties(context, file, name)
    plain = f"source_{number}.{extension(name)}"
    await fetch_source(context, storage, file.path, plain)
    return await looked_into(
        context,
        name,
        plain,
        language=language,
        role=role,
        copied=lambda source: profile is None or copies(source, profile),
    )


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
