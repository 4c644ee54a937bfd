"""Publication: the manifests change last, old versions go, a failure leaves no trace."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.errors import InternalFault, ResourceFault, StorageError
from taskengine.handlers.publication import Target
from taskengine.handlers.publish import Publish
from taskengine.handlers.replacing import keep_former, put_back
from taskengine.media.verify import VerificationFault
from taskengine.ports import TaskContext
from taskengine.storage.local import LocalStorage
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A source of one second, and empty outputs."""
    made = Studio(tmp_path)
    video_source(made.source / "film.mp4", seconds=1)
    return made


def versions(studio: Studio) -> list[str]:
    """The versions that are on the disk."""
    return sorted(path.name for path in (studio.output / "v").iterdir())


async def test_a_second_job_replaces_the_first(studio: Studio) -> None:
    """The new manifests point into the new version; the old one is gone."""
    await studio.stream()
    await studio.stream()
    assert versions(studio) == ["2-1"]
    assert "v/2-1/clear/video_1.m3u8" in (studio.output / "film.m3u8").read_text()
    assert 'media="v/2-1/clear/video_1/' in (studio.output / "film.mpd").read_text()


def beside(studio: Studio) -> set[str]:
    """What lies in the asset's folder."""
    return {path.name for path in studio.output.iterdir()}


def check_listed(studio: Studio) -> None:
    """The description lists what is there but for these files, which are not the asset's."""
    listed = {file["path"] for file in json.loads((studio.output / "metadata.json").read_text())["files"]}
    there = {str(path.relative_to(studio.output)) for path in studio.output.rglob("*") if path.is_file()}
    assert there - listed == {"metadata.json", "notes.txt"} & there


async def test_a_second_job_takes_along_what_the_first_has_and_it_has_not(studio: Studio) -> None:
    """Poster, previews and MP4 of the older asset go; what is not the asset's stays, also under a name that was its."""
    await studio.stream(generate_mp4=True, preview_thumbnails=True)
    assert {"film.mp4", "film.vtt", "film_sprite.jpg", "thumbnail.jpg"} <= beside(studio)
    (studio.output / "notes.txt").write_text("not of the asset")
    await studio.stream(preview_thumbnails=True, create_thumbnail=False)
    assert beside(studio) == {"film.m3u8", "film.mpd", "film.vtt", "film_sprite.jpg", "metadata.json", "notes.txt", "v"}
    check_listed(studio)

    (studio.output / "film.vtt").write_text("of somebody who wrote his own")
    await studio.stream(content_id="other", create_thumbnail=False)
    assert beside(studio) == {"other.m3u8", "other.mpd", "film.vtt", "metadata.json", "notes.txt", "v"}
    assert (studio.output / "film.vtt").read_text() == "of somebody who wrote his own"


async def test_what_could_not_be_removed_is_by_the_next_job(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new asset is there, with an MP4 of the older one; that is no source of the next job, which removes it."""
    studio.shared = True
    await studio.stream(generate_mp4=True, mp4_filename="download.mp4")
    delete = LocalStorage.delete

    async def refused(self: LocalStorage, paths: Sequence[str]) -> None:
        raise StorageError(f"{paths}: the storage went away")

    monkeypatch.setattr(LocalStorage, "delete", refused)
    with pytest.raises(ResourceFault, match="the storage went away"):
        await studio.stream(create_thumbnail=False)
    assert "v/2-1/" in (studio.output / "film.m3u8").read_text()
    assert {"download.mp4", "thumbnail.jpg"} <= beside(studio)

    monkeypatch.setattr(LocalStorage, "delete", delete)
    answer = await studio.stream(create_thumbnail=False)
    assert answer["metadata"]["renditions"] == 1
    assert beside(studio) == {"film.m3u8", "film.mp4", "film.mpd", "metadata.json", "v"}  # film.mp4 is the source


async def test_progress_is_that_of_the_upload(studio: Studio) -> None:
    """It grows with each file, up to the switch of the manifests; a file that is put beside an asset tells its own."""
    await studio.stream(generate_mp4=True)
    told = next(context.progress for context in studio.contexts if context.task.handler == "publish")
    assert len([fraction for fraction in told if 0 < fraction < 0.9]) >= 5
    assert all(before <= after for before, after in pairwise(told))
    assert told[-2:] == [0.9, 0.95]
    await studio.run("createmp4", source_folder="film", mp4_filename="again.mp4")
    assert studio.contexts[-1].progress == [0.9]


async def test_a_failed_job_leaves_the_old_asset_untouched(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had uploaded is removed by the clean-up step."""
    await studio.stream()
    before = {path: path.read_bytes() for path in studio.output.rglob("*") if path.is_file()}

    async def fail(*_: Any) -> None:
        raise InternalFault("the disk went away")

    monkeypatch.setattr("taskengine.handlers.publish.switch", fail)
    monkeypatch.setattr("taskengine.handlers.publish._write_metadata", fail)
    with pytest.raises(InternalFault):
        await studio.stream(create_thumbnail=False)
    assert {path: path.read_bytes() for path in studio.output.rglob("*") if path.is_file()} == before
    assert versions(studio) == ["1-1"]


def all_files(studio: Studio) -> dict[Path, bytes]:
    """What the folder has."""
    return {path: path.read_bytes() for path in studio.output.rglob("*") if path.is_file()}


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("last", ["metadata.json", "film.m3u8", "film.mpd"])
async def test_what_a_failed_job_has_replaced_comes_back(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, last: str, *, killed: bool
) -> None:
    """Poster, previews, MP4, description and manifests of the old asset, whichever was the last that could be written; also
    where a killed attempt leaves it to the clean-up. The first asset of a folder leaves nothing."""
    put = Target.put_bytes

    async def full(self: Target, data: bytes, relative: str) -> None:
        if relative == last:
            raise StorageError("the disk is full")
        await put(self, data, relative)

    async def nothing(*_: Any) -> None:
        """What an attempt that is killed does no more."""

    wishes = {"generate_mp4": True, "preview_thumbnails": True}
    there: dict[Path, bytes] = {}
    for before in (False, True):
        if before:
            await studio.stream(**wishes)
            video_source(studio.source / "film.mp4", seconds=1, size="160x120")
        there = all_files(studio)
        with monkeypatch.context() as patched:
            patched.setattr(Target, "put_bytes", full)
            if killed:
                patched.setattr("taskengine.handlers.publication.put_back", nothing)
            with pytest.raises(ResourceFault, match="the disk is full"):
                await studio.stream(**wishes)
        assert all_files(studio) == there
    await studio.stream(**wishes)
    assert all_files(studio)[studio.output / "film.mp4"] != there[studio.output / "film.mp4"]
    check_listed(studio)


async def test_the_next_try_begins_from_what_was_there(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed try has replaced some of it; the next one fails, and it is the first asset that comes back."""
    await studio.stream(generate_mp4=True)
    there = all_files(studio)
    publish, put = Publish.__call__, Target.put_bytes
    last = ["film.mpd", "film.m3u8"]

    async def full(self: Target, data: bytes, relative: str) -> None:
        if last and relative == last[0]:
            last.pop(0)
            raise StorageError("the disk is full")
        await put(self, data, relative)

    async def twice(self: Publish, context: TaskContext) -> Any:
        with pytest.raises(ResourceFault):
            await publish(self, context)
        second = studio.context("publish", context.inputs, job_id=2, task_id=9, attempt=2)
        return await publish(self, second)

    video_source(studio.source / "film.mp4", seconds=1, size="160x120")
    monkeypatch.setattr(Target, "put_bytes", full)
    monkeypatch.setattr(Publish, "__call__", twice)
    with pytest.raises(ResourceFault):
        await studio.stream(generate_mp4=True)
    assert last == []
    assert all_files(studio) == there


async def test_what_another_job_has_published_since_is_not_taken_back(studio: Studio) -> None:
    """A clean-up that comes late leaves the newer asset alone."""
    await studio.stream()
    storage = LocalStorage(studio.roots["output_root"])
    await keep_former(storage, "film", "2-1", ["thumbnail.jpg"], {"film.m3u8": b"never written"})
    await studio.stream()
    there = all_files(studio)
    await put_back(storage, "film", "2-1")
    assert all_files(studio) == there


async def test_the_description_does_not_grow_with_every_job(studio: Studio) -> None:
    """Of superseded versions it names those that were there when it was written."""
    for _ in range(3):
        await studio.stream(drm=["clear", "cenc"])
        await studio.run("drmswitch", folder="film")
    assert json.loads((studio.output / "metadata.json").read_text())["superseded"] == []
    await studio.stream()
    assert json.loads((studio.output / "metadata.json").read_text())["superseded"] == ["5-1"]


async def test_an_attempt_that_is_called_off_takes_its_files_along(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the switch; the asset that was there stays as it was."""
    await studio.stream()

    async def called_off(*_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("taskengine.handlers.publish._write_metadata", called_off)
    with pytest.raises(asyncio.CancelledError):
        await studio.stream(create_thumbnail=False)
    assert versions(studio) == ["1-1"]


async def test_the_switch_is_made_whole_or_not_at_all(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called off between the two manifests, the attempt goes on to its end."""
    put = Target.put_bytes

    async def called_off(self: Target, data: bytes, relative: str) -> None:
        await put(self, data, relative)
        if relative == "film.m3u8":
            asyncio.get_running_loop().call_soon(publishing.cancel)
            await asyncio.sleep(0.01)

    monkeypatch.setattr(Target, "put_bytes", called_off)
    publishing = asyncio.ensure_future(studio.stream())
    await publishing
    assert all("v/1-1/" in (studio.output / f"film.{kind}").read_text() for kind in ("m3u8", "mpd"))


async def test_a_client_of_the_original_finds_its_manifests_in_an_ism_folder(studio: Studio) -> None:
    """`<content_id>_nodrm_<guid>.ism` with `.m3u8` and `.mpd` in it, which play; the next publication has another one."""
    studio.manifest_style = "ism"
    folders = []
    for job in (1, 2):
        message = Path((await studio.stream())["message"])
        folders.append(message)
        assert re.fullmatch(r"film_nodrm_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.ism", message.name)
        assert sorted(path.name for path in message.iterdir()) == [".m3u8", ".mpd"]
        master = (message / ".m3u8").read_text()
        uris = [line for line in master.splitlines() if line and not line.startswith("#")]
        assert uris
        assert all((message / uri).is_file() for uri in uris)
        assert f'media="../v/{job}-1/clear/video_1/' in (message / ".mpd").read_text()
    assert sorted(studio.output.glob("*.ism")) == [folders[1]]
    assert "v/2-1/" in (studio.output / "film.m3u8").read_text()


async def test_what_an_earlier_try_left_is_removed_by_the_next(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A try that died after its upload leaves a version that nothing names; the second try removes it."""
    published: list[TaskContext] = []
    publish = Publish.__call__

    async def twice(self: Publish, context: TaskContext) -> Any:
        published.append(context)
        await publish(self, context)
        second = studio.context("publish", context.inputs, job_id=1, task_id=9, attempt=2)
        return await publish(self, second)

    monkeypatch.setattr(Publish, "__call__", twice)
    await studio.stream()
    assert versions(studio) == ["1-2"]


async def test_the_manifests_are_written_last(studio: Studio) -> None:
    """No file of the asset is newer than its manifests, and the MPD is the last."""
    await studio.stream()
    files = {path: path.stat().st_mtime_ns for path in studio.output.rglob("*") if path.is_file()}
    master, manifest = studio.output / "film.m3u8", studio.output / "film.mpd"
    assert all(time <= files[master] for path, time in files.items() if path != manifest)
    assert files[master] <= files[manifest]


async def test_the_source_is_deleted_when_asked_and_what_came_meanwhile_is_not(studio: Studio) -> None:
    """The folder goes with its files."""
    await studio.stream(delete_source=True)
    assert not (studio.roots["source_root"] / "film").exists()


async def test_what_came_into_the_source_folder_meanwhile_stays(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file and one that was replaced are not deleted."""
    video_source(studio.source / "second.mp4", seconds=1)
    publish = Publish.__call__

    async def meanwhile(self: Publish, context: TaskContext) -> Any:
        (studio.source / "new.mp4").write_text("new")
        (studio.source / "second.mp4").unlink()
        (studio.source / "second.mp4").write_text("replaced")
        return await publish(self, context)

    monkeypatch.setattr(Publish, "__call__", meanwhile)
    await studio.stream(delete_source=True)
    assert sorted(path.name for path in studio.source.iterdir()) == ["new.mp4", "second.mp4"]


async def test_sources_and_asset_may_share_a_folder(tmp_path: Path) -> None:
    """A second job takes the sources alone, and deletes them alone."""
    studio = Studio(tmp_path, shared=True)
    video_source(studio.source / "one.mp4", seconds=1)
    await studio.stream(generate_mp4=True)
    answer = await studio.stream(encode_source=True, generate_mp4=True, delete_source=True)
    assert answer["metadata"]["renditions"] == 1
    assert not (studio.source / "one.mp4").exists()
    assert (studio.source / "film.mp4").is_file()
    assert (studio.source / "film.m3u8").is_file()


async def test_a_package_that_is_not_whole_is_not_published(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that was cut is found before anything is uploaded."""
    from taskengine.media import dash

    complete = dash.aligned

    def spoil(text: str) -> str:
        segment = next((studio.folder / "scratch").rglob("video_1/00001.m4s"))
        segment.write_bytes(segment.read_bytes()[:-100])
        return complete(text)

    monkeypatch.setattr(dash, "aligned", spoil)
    with pytest.raises(VerificationFault, match=r"00001\.m4s: expected a whole segment"):
        await studio.stream()
    assert not studio.output.exists()


async def test_a_segment_that_does_not_decode_is_not_published(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage of the right size in the right boxes is found by decoding."""
    from taskengine.media import dash

    (studio.source / "film.mp4").unlink()
    ffmpeg(studio.source, *picture(), *sound(), *H264, *AAC, "film.ts")
    complete = dash.aligned

    def spoil(text: str) -> str:
        segment = next((studio.folder / "scratch").rglob("video_1/00001.m4s"))
        data = segment.read_bytes()
        start = data.index(b"mdat") + 4
        segment.write_bytes(data[:start] + bytes(255 for _ in data[start:]))
        return complete(text)

    monkeypatch.setattr(dash, "aligned", spoil)
    with pytest.raises(InternalFault, match="first and last segments"):
        await studio.stream(encode_source=True)
    assert not studio.output.exists()
