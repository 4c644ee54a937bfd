"""What cannot become an asset fails at once, with one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from taskengine.domain.errors import InputFault
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Empty source and output roots."""
    return Studio(tmp_path)


def cut(path: Path, share: float) -> None:
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def empty_folder(folder: Path) -> None:
    """Nothing at all."""


def no_media(folder: Path) -> None:
    """Files, but none of media."""
    (folder / "readme.txt").write_text("hello")
    (folder / ".hidden.mp4").write_text("hello")


def text_called_mp4(folder: Path) -> None:
    """A text file with the name of a video."""
    (folder / "film.mp4").write_text("this is no film\n" * 100)


def playlist_called_mp4(folder: Path) -> None:
    """A playlist that would make ffmpeg open other files."""
    (folder / "film.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n")


def empty_file(folder: Path) -> None:
    """No bytes."""
    (folder / "film.mp4").touch()


def index_last(folder: Path) -> None:
    """The index was at the end, which is gone."""
    video_source(folder / "film.mp4")
    cut(folder / "film.mp4", 0.7)


def index_first(folder: Path) -> None:
    """The index is there and promises frames that are not."""
    ffmpeg(folder, *picture(), *sound(), *H264, *AAC, "-movflags", "+faststart", "film.mp4")
    cut(folder / "film.mp4", 0.7)


def cut_matroska(folder: Path) -> None:
    """Matroska ends within a cluster."""
    ffmpeg(folder, *picture(seconds=4), *sound(4), *H264, *AAC, "film.mkv")
    cut(folder / "film.mkv", 0.5)


def two_videos(folder: Path) -> None:
    """Which one?"""
    for name in ("one.mp4", "two.mp4"):
        ffmpeg(folder, *picture(seconds=1), *H264, name)


def subtitles_alone(folder: Path) -> None:
    """A container without picture and sound."""
    (folder / "cues.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    ffmpeg(folder, "-i", "cues.srt", "-c:s", "mov_text", "film.mp4")
    (folder / "cues.srt").unlink()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty_folder, "'film' is empty"),
        (no_media, "no usable source among its 2 files"),
        (text_called_mp4, "film.mp4: it is not a media file"),
        (playlist_called_mp4, "film.mp4: it is not a media file"),
        (empty_file, "film.mp4: it is empty"),
        (index_last, "film.mp4: it is not a media file, or it is truncated"),
        (index_first, "film.mp4: it is truncated"),
        (cut_matroska, "film.mkv: it is truncated"),
        (two_videos, "the folder has 2: one.mp4, two.mp4"),
        (subtitles_alone, "film.mp4: it has no readable video or audio track"),
    ],
)
async def test_it_fails_at_once_and_says_why(studio: Studio, make: Callable[[Path], None], words: str) -> None:
    """An input fault of the first step; nothing is published."""
    make(studio.source)
    with pytest.raises(InputFault) as fault:
        await studio.stream(encode_source=True)
    assert words in str(fault.value)
    assert [context.task.handler for context in studio.contexts] == ["ingest", "discard"]
    assert not studio.output.exists()


async def test_a_folder_that_is_not_there_is_an_empty_one(studio: Studio) -> None:
    """The message names the folder."""
    with pytest.raises(InputFault, match="'nowhere' is empty or is not there"):
        await studio.stream(source_folder="nowhere")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"encoding_profile": "H999", "encode_source": True}, "there is no profile 'H999'; there are: .*H264"),
        ({"encoding_profile": "../H264", "encode_source": True}, "there is no profile"),
        (
            {"generate_mp4": True, "mp4_filename": "metadata.json"},
            "mp4_filename: 'metadata.json' is the name of another",
        ),
        ({"generate_mp4": True, "mp4_filename": "film.mpd"}, "mp4_filename: 'film.mpd' is the name of another"),
    ],
)
async def test_a_wish_that_cannot_be_met_fails_before_any_work(
    studio: Studio, parameters: dict[str, object], words: str
) -> None:
    """No source was touched."""
    video_source(studio.source / "film.mp4")
    with pytest.raises(InputFault, match=words):
        await studio.stream(**parameters)
    assert studio.process_s == 0


@pytest.mark.parametrize(
    ("arguments", "name", "words"),
    [
        (["-c:v", "mpeg2video", "-c:a", "mp2"], "film.mpg", "film.mpg: its video codec mpeg2video cannot be packaged"),
        (["-c:v", "prores_ks"], "film.mov", "film.mov: its video codec prores cannot be packaged"),
    ],
)
async def test_a_codec_that_cannot_be_packaged_is_named(
    studio: Studio, arguments: list[str], name: str, words: str
) -> None:
    """The message tells what can be, and what would help."""
    ffmpeg(studio.source, *picture(), *sound(), *arguments, name)
    with pytest.raises(InputFault, match=words) as fault:
        await studio.stream(create_thumbnail=False)
    assert "use encode_source" in str(fault.value)
