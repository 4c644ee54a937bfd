"""Keys derived from a secret seed, as PlayReady's services derive theirs from a key id.

A licence server that knows the seed needs no list of keys. The ids themselves are derived from the seed and the content
id (HMAC-SHA256): the same content has the same keys again, and another installation's have nothing in common with them.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from uuid import UUID

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import ContentKey, KeyRequest, Label, derive_key
from taskengine.keys.granularity import KeysPer

_CHECK = b"taskengine key id"


def derive_key_id(seed: bytes, content_id: str, scheme: str, label: str) -> bytes:
    """The id of a content's key: a UUID of version 8."""
    named = b"\0".join(part.encode() for part in (content_id, scheme, label))
    made = hmac.digest(seed, _CHECK + b"\0" + named, "sha256")[:16]
    return UUID(int=int.from_bytes(made) & ~(0xF000 << 64 | 0xC000 << 48) | 0x8000 << 64 | 0x8000 << 48).bytes


class SeedKeys:
    """A provider that derives."""

    def __init__(self, name: str, seed: bytes, keys_per: KeysPer) -> None:
        self._name, self._seed, self._keys_per = name, seed, keys_per

    async def keys(self, request: KeyRequest) -> Mapping[Label, ContentKey]:
        """The keys of these tracks. InputFault where an id that is asked for is none of this seed's."""
        return {label: self._key(request, label, known) for label, known in request.tracks.items()}

    def _key(self, request: KeyRequest, label: Label, known: bytes | None) -> ContentKey:
        shared = self._keys_per.shared(label)
        key_id = derive_key_id(self._seed, request.content_id, request.scheme, shared)
        if known is not None and known != key_id:
            key_id = self._elsewhere(request, known)
        return ContentKey(shared, key_id, derive_key(self._seed, key_id))

    def _elsewhere(self, request: KeyRequest, known: bytes) -> bytes:
        """A key of this seed that was made when another granularity was configured."""
        names = {each.shared(label) for each in KeysPer for label in Label}
        if known in {derive_key_id(self._seed, request.content_id, request.scheme, name) for name in names}:
            return known
        raise InputFault(f"key_providers.{self._name}: the key {UUID(bytes=known)} was not derived from this seed")
