"""Parts of archives: which segments a clip needs, where they are shared, what manifests say of them."""

from __future__ import annotations

import base64
import contextlib
import re
import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.errors import InputFault
from taskengine.media.archive import (
    boxes,
    cues,
    dash_writing,
    hls_writing,
    markers,
    naming,
    rewriting,
    selecting,
    transport,
)
from taskengine.media.archive.model import Inband, Marker, Missing, Piece, Placed, PlacedTrack, Timeline
from taskengine.media.archive.tracks import common_tracks, usual_rate
from taskengine.media.mp4 import BoxFault
from taskengine.media.streams.model import Presentation, Rendition, Resource, Segment, Stream
from taskengine.media.tracks import Media, Track, TrackKind

START = 1_700_000_000_000
PAYLOAD = "FC302000000000000000FFF00F05000000017FFFFE0052CCF500010000000000000000"
VIDEO = Track("video_1", TrackKind.VIDEO, "h264", 0.0, width=320, height=180)
AUDIO = Track("audio_1", TrackKind.AUDIO, "aac", 0.0, channels=2)


def piece(
    at: int, seconds: float = 2.0, *, name: str = "v", run: int = 0, init: str = "init", missing: bool = False
) -> Piece:
    """A segment that begins `at` milliseconds after the start."""
    media = None if missing else Resource(f"file:///a/{name}/{at}.m4s")
    return Piece(START + at, seconds, media, Resource(f"file:///a/{name}/{init}.mp4"), run)


def row(*begins: int, **how: object) -> list[Piece]:
    """Segments of two seconds."""
    return [piece(at, **how) for at in begins]  # type: ignore[arg-type]


def spans(stretches: Sequence[object]) -> list[tuple[int, int]]:
    """(begin, end) in milliseconds after the start."""
    return [(each.at - START, each.end - START) for each in stretches]  # type: ignore[attr-defined]


def test_a_segment_covers_a_clip_that_it_has_a_time_of() -> None:
    """Neither the one that ends where the clip begins nor the one that begins where it ends; gaps are pieces without media."""
    segments = [
        Segment(
            Resource(f"{number}"), 2.0 * number, 2.0, 0, Resource("init"), None, START + 2000 * number, gap=number == 2
        )
        for number in range(5)
    ]
    found = selecting.covering(segments, START + 2000, START + 6001)
    assert [each.at - START for each in found] == [2000, 4000, 6000]
    assert [each.media is None for each in found] == [False, True, False]


def test_gaps_discontinuities_and_other_init_segments_are_cuts() -> None:
    """Of the best picture; also where the sound alone goes on with another init segment."""
    tracks = [VIDEO, AUDIO]
    audio = row(0, 2000, name="a") + row(4000, 6000, name="a", init="other")
    assert spans(selecting.stretches("c", tracks, {"video_1": row(0, 2000, 4000, 6000), "audio_1": audio})) == [
        (0, 4000), (4000, 8000),
    ]  # fmt: skip
    video = row(0, 2000) + row(6000, run=0) + row(8000, run=1)
    assert spans(selecting.stretches("c", [VIDEO], {"video_1": video})) == [(0, 4000), (6000, 8000), (8000, 10000)]
    assert selecting.stretches("c", [VIDEO], {"video_1": row(0, missing=True)}) == []


def test_what_a_track_alone_lacks_is_a_piece_that_is_missing() -> None:
    """As long as its others, so that players see where it is; a piece at the edge belongs to one stretch alone."""
    pieces = {"video_1": row(0, 2000, 4000, 6000), "audio_1": row(20, 6020, 8020, name="a")}
    [stretch] = selecting.stretches("c", [VIDEO, AUDIO], pieces)
    assert [(each.at - START, each.seconds, each.media is None) for each in stretch.pieces["audio_1"]] == [
        (20, 2.0, False), (2020, 2.0, True), (4020, 2.0, True), (6020, 2.0, False),
    ]  # fmt: skip


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)), st.integers(0, 9000), st.integers(1, 12000))
def test_covered_and_missing_make_the_clip(video: set[int], audio: set[int], begin: int, length: int) -> None:
    """Whatever segments of a picture and a sound there are: each moment of the clip either has both or is missing, no time is
    missing twice, and every piece that is there and needed is in exactly one stretch."""
    start, end = START + begin, START + begin + length
    pieces = {"video_1": row(*(2000 * number for number in sorted(video))),
              "audio_1": row(*(2000 * number for number in sorted(audio)), name="a")}  # fmt: skip
    lost = selecting.missing([VIDEO, AUDIO], pieces, start, end)
    there = {number for number in range(-1, 20) if number in video and number in audio}
    expected = sum(1 for at in range(start, end) if (at - START) // 2000 not in there)
    assert abs(sum(each.seconds for each in lost) * 1000 - expected) <= selecting.TOLERANCE_MS * 2 * (len(lost) + 11)
    assert all(after.at > before.at + before.seconds * 1000 for before, after in pairwise(lost))
    found = selecting.stretches("c", [VIDEO, AUDIO], pieces)
    placed = [each for stretch in found for each in stretch.pieces.get("video_1", ()) if each.media]
    assert sorted(placed, key=lambda each: each.at) == pieces["video_1"]
    assert len({each.at for each in placed}) == len(placed)


def test_holes_are_longer_than_manifests_round() -> None:
    """What ends and begins a little apart has none between."""
    assert selecting.holes([piece(0), piece(2090)], START, START + 4000) == []
    assert selecting.holes([piece(0), piece(2500)], START, START + 4000) == [Missing(START + 2000, 0.5)]


def test_a_clock_is_known_again_but_for_rounding() -> None:
    """By when it was at zero; another start of the packager is another clock."""
    there = ["20231114T221300Z", "other"]
    at = 1_699_999_980_000 + 60_000
    assert naming.clock_folder(at, 60.0, there) == "20231114T221300Z"
    assert naming.clock_folder(at + 1_900, 60.0, there) == "20231114T221300Z"
    assert naming.clock_folder(at + 4_000, 60.0, there) == "20231114T221304Z"
    assert naming.clock_folder(at, at / 1000, []) == "19700101T000000Z"


def test_tracks_that_are_described_alike_have_folders_of_their_own() -> None:
    """Told apart by where their init segments lie; the same one by what is in it."""
    one = naming.track_folder(AUDIO, "channel/a1/init.mp4", b"x")
    assert one.startswith("audio-und-")
    assert one != naming.track_folder(AUDIO, "channel/a2/init.mp4", b"x")
    assert one != naming.track_folder(AUDIO, "channel/a1/init.mp4", b"y")
    assert one == naming.track_folder(AUDIO, "channel/a1/init.mp4", b"x")


def presentation(*renditions: Rendition) -> Presentation:
    """With one segment each."""
    segment = Segment(Resource("1"), 0.0, 2.0, 0, Resource("init"), None, START)
    stream = Stream([segment], ended=False)
    return Presentation("hls", [replace(each, stream=stream) for each in renditions])


def test_an_asset_has_the_tracks_that_all_archives_have() -> None:
    """Matched by what describes them; no picture in common is a fault."""
    high = Rendition("v1", TrackKind.VIDEO, 900, 1920, 1080, codecs="avc1.640028,mp4a.40.2")
    low = Rendition("v2", TrackKind.VIDEO, 300, 640, 360, codecs="avc1.4d401e,mp4a.40.2")
    sound = Rendition("a1", TrackKind.AUDIO, language="eng")
    other = Rendition("a1", TrackKind.AUDIO, language="deu")
    found = common_tracks({"one": presentation(low, high, sound, other), "two": presentation(low, sound)})
    assert [(track.name, track.height, track.language) for track in found.tracks] == [
        ("video_1", 360, "und"), ("audio_1", None, "en"),
    ]  # fmt: skip
    assert found.codecs == {"video_1": "avc1.4d401e", "audio_1": "mp4a.40.2"}
    with pytest.raises(InputFault, match="clips: the archives one, two have no picture"):
        common_tracks({"one": presentation(high), "two": presentation(low)})


def test_rates_are_those_in_use() -> None:
    """But for rounding."""
    assert str(usual_rate(29.970)) == "30000/1001"
    assert str(usual_rate(25.0)) == "25"
    assert usual_rate(None) is None


def placed(track: Track, begins: Sequence[int], **how: object) -> PlacedTrack:
    """Segments of two seconds at 1000 ticks."""
    segments = [Placed(f"../s/{at}.m4s", START + at, at, 2000, 5000, 50) for at in begins]
    return PlacedTrack(track, "../s/init.mp4", 1000, segments, "avc1.4d401e", **how)  # type: ignore[arg-type]


def test_an_mpd_tells_holes_and_priming_by_times() -> None:
    """A time stands where a segment does not go on from the one before; a period counts from its own beginning."""
    timeline = Timeline(START, 4.0, 8.0, [placed(VIDEO, [4000, 6000, 10000], inband=[Inband("urn:x", "1")])])
    text = dash_writing.mpd(Media([VIDEO], 8.0), [timeline], [])
    assert re.findall(r"<S [^>]*/>", text) == ['<S t="4000" d="2000" r="1"/>', '<S t="10000" d="2000"/>']
    assert 'presentationTimeOffset="4000"' in text
    assert '<InbandEventStream schemeIdUri="urn:x" value="1"/>' in text
    assert 'media="../s/$Time$.m4s"' in text


def test_a_playlist_has_as_many_discontinuities_whatever_a_track_lacks() -> None:
    """A stretch of which it has nothing is a gap; whole-segment keys come with each segment, and not with the init segment."""
    keys = ['#EXT-X-KEY:METHOD=AES-128,URI="https://k"']
    locked = PlacedTrack(AUDIO, "init.mp4", 1000, [Placed("1.m4s", START, 0, 2000, iv="0" * 32)], keys=keys)
    lines = hls_writing.media_playlist(
        "audio_1", [Timeline(START, 0.0, 2.0, [locked]), Timeline(START + 9000, 9.0, 2.0, [])], []
    ).splitlines()
    assert lines[6:] == [
        "#EXT-X-KEY:METHOD=NONE", '#EXT-X-MAP:URI="init.mp4"', "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z",
        f'{keys[0]},IV=0x{"0" * 32}', "#EXTINF:2.000000,", "1.m4s", "#EXT-X-DISCONTINUITY",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:29.000Z", "#EXT-X-GAP", "#EXTINF:2.000000,", "gap.m4s", "#EXT-X-ENDLIST",
    ]  # fmt: skip


def test_markers_are_read_as_far_as_they_can_be() -> None:
    """A range without a time and a payload that is none are no faults: the line is kept, or left out where nothing says when."""
    segments = [Segment(Resource(str(number)), 2.0 * number, 2.0, 0, at=START + 2000 * number) for number in range(2)]
    encoded = base64.b64encode(bytes.fromhex(PAYLOAD)).decode()
    text = (
        f'#EXTM3U\n#EXT-X-DATERANGE:ID="a",SCTE35-OUT=0xFC\n#EXT-X-DATERANGE:ID="b",START-DATE="2023-11-14T22:13:21Z",X="y"\n'
        f'#EXTINF:2,\n0\n#EXT-X-CUE-OUT:DURATION=4,CUE="{encoded}"\n#EXT-X-CUE-IN\n#EXTINF:2,\n1\n#EXT-X-CUE-IN\n'
    )  # fmt: skip
    found = markers.of_playlist(text, segments)
    assert [(each.at - START, each.range, bool(each.body)) for each in found] == [
        (1000, True, False), (2000, False, True), (2000, False, False),
    ]  # fmt: skip
    again = markers.merged([*found, *found])
    assert [each.line for each in again] == [each.line for each in found]


def test_a_marker_that_hls_tells_twice_is_one_event_of_dash() -> None:
    """A cue tag beside a date range has the same payload."""
    body = f'<Signal xmlns="http://www.scte.org/schemas/35/2016"><Binary>{base64.b64encode(bytes.fromhex(PAYLOAD)).decode()}</Binary></Signal>'
    told = [
        Marker(START + 1000, 6.0, "1", "#EXT-X-DATERANGE:…", range=True, scheme=markers.XML_BIN, body=body),
        Marker(START + 1000, None, "", "#EXT-OATCLS-SCTE35:…", scheme=markers.XML_BIN, body=body),
    ]
    text = dash_writing.mpd(Media([VIDEO], 4.0), [Timeline(START, 0.0, 4.0, [placed(VIDEO, [0, 2000])])], told)
    assert text.count("<Event ") == 1
    assert 'duration="6000"' in text


def test_cues_count_from_the_beginning_of_a_stretch() -> None:
    """Through the map of MPEG's clock, also where that begins anew; what goes on in the next segment is one cue, what is
    outside is cut."""
    mapped = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{0},LOCAL:00:00:00.000\n\n{1}\nHi\n"
    first = mapped.format(900_000, "00:00:00.500 --> 00:00:02.000")
    second = mapped.format(900_000 + 180_000, "00:00:00.000 --> 00:00:09.000")
    assert "00:00:00.500 --> 00:00:04.000\nHi" in cues.joined([first, second], 10.0, 4.0)
    wrapped = mapped.format((900_000) % (1 << 33), "00:00:00.500 --> 00:00:01.000")
    assert "00:00:00.500 --> 00:00:01.000" in cues.joined([wrapped], 10.0 + (1 << 33) / 90_000, 4.0)
    assert "-->" not in cues.joined(["WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nHi\n"], 10.0, 4.0)


def box(kind: bytes, *content: bytes) -> bytes:
    """An MP4 box."""
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def init_of(*, made: int = 0, edit: int | None = None, rate: int = 0, tracks: int = 1, late: bool = False) -> bytes:
    """An init segment of sound, as small as it may be. `late`: its edit list is after the media."""
    decoder = bytes([0x40, 0x15]) + rate.to_bytes(3, "big") + struct.pack(">II", rate, rate)
    descriptors = b"\3\x12\0\1\0" + bytes([4, len(decoder)]) + decoder
    entry = box(b"mp4a", bytes(16), struct.pack(">HHII", 2, 16, 0, 48_000 << 16), box(b"esds", bytes(4), descriptors))
    table = box(b"stbl", box(b"stsd", bytes(4), struct.pack(">I", 1), entry))
    header = box(b"mdhd", bytes(4), struct.pack(">IIIII", made, made, 48_000, 0, 0))
    media = box(b"mdia", header, box(b"hdlr", bytes(8), b"soun", bytes(12)), box(b"minf", table))
    edits = box(b"edts", box(b"elst", bytes(4), struct.pack(">IIiI", 1, 0, edit, 1 << 16))) if edit is not None else b""
    track = box(
        b"trak",
        box(b"tkhd", bytes(4), struct.pack(">II", made, made), bytes(72)),
        *([media, edits] if late else [edits, media]),
    )
    extends = box(
        b"mvex",
        box(b"mehd", struct.pack(">II", 0, made)),
        box(b"trex", bytes(4), struct.pack(">IIIII", 1, 1, 1024, 0, 0)),
    )
    return box(b"ftyp", b"iso6") + box(
        b"moov", box(b"mvhd", bytes(4), struct.pack(">II", made, made), bytes(88)), *[track] * tracks, extends
    )


def segment_of(time: int, offsets: Sequence[int], *before: bytes, data: bytes = b"media") -> bytes:
    """A segment whose samples have these composition offsets."""
    run = box(
        b"trun", struct.pack(">IIi", 1 << 24 | 0x801, len(offsets), 0), *(struct.pack(">i", each) for each in offsets)
    )
    fragment = box(
        b"traf", box(b"tfhd", struct.pack(">II", 0x20000, 1)), box(b"tfdt", struct.pack(">IQ", 1 << 24, time)), run
    )
    return b"".join(before) + box(b"moof", box(b"mfhd", bytes(8)), fragment) + box(b"mdat", data)


def test_times_are_those_that_are_shown() -> None:
    """The first picture's, whatever is decoded first; edit lists taken off; what is before zero is priming that manifests
    do not count."""
    plain = boxes.read_init(init_of())
    assert (plain.kind, plain.timescale, plain.entry, plain.channels) == ("audio", 48_000, "mp4a", 2)
    found = boxes.read_times(segment_of(5000, [2048, 1024, 3072]), plain)
    assert (found.begin, found.duration, found.samples, found.decoded) == (7048, 3072, 3, 5000)
    edited = boxes.read_init(init_of(edit=1024))
    assert boxes.read_times(segment_of(5000, [1024, 0]), edited).begin == 5000
    first = boxes.read_times(segment_of(0, [0, 0]), edited)
    assert (first.begin, first.duration) == (0, 1024)
    with pytest.raises(BoxFault, match="it has 2 tracks"):
        boxes.read_init(init_of(tracks=2))


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_broken_segments_are_faults_of_their_boxes(noise: bytes, place: int, value: int) -> None:
    """Never anything else, whatever a byte of an init segment or a segment is."""
    init = boxes.read_init(init_of())
    for data in (noise, segment_of(5, [0, 0])):
        broken = bytearray(data)
        if place < len(broken):
            broken[place] = value
        with contextlib.suppress(BoxFault):
            boxes.read_times(bytes(broken), init)
        whole = bytearray(init_of(edit=0))
        if place < len(whole):
            whole[place] = value
        with contextlib.suppress(BoxFault):
            boxes.read_init(bytes(whole))


def test_an_encrypted_segment_keeps_clock_and_messages() -> None:
    """Of the clear one; an init segment its edit list; and nothing stays of when it was made."""
    message = box(b"emsg", bytes(4), b"urn:scte:scte35:2013:bin\0\0", bytes(16))
    clear, locked = segment_of(7000, [0], message), segment_of(5976, [0], data=b"other")
    made = rewriting.like(locked, clear)
    init = boxes.read_init(init_of())
    assert boxes.read_times(made, init) == boxes.read_times(clear, init)
    assert boxes.messages(made) == [message]
    assert boxes.message_schemes(made) == {"urn:scte:scte35:2013:bin"}
    assert boxes.media_data(made) == b"other"
    assert rewriting.init_like(init_of(), init_of(edit=1024)) == init_of(edit=1024)
    assert rewriting.init_like(init_of(edit=5), init_of()) == init_of()
    assert rewriting.init_like(init_of(edit=5, late=True), init_of(edit=1024)) == init_of(edit=1024)
    assert rewriting.without_edits(init_of(edit=5)) == init_of()
    assert rewriting.normalised(init_of(made=99, rate=128_000)) == init_of()


def packet(pid: int, *, starts: bool, clock: bool = True) -> bytes:
    """Of MPEG-TS."""
    head = bytes([0x47, (0x40 if starts else 0) | pid >> 8, pid & 0xFF, 0x30 if clock else 0x10])
    return (head + (b"\x07\x10" if clock else b"")).ljust(188, b"\0")


def test_transport_segments_stand_alone() -> None:
    """The first packet with media, and it alone, says that it follows none; samples are what begins in one."""
    parts = [
        packet(0, starts=True, clock=False), packet(80, starts=True), packet(80, starts=False), packet(80, starts=True),
    ]  # fmt: skip
    data = b"".join(parts)
    assert transport.samples(data) == 2
    marked = transport.standing_alone(data)
    assert [at for at in range(len(data)) if marked[at] != data[at]] == [188 + 5]
    assert marked[188 + 5] == 0x90
    for wrong in (b"", data[:-1], b"x" * 188, parts[0], packet(80, starts=True, clock=False)):
        with pytest.raises(BoxFault):
            transport.standing_alone(wrong)


@pytest.mark.parametrize(
    ("head", "first", "told"),
    [
        ("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:900000", "00:01.500", "MPEGTS:1035000,LOCAL:00:00:01.500"),
        ("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:10.000", "00:00:10.001", "MPEGTS:90,LOCAL:00:00:10.001"),
        ("WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:10.000", "00:00:09.999", "MPEGTS:8589934502,LOCAL:00:00:09.999"),
        ("WEBVTT - title", "30:00:00.000", "MPEGTS:1130065408,LOCAL:30:00:00.000"),
    ],
)
def test_captions_say_where_the_clock_of_the_media_is_at_their_first_cue(head: str, first: str, told: str) -> None:
    """The clock of MPEG, which begins anew after 26.5 hours; whatever they said of it before."""
    cue = f"\n\n{first} --> 90:00:00.000\nHi\n"
    tied = cues.tied(head + cue)
    assert tied == head.splitlines()[0] + f"\nX-TIMESTAMP-MAP={told}" + cue
    assert cues.joined([tied], 0.0, 10**6) == cues.joined([head + cue], 0.0, 10**6)


def test_captions_go_along_with_the_clock_of_transport_segments() -> None:
    """Which begins so much later than the archive's; what has no cues stays as it is."""
    cue = "WEBVTT\r\n\r\n00:00:01.000 --> 00:00:02.000\r\nHi\r\n"
    assert cues.tied(cue, 0.1).splitlines()[:2] == ["WEBVTT", "X-TIMESTAMP-MAP=MPEGTS:99000,LOCAL:00:00:01.000"]
    assert cues.tied("WEBVTT\n\nNOTE 00:00:01.000\n") == "WEBVTT\n\nNOTE 00:00:01.000\n"
