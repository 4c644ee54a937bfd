"""Captions, languages, kinds and names: one job with many tracks, read as players read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from taskengine.domain.errors import InputFault
from taskengine.media import hls
from taskengine.media.captions import vtt
from taskengine.media.captions.cues import Captions
from tests.support.captions import captioned_video, pop_on
from tests.support.media import AAC, H264, Studio, ffmpeg, picture, sound, video_source

CLEAR = "v/1-1/clear"
NS = "{urn:mpeg:dash:schema:mpd:2011}"
SRT = "1\n00:00:00,500 --> 00:00:01,500\n<i>{0}</i> & <b>co</b>\n\n2\n00:00:03,000 --> 00:00:09,000\nlast\n"
TTML = """<tt xmlns="http://www.w3.org/ns/ttml" xmlns:tts="http://www.w3.org/ns/ttml#styling" xml:lang="es">
<body><div><p begin="00:00:01.000" end="00:00:02.000" tts:fontStyle="italic">hola</p></div></body></tt>"""
SCC = "Scenarist_SCC V1.0\n\n01:00:00:15\t9420 94ae 9470 9470 c8e5 ecec ef80 942c 942f\n\n01:00:02:15\t942c\n"  # Hello
PROPERTIES = {
    "audio": [
        {"language": "eng", "properties": {"track_name": 'The "original"', "track_description": "As it was shot"}},
        {"language": "deu", "kind": "descriptions", "properties": {"track_name": "Hörfassung"}},
        {"language": "", "properties": {"track_language": "fra", "track_role": "commentary"}},
    ],
    "textstream": {"pol_caption": {"track_name": "Polski (CC)"}, "spa|und": {"track_role": "forced-subtitle"}},
}


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """Empty source and output roots."""
    return Studio(tmp_path)


def renditions(studio: Studio, kind: str) -> list[dict[str, str]]:
    """The renditions of the active master, by their attributes."""
    lines = (studio.output / "film.m3u8").read_text().splitlines()
    found = [dict(re.findall(r'([A-Z0-9-]+)="?([^",]*(?:,[^"=,]*)*?)"?(?=,[A-Z0-9-]+=|$)', line.partition(":")[2]))
             for line in lines if line.startswith("#EXT-X-MEDIA:")]  # fmt: skip
    return [rendition for rendition in found if rendition["TYPE"] == kind]


def sets(studio: Studio, kind: str) -> list[etree._Element]:
    """The adaptation sets of a kind of the active MPD."""
    root = etree.fromstring((studio.output / "film.mpd").read_bytes())
    return [element for element in root.iter(f"{NS}AdaptationSet") if element.get("contentType") == kind]


def words(adaptation: etree._Element) -> Mapping[str, Any]:
    """What a set says of itself."""
    return {
        "lang": adaptation.get("lang"),
        "labels": [element.text for element in adaptation.findall(f"{NS}Label")],
        "roles": [element.get("value") for element in adaptation.findall(f"{NS}Role")],
        "purposes": [element.get("value") for element in adaptation.findall(f"{NS}Accessibility")],
    }


def read_text(studio: Studio, uri: str) -> Captions:
    """The cues that a text playlist leads to."""
    path = studio.output / uri
    playlist = hls.read_media(path.read_text())
    assert playlist.ended
    return vtt.read((path.parent / playlist.segments[0][0]).read_text())


def fill(studio: Studio) -> None:
    """A captioned picture with a subtitle track, sound of four kinds, caption files of four formats."""
    pairs: list[tuple[int, int, int] | None] = [None] * 100
    for number, pair in enumerate(pop_on("In the picture")):
        pairs[20 + number] = (0, *pair)
    captioned_video(studio.source / "pure.mp4", pairs)
    (studio.source / "inside.srt").write_text(SRT.format("inside"))
    ffmpeg(studio.source, "-i", "pure.mp4", "-i", "inside.srt", *sound(4, channels=2), "-map", "0", "-map", "1", "-map", "2",
           "-c", "copy", "-c:s", "mov_text", *AAC, "-metadata:s:s:0", "language=ita", "-metadata:s:a:0", "language=eng",
           "film.mp4")  # fmt: skip
    for name in ("pure.mp4", "inside.srt"):
        (studio.source / name).unlink()
    ffmpeg(studio.source, *sound(4), "-c:a", "aac", "described_deu.m4a")
    ffmpeg(studio.source, *sound(4, 600), "-c:a", "aac", "plain_ger.m4a")
    ffmpeg(studio.source, *sound(4, 700), "voices.mp3")
    (studio.source / "film_swe.srt").write_bytes(SRT.format("Blå ö").encode("utf-16"))
    (studio.source / "film_pol.srt").write_bytes(SRT.format("Zażółć gęślą jaźń").encode("cp1250"))
    (studio.source / "film.dfxp").write_text(TTML)
    (studio.source / "film_fre.scc").write_text(SCC)


async def test_one_asset_has_every_track_under_its_name(studio: Studio) -> None:
    """Languages in the picture, in tracks and in files; kinds; names that the client gives; right in HLS and DASH."""
    fill(studio)
    kinds = {"described_deu.m4a": {"kind": "descriptions"}, "film_pol.srt": {"kind": "captions"}}
    answer = await studio.stream(file_parameters=kinds, apply_track_properties=True, track_properties=PROPERTIES)
    assert answer["metadata"]["audio_tracks"] == 4
    assert answer["metadata"]["text_tracks"] == 6, studio.log.text

    audio = {rendition["NAME"]: rendition for rendition in renditions(studio, "AUDIO")}
    assert {name: rendition.get("LANGUAGE") for name, rendition in audio.items()} == {
        "The 'original'": "en", "Hörfassung": "de", "Deutsch": "de", "Français (commentary)": "fr",
    }  # fmt: skip
    assert audio["Hörfassung"]["CHARACTERISTICS"] == "public.accessibility.describes-video"
    assert [name for name, rendition in audio.items() if rendition["DEFAULT"] == "YES"] == ["The 'original'"]
    assert {tuple(words(each)["roles"]) for each in sets(studio, "audio")} == {
        (), ("main",), ("description",), ("commentary",),
    }  # fmt: skip
    described = {words(each)["labels"][0]: words(each) for each in sets(studio, "audio")}
    assert described['The "original"']["labels"] == ['The "original"', "As it was shot"]
    assert described["Hörfassung"] == {
        "lang": "de",
        "labels": ["Hörfassung"],
        "roles": ["description"],
        "purposes": ["1"],
    }

    texts = {rendition["NAME"]: rendition for rendition in renditions(studio, "SUBTITLES")}
    assert {name: (text.get("LANGUAGE"), text.get("FORCED")) for name, text in texts.items()} == {
        "Svenska": ("sv", None), "Polski (CC)": ("pl", None), "Español (forced)": ("es", "YES"),
        "Français (captions)": ("fr", None), "Italiano": ("it", None), "English (captions)": ("en", None),
    }  # fmt: skip
    assert {text["DEFAULT"] for text in texts.values()} == {"NO"}
    assert "transcribes-spoken-dialog" in texts["Polski (CC)"]["CHARACTERISTICS"]
    first = {name: read_text(studio, text["URI"]).cues[0].text for name, text in texts.items()}
    assert first == {
        "Svenska": "<i>Blå ö</i> &amp; <b>co</b>", "Polski (CC)": "<i>Zażółć gęślą jaźń</i> &amp; <b>co</b>",
        "Español (forced)": "<i>hola</i>", "Français (captions)": "Hello", "Italiano": "<i>inside</i> &amp; <b>co</b>",
        "English (captions)": "In the picture",
    }  # fmt: skip
    assert [words(each)["roles"] for each in sets(studio, "text")] == [
        ["forced-subtitle"], ["caption"], ["caption"], ["subtitle"], ["subtitle"], ["caption"],
    ]  # fmt: skip
    assert read_text(studio, texts["Svenska"]["URI"]).cues[-1].end <= 4100  # it was 9 s in the file
    shown = read_text(studio, texts["English (captions)"]["URI"]).cues[0].start
    assert shown == pytest.approx((20 + len(pop_on("In the picture")) - 1) * 40, abs=41)
    assert "voices.mp3: its audio (mp3) cannot be packaged as it is: encoded as AAC" in studio.log.text
    assert "film_pol.srt: it is read as cp1250" in studio.log.text
    facts = json.loads((studio.output / "metadata.json").read_text())["tracks"]
    assert {fact["source"] for fact in facts if fact["kind"] == "text"} >= {"film_swe.srt", "film.mp4"}


async def test_texts_stay_when_an_asset_is_packaged_again(studio: Studio) -> None:
    """`trickplay` keeps languages, names and cues, in a new version."""
    video_source(studio.source / "film.mp4", size="160x90", seconds=2)
    (studio.source / "film_eng.srt").write_text(SRT.format("hello"))
    wanted = {"textstream": {"eng": {"track_name": "Mine"}}}
    studio.track_properties = wanted
    await studio.stream(apply_track_properties=True)
    before = read_text(studio, renditions(studio, "SUBTITLES")[0]["URI"])
    await studio.run("trickplay", source_folder="film", trickplay_thumbnails=False)
    (text,) = renditions(studio, "SUBTITLES")
    assert (text["NAME"], text["LANGUAGE"]) == ("Mine", "en")
    assert "v/2-1/" in text["URI"]
    assert read_text(studio, text["URI"]).cues == before.cues
    raw = (studio.output / text["URI"]).parent / "text_1" / "text.vtt"
    assert raw.read_text().count("X-TIMESTAMP-MAP") == 1


async def test_the_same_subtitles_in_each_rendition_are_one_track(studio: Studio) -> None:
    """On the clock that begins with the first frame, which is not at zero in a transport stream."""
    pairs: list[tuple[int, int, int] | None] = [None] * 50
    for number, pair in enumerate(pop_on("Hi")):
        pairs[20 + number] = (0, *pair)
    captioned_video(studio.source / "a.ts", pairs)
    (studio.source / "x.srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nhallo\n")
    subtitled = ["-i", "x.srt", "-i", "x.srt", "-map", "0", "-map", "1", "-map", "2", *H264, "-g", "25",
                 "-metadata:s:s:0", "language=ger", "-disposition:s:0", "0", "-c:s:0", "srt", "-c:s:1", "ass"]  # fmt: skip
    for size in ("320x180", "240x136"):
        ffmpeg(studio.source, *picture(size, seconds=2), *subtitled, f"b_{size}.mkv")
    (studio.source / "x.srt").unlink()
    await studio.stream(create_thumbnail=False)
    found = {text["NAME"]: read_text(studio, text["URI"]).cues[0] for text in renditions(studio, "SUBTITLES")}
    assert {name: cue.text for name, cue in found.items()} == {
        "Deutsch": "hallo", "Subtitles": "hallo", "Subtitles (captions)": "Hi",
    }  # fmt: skip
    assert found["Subtitles (captions)"].start == pytest.approx((20 + len(pop_on("Hi")) - 1) * 40, abs=41)
    assert studio.log.text.count("is there already: left out") == 2


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a_eng.srt", "1\n00:00:01,000 -> 00:00:02,000\nx\n", r"^a_eng\.srt: line 2: its times cannot be read"),
        ("a.vtt", "WEBVTT\n\n00:01.000 --> soon\nx\n", r"^a\.vtt: line 3: its times cannot be read"),
        ("a.ttml", '<tt xmlns="http://www.w3.org/ns/ttml">\n<body>\n</tt>', r"^a\.ttml: line 3: it is not XML"),
        ("a.scc", "Scenarist_SCC V1.0\n\n00:00:01:00\tzz\n", r"^a\.scc: line 3: it has 'zz'"),
    ],
)
async def test_a_broken_caption_file_is_named_with_its_line(
    studio: Studio, name: str, content: str, fault: str
) -> None:
    """One clear fault; nothing is published."""
    ffmpeg(studio.source, *picture("160x90", seconds=1), *H264, "film.mp4")
    (studio.source / name).write_text(content)
    with pytest.raises(InputFault, match=fault):
        await studio.stream(create_thumbnail=False)
    assert not studio.output.exists()


async def test_files_tell_their_source_where_sources_are_not_combined(studio: Studio) -> None:
    """Each source's tracks are in files of their own, and one asset names them all."""
    video_source(studio.source / "a.mp4", size="160x90", seconds=1)
    ffmpeg(studio.source, *sound(1), "-c:a", "aac", "b_deu.m4a")
    (studio.source / "c_eng.vtt").write_text("WEBVTT\n\n00:00.100 --> 00:00.900\nhi\n")
    await studio.stream(combine_sources=False, create_thumbnail=False)
    folder = studio.output / CLEAR
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "source_1_video_1", "source_1_audio_1", "source_2_audio_1", "source_3_text_1",
    }  # fmt: skip
    assert sorted(studio.asset().master().renditions) == [
        f"{CLEAR}/source_1_audio_1.m3u8", f"{CLEAR}/source_2_audio_1.m3u8", f"{CLEAR}/source_3_text_1.m3u8",
    ]  # fmt: skip
    facts = json.loads((studio.output / "metadata.json").read_text())["tracks"]
    assert {fact["name"]: fact["source"] for fact in facts}["source_2_audio_1"] == "b_deu.m4a"


async def test_every_kind_of_sound_file_becomes_a_track(studio: Studio) -> None:
    """As it is where CMAF can carry it, else encoded; a language keeps its best bit rate where not all are wanted."""
    codecs = {"a_eng.aac": ["-c:a", "aac", "-b:a", "48k"], "b_deu.mp3": [], "c_fra.wav": [], "d_spa.flac": [],
              "e_ita.ac3": ["-c:a", "ac3"], "f_swe.eac3": ["-c:a", "eac3"], "g_pol.m4a": ["-c:a", "aac"],
              "h_eng.m4a": ["-c:a", "aac", "-b:a", "160k"]}  # fmt: skip
    for name, codec in codecs.items():
        ffmpeg(studio.source, *sound(2, channels=2), *codec, name)
    await studio.stream(all_audio_tracks=False)
    codec_of = {
        rendition["LANGUAGE"]: studio.asset().stream(rendition["URI"])["codec_name"]
        for rendition in renditions(studio, "AUDIO")
    }
    variants = (studio.output / "film.m3u8").read_text()
    facts = json.loads((studio.output / "metadata.json").read_text())["tracks"]
    found = {fact["language"]: (fact["codec"], fact["source"], fact["copied"]) for fact in facts}
    assert found == {
        "en": ("aac", "h_eng.m4a", True), "de": ("aac", "b_deu.mp3", False), "fr": ("aac", "c_fra.wav", False),
        "es": ("flac", "d_spa.flac", True), "it": ("ac3", "e_ita.ac3", True), "sv": ("eac3", "f_swe.eac3", True),
        "pl": ("aac", "g_pol.m4a", True),
    }, variants  # fmt: skip
    assert codec_of.items() <= {language: codec for language, (codec, _, _) in found.items()}.items()
