"""HLS playlists and DASH manifests: what they name, and how they move."""

from __future__ import annotations

import re

import pytest
from lxml import etree

from taskengine.media import dash, hls

MASTER = """#EXTM3U

#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_1.m3u8",GROUP-ID="audio",LANGUAGE="en",NAME="eng",DEFAULT=NO,AUTOSELECT=YES
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_2.m3u8",GROUP-ID="audio",LANGUAGE="de",NAME="deu",DEFAULT=NO,AUTOSELECT=YES
#EXT-X-MEDIA:TYPE=AUDIO,URI="audio_3.m3u8",GROUP-ID="audio_2",LANGUAGE="en",NAME="eng",DEFAULT=NO,AUTOSELECT=YES
#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="avc1.640014,mp4a.40.2",AUDIO="audio"
video_1.m3u8
"""
MEDIA = """#EXTM3U
#EXT-X-TARGETDURATION:5
#EXT-X-MAP:URI="video_1/init.mp4"
#EXTINF:4.004,
video_1/00001.m4s
#EXTINF:2.002,
video_1/00002.m4s
#EXT-X-ENDLIST
"""
MPD = """<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period id="0">
<AdaptationSet contentType="video"><Representation id="0" bandwidth="1">
<SegmentTemplate timescale="1000" initialization="v/init.mp4" media="v/$Number%05d$.m4s" startNumber="1"
 presentationTimeOffset="500">
<SegmentTimeline><S t="500" d="4000" r="1"/><S d="1500"/></SegmentTimeline></SegmentTemplate></Representation>
</AdaptationSet><AdaptationSet contentType="audio">
<SegmentTemplate timescale="100" initialization="a_$RepresentationID$.mp4" media="a_$Time$$$.m4s">
<SegmentTimeline><S t="98" d="400"/></SegmentTimeline></SegmentTemplate><Representation id="1"/></AdaptationSet>
</Period></MPD>"""


def test_a_master_names_its_playlists() -> None:
    """Variants and renditions."""
    found = hls.read_master(MASTER)
    assert found.variants == ["video_1.m3u8"]
    assert found.renditions == ["audio_1.m3u8", "audio_2.m3u8", "audio_3.m3u8"]


def test_a_media_playlist_names_its_segments() -> None:
    """With their lengths."""
    found = hls.read_media(MEDIA)
    assert found.init == "video_1/init.mp4"
    assert found.segments == [("video_1/00001.m4s", 4.004), ("video_1/00002.m4s", 2.002)]
    assert found.ended
    assert found.duration == pytest.approx(6.006)


@pytest.mark.parametrize("text", ["hello", "", "#EXTM3U\n", MASTER])
def test_what_is_no_media_playlist_is_refused(text: str) -> None:
    """A library takes "hello" for an empty playlist."""
    with pytest.raises(hls.PlaylistFault):
        hls.read_media(text)


@pytest.mark.parametrize("text", ["hello", MEDIA])
def test_what_is_no_master_is_refused(text: str) -> None:
    """The other way round."""
    with pytest.raises(hls.PlaylistFault):
        hls.read_master(text)


def test_a_master_moves_with_all_that_it_names() -> None:
    """Lines and attributes alike."""
    moved = hls.read_master(hls.with_prefix(MASTER, "v/1-1/clear/"))
    assert moved.variants == ["v/1-1/clear/video_1.m3u8"]
    assert moved.renditions[0] == "v/1-1/clear/audio_1.m3u8"


def test_a_manifest_names_its_segments() -> None:
    """Templates of representations and of their sets, numbers and times."""
    video, audio = dash.read(MPD)
    assert [uri for uri, _ in video.segments] == ["v/00001.m4s", "v/00002.m4s", "v/00003.m4s"]
    assert video.duration == pytest.approx(9.5)
    assert (audio.init, audio.segments) == ("a_1.mp4", [("a_98$.m4s", 4.0)])


def test_all_tracks_begin_when_the_video_does() -> None:
    """One offset in each track's own timescale."""
    text = dash.aligned(MPD)
    assert 'presentationTimeOffset="500"' in text
    assert 'presentationTimeOffset="50"' in text
    assert "presentationTimeOffset" not in dash.aligned(MPD.replace('t="500"', 't="0"'))


def test_a_manifest_is_as_long_as_its_longest_track() -> None:
    """Packager counts the video alone; what is within rounding stays as it is."""
    root = 'mediaPresentationDuration="PT2S"'
    short = MPD.replace("<MPD ", f"<MPD {root} ", 1)
    assert "mediaPresentationDuration" not in dash.aligned(MPD)
    longest = max(representation.duration for representation in dash.read(MPD))
    assert longest > 2.1
    found = re.search(r'mediaPresentationDuration="PT([\d.]+)S"', dash.aligned(short))
    assert found is not None
    assert 2.1 < float(found[1]) <= longest
    kept = short.replace("PT2S", f"PT{longest:g}S")
    assert f'mediaPresentationDuration="PT{longest:g}S"' in dash.aligned(kept)


def test_a_manifest_moves() -> None:
    """Each reference by itself, as ffmpeg resolves no BaseURL in another one; what is absolute, or below such, stays."""
    more = (
        '<AdaptationSet contentType="text"><Representation id="t"><BaseURL>t/text.vtt</BaseURL></Representation>'
        '<Representation id="u"><BaseURL>https://cdn.example/u/</BaseURL><SegmentList><Initialization sourceURL="i.mp4"/>'
        '<SegmentURL media="1.m4s"/></SegmentList></Representation></AdaptationSet></Period>'
    )
    root = etree.fromstring(dash.with_prefix(MPD.replace("</Period>", more), "v/1-1/clear/").encode())
    kinds = ("media", "initialization", "sourceURL")
    named = [each.get(kind) for each in root.iter() for kind in kinds if each.get(kind)]
    assert named == ["v/1-1/clear/v/$Number%05d$.m4s", "v/1-1/clear/v/init.mp4", "v/1-1/clear/a_$Time$$$.m4s",
                     "v/1-1/clear/a_$RepresentationID$.mp4", "i.mp4", "1.m4s"]  # fmt: skip
    bases = [each.text for each in root.iter("{urn:mpeg:dash:schema:mpd:2011}BaseURL")]
    assert bases == ["v/1-1/clear/t/text.vtt", "https://cdn.example/u/"]


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "<x/>",
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>',
        MPD.replace('r="1"', 'r="99999999"'),
        MPD.replace('r="1"', 'r="-1"'),
        MPD.replace("$Number%05d$", "$Number%05d"),
        MPD.replace("$Number%05d$", "$Nummer$"),
        MPD.replace('d="4000"', 'd="x"'),
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    """Loudly."""
    with pytest.raises(dash.ManifestFault):
        dash.read(text)


def test_entities_are_not_resolved() -> None:
    """A manifest cannot read files."""
    bad = '<!DOCTYPE MPD [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + MPD.split("?>", 1)[1].replace(
        'id="0">', 'id="0">&x;', 1
    )
    assert "root:" not in dash.with_prefix(bad, "v/")
