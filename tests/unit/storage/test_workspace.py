"""The job's workspace: what passes between tasks, and what does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.errors import InputFault, InternalFault, ResourceFault
from taskengine.storage.local import LocalStorage
from taskengine.storage.workspace import JobWorkspace, Workspaces, plain_name


class Bench:
    """A workspace directory and the scratches of its tasks."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "workspace"
        self._folder = folder

    def scratch(self, task_id: int) -> Path:
        """The scratch of a task."""
        scratch = self._folder / f"scratch-{task_id}"
        scratch.mkdir(exist_ok=True)
        return scratch

    def open(self, task_id: int = 1, *, job_id: int = 7, attempt: int = 1, token: str = "tok_en-1") -> JobWorkspace:
        """What a task sees."""
        storage = LocalStorage(self.root, link_shared=True)
        return JobWorkspace(
            storage, self.scratch(task_id), job_id=job_id, task_id=task_id, attempt=attempt, token=token
        )

    @property
    def all(self) -> Workspaces:
        """What the janitor sees."""
        return Workspaces(LocalStorage(self.root))

    def file(self, task_id: int, data: bytes, name: str = "out.mp4") -> Path:
        """A file that a task made."""
        path = self.scratch(task_id) / name
        path.write_bytes(data)
        return path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty workspace."""
    return Bench(tmp_path)


async def test_a_file_passes_from_one_task_to_another(bench: Bench) -> None:
    """The reference is plain JSON that names job, task, attempt and token; the next task gets the bytes."""
    reference = await bench.open(1).store(bench.file(1, b"video"), "video/1080p.mp4")
    assert reference == {"$file": "ws://7/1/1-tok_en-1/video/1080p.mp4", "size": 5, "sha256": None}
    path = await bench.open(2).fetch(reference)
    assert path == bench.scratch(2) / "1080p.mp4"
    assert path.read_bytes() == b"video"


async def test_on_one_disk_nothing_is_copied(bench: Bench) -> None:
    """A file is linked into the workspace and out of it, however many tasks use it."""
    source = bench.file(1, b"video")
    reference = await bench.open(1).store(source, "a")
    first = await bench.open(2).fetch(reference)
    again = await bench.open(2).store(first, "b")
    assert (await bench.open(3).fetch(again)).samefile(source)


async def test_names_in_the_scratch_are_plain_and_free(bench: Bench) -> None:
    """No program stumbles over a name, and no file takes another's place."""
    workspace = bench.open(1)
    reference = await workspace.store(bench.file(1, b"x"), "-ü, = %d.mp4")
    other = bench.open(2)
    assert (await other.fetch(reference)).name == "f-______d.mp4"
    assert (await other.fetch(reference)).name == "2-f-______d.mp4"
    assert (await other.fetch(reference, "source.mp4")).name == "source.mp4"
    assert (await other.fetch(reference, "../../source.mp4")).parent == bench.scratch(2)


@given(st.text(max_size=150))
def test_plain_names_are_plain(name: str) -> None:
    """Whatever a name holds, what becomes of it is an ordinary file name."""
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}|f", plain_name(name))


@pytest.mark.parametrize(
    "reference",
    [
        {"$file": "ws://8/1/1-tok/a"}, {"$file": "ws://07/1/1-tok/a"}, {"$file": "ws://7/1/1-tok/../../../8/1/1-tok/a"},
        {"$file": "ws://7/../8/1-tok/a"}, {"$file": "ws:///7/1/1-tok/a"}, {"$file": "ws://7/1/1-tok"},
        {"$file": "ws://7"}, {"$file": "ws://77/1/1-tok/a"}, {"$file": "file:///etc/passwd"}, {"$file": "/etc/passwd"},
        {"$file": "ws://7/1/1-tok/a\x00"}, {"$file": 7}, {}, {"file": "ws://7/1/1-tok/a"},
    ],
)  # fmt: skip
async def test_references_that_leave_the_job_are_refused(bench: Bench, reference: dict[str, Any]) -> None:
    """A task sees its own job's files alone."""
    for job_id in (7, 8, 77):
        await bench.open(1, job_id=job_id, token="tok").store(bench.file(1, b"x"), "a")
    with pytest.raises(InputFault):
        await bench.open(2).fetch(reference)
    assert list(bench.scratch(2).iterdir()) == []


async def test_links_in_the_workspace_are_refused(bench: Bench, tmp_path: Path) -> None:
    """A link that somebody put there does not lead out of it."""
    (tmp_path / "secret").write_bytes(b"theirs")
    (bench.root / "7/1/1-tok").mkdir(parents=True)
    (bench.root / "7/1/1-tok/a").symlink_to(tmp_path / "secret")
    with pytest.raises(Exception, match="links are not followed"):
        await bench.open(2).fetch({"$file": "ws://7/1/1-tok/a"})


async def test_a_file_that_this_worker_does_not_see_may_be_elsewhere(bench: Bench) -> None:
    """A worker without the shared directory is a matter of resources: another one has it."""
    with pytest.raises(ResourceFault, match="ws://7/1/1-tok/a is not in the workspace"):
        await bench.open(2).fetch({"$file": "ws://7/1/1-tok/a", "size": 1})


async def test_a_file_of_another_size_is_refused(bench: Bench) -> None:
    """What the reference promised and what is there must agree."""
    reference = await bench.open(1).store(bench.file(1, b"four"), "a")
    with pytest.raises(InternalFault, match="has 4 bytes; its reference says 5"):
        await bench.open(2).fetch({**reference, "size": 5})


@pytest.mark.parametrize("name", ["../a", "", "a\nb"])
async def test_names_that_are_none_are_refused(bench: Bench, name: str) -> None:
    """A handler stores under its own attempt alone."""
    with pytest.raises(InternalFault, match="cannot be a name"):
        await bench.open(1).store(bench.file(1, b"x"), name)


@pytest.mark.parametrize("token", ["", "../..", "a/b", "a b"])
def test_tokens_that_are_no_names_are_refused(bench: Bench, token: str) -> None:
    """A token is part of a path."""
    with pytest.raises(InternalFault, match="token"):
        bench.open(1, token=token)


async def test_a_job_is_removed_with_all_it_has_and_nothing_else(bench: Bench) -> None:
    """Job 7 is not job 77; removing what is gone is no fault."""
    for job_id in (7, 77, 123):
        await bench.open(1, job_id=job_id).store(bench.file(1, b"x"), "a")
    assert await bench.all.job_ids() == [7, 77, 123]
    await bench.all.remove(7)
    await bench.all.remove(7)
    assert await bench.all.job_ids() == [77, 123]


async def test_a_workspace_that_was_never_used_has_no_jobs(bench: Bench) -> None:
    """What is no job's directory is not mistaken for one."""
    assert await bench.all.job_ids() == []
    (bench.root / "lost+found").mkdir(parents=True)
    assert await bench.all.job_ids() == []


async def test_what_a_bucket_holds_is_far_away(bench: Bench) -> None:
    """What is on the disk of the scratch is not. Either is read in parts."""
    reference = await bench.open(1).store(bench.file(1, b"0123456789"), "a")
    near = bench.open(2)
    assert not await near.distant(reference)
    assert await near.read(reference, 3, 4) == b"3456"

    class Bucket(LocalStorage):
        kind = "s3"

    far = JobWorkspace(Bucket(bench.root), bench.scratch(2), job_id=7, task_id=2, attempt=1, token="t")
    assert await far.distant(reference)
    assert await far.read(reference, 8, 4) == b"89"
    with pytest.raises(ResourceFault, match="is not in the workspace"):
        await far.read({"$file": "ws://7/1/1-tok_en-1/b"}, 0, 1)
    with pytest.raises(InputFault, match="is not a file of job 7"):
        await far.read({"$file": "ws://8/1/1-tok_en-1/a"}, 0, 1)
