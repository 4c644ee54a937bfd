"""A directory as a storage: links, special files, other forms of names, and what happens half way."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import unicodedata
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from taskengine.domain.errors import NotFound, StorageError
from taskengine.storage.copying import Stop, Stopped, copy, in_thread
from taskengine.storage.local import LocalStorage
from taskengine.storage.naming import PARTIAL

Call = Callable[[LocalStorage, Path], Awaitable[object]]


class Local(Protocol):
    """Makes a storage."""

    def __call__(self, root: Path, *, link_shared: bool = False) -> LocalStorage:
        """In a directory."""
        ...


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def local(request: pytest.FixtureRequest) -> Local:
    """Both ways to hold folders, on whatever system this is."""
    return partial(LocalStorage, descriptors=request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a file; beside it lies what nobody may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"theirs")
    (tmp_path / "root" / "folder").mkdir(parents=True)
    (tmp_path / "root" / "folder" / "file").write_bytes(b"ours")
    return tmp_path / "root"


@pytest.fixture
def outside(root: Path) -> Path:
    """The directory beside the root."""
    return root.parent / "outside"


def refuse_to_link(monkeypatch: pytest.MonkeyPatch, number: int = errno.EXDEV) -> None:
    """Behave as two disks do."""

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)


def names(folder: Path) -> list[str]:
    """What a folder holds."""
    return sorted(entry.name for entry in folder.iterdir())


# ---------------------------------------------------------------------------------------------------------- links

THROUGH_A_LINK: dict[str, Call] = {
    "stat": lambda storage, _: storage.stat("link/secret"),
    "list": lambda storage, _: storage.list("link"),
    "read": lambda storage, _: storage.read("link/secret"),
    "fetch": lambda storage, here: storage.fetch("link/secret", here / "target"),
    "store": lambda storage, here: storage.store(here / "source", "link/new"),
    "write": lambda storage, _: storage.write("link/secret", b"ours now"),
    "delete": lambda storage, _: storage.delete(["link/secret"]),
    "delete_folder": lambda storage, _: storage.delete_folder("link/inner"),
    "delete the link as a folder": lambda storage, _: storage.delete_folder("link"),
    "stat a linked file": lambda storage, _: storage.stat("file-link"),
    "read a linked file": lambda storage, _: storage.read("file-link"),
    "fetch a linked file": lambda storage, here: storage.fetch("file-link", here / "target"),
}


@pytest.mark.parametrize("call", THROUGH_A_LINK.values(), ids=THROUGH_A_LINK.keys())
async def test_no_call_goes_through_a_link(local: Local, root: Path, outside: Path, tmp_path: Path, call: Call) -> None:
    """A link inside the root that points out of it is refused, and what it points to stays as it was."""
    (root / "link").symlink_to(outside)
    (root / "file-link").symlink_to(outside / "secret")
    (outside / "inner").mkdir()
    (tmp_path / "source").write_bytes(b"new")
    with pytest.raises(StorageError, match="links are not followed") as caught:
        await call(local(root), tmp_path)
    assert not caught.value.retryable
    assert names(outside) == ["inner", "secret"]
    assert (outside / "secret").read_bytes() == b"theirs"
    assert not (tmp_path / "target").exists()


async def test_links_within_the_root_are_refused_too(local: Local, root: Path) -> None:
    """Where a link leads is not looked at: it may lead elsewhere a moment later."""
    (root / "link").symlink_to(root / "folder")
    with pytest.raises(StorageError, match="links are not followed"):
        await local(root).read("link/file")


async def test_writing_to_a_links_name_replaces_the_link(local: Local, root: Path, outside: Path) -> None:
    """A new file takes the name; what the link led to is left alone."""
    (root / "link").symlink_to(outside / "secret")
    await local(root).write("link", b"ours")
    assert await local(root).read("link") == b"ours"
    assert (outside / "secret").read_bytes() == b"theirs"


async def test_deleting_a_folder_deletes_links_in_it_and_not_what_they_lead_to(
    local: Local, root: Path, outside: Path
) -> None:
    """A link among what is deleted is deleted itself."""
    (root / "folder" / "link").symlink_to(outside)
    await local(root).delete_folder("folder")
    assert not (root / "folder").exists()
    assert (outside / "secret").read_bytes() == b"theirs"


async def test_links_and_special_files_are_not_listed(local: Local, root: Path, outside: Path) -> None:
    """Only files are files; a pipe does not hold up who asks for it."""
    (root / "folder" / "link").symlink_to(outside / "secret")
    (root / "folder" / "tree").symlink_to(outside)
    os.mkfifo(root / "folder" / "pipe")
    storage = local(root)
    assert [file.path for file in await storage.list("")] == ["folder/file"]
    assert await storage.stat("folder/pipe") is None
    with pytest.raises(StorageError, match="is not a file"):
        await storage.read("folder/pipe")


async def test_a_root_that_is_a_link_is_followed(local: Local, root: Path, tmp_path: Path) -> None:
    """Where the root lies is the operator's business."""
    (tmp_path / "mounted").symlink_to(root)
    assert await local(tmp_path / "mounted").read("folder/file") == b"ours"


async def test_no_race_leads_outside(root: Path, outside: Path) -> None:
    """While a folder turns into a link and back, every write lands inside or is refused."""
    stop = threading.Event()
    before = names(outside)

    def flip() -> None:
        place, number = root / "flip", 0
        while not stop.is_set():
            number += 1
            with suppress(OSError):  # the writer makes the folder, and is in the way at times
                place.rename(root / f"aside-{number}")
            with suppress(OSError):
                place.symlink_to(outside)
            with suppress(OSError):
                place.unlink()

    storage = LocalStorage(root)
    async with asyncio.TaskGroup() as group:
        flipping = group.create_task(asyncio.to_thread(flip))
        for number in range(300):
            with suppress(StorageError, NotFound):
                await storage.write(f"flip/{number}", b"x")
                await storage.delete([f"flip/{number}"])
                await storage.delete_folder("flip")
        stop.set()
        await flipping
    assert names(outside) == before


# --------------------------------------------------------------------------------------------------- names on disk


async def test_a_name_on_the_disk_in_another_form_is_found(local: Local, root: Path) -> None:
    """A disk may hold decomposed names; paths are compared in NFC."""
    (root / unicodedata.normalize("NFD", "é")).mkdir()
    (root / unicodedata.normalize("NFD", "é/ü")).write_bytes(b"x")
    storage = local(root)
    assert [file.path for file in await storage.list("é")] == [unicodedata.normalize("NFC", "é/ü")]
    assert await storage.read("é/ü") == b"x"
    await storage.write("é/ü", b"y")
    assert [file.path for file in await storage.list("é")] == [unicodedata.normalize("NFC", "é/ü")]
    await storage.delete(["é/ü"])
    assert await storage.list("é") == []


async def test_a_name_that_is_not_utf_8_is_said_clearly(local: Local, root: Path) -> None:
    """A source that nobody can name is a fault of its own, not a file left out."""
    (root / "folder" / os.fsdecode(b"\xe9t\xe9.mp4")).write_bytes(b"x")
    with pytest.raises(StorageError, match="not UTF-8") as caught:
        await local(root).list("folder")
    assert not caught.value.retryable


# ------------------------------------------------------------------------------------------------- half way through


async def test_partial_files_are_invisible_and_their_names_reserved(local: Local, root: Path) -> None:
    """What a crash left behind is not listed, and nobody can write under such a name."""
    (root / "folder" / f"{PARTIAL}1").write_bytes(b"half")
    storage = local(root)
    assert [file.path for file in await storage.list("")] == ["folder/file"]
    with pytest.raises(StorageError, match="reserved"):
        await storage.write(f"folder/{PARTIAL}1", b"x")


async def test_a_store_that_fails_leaves_nothing(
    local: Local, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may pass: the fault is retryable, and nothing is left of the attempt."""
    (tmp_path / "source").write_bytes(b"x" * 1000)
    refuse_to_link(monkeypatch)

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        await local(root).store(tmp_path / "source", "folder/new")
    assert caught.value.retryable
    assert [entry.name for entry in (root / "folder").iterdir()] == ["file"]


def needs_unnamed_files(folder: Path) -> None:
    """Skip the test where the disk has none."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except (OSError, AttributeError):
        pytest.skip("this disk has no files without names")


async def test_what_is_copied_has_no_name_until_it_is_whole(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed meanwhile leaves nothing that somebody would have to find and remove."""
    needs_unnamed_files(tmp_path)
    (tmp_path / "source").write_bytes(b"x" * 1000)
    (tmp_path / "second").hardlink_to(tmp_path / "source")
    seen: list[list[str]] = []

    def looked_at(source: int, target: int, stop: Stop) -> None:
        copy(source, target, stop)
        seen.append(names(root / "folder"))

    monkeypatch.setattr("taskengine.storage.local.copy", looked_at)
    await LocalStorage(root).store(tmp_path / "source", "folder/new")
    assert seen == [["file"]]
    assert (root / "folder" / "new").read_bytes() == b"x" * 1000
    assert names(root / "folder") == ["file", "new"]


async def test_what_is_written_has_no_name_until_it_is_durable(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document, as what is copied: a worker that is killed leaves no part of a manifest in an asset's folder."""
    needs_unnamed_files(tmp_path)
    seen: list[list[str]] = []
    sync = os.fsync

    def looked_at(file: int) -> None:
        sync(file)
        seen.append(names(root / "folder"))

    monkeypatch.setattr(os, "fsync", looked_at)
    await LocalStorage(root).write("folder/new", b"x" * 1000)
    assert seen[0] == ["file"]
    assert (root / "folder" / "new").read_bytes() == b"x" * 1000
    assert names(root / "folder") == ["file", "new"]


async def test_two_disks_copy(local: Local, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no link can be made, the file is copied both ways."""
    refuse_to_link(monkeypatch)
    data = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(data)
    storage = local(root)
    await storage.store(tmp_path / "source", "copied")
    await storage.fetch("copied", tmp_path / "target")
    assert (root / "copied").read_bytes() == (tmp_path / "target").read_bytes() == data


async def test_kernels_that_cannot_copy_are_helped(
    local: Local, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some pairs of file systems refuse the kernel's copy."""
    refuse_to_link(monkeypatch)

    def refuse(*_args: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    data = os.urandom(3_000_000)
    (tmp_path / "source").write_bytes(data)
    await local(root).store(tmp_path / "source", "copied")
    assert (root / "copied").read_bytes() == data


async def test_a_file_with_other_names_is_copied_into_the_storage(local: Local, root: Path, tmp_path: Path) -> None:
    """What was fetched from a source may be modified by its owner: what is published must not change with it."""
    storage = local(root)
    await storage.fetch("folder/file", tmp_path / "fetched")
    await storage.store(tmp_path / "fetched", "published")
    assert not (root / "published").samefile(root / "folder" / "file")
    await local(root, link_shared=True).store(tmp_path / "fetched", "linked")
    assert (root / "linked").samefile(root / "folder" / "file")


async def test_a_folder_in_the_place_of_a_file_is_a_lasting_fault(local: Local, root: Path) -> None:
    """Nothing is tried again that cannot succeed."""
    for call in (local(root).write("folder", b"x"), local(root).write("folder/file/x", b"x")):
        with pytest.raises(StorageError) as caught:
            await call
        assert not caught.value.retryable
    assert names(root) == ["folder"]


def test_errors_name_the_logical_path_alone(local: Local, root: Path) -> None:
    """Where a root lies on a host is not told to a client."""
    with pytest.raises(NotFound) as caught:
        asyncio.run(local(root).read("folder/gone"))
    assert str(root) not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------- threads


async def test_a_cancelled_caller_stops_the_thread_and_waits_for_it() -> None:
    """Nothing goes on behind the back of who was cancelled."""
    begun, ended = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        begun.set()
        stop.wait(10)
        ended.set()
        raise Stopped

    async with asyncio.TaskGroup() as group:
        task = group.create_task(in_thread(work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert ended.is_set()


def test_a_copy_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """A large copy does not outlive its task."""
    (tmp_path / "source").write_bytes(b"x")
    stop = Stop()
    stop.set()
    with (
        (tmp_path / "source").open("rb") as source,
        (tmp_path / "target").open("wb") as target,
        pytest.raises(Stopped),
    ):
        copy(source.fileno(), target.fileno(), stop)
