"""HLS' AES-128: segments that are encrypted whole. CBC, padded as PKCS #7 says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from taskengine.media.hls_keys import read_keys
from taskengine.media.verify import VerificationFault

_BLOCK_BITS = 128


def vectors(playlist: str) -> Sequence[bytes]:
    """The initialization vector of each segment in a playlist. VerificationFault where one is not encrypted whole."""
    found: list[bytes] = []
    holds: bytes | None = None
    for line in playlist.splitlines():
        if line.startswith("#EXT-X-KEY:"):
            [key] = read_keys(line)
            holds = bytes.fromhex(key["IV"].removeprefix("0x")) if key.get("METHOD") == "AES-128" else None
        elif line and not line.startswith("#"):
            if holds is None:
                raise VerificationFault(f"{line}: expected a key by AES-128 in its playlist, found none")
            found.append(holds)
    return found


def decrypt(source: Path, target: Path, key: bytes, vector: bytes) -> None:
    """Decrypt one segment. VerificationFault where it is not encrypted by this key."""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
    try:
        padded = decryptor.update(source.read_bytes()) + decryptor.finalize()
        target.write_bytes(unpadder.update(padded) + unpadder.finalize())
    except ValueError as error:
        raise VerificationFault(
            f"{source.name}: expected a segment encrypted by its key, found that {error}"
        ) from error
