"""One source of a step: a file of the workspace, a URL, or a file of the source root, looked into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from taskengine.domain.errors import InputFault
from taskengine.domain.paths import PathFault, logical_path
from taskengine.domain.urls import redacted_url
from taskengine.handlers.fetching import fetch_source
from taskengine.handlers.probing import looked_into
from taskengine.handlers.support import load, told_of
from taskengine.media.names import extension, language_of, source_kind
from taskengine.media.sources import Source, Sources
from taskengine.ports import TaskContext

SOURCE: Mapping[str, Any] = {
    "type": ["string", "object"],
    "description": "A media file: its http or https URL, its path below the source root, or a file of the workspace.",
}
STORAGE: Mapping[str, Any] = {
    "type": ["string", "null"],
    "x-from": ["parameters.source_storage", "client.default_storage"],
    "description": "The storage that a path is of.",
}
_MOST_BYTES = 1 << 40
_STREAMS = {"m3u8", "mpd", "ism", "isml"}


def never(_: Source) -> bool:
    """For `copied`, where what is packaged is encoded."""
    return False


async def bring(context: TaskContext, *, copied: Callable[[Source], bool] = never) -> Source:
    """The step's `source` in scratch, under its `plain` name, with what is in it. What `sources` (a document of them, where
    the step has it) tells of it already is not looked for again. InputFault where it is no source."""
    given = context.inputs["source"]
    if isinstance(given, Mapping):
        return await _from_workspace(context, given, copied)
    if "://" in str(given):
        name, plain = await _download(context, str(given))
    else:
        name, plain = await _fetch(context, str(given))
    return await looked_into(context, name, plain, language=language_of(name), copied=copied)


async def _from_workspace(
    context: TaskContext, reference: Mapping[str, Any], copied: Callable[[Source], bool]
) -> Source:
    url = str(reference.get("$file"))
    for known in await _known(context):
        if known.file["$file"] == url:
            await context.workspace.fetch(known.file, known.plain)
            return known
    name = url.rpartition("/")[2]
    plain = _plain(name)
    await context.workspace.fetch(reference, plain)
    return await looked_into(context, name, plain, copied=copied)


async def _known(context: TaskContext) -> list[Source]:
    document = context.inputs.get("sources")
    return list((await load(context, document, "sources.json", Sources)).sources) if document else []


async def _download(context: TaskContext, url: str) -> tuple[str, str]:
    try:
        name = unquote(urlsplit(url).path.rpartition("/")[2])
    except ValueError as error:
        raise InputFault("source: it is no URL") from error
    if extension(name) in _STREAMS:
        raise InputFault(f"source: {redacted_url(url)} is a stream, not a media file")
    plain = _plain(name)
    with told_of("source"):
        await context.outbound.download(url, context.scratch / plain, max_bytes=_MOST_BYTES)
    return name or redacted_url(url), plain


async def _fetch(context: TaskContext, path: str) -> tuple[str, str]:
    try:
        path = logical_path(path)
    except PathFault as fault:
        raise InputFault(f"source: {fault}") from fault
    storage = context.storage(str(context.inputs["storage"]), "source_root")
    name = path.rpartition("/")[2]
    plain = _plain(name)
    await fetch_source(context, storage, path, plain, "source")
    return name, plain


def _plain(name: str) -> str:
    return f"source_1.{extension(name)}" if source_kind(name) else "source_1.media"
