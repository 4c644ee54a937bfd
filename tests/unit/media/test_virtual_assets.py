"""The pure parts of virtual assets: which segments are referenced, what is made, and the DASH manifest over them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from taskengine.media.mp4 import BoxFault
from taskengine.media.scte35 import crc32
from taskengine.media.streams.model import Presentation, Rendition, Resource, Segment, Stream, StreamFault
from taskengine.media.tracks import TrackKind
from taskengine.media.virtual import assembly, clips, make_argv, mpd, profile
from taskengine.media.virtual.assembly import Rung
from taskengine.media.virtual.boxes import first_time
from taskengine.media.virtual.make_argv import Portion, Sound
from taskengine.media.virtual.model import Kind, Mark, Part, Pieces, Run
from taskengine.media.virtual.model import Rendition as Told
from tests.support.media import video_track

CDN = "https://cdn.example/film"


def stream_of(name: str, durations: Sequence[float], *, init: bool = True, runs: Sequence[int] = ()) -> Stream:
    """Segments one after the other."""
    segments, start = [], 0.0
    for number, seconds in enumerate(durations):
        run = runs[number] if runs else 0
        head = Resource(f"{CDN}/{name}/init.mp4") if init else None
        segments.append(Segment(Resource(f"{CDN}/{name}/{number}.m4s"), start, seconds, run, head))
        start += seconds
    return Stream(segments, ended=True)


def presentation_of(video: Stream, audio: Stream | None = None, codecs: str = "avc1.64001f,mp4a.40.2") -> Presentation:
    """An HLS stream with one size and its sound apart."""
    found = [
        Rendition(
            "video_1", TrackKind.VIDEO, 2_000_000, 1280, 720, 25.0, codecs, location=f"{CDN}/v.m3u8", stream=video
        )
    ]
    if audio:
        found.append(Rendition("audio_1", TrackKind.AUDIO, language="en", location=f"{CDN}/a.m3u8", stream=audio))
    return Presentation("hls", found, f"{CDN}/master.m3u8")


durations = st.lists(st.floats(0.5, 8).map(lambda value: round(value, 3)), min_size=1, max_size=12)


@settings(max_examples=60)
@given(durations, st.data())
def test_portions_are_exact_and_make_no_more_than_they_must(given_durations: list[float], data: st.DataObject) -> None:
    """They follow one another from the begin to the end; what is made lies within one segment; whole segments are referenced."""
    stream = stream_of("v", given_durations)
    length = stream.duration
    begin = data.draw(st.floats(0, length - 0.2))
    end = data.draw(st.floats(begin + 0.1, length))
    cuts = data.draw(st.lists(st.floats(begin, end), max_size=3))
    found = clips.portions(stream, begin, end, cuts, exact=True)
    assert abs(found[0].begin - begin) <= clips.SLACK
    assert abs(found[-1].end - end) <= clips.SLACK
    for before, after in pairwise(found):
        assert abs(before.end - after.begin) < 1e-6
    edges = [0.0, *(segment.end for segment in stream.segments)]
    for each in found:
        if not each.made:
            assert min(abs(edge - each.begin) for edge in edges) < 1e-6
            assert min(abs(edge - each.end) for edge in edges) < 1e-6
    for cut in cuts:
        assert min(abs(cut - border) for each in found for border in (each.begin, each.end)) <= 2 * clips.SLACK
    whole = clips.portions(stream, begin, end, (), exact=False)
    assert [each.made for each in whole] == [False]
    assert whole[0].begin <= begin + clips.SLACK
    assert whole[0].end >= end - clips.SLACK


def test_runs_follow_discontinuities_and_sound_goes_with_its_picture() -> None:
    """Sound is taken by the middle of its segments, in the same run; how far it is off is told; URLs share their folder."""
    video = stream_of("v", [4, 4, 4], runs=[0, 0, 1])
    audio = stream_of("a", [4.01, 3.97, 4.02], runs=[0, 0, 1])
    found = {each.told.name: each for each in clips.offered(presentation_of(video, audio))}
    first, second = clips.runs(found, "video_1", 0, 12, "clips[0]")
    assert (first.duration, second.duration) == (8, 4)
    assert first.pieces["audio_1"].uris == ["0.m4s", "1.m4s"]
    assert second.pieces["audio_1"].base == f"{CDN}/a/"
    assert second.pieces["audio_1"].offset == pytest.approx(-0.02)
    [late] = clips.runs(found, "video_1", 4, 8, "clips[0]")
    assert late.pieces["video_1"].uris == ["1.m4s"]
    assert late.pieces["video_1"].inits == [(0, Part(f"{CDN}/v/init.mp4"))]


def test_what_differs_is_named() -> None:
    """Sizes, containers, codecs, languages."""
    plain = clips.offered(presentation_of(stream_of("v", [4]), stream_of("a", [4])))
    other = clips.offered(presentation_of(stream_of("v", [4], init=False), codecs="hvc1.1.6.L93.B0,mp4a.40.2"))
    assert clips.differences(plain, plain) == []
    assert clips.differences(plain, other) == [
        "it has no 1280x720 video (fMP4, avc1.64001f,mp4a.40.2)", "it has no en audio (fMP4, mp4a.40.2)",
        "it has 1280x720 video (MPEG-TS with sound, hvc1.1.6.l93.b0,mp4a.40.2) more",
    ]  # fmt: skip
    assert clips.counterparts(plain, other) == "it has no 1280x720 video (fMP4, avc1.64001f,mp4a.40.2)"


@pytest.mark.parametrize(
    ("segment", "told"),
    [
        (Segment(Resource("https://user:pw@cdn/x"), 0, 4, 0), "credentials"),
        (Segment(Resource("file:///etc/passwd"), 0, 4, 0), "players cannot be sent"),
        (Segment(Resource("https://cdn/x"), 0, 4, 0, protection="SAMPLE-AES"), "needs a licence"),
        (Segment(Resource("https://cdn/x"), 0, 4, 0, gap=True), "missing"),
    ],
)
def test_what_players_cannot_be_shown_is_refused(segment: Segment, told: str) -> None:
    """Credentials, other schemes, licences, gaps."""
    presentation = presentation_of(Stream([segment], ended=True))
    with pytest.raises(StreamFault, match=told):
        clips.runs({"video_1": clips.offered(presentation)[0]}, "video_1", 0, 4, "clips[0]")


def test_nothing_in_a_url_ends_a_line_or_a_quoted_string() -> None:
    """It is escaped."""
    segment = Segment(Resource('https://cdn/a"b\n#EXT c'), 0, 4, 0, Resource("https://cdn/i n"))
    found = clips.offered(presentation_of(Stream([segment], ended=True)))
    [run] = clips.runs({"video_1": found[0]}, "video_1", 0, 4, "clips[0]")
    assert run.pieces["video_1"].uri(0) == "https://cdn/a%22b%0A#EXT%20c"


def box(kind: bytes, *content: bytes) -> bytes:
    """A box."""
    data = b"".join(content)
    return struct.pack(">I4s", len(data) + 8, kind) + data


INIT = box(b"moov", box(b"trak", box(b"mdia", box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 12800, 0, 0, 0)))))


def test_the_first_time_of_a_segment_is_the_picture_s() -> None:
    """Its decoding time and what it is shown later; also where the bytes end within the media."""
    tfdt = box(b"tfdt", struct.pack(">IQ", 0x01000000, 25600))
    trun = box(b"trun", struct.pack(">IIIIi", 0x01000000 | 0x800 | 0x200 | 0x1, 1, 100, 5000, 1280))
    segment = box(b"moof", box(b"mfhd", bytes(8)), box(b"traf", box(b"tfhd", bytes(8)), tfdt, trun)) + box(
        b"mdat", bytes(500)
    )
    assert first_time(INIT, segment[:-400]) == pytest.approx(2.1)
    with pytest.raises(BoxFault, match="no moof"):
        first_time(INIT, segment[:20])


def test_a_dash_manifest_has_a_period_for_each_run() -> None:
    """With segments by URL on their own clock, and what was made taken from packager's; breaks are events with a message."""
    told = [
        Told("video_1", Kind.VIDEO, 900_000, "avc1.64001f,mp4a.40.2", 1280, 720, 29.97),
        Told("audio_1", Kind.AUDIO, codecs="mp4a.40.2"),
    ]
    pieces = {
        "video_1": Pieces(f"{CDN}/v/", ["1.m4s", "2.m4s", "3.m4s"], [4, 4, 2], inits=[(0, Part(f"{CDN}/v/i.mp4"))], media_time=10.0),
        "audio_1": Pieces(f"{CDN}/", ["a.mp4", "a.mp4"], [6, 4], [(900, 100), (1000, 90)], [(0, Part(f"{CDN}/a.mp4", 0, 900))],
                          offset=-0.02, media_time=9.98),
    }  # fmt: skip
    runs = [Run(10, pieces, [Mark(4.2, 3, timescale=90000)]), Run(2, {"video_1": Pieces("clip_2/", ["x"], [2])})]
    packaged = '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period id="0"><AdaptationSet id="7"><BaseURL>a.vtt</BaseURL></AdaptationSet></Period></MPD>'
    assert mpd.lack(told, runs[:1]) is None
    root = etree.fromstring(mpd.manifest(told, runs, {1: ("clip_2", packaged)}).encode())
    ns = {"d": "urn:mpeg:dash:schema:mpd:2011", "s": "http://www.scte.org/schemas/35/2016"}
    assert root.get("mediaPresentationDuration") == "PT12S"
    first, second = root.findall("d:Period", ns)
    assert (first.get("start"), second.get("start"), second.get("duration")) == ("PT0S", "PT10S", "PT2S")
    assert second.findtext("d:AdaptationSet/d:BaseURL", None, ns) == "clip_2/a.vtt"
    lists = first.findall(".//d:SegmentList", ns)
    assert [each.get("presentationTimeOffset") for each in lists] == ["900000", "900000"]
    assert [each.get("t") for each in first.findall(".//d:S", ns) if each.get("t")] == ["900000", "898200"]
    assert first.find(".//d:Representation[@id='video_1']", ns).get("codecs") == "avc1.64001f"  # type: ignore[union-attr]
    assert first.find(".//d:Representation[@id='video_1']", ns).get("frameRate") == "30000/1001"  # type: ignore[union-attr]
    assert [each.get("mediaRange") for each in lists[1].findall("d:SegmentURL", ns)] == ["900-999", "1000-1089"]
    event = first.find("d:EventStream/d:Event", ns)
    assert event is not None
    assert (event.get("presentationTime"), event.get("duration")) == ("378000", "270000")
    binary = event.findtext("s:Signal/s:Binary", None, ns)
    assert crc32(base64.b64decode(str(binary))) == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inits": ()}, "MPEG-TS"), ({"ivs": ["00"]}, "encrypted whole"), ({"media_time": None}, "does not tell its time"),
        ({"inits": [(0, Part("a")), (1, Part("b"))]}, "changes its init segment"),
    ],
)  # fmt: skip
def test_what_dash_cannot_have_is_told(changes: dict[str, object], told: str) -> None:
    """HLS has it all the same."""
    values: dict[str, object] = {
        "base": "",
        "uris": ["x"],
        "durations": [4.0],
        "inits": [(0, Part("a"))],
        "media_time": 0.0,
    }
    run = Run(4, {"video_1": Pieces(**(values | changes))})  # type: ignore[arg-type]
    assert told in str(mpd.lack([Told("video_1", Kind.VIDEO, codecs="avc1.64001f")], [run]))
    assert mpd.lack([Told("video_1", Kind.VIDEO)], [run]) == "a rendition does not tell its codecs"


def test_a_playlist_of_packager_s_is_read_with_its_keys() -> None:
    """Each segment below its folder; keys of several systems hold together."""
    text = (
        '#EXTM3U\n#EXT-X-MAP:URI="video_1/init.mp4"\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://1"\n'
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:x"\n#EXTINF:4.000,\nvideo_1/1.m4s\n#EXTINF:1.5,\nvideo_1/2.m4s\n#EXT-X-ENDLIST\n'
    )
    assert assembly.made_pieces(text, "clip_1") == Pieces(
        "clip_1/", ["video_1/1.m4s", "video_1/2.m4s"], [4.0, 1.5], inits=[(0, Part("clip_1/video_1/init.mp4"))],
        keys=[(0, ['METHOD=SAMPLE-AES,URI="skd://1"', 'METHOD=SAMPLE-AES,URI="data:x"'])],
    )  # fmt: skip


def test_a_portion_is_encoded_in_one_run() -> None:
    """The whole command line: one decode, all sizes, sound from the second input, silence where there is none."""
    sizes = [
        Rung("video_1", "h264", 900_000, 1280, 720, profile="main", level=31),
        Rung("video_2", "hevc", 50_000, 640, 360),
    ]
    sounds = [Rung("audio_1", "aac", 96_000), Rung("audio_2", "ac3", 384_000, channels=6)]
    portion = Portion(["piece_1", "piece_2"], video_track(), 1.5, 2.25, Fraction(25), [Sound(1, "0", 1.52), None])
    line = " ".join(make_argv.encode("ffmpeg", portion, sizes, sounds))
    fit = "force_original_aspect_ratio=decrease:out_range=tv,pad={0}:(ow-iw)/2:(oh-ih)/2,setsar=1"
    graph = (
        "[0:0]trim=start=1.498:end=3.748,setpts=PTS-STARTPTS,fps=25/1,format=yuv420p,split=2[s_video_1][s_video_2];"
        f"[s_video_1]scale=iw*sar:ih,scale=1280:720:{fit.format('1280:720')}[video_1];"
        f"[s_video_2]scale=iw*sar:ih,scale=640:360:{fit.format('640:360')}[video_2];"
        "[1:0]atrim=start=1.52:end=3.77,asetpts=PTS-STARTPTS,aresample=48000,aformat=sample_rates=48000:channel_layouts=stereo,"
        "apad=whole_dur=2.25,atrim=end=2.25[audio_1];anullsrc=r=48000:cl=5.1,atrim=end=2.25[audio_2]"
    )
    assert f"-filter_complex {graph} -map [video_1] -c:v libx264 -preset medium -profile:v main -crf 21" in line
    assert "-level 3.1 -map_metadata -1 -map_chapters -1 -f mp4 video_1.mp4" in line
    assert "-map [video_2] -c:v libx265 -preset medium -profile:v main -crf 23 -maxrate 100000 -bufsize 200000" in line
    assert line.endswith("-map [audio_2] -c:a ac3 -b:a 384000 -map_metadata -1 -map_chapters -1 -f mp4 audio_2.mp4")


def test_the_target_profile_is_that_of_its_master() -> None:
    """Codec, profile and level of H.264, sound by its codec; what is not told is what is usual."""
    told = [
        Told("video_1", Kind.VIDEO, 900_000, "avc1.4d001f,ec-3", 1280, 720, 29.97),
        Told("video_2", Kind.VIDEO, 500_000, "hvc1.1.6.L93.B0", 640, 360), Told("audio_1", Kind.AUDIO, codecs="ec-3", channels="6/JOC"),
    ]  # fmt: skip
    assert profile.of_stream(told) == [
        Rung("video_1", "h264", 900_000, 1280, 720, "30000/1001", profile="main", level=31),
        Rung("video_2", "hevc", 500_000, 640, 360), Rung("audio_1", "eac3", 128_000, channels=6),
    ]  # fmt: skip


def test_texts_are_there_where_they_can_be_shown() -> None:
    """One file counts from its stream's beginning; DASH has no segments of WebVTT."""
    pieces = {
        "video_1": Pieces("", ["v"], [4], inits=[(0, Part("i"))], media_time=0.0),
        "text_1": Pieces("", ["1.vtt", "2.vtt"], [2, 2]), "text_2": Pieces("", ["all.vtt"], [4]),
    }  # fmt: skip
    told = [
        Told("video_1", Kind.VIDEO, codecs="avc1.64001f"),
        *(Told(f"text_{n}", Kind.TEXT, language="de") for n in (1, 2)),
    ]
    text = mpd.manifest(told, [Run(4, pieces)], {})
    assert ("all.vtt" in text, "1.vtt" in text) == (True, False)
    for lengths, cut, shown in (([4], False, True), ([4], True, False), ([2, 2], True, True)):
        stream = stream_of("t", lengths, init=False)
        rendition = Rendition("text_1", TrackKind.TEXT, language="de", location=f"{CDN}/t.m3u8", stream=stream)
        presentation = presentation_of(stream_of("v", [4]))
        with_text = Presentation("hls", [*presentation.renditions, rendition], presentation.location)
        assert clips.readable(clips.offered(with_text)[-1], cut=cut) is shown
