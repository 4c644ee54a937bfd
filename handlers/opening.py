"""Opening what is encrypted by samples (cenc, cbcs): with the key that a client gives, or one derived from its seed."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import ContentKey, KeyFault, derive_key, parse_key_id
from taskengine.handlers.protecting import run_with_keys
from taskengine.handlers.support import in_thread
from taskengine.media import mp4, packager
from taskengine.media.tracks import TrackKind
from taskengine.ports import TaskContext

_SEED_BYTES = 30
_KINDS = {"vide": TrackKind.VIDEO, "soun": TrackKind.AUDIO}


def given_key(key_id: object, content_key: object, where: str) -> ContentKey | None:
    """The key that a clip's parameters name; None where they name none. InputFault where they are none, without showing
    them."""
    if not key_id and not content_key:
        return None
    if not key_id or not content_key:
        raise InputFault(f"{where}: key_id and content_key go together")
    try:
        found = parse_key_id(str(key_id), f"{where}.key_id"), parse_key_id(str(content_key), f"{where}.content_key")
    except KeyFault as fault:
        raise InputFault(str(fault)) from fault
    return ContentKey("ALL", *found)


def given_seed(seed: object, where: str) -> bytes | None:
    """The seed that a clip names, in base64. InputFault where it is none."""
    if not seed:
        return None
    try:
        found = base64.b64decode(str(seed).strip(), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) < _SEED_BYTES:
        raise InputFault(f"{where}.seed must be at least {_SEED_BYTES} bytes in base64")
    return found


async def opened(
    context: TaskContext, name: str, where: str, *, protection: str, key: ContentKey | None, seed: bytes | None
) -> str:
    """A file of the scratch as it can be read, under the same name. InputFault where its key is not the client's."""
    path = context.scratch / name
    try:
        found, movie = await in_thread(_looked_at, path)
    except mp4.BoxFault as fault:
        if protection.startswith("SAMPLE-AES"):
            raise InputFault(f"{where}: {protection} in MPEG-TS cannot be opened here") from fault
        return name  # no MP4: encrypted whole, which is open by now, or not at all
    if found.scheme is None:
        return name
    needed = usable(found.key_id, key, seed, where)
    kind = _KINDS.get(movie.tracks[0].handler)
    if kind is None or len(movie.tracks) != 1:
        raise InputFault(f"{where}: a file that is encrypted has {len(movie.tracks)} tracks; one can be opened")
    output, flags = f"{name}.open.mp4", f"{name}.flags"
    argv = packager.decrypt(context.tools.packager, [(name, kind, output)], flags)
    result = await run_with_keys(context, argv, flags, [needed], context.scratch / output)
    if result.exit_code != 0:
        raise InputFault(f"{where}.content_key: the stream cannot be opened with it", stderr_tail=result.stderr_tail)
    await in_thread((context.scratch / output).replace, path)
    return name


def _looked_at(path: Path) -> tuple[mp4.TrackProtection, mp4.Movie]:
    return mp4.read_protection(path), mp4.read_movie(path)


def usable(needed: bytes | None, key: ContentKey | None, seed: bytes | None, where: str) -> ContentKey:
    """The key for the id that a file needs. InputFault where there is none, or another one."""
    if seed is not None and needed is not None:
        return ContentKey("ALL", needed, derive_key(seed, needed))
    if key is None:
        raise InputFault(f"{where}: the stream is encrypted: give key_id and content_key, or a seed")
    if needed is not None and needed != key.key_id and any(needed):
        raise InputFault(f"{where}.key_id: the stream is encrypted with the key {needed.hex()}, not with this one")
    return key
