"""HLS' AES-128: segments that are encrypted whole. CBC, padded as PKCS #7 says."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from taskengine.media.hls_keys import read_keys
from taskengine.media.verify import VerificationFault

_BLOCK_BITS = 128


def decrypt(source: Path, target: Path, key: bytes, playlist: str) -> None:
    """Decrypt one segment by the initialization vector that its playlist says. VerificationFault where it is not encrypted
    by this key."""
    vector = next((each["IV"] for each in read_keys(playlist) if each.get("METHOD") == "AES-128"), None)
    if vector is None:
        raise VerificationFault(f"{source.name}: expected a key by AES-128 in its playlist, found none")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes.fromhex(vector.removeprefix("0x")))).decryptor()
    unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
    try:
        padded = decryptor.update(source.read_bytes()) + decryptor.finalize()
        target.write_bytes(unpadder.update(padded) + unpadder.finalize())
    except ValueError as error:
        raise VerificationFault(
            f"{source.name}: expected a segment encrypted by its key, found that {error}"
        ) from error
