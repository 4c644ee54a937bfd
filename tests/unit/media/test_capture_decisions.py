"""What a capture decides: which tracks, which times, whose segments, which frames are copied."""

from __future__ import annotations

import base64
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import derive_key
from taskengine.handlers import opening
from taskengine.media.streams import assembling, cutting, filters, marks, origins, parameter_sets
from taskengine.media.streams.captured import Captured, CapturedSound, CapturedVideo, Part, Stretch
from taskengine.media.streams.model import Presentation, Rendition, Resource, Segment, Stream, StreamFault, continued
from taskengine.media.streams.parameter_sets import ParameterSets
from taskengine.media.tracks import TrackKind
from taskengine.media.wall_clock import in_mpd, in_playlist

NOON = 1_780_747_200_000  # 2026-06-06T12:00:00Z
VIDEO = Rendition("video_1", TrackKind.VIDEO, 1_300_000, 640, 360, codecs="avc1.64001f")
AUDIO = Rendition("audio_1", TrackKind.AUDIO, codecs="mp4a.40.2", language="eng", role="commentary", name="English")
TEXT = Rendition("text_1", TrackKind.TEXT, language="de")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('type=="audio"||type=="video"&&systemBitrate==1300000', "va"), ("systemBitrate<1300000", ""),
        ('TYPE == "Video" && !(height < 360)', "v"), ("SYSTEMLANGUAGE=='en'", "a"), ("systemLanguage!='en'", "vt"),
        ('FourCC=="H264"', "v"), ('FourCC=="AACL" || type=="textstream"', "at"), ("role==commentary", "a"),
        ('name=="english"', "a"), ("DisplayWidth>=640&&DisplayHeight<=360", "v"), ("width!=640", "at"), ("!(width>1)", "at"),
        ('role=="main"', "vt"), ('systemBitrate>1000&&systemBitrate<2000000||type=="text"', "vt"),
    ],
)  # fmt: skip
def test_a_filter_leaves_what_it_says(text: str, left: str) -> None:
    """Precedence, parentheses, words without case, languages and codecs under their other names; what is not told is
    unequal to everything."""
    judge = filters.parse(text)
    assert "".join(each.kind[0] for each in (VIDEO, AUDIO, TEXT) if judge(each)) == left


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("type==", "character 7: expected a value"), ('colour=="red"', "character 1: there is no field 'colour'"),
        ('type=="video"&', "character 14: '&' is not understood"), ('(type=="video"', r"character 15: expected \)"),
        ('type<"video"', "character 5: type is a text"), ('width=="wide"', "character 8: width is a number"),
        ('type=="a" type=="b"', "character 11: 'type' is not expected"), ("!" * 70 + "width==1", "nested more than"),
        ("", "expected a field"), ('type="a"', "character 5: '=' is not understood"), ("x" * 5000, "longer than"),
    ],
)  # fmt: skip
def test_a_filter_that_is_none_is_told_with_its_place(text: str, fault: str) -> None:
    """At which character, and what was expected."""
    with pytest.raises(filters.FilterFault, match=fault):
        filters.parse(text)


@given(st.text(alphabet="type=!&|()<>\"'1 width", max_size=40))
def test_no_text_breaks_the_filter(text: str) -> None:
    """A judge or a fault, nothing else."""
    try:
        judge = filters.parse(text)
    except filters.FilterFault:
        return
    assert judge(VIDEO) in {True, False}


def stream(*starts: float, at: int | None = NOON, length: float = 2.0, ended: bool = True) -> Stream:
    """Segments that begin then."""
    parts = [
        Segment(Resource(f"s{start}"), start, length, 0, at=None if at is None else at + round(start * 1000), number=n)
        for n, start in enumerate(starts)
    ]
    return Stream(parts, ended, length)


def test_the_times_of_a_clip_are_found_in_the_stream() -> None:
    """By offset, by time of day, from and to the ends; beyond the last segment of what is live."""
    segments = stream(0, 2, 4).segments

    def found(start: object, end: object, *, ended: bool = True) -> tuple[float, float]:
        return marks.bounds(segments, marks.window(start, end, "clips[0]"), "clips[0]", ended=ended)

    assert found(None, None) == (0, 6)
    assert found("00:00:01.5", 4) == (1.5, 4)
    assert found("2026-06-06T12:00:01.2500001Z", "2026-06-06T14:00:05+02:00") == pytest.approx((1.2500001, 5))
    assert found(1, "2026-06-06T12:01:00Z", ended=False) == (1, 60)
    for start, end, told in (
        (7, 8, r"clips\[0\].start: 7 is not in the stream, which has 0.000 s to 6.000 s, that is 2026-06-06T12:00:00.000Z"),
        (1, 7, r"clips\[0\].end: 7 is not in the stream"), (3, 3, r"clips\[0\].end: 3 is not after the start, 3"),
        ("2026-06-06T11:00:00Z", 3, r"clips\[0\].start: 2026-06-06T11:00:00Z is not in the stream"),
        (5, "2026-06-06T12:00:04Z", "it lasts no time"),
    ):  # fmt: skip
        with pytest.raises(StreamFault, match=told):
            found(start, end)
    undated = stream(0, 2, at=None).segments
    with pytest.raises(StreamFault, match="does not tell its time of day"):
        marks.bounds(undated, marks.window("2026-06-06T12:00:00Z", None, "c"), "c", ended=True)


def test_gaps_of_one_origin_are_filled_from_another() -> None:
    """Segments at the same place are the same one; what only another has goes into the hole; the complete one leads."""
    whole, broken = stream(0, 2, 4, 6), stream(0, 4)
    marked = Stream([replace(broken.segments[0], gap=True), *broken.segments[1:]], True)
    assert (origins.missing_s(whole), origins.missing_s(broken), origins.missing_s(marked)) == (0, 2, 4)
    renditions = [(0, replace(VIDEO, stream=marked)), (1, replace(VIDEO, stream=whole))]
    places = [(slot.start, [origin for origin, _ in slot.choices]) for slot in origins.slots(renditions)]
    assert places == [(0, [1]), (2, [1]), (4, [0, 1]), (6, [1])]
    both = [Presentation("hls", [replace(VIDEO, stream=each)]) for each in (stream(0, 2), stream(0, 2, at=NOON + 4000))]
    dated = origins.by_time_of_day(both)
    assert [each.start for one in dated for each in one.renditions[0].segments] == [0, 2, 4, 6]
    other = replace(VIDEO, id="x", bandwidth=2_000_000)
    among = Presentation("hls", [other, replace(other, id="y", bandwidth=1_200_000), replace(VIDEO, id="z", width=320)])
    assert origins.match(VIDEO, among) == replace(other, id="y", bandwidth=1_200_000)
    assert origins.match(AUDIO, among) is None


def test_a_live_window_that_moved_on_is_on_the_same_time_line() -> None:
    """By the time of day and by the numbers of segments."""
    first = Presentation("hls", [replace(VIDEO, stream=stream(0, 2, 4, ended=False))])
    later = stream(0, 2, 4, at=NOON + 4000, ended=False)
    found = continued(Presentation("hls", [replace(VIDEO, stream=later)]), first)
    assert [each.start for each in found.renditions[0].segments] == [4, 6, 8]
    numbered = Stream([replace(each, at=None, number=each.number + 2) for each in later.segments], False, 2.0)
    undated = Presentation("hls", [replace(VIDEO, stream=stream(0, 2, 4, at=None, ended=False))])
    found = continued(Presentation("hls", [replace(VIDEO, stream=numbered)]), undated)
    assert [each.start for each in found.renditions[0].segments] == [4, 6, 8]


def answer(*packets: tuple[int, int, str]) -> str:
    """As ffprobe says it."""
    return "".join(f"packet,{shown},{decoded},{flags}\n" for shown, decoded, flags in packets) + "stream,1/10\n"


CLOSED = [
    (0, -1, "K__"),
    (2, 0, "___"),
    (1, 1, "___"),
    (3, 2, "K__"),
    (5, 3, "___"),
    (4, 4, "___"),
    (6, 5, "K__"),
    (7, 6, "___"),
]


def test_frames_between_clean_key_frames_are_copied() -> None:
    """The edges alone are encoded; on the segment nothing is; where edges cannot be encoded, all or nothing is."""
    frames = cutting.read(answer(*CLOSED))
    assert (list(frames.ticks), frames.clean, frames.delay, frames.step) == (list(range(8)), [0, 3, 6], 1, 1)

    def parts(begin: str, end: str, *, exact: bool = True, edges: bool = True) -> list[tuple[int, int, bool]]:
        found = cutting.cut(frames, Fraction(begin), Fraction(end), exact=exact, edges=edges)
        return list(found.parts) if found else []

    assert parts("0.1", "0.7") == [(1, 3, False), (3, 6, True), (6, 7, False)]
    assert parts("0.3", "0.8") == [(3, 8, True)]
    assert parts("0.2995", "0.6004") == [(3, 6, True)]  # a millisecond is rounding
    assert parts("0.1", "0.4", exact=False) == [(0, 6, True)]
    assert parts("0.1", "0.7", edges=False) == [(1, 7, False)]
    assert parts("0.3", "0.6", edges=False) == [(3, 6, True)]
    assert parts("0.4", "0.5") == [(4, 5, False)]
    assert parts("0.8", "0.9") == []
    leading = cutting.read(answer((0, -1, "K__"), (1, 0, "___"), (3, 1, "K__"), (2, 2, "___"), (4, 3, "___")))
    assert leading.clean == [0]  # an open group: a frame after the key is shown before it
    within = cutting.read(answer((3, 1, "K__"), (2, 2, "___"), (4, 3, "___")))
    assert (list(within.ticks), within.clean) == ([3, 4], [])  # the frame before needs a group that is not here
    assert not cutting.read(answer((0, 0, "K__"), (1, 1, "___"), (5, 5, "___"))).whole(0, 3)
    with pytest.raises(StreamFault, match="no picture"):
        cutting.read("stream,1/10\n")


@given(st.integers(0, 12), st.integers(0, 12), st.booleans())
def test_every_frame_is_in_one_part(begin: int, end: int, edges: bool) -> None:  # noqa: FBT001 - Hypothesis gives it
    """Parts follow one another; what is copied begins and ends at clean key frames."""
    frames = cutting.read(answer(*CLOSED))
    cut = cutting.cut(frames, Fraction(begin, 10), Fraction(end, 10), exact=True, edges=edges)
    if cut is None:
        assert begin >= min(end, 8)
        return
    covered = [number for first, last, _ in cut.parts for number in range(first, last)]
    assert covered == list(range(begin, min(end, 8)))
    assert all({first, last} <= {0, 3, 6, 8} for first, last, copied in cut.parts if copied)


def sets(sequence: bytes, picture: bytes, level: int = 30) -> ParameterSets:
    """A description with one set of each."""
    return ParameterSets(bytes([1, 100, 0, level, 0xFF]), [b"\x67\x64\x00\x1e" + sequence], [b"\x68" + picture], b"")


def test_parameter_sets_of_parts_are_joined() -> None:
    """Under different ids, with the highest level; not where two have one id."""
    one, two = sets(b"\x80", b"\x80"), sets(b"\x40", b"\x40", 31)  # ids 0 and 1
    assert (set(one.ids), set(two.ids)) == ({0}, {1})
    assert one.free_id() == 31
    joined = parameter_sets.joined([one, two, one])
    assert joined is not None
    assert (len(joined.sequences), joined.head[3], set(joined.ids)) == (2, 31, {0, 1})
    assert parameter_sets.parse(joined.written) == joined
    assert parameter_sets.joined([one, sets(b"\x81", b"\x80")]) is None


def captured(*sounds: CapturedSound, width: int = 640, seconds: int = 2) -> Captured:
    """A clip of one rendition."""
    video = CapturedVideo(
        "video_1", "h264", width, 360, "yuv420p", Fraction(25), 12800, 1_000, [Part({}, Fraction(2), 50)]
    )
    return Captured([Stretch(Fraction(seconds), None)], [video], sounds, [])


def test_clips_together_have_every_track_and_silence_where_one_has_none() -> None:
    """By language and role; the first clip's ladder holds, what is different is to be encoded."""
    english = CapturedSound("mp3", 2, 44_100, 200_000, "eng", None, [{"$file": "e"}])
    german = replace(english, codec="ac3", channels=6, language="de", parts=[{"$file": "d"}])
    clips = [captured(english), captured(german, seconds=3), captured(width=320)]
    first, second = assembling.voices(clips)
    assert [(part and part["$file"], int(seconds)) for part, seconds in first.parts] == [("e", 2), ("d", 3), (None, 2)]
    assert (first.codec, first.bitrate, first.sample_rate, first.language) == ("aac", 128_000, 44_100, "en")
    assert [(part and part["$file"]) for part, _ in second.parts] == ["e", "d", None]
    assert (second.codec, second.bitrate, second.channels) == ("ac3", 200_000, 6)
    [rung] = assembling.rungs(clips)
    assert rung.alike == [True, True, False]
    with pytest.raises(InputFault, match=r"clips\[1\]: it has no picture"):
        assembling.rungs([clips[0], replace(clips[1], videos=[])])


def test_manifests_tell_the_time_of_day_of_each_time_line() -> None:
    """In HLS at the first segment of each; in DASH for every set with segments, on its own clock."""
    clock = [(0.0, NOON), (5.0, NOON + 3_600_000)]
    text = "#EXTM3U\n#EXTINF:4.000,\na\n#EXTINF:4.000,\nb\n#EXTINF:4.000,\nc\n#EXT-X-ENDLIST\n"
    dates = [line for line in in_playlist(text, clock).splitlines() if "DATE" in line]
    assert dates == [f"#EXT-X-PROGRAM-DATE-TIME:2026-06-06T{time}Z" for time in ("12:00:00.000", "13:00:03.000")]
    mpd = (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Label>a</Label><Role value="main"/>'
        '<SegmentTemplate timescale="10" presentationTimeOffset="7"/><Representation/></AdaptationSet></Period></MPD>'
    )
    told = in_mpd(mpd, clock)
    assert 'availabilityStartTime="2026-06-06T12:00:00.000Z"' in told
    assert (
        told.index("<Label")
        < told.index('presentationTime="7"')
        < told.index('presentationTime="57"')
        < told.index("<Role")
    )


def test_a_clips_key_is_given_or_derived() -> None:
    """32 hex digits, with dashes or without; a seed in base64 gives the key of each id, as PlayReady derives it."""
    given_id, text = "00112233-4455-6677-8899-AABBCCDDEEFF", "0" * 31 + "1"
    key = opening.given_key(given_id, text, "clips[0]")
    assert key is not None
    assert (key.key_id.hex(), key.key.hex()) == ("00112233445566778899aabbccddeeff", text)
    assert opening.given_key(None, None, "clips[0]") is None
    seed = bytes(range(30))
    assert opening.given_seed(base64.b64encode(seed).decode(), "clips[0]") == seed
    usable = opening.usable(key.key_id, None, seed, "clips[0]")
    assert usable.key == derive_key(seed, key.key_id)
    for key_id, content_key, told in (
        (given_id, None, "go together"), ("<key id>", text, r"clips\[0\].key_id must be 32 hex"),
        (given_id, "<content key>", r"clips\[0\].content_key must be 32 hex"),
    ):  # fmt: skip
        with pytest.raises(InputFault, match=told) as fault:
            opening.given_key(key_id, content_key, "clips[0]")
        assert "<content key>" not in str(fault.value)
    for wrong in ("c2hvcnQ=", "no base64"):
        with pytest.raises(InputFault, match=r"clips\[0\].seed must be at least 30 bytes"):
            opening.given_seed(wrong, "clips[0]")
    with pytest.raises(InputFault, match="give key_id and content_key, or a seed"):
        opening.usable(key.key_id, None, None, "clips[0]")
    with pytest.raises(InputFault, match="with the key ffff"):
        opening.usable(b"\xff" * 16, key, None, "clips[0]")
