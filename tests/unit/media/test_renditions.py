"""Audio and text in both manifests: groups, names, purposes, defaults; the texts' own files."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from taskengine.media import dash, hls, hls_media, texts
from taskengine.media.packager import TRANSPORT_OFFSET_S
from taskengine.media.tracks import Media, Track, TrackKind

MASTER = """#EXTM3U

#EXT-X-INDEPENDENT-SEGMENTS

#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_1.m3u8",GROUP-ID="audio",LANGUAGE="en",NAME="audio_1",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2"
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_2.m3u8",GROUP-ID="audio",LANGUAGE="en",NAME="audio_2",DEFAULT=NO,CHANNELS="2"
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_3.m3u8",GROUP-ID="audio",LANGUAGE="de",NAME="audio_3",DEFAULT=NO,CHANNELS="2"
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_4.m3u8",GROUP-ID="audio_2",LANGUAGE="en",NAME="audio_2",DEFAULT=NO,CHANNELS="6"

#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="avc1.640014,mp4a.40.2",AUDIO="audio",CLOSED-CAPTIONS=NONE
video_1.m3u8
"""
MPD = """<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period id="0">
<AdaptationSet id="2" contentType="video"><Representation id="0" bandwidth="1">
<SegmentTemplate timescale="1000" initialization="video_1/init.mp4" media="video_1/$Number$.m4s" startNumber="1">
<SegmentTimeline><S t="500" d="4000"/></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet>
<AdaptationSet id="0" contentType="audio" lang="en"><Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
<Label>audio_1</Label><Representation id="1" bandwidth="1"><SegmentTemplate timescale="1000"
 initialization="audio_1/init.mp4" media="audio_1/$Number$.m4s" startNumber="1"><SegmentTimeline><S t="500" d="4000"/>
</SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period></MPD>"""
MEDIA = Media(
    [
        Track("video_1", TrackKind.VIDEO, "h264", 4.0),
        Track("audio_1", TrackKind.AUDIO, "aac", 4.0, language="en", role="description", label='Say "hi"', description="<d>"),
        Track("audio_2", TrackKind.AUDIO, "aac", 4.0, language="en"),
        Track("audio_3", TrackKind.AUDIO, "aac", 4.0),
        Track("audio_4", TrackKind.AUDIO, "aac", 4.0, language="en", channels=6),
        Track("text_1", TrackKind.TEXT, "webvtt", 3.0, language="en", role="forced-subtitle"),
        Track("text_2", TrackKind.TEXT, "webvtt", 3.0, language="en", role="caption"),
        Track("text_3", TrackKind.TEXT, "webvtt", 3.0, language="en", role="subtitle", label="Again"),
        Track("text_4", TrackKind.TEXT, "webvtt", 3.0, language="en", role="subtitle", label="Again"),
    ],
    4.0,
)  # fmt: skip
VTT = "WEBVTT\n\n00:00:01.000 --> 00:00:03.000\nx\n"


def test_every_group_has_every_rendition_under_its_name() -> None:
    """What a group lacks is taken from the first that has it."""
    master = hls_media.described(MASTER, MEDIA)
    lines = [line for line in master.splitlines() if line.startswith("#EXT-X-MEDIA:TYPE=AUDIO")]
    assert lines == [
        (
            '#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_1.m3u8",GROUP-ID="audio",LANGUAGE="en",NAME="Say \'hi\'",DEFAULT=NO,'
            'AUTOSELECT=YES,CHARACTERISTICS="public.accessibility.describes-video",CHANNELS="2"'
        ),
        (
            '#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_2.m3u8",GROUP-ID="audio",LANGUAGE="en",NAME="English",DEFAULT=YES,'
            'AUTOSELECT=YES,CHANNELS="2"'
        ),
        '#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_3.m3u8",GROUP-ID="audio",NAME="Audio",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2"',
        (
            '#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_4.m3u8",GROUP-ID="audio_2",LANGUAGE="en",NAME="English",DEFAULT=YES,'
            'AUTOSELECT=YES,CHANNELS="6"'
        ),
        (
            '#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_1.m3u8",GROUP-ID="audio_2",LANGUAGE="en",NAME="Say \'hi\'",DEFAULT=NO,'
            'AUTOSELECT=YES,CHARACTERISTICS="public.accessibility.describes-video",CHANNELS="2"'
        ),
        '#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_3.m3u8",GROUP-ID="audio_2",NAME="Audio",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2"',
    ]
    assert hls.read_master(master).variants == ["video_1.m3u8"]


def test_subtitles_are_in_the_master_and_on_every_variant() -> None:
    """Forced ones are marked, none is the default, one of a kind is chosen automatically, names are unique."""
    master = hls_media.described(MASTER, MEDIA)
    found = [line.partition("NAME=")[2] for line in master.splitlines() if "TYPE=SUBTITLES" in line]
    assert found == [
        '"English (forced)",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES',
        ('"English (captions)",DEFAULT=NO,AUTOSELECT=YES,CHARACTERISTICS='
        '"public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound"'),
        '"Again",DEFAULT=NO,AUTOSELECT=YES', '"Again 2",DEFAULT=NO,AUTOSELECT=NO',
    ]  # fmt: skip
    (variant,) = [line for line in master.splitlines() if line.startswith("#EXT-X-STREAM-INF")]
    assert variant.endswith('SUBTITLES="subtitles"')
    alone = hls_media.described("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo_1.m3u8\n", MEDIA)
    assert hls.read_master(alone).renditions == [f"text_{number}.m3u8" for number in range(1, 5)]


def test_a_master_without_texts_stays_without() -> None:
    """No group is named that is not there."""
    text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo_1.m3u8\n"
    assert hls_media.described(text, Media(MEDIA.tracks[:1], 4.0)) == text


def test_dash_tells_language_labels_purpose_and_role() -> None:
    """In the order of its schema; the one of a text says that it is a WebVTT file."""
    root = etree.fromstring(dash.described(MPD, MEDIA).encode())
    audio, *subtitles = [each for each in root.iter("{*}AdaptationSet") if each.get("contentType") != "video"]
    told = [(etree.QName(child).localname, child.get("value") or child.text) for child in audio]
    assert told[:4] == [("Label", 'Say "hi"'), ("Label", "<d>"), ("Accessibility", "1"), ("Role", "description")]
    assert told[4][0] == "Representation"
    assert [each.get("lang") for each in subtitles] == ["en"] * 4
    assert [role.get("value") for each in subtitles for role in each.iter("{*}Role")] == [
        "forced-subtitle", "caption", "subtitle", "subtitle",
    ]  # fmt: skip
    assert {each.get("mimeType") for each in subtitles} == {"text/vtt"}
    read = dash.read(dash.described(MPD, MEDIA))
    assert [(each.content, each.segments) for each in read[2:3]] == [("text", [("text_1/text.vtt", 0.0)])]


def test_texts_lie_in_the_set_on_the_clock_of_its_media(tmp_path: Path) -> None:
    """A playlist each, as long as the asset, that ends; without an MPD the caller knows the clock."""
    (tmp_path / "master.m3u8").write_text(MASTER)
    written = {f"text_{number}": VTT for number in range(1, 5)}
    texts.describe(tmp_path, MEDIA, written, TRANSPORT_OFFSET_S)
    assert "MPEGTS:180000," in (tmp_path / "text_2/text.vtt").read_text()
    (tmp_path / "manifest.mpd").write_text(MPD)
    (tmp_path / "master.m3u8").write_text(MASTER)
    texts.describe(tmp_path, MEDIA, written)
    assert "X-TIMESTAMP-MAP=MPEGTS:45000,LOCAL:00:00:00.000" in (tmp_path / "text_1/text.vtt").read_text()
    playlist = hls.read_media((tmp_path / "text_1.m3u8").read_text())
    assert (playlist.segments, playlist.ended) == ([("text_1/text.vtt", 4.0)], True)
