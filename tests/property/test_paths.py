"""Logical paths: whatever a client writes, what is accepted lies beneath the root."""

from __future__ import annotations

import asyncio
import os
import posixpath
import socket
import tempfile
import unicodedata
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskengine.domain.errors import NotFound, StorageError
from taskengine.domain.paths import MAX_PART_BYTES, MAX_PARTS, PathFault, logical_path
from taskengine.storage.local import LocalStorage

# What attacks are made of, beside any text at all.
PARTS = st.sampled_from([
    "..", ".", "...", "", "a", "b", "ab", "~", "con", "AUX.txt", "nul .mp4", "com1", "com¹", "lpt9.a.b", "c:", "C:x", "a\\b",
    "..\\..", "a\0b", "a\nb", "\x7f", "\x85", "\ud800", "é", "e\u0301", "\u212b", "\uff0e\uff0e", "\u2025", "\u2215", "\uff0f", "a" * 255, "a" * 256,
    "é" * 128, "$HOME", "`id`", "-rf", "a,b=c", "%2e%2e", "etc", "passwd", "link", "outside", "secret", "fifo", "socket",
])  # fmt: skip
PATHS = st.lists(PARTS | st.text(max_size=6), max_size=20).map("/".join) | st.text(max_size=40)


@given(text=PATHS, allow_empty=st.booleans())
@example(text="/test", allow_empty=False)
@example(text="//a///b//", allow_empty=False)
@example(text="", allow_empty=True)
def test_an_accepted_path_is_plain_and_lies_beneath_the_root(*, text: str, allow_empty: bool) -> None:
    """Normalised once and for all: NFC, no empty parts, no way up, and a name on every system."""
    path = _accepted(text, allow_empty=allow_empty)
    if path is None:
        return
    assert path == logical_path(path, allow_empty=allow_empty)
    assert path or allow_empty
    assert posixpath.normpath(f"/root/{path}") == f"/root/{path}".rstrip("/")
    assert unicodedata.is_normalized("NFC", path)
    parts = path.split("/") if path else []
    assert len(parts) <= MAX_PARTS
    for part in parts:
        assert 0 < len(part.encode()) <= MAX_PART_BYTES
        assert not any(ord(character) < 32 or character in "\\\x7f" for character in part)
        assert part.partition(".")[0].rstrip(" ").lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9", "com¹"}


@given(PATHS)
def test_what_is_refused_is_so_in_every_spelling(text: str) -> None:
    """More slashes, and the other forms of its letters, change nothing."""
    spellings = (text, f"/{text}/", text.replace("/", "//"), unicodedata.normalize("NFD", text))
    assert len({_accepted(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(
    "text",
    ["..", "a/..", "../a", "a/./b", ".", "a\\b", "..\\a", "a\0", "a\x1f", "a\x7f", "a\x9f", "c:", "C:/x", "c:x", "CON", "con.txt",
     "Nul", "aux.h264", "COM1.mp4", "com².mp4", "LPT9", "conin$", "con .mp4", "prn  ", "x" * 256, "é" * 128,
     "/".join("a" * 17), "", "/", "///", "\ud800"],
)  # fmt: skip
def test_each_refusal_of_the_contract(text: str) -> None:
    """`..`, `.`, NUL, control characters, backslashes, drive letters, device names, long parts, many parts, nothing."""
    with pytest.raises(PathFault):
        logical_path(text)


@pytest.mark.parametrize(
    "text", ["a" * 255, "/".join("a" * 16), "console/auxiliary.mp4", "a b, c=d;'\"$(x).mp4", "...", "é" * 127]
)
def test_what_users_may_name_their_files(text: str) -> None:
    """Long, deep, odd: it is no fault."""
    assert logical_path(text) == text


@settings(max_examples=150, deadline=None)
@given(st.lists(PATHS, min_size=1, max_size=4), st.integers(0, 7))
def test_no_operation_of_a_storage_reaches_beyond_its_root(paths: list[str], operation: int) -> None:
    """Over a tree full of links, pipes and sockets: what is outside is neither read, nor written, nor deleted."""
    with tempfile.TemporaryDirectory() as folder:
        root, outside = _hostile(Path(folder))
        storage, scratch = LocalStorage(root), Path(folder) / "scratch"
        scratch.mkdir()
        (scratch / "new").write_text("new")
        before = _listing(outside)
        for number, path in enumerate(paths):
            call = _OPERATIONS[operation]
            with suppress(StorageError, NotFound):
                assert "outside" not in str(asyncio.run(call(storage, path, scratch, number)))
        assert _listing(outside) == before
        assert all("secret of the outside" not in file.read_text() for file in scratch.iterdir())


def _accepted(text: str, *, allow_empty: bool = False) -> str | None:
    try:
        return logical_path(text, allow_empty=allow_empty)
    except PathFault:
        return None


def _hostile(folder: Path) -> tuple[Path, Path]:
    """(a root with links out of it and special files in it, the folder that they lead to)."""
    root, outside = folder / "root", folder / "beyond"
    for made in (root / "a" / "b", root / "ab", outside / "etc"):
        made.mkdir(parents=True)
    (outside / "secret").write_text("secret of the outside")
    (outside / "etc" / "passwd").write_text("secret of the outside")
    for place in (root, root / "a", root / "a" / "b"):
        (place / "link").symlink_to(outside)
        (place / "secret").symlink_to(outside / "secret")
        (place / "up").symlink_to("..")
        os.mkfifo(place / "fifo")
        with socket.socket(socket.AF_UNIX) as listening, suppress(OSError):  # its path may be too long
            listening.bind(str(place / "socket"))
    return root, outside


def _listing(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


_Call = Callable[[LocalStorage, str, Path, int], Coroutine[Any, Any, Any]]
_OPERATIONS: list[_Call] = [
    lambda storage, path, _scratch, _number: storage.list(path),
    lambda storage, path, _scratch, _number: storage.stat(path),
    lambda storage, path, _scratch, _number: storage.read(path),
    lambda storage, path, scratch, number: storage.fetch(path, scratch / f"fetched{number}"),
    lambda storage, path, scratch, _number: storage.store(scratch / "new", path),
    lambda storage, path, _scratch, _number: storage.write(path, b"new"),
    lambda storage, path, _scratch, _number: storage.delete([path]),
    lambda storage, path, _scratch, _number: storage.delete_folder(path),
]
