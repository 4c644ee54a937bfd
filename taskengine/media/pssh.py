"""PSSH boxes and PlayReady objects: reading what is in them, and writing boxes. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


class PsshFault(ValueError):
    """Bytes that are no PSSH box or PlayReady object, and why."""


@dataclass(frozen=True, slots=True)
class Pssh:
    """A box: the system's id, the key ids that it names by itself (version 1), and the system's own data."""

    system: UUID
    key_ids: Sequence[bytes] = ()
    data: bytes = b""

    def to_bytes(self) -> bytes:
        """The box: version 1 where it names key ids."""
        version = 1 if self.key_ids else 0
        ids = struct.pack(">I", len(self.key_ids)) + b"".join(self.key_ids) if version else b""
        content = bytes([version, 0, 0, 0]) + self.system.bytes + ids + struct.pack(">I", len(self.data)) + self.data
        return struct.pack(">I4s", len(content) + 8, b"pssh") + content


def read_pssh(box: bytes) -> Pssh:
    """Read one whole box. Raises PsshFault."""
    try:
        length, kind, version = struct.unpack_from(">I4sB", box)
        if kind != b"pssh" or length != len(box) or version > 1:
            raise PsshFault("it is no whole PSSH box of version 0 or 1")
        system, offset = UUID(bytes=box[12:28]), 28
        ids: list[bytes] = []
        if version == 1:
            (count,) = struct.unpack_from(">I", box, offset)
            ids = [box[offset + 4 + 16 * number : offset + 20 + 16 * number] for number in range(count)]
            offset += 4 + 16 * count
        (size,) = struct.unpack_from(">I", box, offset)
    except (struct.error, ValueError) as error:
        raise PsshFault(f"it cannot be read: {error}") from error
    if offset + 4 + size != len(box):
        raise PsshFault("its data do not end where the box ends")
    return Pssh(system, ids, box[offset + 4 :])


def playready_header(record: bytes) -> str:
    """The WRMHEADER of a PlayReady object: XML. Raises PsshFault."""
    try:
        length, count = struct.unpack_from("<IH", record)
        if length != len(record):
            raise PsshFault(f"it says {length} bytes and has {len(record)}")
        offset = 6
        for _ in range(count):
            kind, size = struct.unpack_from("<HH", record, offset)
            if kind == 1:
                return record[offset + 4 : offset + 4 + size].decode("utf-16-le")
            offset += 4 + size
    except (struct.error, UnicodeDecodeError) as error:
        raise PsshFault(f"it cannot be read: {error}") from error
    raise PsshFault("it has no rights management header")


def playready_key_ids(header: str) -> Sequence[bytes]:
    """The key ids that a WRMHEADER names, of every version of it."""
    found = re.findall(r'<KID\b[^>]*\bVALUE="([^"]+)"', header) or re.findall(r"<KID>([^<]+)</KID>", header)
    try:
        return [UUID(bytes_le=base64.b64decode(text, validate=True)).bytes for text in found]
    except (binascii.Error, ValueError) as error:
        raise PsshFault(f"a key id in it cannot be read: {error}") from error
