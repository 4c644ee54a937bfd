"""Playlists of others: what they name, and which of it covers a time."""

from __future__ import annotations

from fractions import Fraction

import pytest

from taskengine.media.streams import choosing, pictures
from taskengine.media.streams.model import Key, Presentation, Rendition, Resource, Stream, StreamFault
from taskengine.media.streams.playlists import read
from taskengine.media.tracks import TrackKind

URL = "https://cdn.example/a/b/master.m3u8?token=1"
MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"
sound.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=160x90,FRAME-RATE=25.000,CODECS="avc1.42c00d,mp4a.40.2"
low/v.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=320x180,CODECS="avc1.42c00d"
/root/v.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=50000,RESOLUTION=160x90,URI="keys.m3u8"
"""
MEDIA = """#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="all.mp4",BYTERANGE="700@0"
#EXT-X-PROGRAM-DATE-TIME:2040-06-06T12:00:00.000Z
#EXTINF:2.0,
#EXT-X-BYTERANGE:1000@700
all.mp4
#EXTINF:2.0,
#EXT-X-BYTERANGE:500
all.mp4
#EXT-X-DISCONTINUITY
#EXT-X-KEY:METHOD=AES-128,URI="key"
#EXT-X-PROGRAM-DATE-TIME:2040-06-06T13:00:00.000Z
#EXTINF:1.5,
other.mp4
#EXT-X-ENDLIST
"""


def stream(text: str = MEDIA) -> Stream:
    """A media playlist."""
    found = read(text, URL)
    assert isinstance(found, Stream)
    return found


def test_a_master_names_its_pictures() -> None:
    """Absolute URLs; sound alone is no rendition; key frames are beside them."""
    found = read(MASTER, URL)
    assert isinstance(found, Presentation)
    videos = found.of(TrackKind.VIDEO)
    low, high = videos
    codecs = "avc1.42c00d,mp4a.40.2"
    place = "https://cdn.example/a/b/low/v.m3u8"
    assert low == Rendition("video_1", TrackKind.VIDEO, 300000, 160, 90, 25.0, codecs, location=place)
    assert high.location == "https://cdn.example/root/v.m3u8"
    assert [each.location for each in found.key_frames] == ["https://cdn.example/a/b/keys.m3u8"]
    assert choosing.lowest_that_suffices(videos, width=160) == low
    assert choosing.lowest_that_suffices(videos, width=161) == high
    assert choosing.lowest_that_suffices(videos, width=2000) == high
    assert choosing.nearest_bitrate(videos, 650_000) == high
    assert choosing.nearest_bitrate(videos, 600_000) == low


def test_sounds_have_the_codec_of_the_variants_that_play_them() -> None:
    """Where those tell one alone."""
    groups = ["a", "b", "c"]
    media = [f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{each}",NAME="{each}",URI="{each}.m3u8"' for each in groups]
    told = [("a", "avc1.42c00d,mp4a.40.2"), ("b", "avc1.42c00d,ac-3"), ("c", "avc1.42c00d,mp4a.40.2,ec-3")]
    variants = [f'#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="{codecs}",AUDIO="{each}"\nv.m3u8' for each, codecs in told]
    found = read("\n".join(["#EXTM3U", *media, *variants]), URL)
    assert isinstance(found, Presentation)
    assert [each.codecs for each in found.of(TrackKind.AUDIO)] == ["mp4a.40.2", "ac-3", ""]


def test_segments_have_ranges_inits_keys_and_times() -> None:
    """A range without an offset follows the one before; an IV that is not given is the sequence number; a discontinuity
    begins a new run."""
    first, second, third = stream().segments
    assert first.media == Resource("https://cdn.example/a/b/all.mp4", 700, 1000)
    assert second.media == Resource("https://cdn.example/a/b/all.mp4", 1700, 500)
    assert first.init == second.init == Resource("https://cdn.example/a/b/all.mp4", 0, 700)
    assert (first.key, third.key) == (None, Key("https://cdn.example/a/b/key", (9).to_bytes(16, "big")))
    assert [(each.start, each.run) for each in (first, second, third)] == [(0, 0), (2, 0), (4, 1)]
    assert (second.at or 0) - (first.at or 0) == 2000
    assert stream().ended
    assert not stream(MEDIA.replace("#EXT-X-ENDLIST", "")).ended


def test_a_moment_is_found_by_offset_and_by_time_of_day() -> None:
    """Counted from the first picture of its run, or of the segment whose time of day is told."""
    by_offset = choosing.moment(stream(), "00:00:03.25", "time")
    assert (by_offset.seconds, by_offset.anchor, by_offset.after) == (3.25, stream().segments[0], 3.25)
    by_day = choosing.moment(stream(), "2040-06-06T13:00:00.1234567Z", "time")
    assert by_day.anchor == stream().segments[2]
    assert by_day.after == pytest.approx(0.1234567, abs=1e-12)
    assert by_day.seconds == pytest.approx(4.1234567)
    for wrong in ("5.5", "2040-06-06T12:30:00Z"):
        with pytest.raises(StreamFault, match="time: "):
            choosing.moment(stream(), wrong, "time")


def test_segments_that_go_on_from_one_another_are_taken_together() -> None:
    """A discontinuity parts them; what only touches the span is left out."""
    first, second, third = stream().segments
    assert [list(run) for run in choosing.covering(stream(), 1.0, 5.0)] == [[first, second], [third]]
    assert [list(run) for run in choosing.covering(stream(), 2.0, 4.0)] == [[second]]
    assert choosing.at_marks(stream(), [0, 1.9, 2, 5]) == [first, first, second, third]


def test_the_picture_that_is_shown_is_the_last_that_has_begun() -> None:
    """To the seventh decimal; where a rate does not fit the clock, to half a tick; past the end of the clock too."""
    found = pictures.read("stream,1/90000\npacket,9000\npacket,0\npacket,N/A\npacket,18000\n")
    assert found.shown(Fraction("0.0999999")) == 0
    assert found.shown(Fraction("0.1")) == Fraction("0.1")
    thirds = pictures.read("stream,1/90000\npacket,0\npacket,3000\n")
    assert thirds.shown(Fraction("0.0333333")) == Fraction(3000, 90000)
    film = pictures.read("stream,1/90000\npacket,0\npacket,3754\npacket,7508\npacket,11261\n")
    assert film.shown(Fraction("0.0417083")) == Fraction(3754, 90000)
    wrapped = pictures.read("stream,1/90000\npacket,100\npacket,9100\n")
    assert wrapped.shown(Fraction((1 << 33) + 9100, 90000)) == Fraction(9100, 90000)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<html>", "does not begin with #EXTM3U"),
        ("#EXTM3U\n", "no segments"),
        ("#EXTM3U\n#EXT-X-BYTERANGE:x@0\n#EXTINF:1,\na.ts\n", "does not parse"),
    ],
)
def test_what_cannot_be_used_is_told(text: str, fault: str) -> None:
    """Each with its own words."""
    with pytest.raises(StreamFault, match=fault):
        read(text, URL)
