"""What is made of a published asset, and its removal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskengine.domain.errors import InputFault
from taskengine.media import mp4
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Two renditions of five seconds, the better one with sound."""
    made = Studio(tmp_path)
    video_source(made.source / "film.mp4", seconds=5)
    ffmpeg(made.source, *picture("160x120", seconds=5), *H264, "small.mp4")
    ffmpeg(made.source, *sound(5, 880), *AAC, "voice_fre.m4a")
    return made


def tracks(path: Path) -> list[tuple[str, int]]:
    """(handler, samples) of a progressive MP4."""
    movie = mp4.read_movie(path)
    assert movie.index_first
    return [(track.handler, track.samples) for track in movie.tracks]


async def test_createmp4_takes_the_best_or_all_of_an_asset(studio: Studio) -> None:
    """Every frame of the best video and its sound; with `mezzanine` every track. The asset lists its MP4 then."""
    await studio.stream()
    answer = await studio.run("createmp4", source_folder="film")
    assert answer == {"message": "film.mp4", "files": [str(studio.output / "film.mp4")]}
    [video, audio] = tracks(studio.output / "film.mp4")
    assert video == ("vide", 125)
    assert audio[0] == "soun"
    listed = {file["path"]: file for file in json.loads((studio.output / "metadata.json").read_text())["files"]}
    assert listed["film.mp4"]["size"] == (studio.output / "film.mp4").stat().st_size

    answer = await studio.run(
        "createmp4", source_folder="film", output_folder="else", mp4_filename="all of it.mp4", mezzanine=True
    )
    made = studio.roots["output_root"] / "else" / "all of it.mp4"
    assert answer == {"message": "all of it.mp4", "files": [str(made)]}
    kinds = [kind for kind, _ in tracks(made)]
    assert (kinds.count("vide"), kinds.count("soun")) == (2, 2)


async def test_an_mp4_takes_no_other_files_place(studio: Studio) -> None:
    """What the asset is made of stays; its own former MP4 may be replaced."""
    await studio.stream(generate_mp4=True)
    before = {path.name: path.read_bytes() for path in studio.output.iterdir() if path.is_file()}
    for name in ("metadata.json", "film.m3u8", "thumbnail.jpg"):
        with pytest.raises(InputFault, match=f"name: '{name}' is the name of another file of the asset in .*film"):
            await studio.run("createmp4", source_folder="film", mp4_filename=name)
    await studio.run("createmp4", source_folder="film")
    after = {path.name: path.read_bytes() for path in studio.output.iterdir() if path.is_file()}
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] != before[name]} == {"film.mp4", "metadata.json"}


async def test_createmp4_of_no_asset_says_so(studio: Studio) -> None:
    """Neither a missing folder nor one with something else in it."""
    with pytest.raises(InputFault, match=r"source_folder: there is no asset in .*/nowhere"):
        await studio.run("createmp4", source_folder="nowhere")
    studio.output.mkdir(parents=True)
    for other in (b'{"title": "mine"}', b"\0\0\0 ftypisom" * 1000):
        (studio.output / "metadata.json").write_bytes(other)
        with pytest.raises(InputFault, match=r"not one of an asset: [^\0]{1,120}$"):
            await studio.run("createmp4", source_folder="film")


async def test_voddelete_removes_the_folder_and_no_other(studio: Studio) -> None:
    """Its name is the message; a name that has nothing is a fault."""
    await studio.stream()
    beside = studio.roots["output_root"] / "film2" / "kept.txt"
    beside.parent.mkdir()
    beside.write_text("kept")

    assert await studio.run("voddelete", folder="/film/") == {"message": "film"}

    assert not studio.output.exists()
    assert beside.is_file()
    with pytest.raises(InputFault, match=r"folder: there are no files in .*/film"):
        await studio.run("voddelete", folder="film")


async def test_voddelete_goes_on_where_an_earlier_try_ended(studio: Studio) -> None:
    """Nothing left is what it wants."""
    context = studio.context("delete_folder", {"folder": "gone", "storage": "local"}, job_id=1, task_id=1, attempt=2)
    from taskengine.handlers.delete import DeleteFolder

    assert await DeleteFolder()(context) == {"folder": "gone", "deleted": 0}


async def test_asset_delete_removes_single_files(studio: Studio) -> None:
    """What is not there is named in the log; a folder is no file, and a link leads nowhere."""
    studio.output.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (studio.output / name).write_text(name)

    answer = await studio.run("asset_delete", files=["film/a.jpg", "/film//b.jpg", "film/never.jpg"])

    assert answer["message"] == ["film/a.jpg", "film/b.jpg", "film/never.jpg"]
    assert answer["files"] == [str(studio.output / name) for name in ("a.jpg", "b.jpg", "never.jpg")]
    assert [path.name for path in studio.output.iterdir()] == ["c.jpg"]
    assert "not there: film/never.jpg" in studio.log.text

    (studio.output / "out").symlink_to(studio.source)
    with pytest.raises(InputFault, match="link"):
        await studio.run("asset_delete", files=["film/out/film.mp4"])
    with pytest.raises(InputFault):
        await studio.run("asset_delete", files=["film"])
    assert (studio.source / "film.mp4").is_file()
