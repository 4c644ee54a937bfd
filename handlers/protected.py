"""Making one protected set: as a clear one, with keys; and what is encrypted is checked by decrypting it again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import SYSTEM_IDS, KeyFault
from taskengine.handlers.packaging import (
    Contents,
    add_tiles,
    check_decoding,
    commands_of,
    edit,
    finish_cmaf,
    place_sheets,
    store_set,
    texts_of,
)
from taskengine.handlers.protecting import run_with_keys
from taskengine.handlers.support import beside, in_thread, process_fault
from taskengine.media import ffmpeg, hls_keys, packager
from taskengine.media.drm import Encryption, by_track, encryption_argv, hls_data, own_boxes, protected_tracks
from taskengine.media.hls_keys import FAIRPLAY_FORMAT, IDENTITY, PLAYREADY_FORMAT, WIDEVINE_FORMAT
from taskengine.media.protection import AES, PLAYREADY, WIDEVINE
from taskengine.media.tracks import PackagedSet, Track
from taskengine.ports import TaskContext


async def make_protected_set(context: TaskContext, contents: Contents, encryption: Encryption) -> PackagedSet:
    """Package the tracks for one protection, verify what came of it, store it."""
    try:
        encryption_argv(encryption)
    except KeyFault as error:
        raise InputFault(str(error)) from error
    folder = context.scratch / encryption.wanted.name
    await in_thread(place_sheets, context.scratch, folder, contents.sheets)
    make = _make_transport if encryption.wanted.name == AES else _make_cmaf
    return await make(context, replace(contents, media=encryption.media), encryption)


async def _make_cmaf(context: TaskContext, contents: Contents, encryption: Encryption) -> PackagedSet:
    from taskengine.media import verify_protection as verify  # its parsers are not needed before

    name = encryption.wanted.name
    folder = context.scratch / name
    argv = packager.package(
        context.tools.packager, contents.media, contents.files, name, trick_play=contents.trick_play,
        encryption=encryption,
    )  # fmt: skip
    await _package(context, contents, encryption, argv)
    await in_thread(tell_where_keys_are, folder, encryption)
    pairs = await in_thread(finish_cmaf, folder, contents)
    await in_thread(verify.encrypted, folder, encryption)
    async with beside(_unlock_cmaf(context, contents, encryption, pairs)):
        stored = await store_set(context, name)
    return PackagedSet(name, stored, commands_of(contents, argv), encryption.wanted.systems, encryption.track_keys)


async def _make_transport(context: TaskContext, contents: Contents, encryption: Encryption) -> PackagedSet:
    from taskengine.media import verify_protection as verify  # its parsers are not needed before

    folder = context.scratch / AES
    commands = [packager.package_transport(context.tools.packager, contents.files, encryption)]
    if contents.trick_play:
        commands.append(packager.package_transport(context.tools.packager, contents.files, encryption, key_frames=True))
    for argv in commands:
        await _package(context, contents, encryption, argv)
    await in_thread(tell_where_keys_are, folder, encryption)
    await in_thread(_finish_transport, folder, contents)
    segments = await in_thread(verify.transport_set, folder, encryption)
    async with beside(_unlock_transport(context, contents, encryption, segments)):
        stored = await store_set(context, AES)
    return PackagedSet(AES, stored, commands_of(contents, *commands), (), encryption.track_keys)


async def _package(context: TaskContext, contents: Contents, encryption: Encryption, argv: Sequence[str]) -> None:
    name = encryption.wanted.name
    first = context.scratch / _first_output(argv)
    result = await run_with_keys(context, argv, encryption.flags, encryption.keys.keys.values(), first)
    if result.exit_code != 0:
        raise process_fault(f"packaging {name}", result, of_input=contents.copied)


def _first_output(argv: Sequence[str]) -> str:
    """The folder of the first track's segments."""
    fields = dict(field.split("=", 1) for field in argv[2].split(","))
    return fields["segment_template"].rpartition("/")[0]


def tell_where_keys_are(folder: Path, encryption: Encryption) -> None:
    """Manifests with the URIs and boxes of each track's own key: packager knows one for all."""
    for track in protected_tracks(encryption.media):
        uris, data = _uris(encryption, track), _data(encryption, track)
        for name in (f"{track.name}.m3u8", packager.iframe_playlist(track.name)):
            if (folder / name).exists():
                edit(folder / name, partial(_with_keys, uris=uris, data=data))
    if encryption.keys.pssh and (folder / packager.MPD).exists():
        _tell_in_mpd(folder / packager.MPD, encryption)


def _with_keys(playlist: str, uris: Mapping[str, str], data: Mapping[str, str]) -> str:
    return hls_keys.with_data(hls_keys.with_key_uris(playlist, uris), data)


def _tell_in_mpd(manifest: Path, encryption: Encryption) -> None:
    """The provider's boxes, those of each track's own key."""
    from taskengine.media import dash  # its parser is not needed before

    tracks = protected_tracks(encryption.media)
    boxes = {
        f"{track.name}/{packager.INIT}": {
            str(SYSTEM_IDS[system]): box for system, box in own_boxes(encryption, track).items()
        }
        for track in tracks
    }
    edit(manifest, lambda text: dash.with_boxes(text, boxes))


def _data(encryption: Encryption, track: Track) -> Mapping[str, str]:
    """KEYFORMAT → what the provider says of the track's key."""
    formats = {WIDEVINE: WIDEVINE_FORMAT, PLAYREADY: PLAYREADY_FORMAT}
    boxes = own_boxes(encryption, track)
    return {formats[system]: hls_data(system, box) for system, box in boxes.items() if system in formats}


def _uris(encryption: Encryption, track: Track) -> Mapping[str, str]:
    """KEYFORMAT → URI."""
    if encryption.wanted.name == AES:
        found = {IDENTITY: encryption.uri_of(AES, track)}
    else:
        systems = encryption.wanted.systems
        found = {IDENTITY: encryption.uri_of("cenc", track) if "cenc" in systems else None}
        found[FAIRPLAY_FORMAT] = encryption.uri_of("fairplay", track) if "fairplay" in systems else None
    return {form: uri for form, uri in found.items() if uri}


def _finish_transport(folder: Path, contents: Contents) -> None:
    """Complete the master: groups, I-frame playlists, tiles."""
    from taskengine.media import texts, verify  # their parsers are not needed before

    master = folder / packager.MASTER
    verify.whole_file(master, packager.MASTER)
    texts.describe(folder, contents.media, texts_of(folder.parent, contents), packager.TRANSPORT_OFFSET_S)
    if contents.trick_play:
        frames = (folder / packager.TRICK_MASTER).read_text(encoding="utf-8")
        (folder / packager.TRICK_MASTER).unlink()
        edit(master, lambda text: hls_keys.with_key_frames(text, frames))
        for playlist in folder.glob(packager.iframe_playlist("*")):
            edit(playlist, hls_keys.as_key_frames)
    if contents.tiles:
        add_tiles(folder, contents.tiles)


async def _unlock_cmaf(
    context: TaskContext, contents: Contents, encryption: Encryption, pairs: Sequence[tuple[str, str]]
) -> None:
    """First and last segments are encrypted, and decode once they are decrypted."""
    from taskengine.media import verify_protection as verify  # its parsers are not needed before

    name = encryption.wanted.name
    kinds = {track.name: track.kind for track in contents.media.tracks}
    files = [
        (f"{name}_locked_{number}.mp4", kinds[init.partition("/")[0]], f"{name}_open_{number}.mp4")
        for number, (init, _) in enumerate(pairs)
    ]
    joins = [(init, part, locked) for (init, part), (locked, _, _) in zip(pairs, files, strict=True)]
    await in_thread(_join, context.scratch, name, joins)
    flags = f"{name}_open.flags"
    argv = packager.decrypt(context.tools.packager, files, flags)
    began = context.scratch / files[0][2]
    result = await run_with_keys(context, argv, flags, encryption.keys.keys.values(), began)
    if result.exit_code != 0:
        raise process_fault(f"decrypting {name} again", result)
    await in_thread(verify.unlocked, context.scratch, [(locked, opened) for locked, _, opened in files])
    await check_decoding(
        context, contents, ffmpeg.decode_check(context.tools.ffmpeg, [opened for _, _, opened in files])
    )


def _join(scratch: Path, name: str, joins: Sequence[tuple[str, str, str]]) -> None:
    for init, part, target in joins:
        with (scratch / target).open("wb") as whole:
            for piece in (init, part):
                with (scratch / name / piece).open("rb") as source:
                    shutil.copyfileobj(source, whole)


async def _unlock_transport(
    context: TaskContext, contents: Contents, encryption: Encryption, segments: Mapping[str, Sequence[str]]
) -> None:
    """As for CMAF: here it is all of a segment."""
    from taskengine.media import whole_segments  # cryptography is not needed before

    keys = by_track(encryption)
    names: list[str] = []
    for track, uris in segments.items():
        playlist = (context.scratch / AES / f"{track}.m3u8").read_text(encoding="utf-8")
        for uri in uris:
            names.append(f"{AES}_open_{len(names)}.ts")
            source, target = context.scratch / AES / uri, context.scratch / names[-1]
            vector = whole_segments.vectors(playlist)[0]  # packager has one for all
            await in_thread(whole_segments.decrypt, source, target, keys[track].key, vector)
    await check_decoding(context, contents, ffmpeg.decode_check(context.tools.ffmpeg, names, "mpegts"))
