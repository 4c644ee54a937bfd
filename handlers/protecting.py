"""Keys in handlers: asked of the provider by the task that needs them, given to packager by a file that is gone at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import SYSTEM_IDS, ContentKey, KeyFault, KeyRequest, KeySet, Label
from taskengine.handlers.support import ANY, BOOLEAN, STRING, in_thread, tell, together, warn
from taskengine.media.asset import CPIX_NAME
from taskengine.media.drm import (
    Encryption,
    checksum,
    given_key,
    key_flags,
    label_of,
    protected_tracks,
    transport_tracks,
)
from taskengine.media.protection import AES, CENC, CLEAR, WantedSet, wanted_sets
from taskengine.media.published import StoredSet
from taskengine.media.tracks import Media, TrackKind
from taskengine.ports import KeyProvider, ProcessResult, TaskContext

INPUTS: Mapping[str, Any] = {
    "content_id": STRING, "drm": ANY, "encrypt_ismv": BOOLEAN, "playready_key": ANY, "cpix": BOOLEAN, "key_provider": ANY,
}  # fmt: skip
"""What a step that protects may be given."""
_LOOK_S = 0.02  # between looks whether packager has read its flags
_KEY_FILE_MODE = 0o600
_NO_ADDRESS = "key://"  # what the settings have where nobody said where the key of aes is


def sets_of(inputs: Mapping[str, Any]) -> Sequence[WantedSet]:
    """The sets that a job asks for."""
    drm = [str(each) for each in inputs.get("drm") or []]
    return wanted_sets(drm, encrypt_all=bool(inputs.get("encrypt_ismv")))


def judge(context: TaskContext) -> None:
    """What is wrong with the protections that a job asks for, before any work is done. Raises InputFault."""
    wanted = [each for each in sets_of(context.inputs) if each.name != CLEAR]
    if context.inputs.get("playready_key") and not context.inputs.get("encrypt_ismv"):
        tell(context, "playready_key: it is the key for encrypt_ismv, which is not asked for: it has no effect")
    if _given(context):
        _given_keys(context, WantedSet(CENC), Media([], 0.0), "")
    names = {each.name for each in wanted}
    if AES in names and not _provider(context).tells(AES):
        raise _untold(context)
    if names - {AES} and not _given(context):
        _provider(context)


async def encryptions(context: TaskContext, media: Media, wanted: Sequence[WantedSet]) -> Mapping[str, Encryption]:
    """The keys of each protected set, by its name."""
    return {
        each.name: encryption
        for each, encryption in zip(
            wanted, await together([_encryption(context, media, each) for each in wanted]), strict=True
        )
        if encryption is not None
    }


async def _encryption(context: TaskContext, media: Media, wanted: WantedSet) -> Encryption | None:
    if wanted.name == CLEAR:
        return None
    media = carried(context, media) if wanted.name == AES else media
    return await encryption_of(context, media, wanted, str(context.inputs["content_id"]))


async def encryption_of(
    context: TaskContext, media: Media, wanted: WantedSet, content_id: str, *, given: bool = True
) -> Encryption:
    """The keys of one protected set of this content; `given`: the one that the job brings along, where it does."""
    given = (
        given and _given(context) and wanted.name != AES
    )  # it is for CMAF; one that is fetched in the clear is another
    if given:
        keys = _given_keys(context, wanted, media, content_id)
    else:
        labels = dict.fromkeys(label_of(track) for track in protected_tracks(media))
        keys = await ask(context, content_id, wanted.name, wanted.systems, labels)
    encryption = Encryption(wanted, keys, media)
    if wanted.name == AES and not all(encryption.uri_of(AES, track) for track in protected_tracks(media)):
        raise _untold(context)
    return encryption


def warn_of_keys_nowhere(context: TaskContext, keys: Mapping[str, Encryption]) -> None:
    """Say in the log where players are told to get the keys of aes at what is no address."""
    if (encryption := keys.get(AES)) is None:
        return
    uris = [encryption.uri_of(AES, track) or "" for track in protected_tracks(encryption.media)]
    if nowhere := next((uri for uri in uris if uri.startswith(_NO_ADDRESS)), None):
        warn(
            context,
            f"drm: players are told to get a key of aes at {nowhere}, which is no address: aes_key_uri of the key provider "
            f"{_name(context)!r} is not set",
        )


def _untold(context: TaskContext) -> InputFault:
    return InputFault(
        f"drm: aes needs to tell players where the key is: set aes_key_uri of the key provider {_name(context)!r}"
    )


def carried(context: TaskContext, media: Media) -> Media:
    """What TS segments can carry of it."""
    fits, others = transport_tracks(media)
    for track in others:
        tell(context, f"drm: aes has TS segments, which cannot carry {track.codec}: {track.name} is left out of it")
    if not fits or (media.of(TrackKind.VIDEO) and not any(track.kind is TrackKind.VIDEO for track in fits)):
        codecs = ", ".join(sorted({track.codec for track in others}))
        raise InputFault(f"drm: aes has TS segments, which cannot carry {codecs}")
    return replace(media, tracks=fits)


def _given(context: TaskContext) -> bool:
    """Whether the job brings its key along."""
    return bool(context.inputs.get("playready_key") and context.inputs.get("encrypt_ismv"))


def _given_keys(context: TaskContext, wanted: WantedSet, media: Media, content_id: str) -> KeySet:
    try:
        return given_key(str(context.inputs["playready_key"]), wanted, content_id, media)
    except KeyFault as error:
        raise InputFault(f"playready_key: {error}") from None


async def ask(
    context: TaskContext, content_id: str, scheme: str, systems: Sequence[str], tracks: Mapping[Label, bytes | None]
) -> KeySet:
    """The provider's keys of one set."""
    systems = [system for system in systems if system in SYSTEM_IDS]
    request = KeyRequest(content_id, scheme, systems, tracks)
    return await _provider(context).keys(request, context.outbound)


def _name(context: TaskContext) -> str | None:
    name = context.inputs.get("key_provider")
    return str(name) if name else None


def _provider(context: TaskContext) -> KeyProvider:
    name = _name(context)
    if name is None:
        raise InputFault("drm: there is no key provider: set key_provider in the client's configuration")
    provider = context.key_provider(name)
    if context.inputs.get("cpix") and provider.kind != "cpix":
        raise InputFault(f"cpix: the client's key provider {name!r} is no key service of kind cpix but {provider.kind}")
    return provider


async def run_with_keys(
    context: TaskContext, argv: Sequence[str], flags: str, keys: Iterable[ContentKey], began: Path, *,
    constant: bool = False,
) -> ProcessResult:  # fmt: skip
    """Run packager, whose command line names the file `flags`: it has the keys, and goes as soon as packager has read it,
    which `began` (what it writes) shows. `constant`: with the initialization vector of each key, as `key_flags` has it."""
    path = context.scratch / flags
    await in_thread(_write_secret, path, key_flags(keys, constant=constant))
    running = asyncio.ensure_future(context.run(argv))
    try:
        while not running.done() and not await in_thread(began.exists):
            await asyncio.wait({running}, timeout=_LOOK_S)
        await in_thread(_unlink, path)
        return await running
    finally:
        await in_thread(_unlink, path)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _KEY_FILE_MODE), "w", encoding="ascii") as file:
        file.write(text)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


async def keys_of_set(
    context: TaskContext, content_id: str, name: str, stored: StoredSet, media: Media
) -> Mapping[str, ContentKey]:
    """Track name → key of a set that is there, by the ids that it has. InputFault where the provider has not these."""
    ids = {key.track: bytes.fromhex(key.key_id) for key in stored.keys}
    content_id = next((key.content_id for key in stored.keys if key.content_id), content_id)
    by_label = {label_of(track): ids[track.name] for track in media.tracks if track.name in ids}
    keys = await ask(context, content_id, name, stored.systems, by_label)
    for label, key in keys.keys.items():
        if key.key_id != by_label[label]:
            raise InputFault(f"key_provider: {_name(context)!r} has not the key {by_label[label].hex()} of {name}")
    found = {track.name: keys.keys[label_of(track)] for track in media.tracks if track.name in ids}
    for known in stored.keys:
        if known.check and known.track in found and checksum(found[known.track]) != known.check:
            raise InputFault(
                f"key_provider: {_name(context)!r} has another key {known.key_id} than the one that {name} is encrypted with"
            )
    return found


async def cpix_document(context: TaskContext, sets: Iterable[KeySet]) -> Mapping[str, Any] | None:
    """The CPIX document of all sets, without the keys, in the workspace, where it is asked for."""
    if not context.inputs.get("download_cpix"):
        return None
    documents = [each.document for each in sets if each.document]
    if not documents:
        tell(context, "download_cpix: there is no set with keys of a provider: no CPIX document")
        return None
    from taskengine.media import cpix  # its parser is not needed before

    path = context.scratch / CPIX_NAME
    await in_thread(lambda: path.write_bytes(cpix.joined(documents)))
    return await context.workspace.store(path, path.name)
