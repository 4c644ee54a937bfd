"""Names of files, and which of them are sources."""

from __future__ import annotations

import pytest

from taskengine.domain.errors import InputFault
from taskengine.media.languages import name_of, tag_of, three_letters
from taskengine.media.names import SourceKind, file_name, file_stem, language_of, source_kind
from taskengine.media.sources import audio_choices, by_quality, check_together, properties_of, select
from tests.support.media import audio_track, source_of, video_track


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("x_eng.m4a", "en"), ("film_2_pt-BR.srt", "pt-BR"), ("film_DE.mp4", "de"), ("x_ger.srt", "de"), ("film.mp4", None),
        ("film_1080.mp4", None), ("film_raw.mp4", None), ("film_und.mp4", None), ("film_hd.mp4", None), ("_eng", "en"),
    ],
)  # fmt: skip
def test_the_language_follows_the_last_underscore(name: str, language: str | None) -> None:
    """Where it is one."""
    assert language_of(name) == language


def test_language_tags_are_checked() -> None:
    """All parts of ISO 639 become the shortest tag; nothing else passes."""
    assert [tag_of(code) for code in ("eng", "ger", "deu", "DE", "zho", "cmn", "EN-us", "sr_latn")] == [
        "en", "de", "de", "de", "zh", "cmn", "en-US", "sr-Latn",
    ]  # fmt: skip
    assert [tag_of(code) for code in ("eng,in=/etc/passwd", "und", "xx", "1", "", "english")] == [None] * 6


def test_languages_have_names_and_codes_for_mp4() -> None:
    """A language is called as it calls itself."""
    assert [name_of(tag) for tag in ("de", "fr", "pt-BR", "qaa")] == [
        "Deutsch",
        "Français",
        "Português (Brasil)",
        "qaa",
    ]
    assert [three_letters(tag) for tag in ("de", "pt-BR", "cmn", "und", "xx")] == ["deu", "por", "cmn", "und", "und"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.MP4", SourceKind.VIDEO), ("a.wav", SourceKind.AUDIO), ("a.vtt", SourceKind.TEXT), ("a.txt", None),
     (".a.mp4", None), ("mp4", None)],
)  # fmt: skip
def test_the_extension_says_what_a_file_is(name: str, kind: SourceKind | None) -> None:
    """Hidden files are nothing."""
    assert source_kind(name) is kind


@pytest.mark.parametrize(
    ("content_id", "stem"),
    [("film", "film"), ("a/b\\c", "a_b_c"), ("..", "_.."), (".x", "_.x"), ("con", "_con"), ("é\0", "é_"), (" ", "_"),
     ("x" * 500, "x" * 200)],
)  # fmt: skip
def test_every_content_id_makes_a_file_name(content_id: str, stem: str) -> None:
    """What no file name may have is replaced."""
    assert file_stem(content_id) == stem


@pytest.mark.parametrize("name", ["a/b.mp4", "", "..", "con.mp4", "a\\b", "x" * 300])
def test_a_file_name_that_cannot_be_one_is_refused(name: str) -> None:
    """The fault names the parameter."""
    with pytest.raises(InputFault, match=r"^mp4_filename: "):
        file_name(name, "mp4_filename")


def test_names_are_sorted_into_used_and_ignored() -> None:
    """In the order of their names."""
    found = select("film", ["b.mp4", "a.wav", "x.txt", "c.srt"])
    assert (found.media, found.captions, found.ignored) == (["a.wav", "b.mp4"], ["c.srt"], ["x.txt"])
    with pytest.raises(InputFault, match="no usable source among its 1 files"):
        select("film", ["c.srt"])


def test_properties_are_judged() -> None:
    """Language and kind, for a file that is named."""
    given = {"a.mp4": {"language": "fra", "kind": "dub"}, "b.mp4": "?", "c.mp4": {"language": "a,b"}}
    assert properties_of("a.mp4", given) == ("fr", "dub")
    assert properties_of("x_eng.mp4", None) == ("en", None)
    for name in ("b.mp4", "c.mp4"):
        with pytest.raises(InputFault, match=rf"file_properties: '{name}'"):
            properties_of(name, given)


def test_audio_of_each_language_once_where_all_are_not_wanted() -> None:
    """The highest bit rate wins; audio of the video may be left out."""
    low, high = audio_track(bitrate=1, language="eng"), audio_track(bitrate=2, language="eng")
    video = source_of(video_track(), low, high, language="deu")
    own = source_of(None, audio_track(), name="x_fra.m4a", plain="source_2.m4a", language="fra")
    assert [choice.language for choice in audio_choices([video, own], all_tracks=True)] == ["eng", "eng", "fra"]
    assert [choice.track.bitrate for choice in audio_choices([video, own], all_tracks=False)] == [2, 128_000]
    assert [choice.language for choice in audio_choices([video, own], all_tracks=True, from_video=False)] == ["fra"]


def test_the_best_video_comes_first() -> None:
    """By its size, then its bit rate; only one may be encoded."""
    small = source_of(video_track(width=640, height=360), name="small.mp4")
    large = source_of(video_track(), name="large.mp4")
    sound = source_of(None, audio_track(), name="sound.m4a")
    assert [source.name for source in by_quality([small, sound, large])] == ["large.mp4", "small.mp4"]
    check_together([small, large], encode=False)
    with pytest.raises(InputFault, match=r"the folder has 2: small.mp4, large.mp4"):
        check_together([small, large], encode=True)
