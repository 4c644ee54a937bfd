"""Content keys: what is asked of a key provider, and what it answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

SYSTEM_IDS: Mapping[str, UUID] = {
    "widevine": UUID("edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"),
    "playready": UUID("9a04f079-9840-4286-ab92-e65be0885f95"),
    "fairplay": UUID("94ce86fb-07ff-4f43-adb8-93d2fa968ca2"),
    "cenc": UUID("1077efec-c0b2-4d02-ace3-3c1e52e2fb4b"),
    "aes": UUID("81376844-f976-481e-a84e-cc25d39b0b33"),
}
"""The ids that DASH-IF has registered; `aes`: whole segments by a key that is fetched in the clear."""

_SEED_BYTES = 30  # of a longer seed, PlayReady takes the first ones
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{32}")


class KeyFault(ValueError):
    """A key or a key id that is none. The message never has the value."""


class Label(StrEnum):
    """The kinds of track that may have a key of their own, by pixels of a picture where it is one."""

    AUDIO = "AUDIO"
    SD = "SD"  # up to 768×576
    HD = "HD"  # up to 1920×1080
    UHD1 = "UHD1"  # up to 4096×2160
    UHD2 = "UHD2"


PIXELS: Mapping[Label, tuple[int, int | None]] = {
    Label.SD: (0, 442_368),
    Label.HD: (442_369, 2_073_600),
    Label.UHD1: (2_073_601, 8_847_360),
    Label.UHD2: (8_847_361, None),
}


def label_of_picture(width: int, height: int) -> Label:
    """The label of a video track."""
    pixels = width * height
    return next(label for label, (_, most) in PIXELS.items() if most is None or pixels <= most)


@dataclass(frozen=True, slots=True)
class ContentKey:
    """A key of 16 bytes and its id. `label` is its provider's word for the tracks that it is for: ALL, VIDEO, SD …"""

    label: str
    key_id: bytes
    key: bytes = field(repr=False)

    @property
    def uuid(self) -> str:
        """The id as a UUID is written."""
        return str(UUID(bytes=self.key_id))


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The keys of one set: `scheme` (cenc, cbcs, aes), for `systems`.

    `tracks`: the labels of its tracks, each with the id of the key that it has already (of an asset that is there), or None.
    """

    content_id: str
    scheme: str
    systems: Sequence[str]
    tracks: Mapping[Label, bytes | None]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The answer. `keys` by label; `key_uris`: system (fairplay, aes, cenc) → key id → where players get the key by HLS;
    `pssh`: key id → whole PSSH boxes that come from the provider, in place of our own; `playready_data`: what goes into
    PlayReady's header beside the key ids; `document`: the CPIX document without keys.
    """

    keys: Mapping[Label, ContentKey]
    key_uris: Mapping[str, Mapping[bytes, str]] = field(default_factory=dict)
    pssh: Mapping[bytes, Sequence[bytes]] = field(default_factory=dict)
    playready_data: str = ""
    document: bytes = b""


def parse_key_id(text: str, what: str) -> bytes:
    """16 bytes of 32 hex digits or of a UUID; KeyFault names `what`."""
    plain = text.strip().strip("{}").replace("-", "")
    if not _HEX_KEY.fullmatch(plain):
        raise KeyFault(f"{what} must be 32 hex digits or a UUID")
    return bytes.fromhex(plain)


def parse_key(text: str, what: str) -> bytes:
    """16 bytes of 32 hex digits or of base64; KeyFault names `what`."""
    plain = text.strip()
    if _HEX_KEY.fullmatch(plain):
        return bytes.fromhex(plain)
    try:
        key = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise KeyFault(f"{what} must be 16 bytes, as 32 hex digits or in base64")
    return key


def derive_key(seed: bytes, key_id: bytes) -> bytes:
    """PlayReady's derivation: three hashes over the seed and the key id (in the order of a GUID), folded to 16 bytes."""
    short, guid = seed[:_SEED_BYTES], UUID(bytes=key_id).bytes_le
    hashes = [hashlib.sha256(text).digest() for text in (short + guid, short + guid + short, (short + guid) * 2)]
    halves = [half for each in hashes for half in (each[:16], each[16:])]
    return bytes(a ^ b ^ c ^ d ^ e ^ f for a, b, c, d, e, f in zip(*halves, strict=True))
