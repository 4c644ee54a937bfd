"""Opening the keys of an encrypted CPIX document with the recipient's private key."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509 import load_pem_x509_certificate

from taskengine.media.cpix import XMLENC, CpixFault, Document, DocumentKey, Sealed

_RSA = {f"{XMLENC}rsa-oaep-mgf1p": hashes.SHA1, "http://www.w3.org/2009/xmlenc11#rsa-oaep": hashes.SHA1}
_AES_CBC = {f"{XMLENC}aes256-cbc": 32, f"{XMLENC}aes128-cbc": 16}
_BLOCK = 16


def load_private_key(path: Path) -> RSAPrivateKey:
    """An RSA key in PEM. CpixFault where there is none in the file."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CpixFault(f"private_key_file: {path}: no private key can be read from it") from error
    if not isinstance(key, RSAPrivateKey):
        raise CpixFault(f"private_key_file: {path}: it is no RSA key")
    return key


def load_certificate(path: Path) -> bytes:
    """A certificate in PEM, as DER. CpixFault where there is none in the file."""
    try:
        return load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    except (OSError, ValueError) as error:
        raise CpixFault(f"certificate_file: {path}: no certificate can be read from it") from error


def opened(document: Document, private_key: RSAPrivateKey) -> Mapping[bytes, bytes]:
    """Key id → key of the sealed ones. CpixFault where none of the document's recipients is this key."""
    key, mac_key = _document_key(document.document_keys, private_key)
    return {key_id: _open(sealed, key, mac_key) for key_id, sealed in document.sealed.items()}


def _document_key(offered: Sequence[DocumentKey], private_key: RSAPrivateKey) -> tuple[bytes, bytes | None]:
    for each in offered:
        try:
            mac_key = None if each.mac_key is None else _by_rsa(each.mac_key, private_key)
            return _by_rsa(each.key, private_key), mac_key
        except ValueError:  # encrypted for another recipient
            continue
    raise CpixFault("its keys are encrypted, and not for the configured private key")


def _by_rsa(sealed: Sealed, private_key: RSAPrivateKey) -> bytes:
    digest = _RSA.get(sealed.algorithm)
    if digest is None:
        raise CpixFault(f"its document key is encrypted by {sealed.algorithm!r}; known is rsa-oaep-mgf1p")
    return private_key.decrypt(sealed.cipher, OAEP(MGF1(digest()), digest(), None))


def _open(sealed: Sealed, key: bytes, mac_key: bytes | None) -> bytes:
    """XML Encryption's AES-CBC: the IV first, the last byte says how much is padding. The code is checked before."""
    if _AES_CBC.get(sealed.algorithm) != len(key):
        raise CpixFault(f"its content keys are encrypted by {sealed.algorithm!r} with a key of {len(key)} bytes")
    if mac_key is not None and not (
        sealed.mac and hmac.compare_digest(sealed.mac, hmac.digest(mac_key, sealed.cipher, "sha512"))
    ):
        raise CpixFault("the authentication code of a content key is missing or wrong")
    if len(sealed.cipher) < 2 * _BLOCK or len(sealed.cipher) % _BLOCK:
        raise CpixFault("an encrypted content key is not of whole blocks")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(sealed.cipher[:_BLOCK])).decryptor()
    padded = decryptor.update(sealed.cipher[_BLOCK:]) + decryptor.finalize()
    if not 1 <= padded[-1] <= _BLOCK:
        raise CpixFault("an encrypted content key does not open with the document's key")
    return padded[: -padded[-1]]
