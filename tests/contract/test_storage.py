"""The contract of `ports.Storage`, on every adapter."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskengine.domain.errors import NotFound, StorageError
from taskengine.domain.paths import PathFault, logical_path
from taskengine.ports import Storage
from taskengine.storage import object_transfers
from tests.support.storages import ADAPTERS, Ability, StorageAdapter, adapters_that, paths

REFUSED = ["..", "a/../b", "./a", "a\x00b", "a\nb", "a\\b", "C:/a", "aux", "a/nul.txt", "x" * 256, "a/" * 17, "", "///"]
ODD_NAMES = [
    "with space.mp4",
    "a,b=c.mp4",
    "quote'\".mp4",
    "100%d.mp4",
    "-leading.mp4",
    "ümläut.mp4",
    "日本.mp4",
    "a#b?c&d",
]


@pytest.fixture(scope="module", params=ADAPTERS, ids=lambda adapter: adapter.name)
def adapter(request: pytest.FixtureRequest) -> StorageAdapter:
    """Each kind of storage."""
    assert isinstance(request.param, StorageAdapter)
    return request.param


@pytest.fixture
def server(adapter: StorageAdapter, request: pytest.FixtureRequest) -> Any:
    """What the adapter talks to."""
    return request.getfixturevalue(adapter.server) if adapter.server else None


@pytest.fixture
async def storage(adapter: StorageAdapter, server: Any, tmp_path: Path) -> AsyncIterator[Storage]:
    """An empty root."""
    async with adapter.open(tmp_path, server) as opened:
        yield opened


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A local directory, as a task's scratch is one."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def a_file(folder: Path, data: bytes, name: str = "file") -> Path:
    """A local file."""
    path = folder / name
    path.write_bytes(data)
    return path


# ------------------------------------------------------------------------------------------------ writing and reading


async def test_what_is_written_is_read(storage: Storage) -> None:
    """Small files go in and out whole, empty ones too."""
    await storage.write("a/b/manifest.m3u8", b"#EXTM3U")
    await storage.write("empty", b"")
    assert await storage.read("a/b/manifest.m3u8") == b"#EXTM3U"
    assert await storage.read("empty") == b""


async def test_writing_again_replaces(storage: Storage) -> None:
    """The last write is what is there."""
    await storage.write("a", b"first, and longer")
    await storage.write("a", b"second")
    assert await storage.read("a") == b"second"
    assert await paths(storage) == ["a"]


async def test_paths_are_compared_after_cleaning(storage: Storage) -> None:
    """Leading, trailing and repeated slashes do not matter, nor does the form of Unicode."""
    await storage.write("/a//é/", b"x")
    assert await storage.read(unicodedata.normalize("NFD", "a/é")) == b"x"
    assert await paths(storage) == [unicodedata.normalize("NFC", "a/é")]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_names_are_names(storage: Storage, here: Path, name: str) -> None:
    """Whatever a path may hold comes back as it is, from every call."""
    await storage.store(a_file(here, b"x"), f"folder/{name}")
    assert await paths(storage, "folder") == [f"folder/{name}"]
    assert await storage.stat(f"folder/{name}") is not None
    assert await storage.read(f"folder/{name}") == b"x"
    await storage.fetch(f"folder/{name}", here / "fetched")
    assert (here / "fetched").read_bytes() == b"x"
    await storage.delete([f"folder/{name}"])
    assert await paths(storage) == []


async def test_a_part_is_read(storage: Storage) -> None:
    """From anywhere; less than was asked for where the file ends."""
    await storage.write("a/b", bytes(range(200)))
    assert await storage.read_part("a/b", 0, 16) == bytes(range(16))
    assert await storage.read_part("a/b", 100, 100) == bytes(range(100, 200))
    assert await storage.read_part("a/b", 190, 100) == bytes(range(190, 200))
    with pytest.raises(NotFound):
        await storage.read_part("a/c", 0, 16)


async def test_reading_is_bounded(storage: Storage) -> None:
    """What is larger than the limit is a lasting fault; what is as large is read."""
    await storage.write("a", b"12345")
    assert await storage.read("a", limit=5) == b"12345"
    with pytest.raises(StorageError, match="larger than 4 bytes") as caught:
        await storage.read("a", limit=4)
    assert not caught.value.retryable


async def test_missing_files_are_told_from_faults(storage: Storage, here: Path) -> None:
    """What is not there is NotFound, also where a part of its path is a file."""
    await storage.write("file", b"x")
    for path in ("gone", "gone/too", "file/below"):
        with pytest.raises(NotFound, match=path):
            await storage.read(path)
        with pytest.raises(NotFound, match=path):
            await storage.fetch(path, here / "target")
        assert await storage.stat(path) is None
    assert not (here / "target").exists()


async def test_a_folder_is_no_file(storage: Storage) -> None:
    """Only files have a status."""
    await storage.write("folder/file", b"x")
    assert await storage.stat("folder") is None


async def test_size_and_time_are_told(storage: Storage) -> None:
    """The status of a file is its own, and the one that a listing gives."""
    before = time.time_ns() // 1_000_000
    await storage.write("a/b", b"12345")
    found = await storage.stat("a/b")
    assert found is not None
    assert (found.path, found.size) == ("a/b", 5)
    assert before - 2000 <= found.modified_at <= time.time_ns() // 1_000_000 + 2000
    assert await storage.list("a") == [found]


def test_full_paths_are_the_storages_own(adapter: StorageAdapter, server: Any, tmp_path: Path) -> None:
    """A full path says where the file is for everyone."""

    async def scenario() -> tuple[str, str]:
        async with adapter.open(tmp_path, server) as storage:
            assert storage.kind == adapter.kind
            return storage.full_path("/a//b.m3u8"), storage.full_path("")

    file, root = asyncio.run(scenario())
    assert file.startswith(adapter.full_path_prefix)
    assert file == f"{root}/a/b.m3u8"


# ------------------------------------------------------------------------------------------------- fetch and store


async def test_files_go_in_and_out(storage: Storage, here: Path) -> None:
    """A stored file is fetched as it was; both local files stay."""
    data = bytes(range(256)) * 20_000
    source = a_file(here, data)
    await storage.store(source, "v/1-1/clear/segment.m4s")
    await storage.fetch("v/1-1/clear/segment.m4s", here / "fetched")
    assert (here / "fetched").read_bytes() == data
    assert source.read_bytes() == data


async def test_what_was_sent_is_told(storage: Storage, here: Path) -> None:
    """Whoever stores a file hears of its bytes as they go, all of them in the end."""
    data = b"0123456789" * 2_000_000
    told: list[int] = []
    await storage.store(a_file(here, data), "a", told.append)
    assert sum(told) == len(data)
    await storage.fetch("a", here / "fetched")
    assert (here / "fetched").read_bytes() == data


async def test_storing_again_replaces(storage: Storage, here: Path) -> None:
    """The same path can be stored to again, also from the same file."""
    first = a_file(here, b"first", "first")
    await storage.store(first, "a")
    await storage.store(first, "a")
    await storage.store(a_file(here, b"second", "second"), "a")
    assert await storage.read("a") == b"second"
    assert await paths(storage) == ["a"]


async def test_a_copy_is_a_file_of_its_own(storage: Storage, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces what is there, stays as it is when the first one changes, and is fetched like any other; also where it is
    too large for one request."""
    data = bytes(range(256)) * 70_000
    await storage.store(a_file(here, data), "a.mp4")
    await storage.write("b/copy.mp4", b"former")
    await storage.copy("/a.mp4", "b/copy.mp4")
    monkeypatch.setattr(object_transfers, "COPIED", 1_000)
    await storage.copy("b/copy.mp4", "b/second.mp4")
    await storage.write("a.mp4", b"new")
    for number, path in enumerate(("b/copy.mp4", "b/second.mp4")):
        await storage.fetch(path, here / f"fetched-{number}")
        assert (here / f"fetched-{number}").read_bytes() == data
    with pytest.raises(NotFound):
        await storage.copy("missing/file", "c")
    assert await paths(storage) == ["a.mp4", "b/copy.mp4", "b/second.mp4"]


async def test_what_was_fetched_stays_when_the_stored_file_changes(storage: Storage, here: Path) -> None:
    """Replacing and deleting in the storage do not touch what a task holds."""
    await storage.store(a_file(here, b"old"), "a")
    await storage.fetch("a", here / "fetched")
    await storage.write("a", b"new")
    await storage.delete(["a"])
    assert (here / "fetched").read_bytes() == b"old"


async def test_what_is_there_is_not_fetched_over(storage: Storage, here: Path) -> None:
    """A target that exists is a fault, and keeps its content."""
    await storage.write("a", b"stored")
    target = a_file(here, b"local")
    with pytest.raises(StorageError):
        await storage.fetch("a", target)
    assert target.read_bytes() == b"local"


async def test_a_missing_local_file_is_no_missing_stored_file(storage: Storage, here: Path) -> None:
    """A fault of the caller is not mistaken for an absent file, and leaves nothing."""
    with pytest.raises(StorageError, match="gone"):
        await storage.store(here / "gone", "a")
    with pytest.raises(StorageError):
        await storage.store(here, "a")
    assert await paths(storage) == []


async def test_readers_see_the_old_file_or_the_whole_new_one(storage: Storage, here: Path) -> None:
    """While a file is replaced over and over, each read gives one of its versions whole."""
    versions = [bytes([number]) * 300_000 for number in range(6)]
    sources = [a_file(here, data, f"version-{number}") for number, data in enumerate(versions)]
    await storage.write("a", versions[0])

    async def replace() -> None:
        for source in sources * 3:
            await storage.store(source, "a")

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(replace())
        while not writing.done():
            assert await storage.read("a") in versions
            assert await paths(storage) == ["a"]


@pytest.mark.parametrize(
    "adapter", adapters_that(Ability.LINKS), indirect=True, ids=[one.name for one in adapters_that(Ability.LINKS)]
)
async def test_on_one_disk_nothing_is_copied(storage: Storage, here: Path) -> None:
    """A file that only the task has is linked into the storage, and out of it."""
    source = a_file(here, b"large")
    await storage.store(source, "a")
    await storage.fetch("a", here / "fetched")
    assert (here / "fetched").samefile(source)


# --------------------------------------------------------------------------------------------------------- listing


async def test_listing_is_sorted_and_complete(storage: Storage) -> None:
    """All files below a folder, in the order of their paths."""
    for path in ("b/2", "b/10", "b/a/x", "a", "b.txt", "ba/x"):
        await storage.write(path, b"x")
    assert await paths(storage) == ["a", "b.txt", "b/10", "b/2", "b/a/x", "ba/x"]
    assert await paths(storage, "b") == ["b/10", "b/2", "b/a/x"]
    assert await paths(storage, "/b/") == ["b/10", "b/2", "b/a/x"]


async def test_listing_can_stay_in_one_folder(storage: Storage) -> None:
    """Without recursion only the folder's own files are given."""
    for path in ("top", "a/1", "a/b/2"):
        await storage.write(path, b"x")
    assert await paths(storage, "a", recursive=False) == ["a/1"]
    assert await paths(storage, "", recursive=False) == ["top"]


async def test_listing_what_is_not_there_is_empty(storage: Storage) -> None:
    """A missing folder, or a file in its place, lists nothing."""
    assert await paths(storage) == []
    await storage.write("a", b"x")
    assert await paths(storage, "gone") == []
    assert await paths(storage, "a") == []


async def test_folders_are_named(storage: Storage) -> None:
    """The folders directly in a folder, whatever is in them; files are none."""
    for path in ("a/1", "a/b/2", "ab/1", "top"):
        await storage.write(path, b"x")
    assert await storage.folders("") == ["a", "ab"]
    assert await storage.folders("a") == ["b"]
    assert await storage.folders("gone") == []


# -------------------------------------------------------------------------------------------------------- deleting


async def test_deleting_files_in_one_go(storage: Storage) -> None:
    """Those named are gone, missing ones are no fault, the others stay."""
    for path in ("a/1", "a/2", "b"):
        await storage.write(path, b"x")
    await storage.delete(["a/1", "gone", "b", "b/below"])
    assert await paths(storage) == ["a/2"]


async def test_deleting_a_folder_takes_all_below_it_and_nothing_else(storage: Storage) -> None:
    """`a` never touches `ab`, nor `a.txt`, nor a file elsewhere called `a`."""
    for path in ("a/1", "a/b/2", "ab/1", "a.txt", "b/a", "x/a/1"):
        await storage.write(path, b"x")
    await storage.delete_folder("a")
    assert await paths(storage) == ["a.txt", "ab/1", "b/a", "x/a/1"]


async def test_deleting_a_folder_that_is_none_does_nothing(storage: Storage) -> None:
    """A missing folder is no fault; a file of that name stays."""
    await storage.write("a", b"x")
    await storage.delete_folder("gone")
    await storage.delete_folder("a")
    assert await paths(storage) == ["a"]


@pytest.mark.parametrize("folder", ["", "/", "//"])
async def test_the_root_is_never_deleted(storage: Storage, folder: str) -> None:
    """An empty path is refused where a folder is deleted."""
    await storage.write("a", b"x")
    with pytest.raises(StorageError, match="empty") as caught:
        await storage.delete_folder(folder)
    assert not caught.value.retryable
    assert await paths(storage) == ["a"]


# -------------------------------------------------------------------------------------------------- paths are judged


@pytest.mark.parametrize("path", REFUSED)
async def test_refused_paths_are_refused_by_every_call(storage: Storage, here: Path, path: str) -> None:
    """The storage judges again what others should have judged before; the fault is lasting."""
    source = a_file(here, b"x")
    calls = [
        storage.stat(path), storage.fetch(path, here / "t"), storage.store(source, path), storage.write(path, b"x"),
        storage.read(path), storage.delete(["fine", path]), storage.delete_folder(path),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(StorageError) as caught:
            await call
        assert not caught.value.retryable
    assert await paths(storage) == []


SOME_PATHS = st.lists(
    st.one_of(
        st.sampled_from(
            ["..", ".", "", "a", "b", "~", "...", "a\\b", "\x00", "con", "-", "%2e%2e", "…", "é", "e\u0301"]
        ),
        st.text(max_size=6),
    ),
    max_size=6,
).map("/".join)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=SOME_PATHS, absolute=st.booleans())
def test_no_path_leaves_the_root(
    adapter: StorageAdapter, server: Any, tmp_path: Path, path: str, absolute: bool  # noqa: FBT001 - Hypothesis gives it
) -> None:  # fmt: skip
    """Whatever a path says, either it is refused or the file is below the root under its logical path."""
    path = f"/{path}" if absolute else path

    async def scenario() -> None:
        async with adapter.open(tmp_path, server) as storage:
            try:
                expected = logical_path(path)
            except (PathFault, UnicodeEncodeError):
                expected = None
            try:
                await storage.write(path, b"mine")
            except StorageError:
                assert expected is None
                return
            assert await paths(storage) == [expected]
            assert await storage.read(path) == b"mine"
            await storage.delete([path])
            if expected and "/" in expected:
                await storage.delete_folder(expected.partition("/")[0])

    beside = tmp_path / "beside"
    beside.write_bytes(b"theirs")
    before = {entry.name for entry in tmp_path.iterdir()} | {"root"}
    asyncio.run(scenario())
    assert {entry.name for entry in tmp_path.iterdir()} | {"root"} == before
    assert beside.read_bytes() == b"theirs"
