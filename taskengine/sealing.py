"""Secrets sealed with AES-256-GCM: the `Sealer` port over the keys of the installation.

The nonce is made of the secret (by HMAC, with a key of its own), so equal secrets of one owner give equal texts, and
nothing else is told. The owner's name is authenticated: what one client's job has sealed opens for no other's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from taskengine.domain.errors import SecretUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12
_SEPARATORS = re.compile(r"[\s,]+")
_FORM = f"{KEY_BYTES} bytes in base64 or {KEY_BYTES * 2} hexadecimal digits"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key, and the id under which what it sealed is recognised: a digest of it."""

    id: str
    key: bytes = field(repr=False)


def new_key() -> str:
    """A fresh key, as it is configured."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_keys(text: str) -> tuple[SealingKey, ...]:
    """The keys of a setting: the first one seals, all open. ValueError, which does not repeat them."""
    parts = [part for part in _SEPARATORS.split(text) if part]
    if not parts:
        raise ValueError(f"has no key: {_FORM}")
    return tuple(_key(part) for part in parts)


def _key(text: str) -> SealingKey:
    try:
        hexadecimal = len(text) == KEY_BYTES * 2
        key = bytes.fromhex(text) if hexadecimal else base64.b64decode(_standard(text), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"has a key that is not {_FORM} (several are separated by commas; the first one seals)")
    return SealingKey(_derived(key, b"id").hex()[:8], key)


def _standard(text: str) -> str:
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    return plain + "=" * (-len(plain) % 4)


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"taskengine sealing " + purpose, hashlib.sha256)


class KeySealer:
    """Seals with the first key and opens with each. Without any, it says what is missing."""

    def __init__(self, keys: Sequence[SealingKey] = ()) -> None:
        self._keys = {key.id: _Cipher(key.key) for key in keys}
        self.ids = [key.id for key in keys]  # the first one seals

    def seal(self, secret: str, owner: str) -> str:
        """`<key id>.<text>`."""
        if not self.ids:
            raise SecretUnavailable("there is no sealing key: secrets cannot be kept (setting sealing_key)")
        return f"{self.ids[0]}.{_encoded(self._keys[self.ids[0]].seal(_bytes(secret), _bytes(owner)))}"

    def open(self, text: str, owner: str) -> str:
        """The secret."""
        key_id, _, encoded = text.partition(".")
        cipher = self._keys.get(key_id)
        if cipher is None:
            known = f"the ones here are {', '.join(self.ids)}" if self.ids else "there is none here"
            raise SecretUnavailable(
                f"a secret is sealed with the key {key_id[:64]!r}, and {known} (setting sealing_key)"
            )
        try:
            return cipher.open(_decoded(encoded), _bytes(owner)).decode("utf-8", "surrogatepass")
        except ValueError as error:
            raise SecretUnavailable("a sealed secret is damaged, or belongs to another client") from error


class _Cipher:
    def __init__(self, key: bytes) -> None:
        self._key = key

    @cached_property
    def _aead(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 40 ms that not every process needs

        return AESGCM(_derived(self._key, b"encryption"))

    @cached_property
    def _nonce_key(self) -> bytes:
        return _derived(self._key, b"nonce")

    def seal(self, secret: bytes, owner: bytes) -> bytes:
        told = len(owner).to_bytes(4, "big") + owner + secret
        nonce = hmac.digest(self._nonce_key, told, hashlib.sha256)[:_NONCE_BYTES]
        return nonce + self._aead.encrypt(nonce, secret, owner)

    def open(self, data: bytes, owner: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], owner)
        except InvalidTag as error:
            raise ValueError("not authentic") from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
