"""How packager is told of a set's encryption."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest

from taskengine.domain.keys import SYSTEM_IDS, ContentKey, KeyFault, KeySet, Label, label_of_picture, parse_key
from taskengine.media import packager
from taskengine.media.drm import Encryption, checksum, encryption_argv, given_key, key_flags, transport_tracks
from taskengine.media.protection import WantedSet
from taskengine.media.pssh import Pssh
from taskengine.media.tracks import Media, Track, TrackKind

VIDEO = Track("video_1", TrackKind.VIDEO, "h264", 10.0, width=1280, height=720)
AUDIO = Track("audio_1", TrackKind.AUDIO, "aac", 10.0)
MEDIA = Media([VIDEO, AUDIO], 10.0)
KEYS = {
    Label.HD: ContentKey("HD", b"\x01" * 16, b"\x0a" * 16),
    Label.AUDIO: ContentKey("AUDIO", b"\x02" * 16, b"\x0b" * 16),
}
FILES = {"video_1": "video_1.mp4", "audio_1": "audio_1.mp4"}


@pytest.mark.parametrize(
    ("size", "label"),
    [((768, 576), "SD"), ((770, 576), "HD"), ((1920, 1080), "HD"), ((3840, 2160), "UHD1"), ((7680, 4320), "UHD2")],
)
def test_pictures_have_labels_by_their_pixels(size: tuple[int, int], label: str) -> None:
    """The classes that licence servers know."""
    assert label_of_picture(*size) == label


def test_packager_is_told_everything_but_the_keys() -> None:
    """Labels by track, scheme, systems; the keys are in the file of flags."""
    encryption = Encryption(
        WantedSet("cbcs", ["fairplay", "widevine", "playready"]),
        KeySet(KEYS, playready_data="<LA_URL>u</LA_URL>"),
        MEDIA,
    )
    argv = packager.package("packager", MEDIA, FILES, "cbcs", encryption=encryption)
    assert argv[2].endswith("playlist_name=video_1.m3u8,drm_label=HD")
    assert argv[3].endswith(",drm_label=AUDIO")
    assert argv[-11:] == [
        "--enable_raw_key_encryption", "--protection_scheme", "cbcs", "--clear_lead", "0", "--hls_key_uri", "skd://key",
        "--protection_systems", "FairPlay,Widevine,PlayReady", "--playready_extra_header_data", "<LA_URL>u</LA_URL>",
        "--flagfile=cbcs.flags",
    ][-11:]  # fmt: skip
    assert not any(key.key.hex() in " ".join(argv) for key in KEYS.values())
    assert key_flags(KEYS.values()) == (
        f"--keys=label=HD:key_id={'01' * 16}:key={'0a' * 16},label=AUDIO:key_id={'02' * 16}:key={'0b' * 16}\n"
    )


def test_boxes_of_the_provider_take_the_place_of_packagers() -> None:
    """For their systems alone; those of systems that are not asked for are left out."""
    own = Pssh(SYSTEM_IDS["widevine"], data=b"own").to_bytes()
    strange = Pssh(SYSTEM_IDS["playready"], data=b"not asked for").to_bytes()
    keys = KeySet(KEYS, pssh={b"\x01" * 16: [own, strange], b"\x02" * 16: [own]})
    argv = encryption_argv(Encryption(WantedSet("cenc", ["widevine", "cenc"]), keys, MEDIA))
    assert argv[5:9] == ["--protection_systems", "CommonSystem", "--pssh", own.hex()]
    with pytest.raises(KeyFault, match="a PSSH of the key provider"):
        encryption_argv(Encryption(WantedSet("cenc", ["widevine"]), KeySet(KEYS, pssh={b"\x01" * 16: [b"x"]}), MEDIA))


def test_segments_that_are_encrypted_whole_are_ts() -> None:
    """No init segments, no MPD; key frames have a master of their own."""
    encryption = Encryption(WantedSet("aes"), KeySet(KEYS), MEDIA)
    argv = packager.package_transport("packager", FILES, encryption)
    assert argv[2] == (
        "in=video_1.mp4,stream=video,segment_template=aes/video_1/$Number%05d$.ts,playlist_name=video_1.m3u8,drm_label=HD"
    )
    assert "--mpd_output" not in argv
    argv = packager.package_transport("packager", FILES, encryption, key_frames=True)
    assert argv[2].endswith("playlist_name=video_1_iframe.m3u8,trick_play_factor=1,drm_label=HD")
    assert argv[argv.index("--hls_master_playlist_output") + 1] == "aes/key_frames.m3u8"
    assert argv[argv.index("--segment_duration") + 1] == "0.01"


def test_ts_carries_some_codecs_alone() -> None:
    """H.264 and AAC, AC-3, E-AC-3."""
    hevc = Track("video_2", TrackKind.VIDEO, "hevc", 10.0)
    opus = Track("audio_2", TrackKind.AUDIO, "opus", 10.0)
    assert transport_tracks(Media([VIDEO, hevc, AUDIO, opus], 10.0)) == ([VIDEO, AUDIO], [hevc, opus])


def test_a_key_that_a_job_gives_is_for_all_tracks() -> None:
    """With its id or without: the id then follows from the content."""
    wanted = WantedSet("cbcs", ["fairplay"])
    with_id = given_key(f"{'11' * 16}:{'22' * 16}", wanted, "film", MEDIA)
    assert {key.key_id.hex() for key in with_id.keys.values()} == {"11" * 16}
    assert with_id.key_uris["fairplay"] == {b"\x11" * 16: f"skd://{'11' * 16}"}
    plain = given_key("IiIiIiIiIiIiIiIiIiIiIg==", wanted, "film", MEDIA)
    assert {key.key.hex() for key in plain.keys.values()} == {"22" * 16}
    assert plain.keys == given_key("22" * 16, wanted, "film", MEDIA).keys
    assert plain.keys != given_key("22" * 16, wanted, "film2", MEDIA).keys


@pytest.mark.parametrize("text", ["", "secret", "00" * 15, "é" * 32, f"x:{'00' * 16}"])
def test_a_key_that_is_none_is_refused_without_being_shown(text: str) -> None:
    """Neither whole nor in part."""
    with pytest.raises(KeyFault) as raised:
        given_key(text, WantedSet("cenc"), "film", MEDIA)
    assert not text or text not in str(raised.value)


def test_the_checksum_of_a_key_is_playreadys() -> None:
    """The one that its test service has for this key."""
    key = ContentKey(
        "ALL", UUID("8ba94ade-6eb9-449d-b44f-a5beefaf43b0").bytes, bytes.fromhex("dbfd6922c321c4bb486f4a1c44097ed6")
    )
    assert base64.b64encode(bytes.fromhex(checksum(key))) == b"Me48z71nuqY="


def test_keys_do_not_show_in_their_representation() -> None:
    """A log of values has none."""
    assert "0a0a" not in repr(KEYS)
    assert "\\n" not in repr(KEYS[Label.HD])
    assert parse_key("0a" * 16, "it") == b"\x0a" * 16
