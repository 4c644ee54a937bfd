"""Keys in playlists."""

from __future__ import annotations

import base64

from taskengine.domain.keys import SYSTEM_IDS
from taskengine.media import dash, hls_keys
from taskengine.media.pssh import Pssh

CBCS = """#EXTM3U
#EXT-X-MAP:URI="video_1/init.mp4"
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://key",IV=0x00,KEYFORMAT="identity"
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:text/plain;base64,AAAA",KEYID=0x01,KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"
#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://key",KEYFORMATVERSIONS="1",KEYFORMAT="com.apple.streamingkeydelivery"
#EXTINF:4.000,
video_1/00001.m4s
#EXT-X-ENDLIST
"""
AES = '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="skd://key",IV=0x0a\n#EXTINF:4.000,\nvideo_1/00001.ts\n'


def formats(text: str) -> dict[str, str]:
    """KEYFORMAT → URI."""
    return {key.get("KEYFORMAT", "identity"): key["URI"] for key in hls_keys.read_keys(text)}


def test_each_format_has_its_own_uri() -> None:
    """What has none is left out, what holds its data stays, and the vector too."""
    found = formats(hls_keys.with_key_uris(CBCS, {"com.apple.streamingkeydelivery": "skd://mine"}))
    assert found == {
        "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed": "data:text/plain;base64,AAAA",
        "com.apple.streamingkeydelivery": "skd://mine",
    }
    text = hls_keys.with_key_uris(AES, {"identity": "https://keys.example.com/1?a=1,b"})
    assert '#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example.com/1?a=1,b",IV=0x0a' in text


def test_a_plain_key_is_named_where_packager_names_none() -> None:
    """For ClearKey, after the init segment, which is clear."""
    lines = [line for line in CBCS.splitlines() if "identity" not in line]
    text = hls_keys.with_key_uris("\n".join(lines), {"identity": "https://keys.example.com/1"})
    key = '#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI="https://keys.example.com/1",KEYFORMAT="identity"'
    assert text.splitlines()[1:3] == ['#EXT-X-MAP:URI="video_1/init.mp4"', key]


def test_data_of_a_format_are_those_of_the_tracks_key() -> None:
    """The rest of the line stays."""
    text = hls_keys.with_data(CBCS, {"urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed": "BBBB"})
    assert text == CBCS.replace("AAAA", "BBBB")


def test_variants_of_key_frames_become_i_frame_playlists() -> None:
    """With what such a playlist may say."""
    variant = '#EXT-X-STREAM-INF:BANDWIDTH=1000,AVERAGE-BANDWIDTH=900,CODECS="avc1.42c00c",RESOLUTION=320x180,FRAME-RATE=0.250'
    master = hls_keys.with_key_frames("#EXTM3U\n", f"#EXTM3U\n{variant}\nvideo_1_iframe.m3u8\n")
    assert master.splitlines()[-1] == (
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1000,AVERAGE-BANDWIDTH=900,CODECS="avc1.42c00c",RESOLUTION=320x180,'
        'URI="video_1_iframe.m3u8"'
    )


def test_a_manifest_has_the_boxes_of_each_tracks_key() -> None:
    """Of a system that is named, in the sets of that track alone; PlayReady's object goes along."""
    playready = str(SYSTEM_IDS["playready"])
    sets = "".join(
        f'<AdaptationSet><ContentProtection schemeIdUri="urn:uuid:{playready}"><cenc:pssh>old</cenc:pssh><mspr:pro>old</mspr:pro>'
        f'</ContentProtection><Representation><SegmentTemplate initialization="{name}/init.mp4"/></Representation></AdaptationSet>'
        for name in ("video_1", "audio_1")
    )
    names = 'xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:cenc="urn:mpeg:cenc:2013" xmlns:mspr="urn:microsoft:playready"'
    box = Pssh(SYSTEM_IDS["playready"], data=b"object").to_bytes()
    text = dash.with_boxes(f"<MPD {names}><Period>{sets}</Period></MPD>", {"video_1/init.mp4": {playready: box}})
    assert text.count("old") == 2
    assert f"<cenc:pssh>{base64.b64encode(box).decode()}</cenc:pssh>" in text
    assert f"<mspr:pro>{base64.b64encode(b'object').decode()}</mspr:pro>" in text
