"""Opening protected sets as a player with the keys would, with other means than the engine's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from taskengine.domain.keys import derive_key
from taskengine.keys.seed import derive_key_id
from taskengine.media import hls
from taskengine.media.tools import find_tools

SEED = bytes(range(40))


def key_of(scheme: str, label: str, content_id: str = "film") -> bytes:
    """The key of the tests' seed."""
    return derive_key(SEED, derive_key_id(SEED, content_id, scheme, label))


def joined(playlist: Path) -> Path:
    """The init segment and all segments of a media playlist in one file beside it."""
    media = hls.read_media(playlist.read_text())
    parts = [str(media.init)] if media.init else []
    target = playlist.with_suffix(".joined.mp4")
    target.write_bytes(
        b"".join((playlist.parent / part).read_bytes() for part in [*parts, *(uri for uri, _ in media.segments)])
    )
    return target


def frames(path: Path, key: bytes | None = None) -> tuple[str, str]:
    """(the hash of everything that decodes, what ffmpeg complained of); with a key, ffmpeg's own CENC decryption."""
    unlocked = ["-decryption_key", key.hex()] if key else []
    argv = [
        find_tools().ffmpeg,
        "-nostdin",
        "-v",
        "error",
        *unlocked,
        "-i",
        str(path),
        "-fps_mode",
        "passthrough",
        "-f",
        "md5",
        "-",
    ]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout.strip(), done.stderr


def opened_segments(playlist: Path, key: bytes) -> Path:
    """The segments of an AES-128 playlist, decrypted and joined."""
    text = playlist.read_text()
    found = re.search(r"METHOD=AES-128,.*IV=0x([0-9a-f]{32})", text)
    assert found is not None
    opened = b""
    for uri, _ in hls.read_media(text).segments:
        decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes.fromhex(found[1]))).decryptor()
        data = decryptor.update((playlist.parent / uri).read_bytes()) + decryptor.finalize()
        opened += data[: -data[-1]]
    target = playlist.with_suffix(".opened.ts")
    target.write_bytes(opened)
    return target
