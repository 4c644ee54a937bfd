"""Smooth Streaming: what is read of manifests, the init segments and times that fragments are given."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from uuid import UUID

import pytest

from taskengine.domain.errors import InputFault
from taskengine.handlers.stream_readers import StorageReader
from taskengine.handlers.streams import open_presentation, open_referable
from taskengine.media import mp4
from taskengine.media.archive import boxes
from taskengine.media.streams import manifests, origins, smooth_fragments
from taskengine.media.streams.model import Presentation, StreamFault, continued
from taskengine.media.tracks import TrackKind
from taskengine.storage.local import LocalStorage
from tests.support.media import ffmpeg, picture

URL = "https://cdn.example/live/x.isml/Manifest?token=1"
SETS = "000000016764000cacd941419f9f011000000300100000030140f14299600000000168ebe04b2c8b"
VIDEO = (
    '<StreamIndex Type="video" Url="Q({bitrate},{CustomAttributes})/F(video={start time})"><QualityLevel Bitrate="1300000" '
    f'FourCC="H264" MaxWidth="320" MaxHeight="180" CodecPrivateData="{SETS}"><CustomAttributes>'
    '<Attribute Name="a" Value="b"/></CustomAttributes></QualityLevel>{}</StreamIndex>'
)
AUDIO = (
    '<StreamIndex Type="audio" Name="eng" Language="eng" Subtype="DESC" TimeScale="48000" Url="Q({{Bitrate}})/F(a={{start_time}})">'
    '<QualityLevel Bitrate="96000" FourCC="{}" SamplingRate="48000" Channels="2" {}/><c t="480000" d="96000"/></StreamIndex>'
)


def read(body: str, root: str = "") -> Presentation:
    """A client manifest."""
    text = f'<SmoothStreamingMedia MajorVersion="2" MinorVersion="2" {root}>{body}</SmoothStreamingMedia>'
    return manifests.read(text, URL, 0)


def test_fragments_have_addresses_and_times() -> None:
    """Told, repeated, and from their neighbours; the clock counts from the first one; texts, roles and languages; what is
    neither picture nor sound nor text that can be read is left out."""
    times = '<c t="100000000" r="2" d="20000000"/><c n="2"/><c t="160000000" d="10000000"/>'
    texts = AUDIO.format("TTML", "").replace('"audio"', '"text"').replace("DESC", "CAPT")
    markers = texts.replace("<StreamIndex ", '<StreamIndex ParentStreamIndex="video" ')
    found = read(VIDEO.replace("{}", times) + AUDIO.format("AACL", 'CodecPrivateData="1190"') + texts + markers)
    video, audio, text = found.renditions
    where = "https://cdn.example/live/x.isml/Q(1300000,a=b)/F(video="
    assert [(each.media.url, each.start, each.duration) for each in video.segments] == [
        (f"{where}100000000)", 0, 2), (f"{where}120000000)", 2, 2), (f"{where}140000000)", 4, 2), (f"{where}160000000)", 6, 1),
    ]  # fmt: skip
    assert (video.bandwidth, video.width, video.height, video.codecs) == (1_300_000, 320, 180, "avc1.64000c")
    assert (audio.language, audio.role, audio.name, audio.codecs) == ("eng", "description", "eng", "mp4a.40.2")
    assert (audio.segments[0].media.url, audio.segments[0].start) == (
        "https://cdn.example/live/x.isml/Q(96000)/F(a=480000)",
        0,
    )
    assert (text.kind, text.role, text.codecs, text.segments[0].init) == (TrackKind.TEXT, "caption", "stpp", None)
    assert (found.ended, video.segments[0].at) == (True, None)


async def test_it_is_no_source_of_what_refers_to_segments(tmp_path: Path) -> None:
    """A capture may read it; a manifest of another asset has no names for its fragments, which is told of the field."""
    body = VIDEO.replace("{}", '<c d="20000000"/>')
    (tmp_path / "Manifest").write_text(f"<SmoothStreamingMedia>{body}</SmoothStreamingMedia>", encoding="utf-8")
    reader, at = StorageReader(LocalStorage(tmp_path), tmp_path, "clips[0]"), StorageReader.location("Manifest")
    assert (await open_presentation(reader, at, "clips[0]")).form == "smooth"
    with pytest.raises(InputFault, match=r"^clips\[0\]: .*Smooth Streaming: give HLS or DASH"):
        await open_referable(reader, at, "clips[0]")


def test_a_live_window_moves_on_one_clock() -> None:
    """Also where nothing of the last one is left; a clock since 1970 tells the time of day; origins have one clock."""
    noon = 2_222_942_400 * 10_000_000
    shown = [
        read(VIDEO.replace("{}", f'<c t="{noon + at * 10_000_000}" d="20000000" r="2"/>'), 'IsLive="TRUE"')
        for at in (0, 2, 30)
    ]
    assert (shown[0].ended, shown[0].reference.segments[0].at) == (False, 2_222_942_400_000)
    for number, begin in ((1, 2), (2, 30)):
        [video] = continued(shown[number], shown[0]).renditions
        assert [each.start for each in video.segments] == [begin, begin + 2]
    later, first = origins.by_time_of_day([shown[1], shown[0]])
    assert [one.reference.segments[0].start for one in (later, first)] == [2, 0]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (AUDIO.format("AACL", ""), "1190"), (AUDIO.format("AACL", 'CodecPrivateData="1188"'), "1188"),
        (AUDIO.format("", 'AudioTag="255" WaveFormatEx="FF00020080BB0000E02E00000400100002001190"'), "1190"),
    ],
)  # fmt: skip
def test_sound_is_described_by_what_the_manifest_tells(kind: str, told: str) -> None:
    """A configuration, one in a WAVEFORMATEX, or the rate and the channels alone."""
    [audio] = read(kind).renditions
    init = audio.segments[0].init
    assert init is not None
    assert init.content is not None
    assert bytes.fromhex(f"0502{told}") in init.content
    described = boxes.read_init(init.content)
    assert (described.kind, described.entry, described.timescale, described.channels) == ("audio", "mp4a", 48_000, 2)


def test_pictures_of_hevc_are_described(tmp_path: Path) -> None:
    """As ffmpeg describes them: profile, level, chroma, depth, layers, and every parameter set."""
    coding = ["-frames:v", "1", "-pix_fmt", "yuv420p10le", "-c:v", "libx265", "-x265-params", "log-level=error:info=0"]
    ffmpeg(tmp_path, *picture("128x72"), *coding, "-tag:v", "hvc1", "made.mp4")
    theirs = description((tmp_path / "made.mp4").read_bytes())
    sets, place = [], 23
    for _ in range(theirs[22]):
        length = int.from_bytes(theirs[place + 3 : place + 5])
        sets.append(theirs[place + 5 : place + 5 + length])
        place += 5 + length
    private = "".join(f"00000001{each.hex()}" for each in sets)
    body = VIDEO.replace("{}", '<c d="20000000"/>').replace("H264", "HVC1").replace(SETS, private)
    [video] = read(body).renditions
    init = video.segments[0].init
    assert init is not None
    assert init.content is not None
    ours = description(init.content)
    assert (ours[:13], ours[16:19], ours[21] & 7) == (theirs[:13], theirs[16:19], theirs[21] & 7)
    assert all(each in ours for each in sets)
    assert ours[17] & 7 == 2  # ten bits


def description(movie: bytes) -> bytes:
    """The content of its `hvcC` box."""
    place = movie.index(b"hvcC")
    return movie[place + 4 : place - 4 + int.from_bytes(movie[place - 4 : place])]


def fragment(offsets: list[int], *, more: bytes = b"") -> bytes:
    """As servers have it: a strange track id, no time, samples of one byte with these offsets."""
    run = b"".join(struct.pack(">IIi", 100, 1, offset) for offset in offsets)
    head = mp4.written(b"tfhd", struct.pack(">III", 0x20, 7, 0))
    trun = mp4.written(b"trun", struct.pack(">IIi", 0x1000B01, len(offsets), 0), run)
    uuid = mp4.written(b"uuid", bytes.fromhex("6d1d9b0542d544e680e2141daff757b2"), bytes(20))
    moof = mp4.written(b"moof", mp4.written(b"mfhd", bytes(8)), mp4.written(b"traf", head, trun, uuid, more))
    data = moof + mp4.written(b"mdat", b"abc"[: len(offsets)])
    return data.replace(
        struct.pack(">IIi", 0x1000B01, len(offsets), 0), struct.pack(">IIi", 0x1000B01, len(offsets), len(moof) + 8)
    )


def test_a_fragment_is_told_when_it_is_shown() -> None:
    """Its first sample at the time, the others as before after it; no offset is below zero; its data are found."""
    data = smooth_fragments.timed(fragment([0, 200, -100]), 5000, 1000)
    track = next(boxes.fragments(data))
    (decoded,) = struct.unpack_from(*boxes.decode_time(data, track))
    run = boxes.needed(data, b"trun", within=track)
    found = list(boxes.samples(data, run.start, 0))
    shown = [decoded + 100 * number + offset for number, (_, offset) in enumerate(found)]
    assert shown == [5000, 5300, 5100]
    assert all(offset >= 0 for _, offset in found)
    (place,) = struct.unpack_from(">i", data, run.start + 8)
    assert data[place : place + 3] == b"abc"
    assert struct.unpack_from(">I", data, boxes.needed(data, b"tfhd", within=track).start + 4) == (1,)
    with pytest.raises(mp4.BoxFault):
        smooth_fragments.timed(mp4.written(b"moof", b"\0\0\0"), 0, 1)


def test_what_playready_protects_is_described_for_its_key(tmp_path: Path) -> None:
    """By the key id of the header; the vectors of samples get the name that MP4 has for them."""
    key_id = UUID("00112233-4455-6677-8899-aabbccddeeff")
    kid = base64.b64encode(key_id.bytes_le).decode()
    header = f"<WRMHEADER><DATA><KID>{kid}</KID></DATA></WRMHEADER>".encode("utf-16-le")
    record = base64.b64encode(struct.pack("<IHHH", len(header) + 10, 1, 1, len(header)) + header).decode()
    system = "{9A04F079-9840-4286-AB92-E65BE0885F95}"
    told = f'<Protection><ProtectionHeader SystemID="{system}">{record}</ProtectionHeader></Protection>'
    [video] = read(told + VIDEO.replace("{}", '<c d="20000000"/>')).renditions
    init = video.segments[0].init
    assert init is not None
    assert init.content is not None
    (tmp_path / "init.mp4").write_bytes(init.content)
    protection = mp4.read_protection(tmp_path / "init.mp4")
    assert (protection.scheme, protection.key_id, video.segments[0].protection) == ("cenc", key_id.bytes, "cenc")
    vectors = struct.pack(">I", 2) + b"12345678abcdefgh"
    piff = mp4.written(b"uuid", bytes.fromhex("a2394f525a9b4f14a2446c427c648df4"), bytes(4), vectors)
    data = smooth_fragments.timed(fragment([0, 0], more=piff), 1000, 1000)
    box = boxes.needed(data, b"senc", within=next(boxes.fragments(data)))
    assert data[box.start : box.end] == bytes(4) + vectors


@pytest.mark.parametrize(
    ("body", "root", "fault"),
    [
        ("", "", "no fragments"), (VIDEO.replace("{}", '<c d="0"/>'), "", "lasts no time"),
        (VIDEO.replace("{}", '<c d="1" r="999999"/>'), "", "more than"), (VIDEO.replace("{}", '<c d="x"/>'), "", "does not parse"),
        (VIDEO.replace(SETS, "xy"), "", "no hexadecimal"), (VIDEO.replace(SETS, ""), "", "no parameter sets of H.264"),
        (VIDEO.replace("H264", "WVC1"), "", "wvc1, which is not read"), (AUDIO.format("WMAP", ""), "", "wmap, which is not read"),
        (VIDEO.replace("{}", '<c d="1"/>'), 'TimeScale="0"', "does not parse"),
        ('<Protection><ProtectionHeader SystemID="9A04F079-9840-4286-AB92-E65BE0885F95">AAAA</ProtectionHeader></Protection>', "",
         "protection header"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(body: str, root: str, fault: str) -> None:
    """Each with its own words."""
    with pytest.raises(StreamFault, match=fault):
        read(body, root)
