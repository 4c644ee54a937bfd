"""Logical paths: how clients name files and folders under a storage's root."""

from __future__ import annotations

import re
import unicodedata

MAX_PARTS = 16
MAX_PART_BYTES = 255
_RESERVED = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?$", re.IGNORECASE)


class PathFault(ValueError):
    """A path that is refused, and why."""


def logical_path(text: str, *, allow_empty: bool = False) -> str:
    """Return `text` as a normalised logical path (`a/b/c`, NFC) or raise PathFault.

    Leading, trailing and repeated slashes are dropped before the path is judged. Refused are `.` and `..`, NUL and
    control characters, backslashes, drive letters, reserved device names, parts over 255 bytes and more than 16 parts.
    """
    path = unicodedata.normalize("NFC", text)
    parts = [part for part in path.split("/") if part]
    if not parts and not allow_empty:
        raise PathFault("the path is empty")
    if len(parts) > MAX_PARTS:
        raise PathFault(f"the path has {len(parts)} parts; at most {MAX_PARTS} are allowed")
    for part in parts:
        _judge(part)
    return "/".join(parts)


def _judge(part: str) -> None:
    if part in {".", ".."}:
        raise PathFault(f"the path must not contain {part!r}")
    if "\\" in part:
        raise PathFault("the path must not contain a backslash")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in part):
        raise PathFault("the path must not contain control characters")
    if re.match(r"^[A-Za-z]:", part):
        raise PathFault(f"the path must not contain a drive letter: {part!r}")
    if _RESERVED.match(part):
        raise PathFault(f"{part!r} is a reserved device name")
    if len(part.encode()) > MAX_PART_BYTES:
        raise PathFault(f"a part of the path is over {MAX_PART_BYTES} bytes: {part[:40]!r}…")
