"""What a channel shows: a function of definition and clock, whose numbers never mean another segment."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from taskengine.media.scte35 import crc32
from taskengine.media.virtual import channel as channels
from taskengine.media.virtual.live import Schedule
from taskengine.media.virtual.model import Channel, Kind, Mark, Part, Pieces, Programme, Rendition, Run
from taskengine.media.virtual.playlists import master, on_demand

T0 = 1_900_000_000_000
VIDEO, AUDIO = "video_1", "audio_1"
RENDITIONS = [
    Rendition(VIDEO, Kind.VIDEO, 800_000, "avc1.42c00d,mp4a.40.2", 320, 180, 25.0),
    Rendition(AUDIO, Kind.AUDIO, 64_000, language="en", default=True),
]


def run_of(name: str, video: Sequence[float], audio: Sequence[float] = (), *marks: Mark, offset: float = 0.0) -> Run:
    """A run whose segments are called after it."""
    pieces = {
        VIDEO: Pieces(
            f"https://cdn/{name}/v", [str(n) for n in range(len(video))], video, inits=[(0, Part(f"{name}/vi"))]
        )
    }
    if audio:
        pieces[AUDIO] = Pieces(f"https://cdn/{name}/a", [str(n) for n in range(len(audio))], audio, offset=offset)
    return Run(sum(video), pieces, marks)


def channel_of(*runs: Run, loops: bool = True, window: float = 10, at: int = T0) -> Channel:
    """A channel that begins then."""
    renditions = RENDITIONS if AUDIO in runs[0].pieces else RENDITIONS[:1]
    return Channel("c", "1", renditions, [Programme(at, runs, loops)], window)


@dataclass
class Shown:
    """A live playlist, read: by number the URI and the number of discontinuities; its seconds."""

    uris: dict[int, str]
    discontinuities: dict[int, int]
    seconds: float
    ended: bool
    dates: list[str]


def shown(text: str | None) -> Shown:
    """Read it as RFC 8216 says."""
    assert text is not None
    lines = text.splitlines()
    number = int(re.findall(r"MEDIA-SEQUENCE:(\d+)", text)[0])
    broken = int(re.findall(r"DISCONTINUITY-SEQUENCE:(\d+)", text)[0])
    target = int(re.findall(r"TARGETDURATION:(\d+)", text)[0])
    found = Shown({}, {}, 0.0, "#EXT-X-ENDLIST" in lines, re.findall(r"DATE-TIME:(\S+)", text))
    for line in lines:
        broken += line == "#EXT-X-DISCONTINUITY"
        if line.startswith("#EXTINF"):
            seconds = float(line[8:-1])
            assert round(seconds) <= target
            found.seconds += seconds
        if line and not line.startswith("#"):
            found.uris[number], found.discontinuities[number] = line, broken
            number += 1
    return found


def agree(one: Shown, other: Shown) -> None:
    """A number that both have means the same."""
    for number in one.uris.keys() & other.uris.keys():
        assert one.uris[number] == other.uris[number]
        assert one.discontinuities[number] == other.discontinuities[number]


seconds = st.floats(0.4, 9).map(lambda value: round(value, 3))
tracks = st.lists(seconds, min_size=1, max_size=5)
offsets = st.floats(-0.3, 0.3)


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    """Of one to three clips, whose sound need not be as long as the picture."""
    count = draw(st.integers(1, 3))
    return [
        run_of(f"r{n}{draw(st.integers(0, 9))}", draw(tracks), draw(tracks), offset=draw(offsets)) for n in range(count)
    ]


times = st.lists(st.integers(0, 400_000), min_size=2, max_size=6).map(sorted)


@settings(max_examples=30)
@given(runs(), times, st.booleans(), st.floats(0, 90))
def test_numbers_mean_the_same_for_ever(given_runs: list[Run], after: list[int], loops: bool, window: float) -> None:  # noqa: FBT001
    """Segments come at the end and go at the beginning; the window is never shorter than asked for once there is so much;
    runs have one number in all renditions."""
    schedule = Schedule(channel_of(*given_runs, loops=loops, window=window))
    for name in (VIDEO, AUDIO):
        texts = [schedule.playlist(name, T0 + at) for at in after]
        seen = [shown(text) for text in texts if text is not None]
        for before, later in itertools.pairwise(seen):
            agree(before, later)
            assert min(before.uris) <= min(later.uris)
            assert max(before.uris) <= max(later.uris)
        for each in seen:
            assert each.seconds >= window - 1e-3 or min(each.uris) == 0
            numbers = dict(each.discontinuities.items())
            for number, uri in each.uris.items():
                turn, place = divmod(numbers[number], len(given_runs))
                assert uri.startswith(given_runs[place].pieces[name].base)
                assert loops or turn == 0


@settings(max_examples=30)
@given(runs(), runs(), st.integers(0, 200_000), st.integers(0, 100_000), st.booleans())
def test_a_changed_channel_goes_on_counting(
    former: list[Run],
    new: list[Run],
    at: int,
    later: int,
    restart: bool,  # noqa: FBT001
) -> None:
    """Whether the new programme interrupts or waits for the seam: players that follow see no number change, and the new
    clips in the end."""
    before = channel_of(*former, window=30)
    renamed = [run_of(f"new{n}", run.pieces[VIDEO].durations, run.pieces[AUDIO].durations) for n, run in enumerate(new)]
    after = channels.followed(before, before, renamed, T0 + at, restart=restart)
    begins = after.programmes[-1].starts_at
    assert begins >= T0 + at
    assert channels.load(channels.dump(after)) == channels.load(channels.dump(after))
    for name in (VIDEO, AUDIO):
        old = Schedule(before).playlist(name, T0 + at)
        between, new_text = (
            Schedule(after).playlist(name, now) for now in (max(begins, T0 + at), begins + 60_000 + later)
        )
        assert new_text is not None
        assert "/new" in new_text
        if old is not None and between is not None:
            agree(shown(old), shown(between))
            agree(shown(between), shown(new_text))


def test_a_loop_has_a_discontinuity_at_its_seam_and_tells_the_time() -> None:
    """The window slides by a segment; each run tells its date; before the first segment is whole there is nothing."""
    schedule = Schedule(channel_of(run_of("a", [2, 2, 1]), window=8))
    assert schedule.playlist(VIDEO, T0 - 5000) is None
    assert schedule.playlist(VIDEO, T0 + 1999) is None
    assert schedule.begins_at() == T0 + 2000
    first = shown(schedule.playlist(VIDEO, T0 + 2000))
    assert first.uris == {0: "https://cdn/a/v0"}
    assert first.dates == ["2030-03-17T17:46:40.000Z"]
    later = shown(schedule.playlist(VIDEO, T0 + 12_500))
    assert later.uris == {n: f"https://cdn/a/v{n % 3}" for n in (2, 3, 4, 5, 6)}
    assert later.discontinuities == {2: 0, 3: 1, 4: 1, 5: 1, 6: 2}
    assert later.dates == ["2030-03-17T17:46:44.000Z", "2030-03-17T17:46:45.000Z", "2030-03-17T17:46:50.000Z"]
    far = shown(schedule.playlist(VIDEO, T0 + 5000 * 10**6))  # 158 years on
    assert min(far.uris) > 2_999_990
    assert not far.ended


def test_what_plays_once_ends() -> None:
    """The last window stays, with its end told."""
    schedule = Schedule(channel_of(run_of("a", [2, 2]), run_of("b", [2, 2]), loops=False, window=6))
    assert not shown(schedule.playlist(VIDEO, T0 + 7999)).ended
    last = shown(schedule.playlist(VIDEO, T0 + 8000))
    assert (last.ended, list(last.uris.values())) == (
        True,
        [f"https://cdn/{name}" for name in ("a/v1", "b/v0", "b/v1")],
    )
    assert shown(schedule.playlist(VIDEO, T0 + 10**9)) == last


def test_a_break_is_marked_where_its_segments_are() -> None:
    """Out, within and in; date ranges of one id with real messages; the break that goes over the seam ends after it."""
    text = Schedule(channel_of(run_of("a", [2, 2, 2], (), Mark(2.2, 3.5)), window=60)).playlist(VIDEO, T0 + 12_000)
    assert text is not None
    tags = [line for line in text.splitlines() if "CUE" in line or not line.startswith("#")]
    assert tags[:9] == [
        "https://cdn/a/v0", "#EXT-X-CUE-OUT:3.500", "https://cdn/a/v1",
        "#EXT-X-CUE-OUT-CONT:ElapsedTime=1.800,Duration=3.500", "https://cdn/a/v2",
        "#EXT-X-CUE-IN", "https://cdn/a/v0", "#EXT-X-CUE-OUT:3.500", "https://cdn/a/v1",
    ]  # fmt: skip
    ranges: Sequence[Mapping[str, str]] = [
        dict(re.findall(r'([A-Z0-9-]+)="?([^",]+)', line)) for line in text.splitlines() if "DATERANGE" in line
    ]
    assert [each["ID"] for each in ranges] == ["break-1", "break-1", "break-2"]
    assert [each["START-DATE"][-13:] for each in ranges] == ["17:46:42.200Z", "17:46:42.200Z", "17:46:48.200Z"]
    for each in ranges:
        message = bytes.fromhex((each.get("SCTE35-OUT") or each["SCTE35-IN"]).removeprefix("0x"))
        assert crc32(message) == 0


def test_an_insertion_is_a_break_without_length() -> None:
    """Out and in stand together, where the ads go between two segments."""
    text = on_demand([run_of("a", [2, 2], (), Mark(1.9, 30, insert=True))], VIDEO)
    lines = [line for line in text.splitlines() if "CUE" in line or not line.startswith("#")]
    assert lines == ["https://cdn/a/v0", "#EXT-X-CUE-OUT:30.000", "#EXT-X-CUE-IN", "https://cdn/a/v1"]
    assert "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z" in text


def test_keys_init_segments_and_ranges_are_told_where_they_change() -> None:
    """An init segment is never encrypted whole; what is clear again says so."""
    key = ['METHOD=AES-128,URI="https://cdn/key"']
    locked = Run(4, {VIDEO: Pieces("https://cdn/f", ["", ""], [2, 2], [(100, 50), (150, 60)],
                                   [(0, Part("https://cdn/f", 0, 100))], [(0, key)], ["0" * 31 + "1", "0" * 31 + "2"])})  # fmt: skip
    text = on_demand([run_of("a", [2]), locked, run_of("a", [2])], VIDEO)
    shape = [line for line in text.splitlines() if not line.startswith(("#EXTINF", "#EXTM3U", "#EXT-X-VERSION"))]
    assert shape[3:] == [
        '#EXT-X-MAP:URI="a/vi"', "https://cdn/a/v0", "#EXT-X-DISCONTINUITY",
        '#EXT-X-MAP:URI="https://cdn/f",BYTERANGE="100@0"',
        '#EXT-X-KEY:METHOD=AES-128,URI="https://cdn/key",IV=0x00000000000000000000000000000001',
        "#EXT-X-BYTERANGE:50@100", "https://cdn/f",
        '#EXT-X-KEY:METHOD=AES-128,URI="https://cdn/key",IV=0x00000000000000000000000000000002',
        "#EXT-X-BYTERANGE:60@150", "https://cdn/f", "#EXT-X-DISCONTINUITY",
        "#EXT-X-KEY:METHOD=NONE", '#EXT-X-MAP:URI="a/vi"', "https://cdn/a/v0", "#EXT-X-ENDLIST",
    ]  # fmt: skip


def test_a_master_names_every_rendition() -> None:
    """Sound and texts in groups; what could end a quoted string is left out."""
    texts = [Rendition("text_1", Kind.TEXT, language="de", label='sp"ät\n', forced=True)]
    assert master([*RENDITIONS, *texts]).splitlines()[3:] == [
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="en",LANGUAGE="en",DEFAULT=YES,AUTOSELECT=YES,URI="audio_1.m3u8"',
        (
            '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="spät",LANGUAGE="de",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES,'
            'URI="text_1.m3u8"'
        ),
        (
            '#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="avc1.42c00d,mp4a.40.2",RESOLUTION=320x180,FRAME-RATE=25.000,'
            'AUDIO="audio",SUBTITLES="subtitles"'
        ),
        "video_1.m3u8",
    ]


def test_sounds_that_cannot_stand_in_one_group_have_groups_of_their_own() -> None:
    """Those of one name, and those of other codecs; pictures play with each. Sound alone is played as it is."""
    sounds = [
        Rendition("audio_1", Kind.AUDIO, codecs="mp4a.40.2", label="Audio", default=True),
        Rendition("audio_2", Kind.AUDIO, codecs="mp4a.40.2", language="de"),
        Rendition("audio_3", Kind.AUDIO, codecs="mp4a.40.2", label="Audio"),
        Rendition("audio_4", Kind.AUDIO, codecs="ac-3", label="Audio"),
    ]
    text = master([RENDITIONS[0], *sounds])
    groups = re.findall(r'GROUP-ID="(\w+)",NAME="(\w+)".*DEFAULT=(\w+)', text)
    assert groups == [
        ("audio", "Audio", "YES"), ("audio", "de", "NO"), ("audio_2", "Audio", "YES"), ("audio_3", "Audio", "YES"),
    ]  # fmt: skip
    variants = re.findall(r'CODECS="([^"]+)".*AUDIO="(\w+)"\n(\S+)', text)
    assert variants == [
        ("avc1.42c00d,mp4a.40.2", "audio", "video_1.m3u8"), ("avc1.42c00d,mp4a.40.2", "audio_2", "video_1.m3u8"),
        ("avc1.42c00d,ac-3", "audio_3", "video_1.m3u8"),
    ]  # fmt: skip
    assert master(sounds[:1]).splitlines()[3:] == ['#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="mp4a.40.2"', "audio_1.m3u8"]


def test_a_channel_that_is_started_again_begins_with_its_first_clip() -> None:
    """At once; its numbers go on."""
    stopped = channel_of(run_of("a", [2]), run_of("b", [2]))
    began = Schedule(channels.restarted(stopped, T0 + 7000))
    assert shown(began.playlist(VIDEO, T0 + 7000)).uris == {3: "https://cdn/a/v0"}
    assert shown(began.playlist(VIDEO, T0 + 7000)).discontinuities == {3: 3}


@settings(max_examples=30)
@given(runs())
def test_a_channel_that_begins_is_there_at_once(given_runs: list[Run]) -> None:
    """Every rendition has its first segment."""
    began = Schedule(channels.on_air(channel_of(*given_runs), T0))
    assert began.begins_at() == T0
    assert all(began.playlist(name, T0) for name in (VIDEO, AUDIO))


def test_names_of_channels_are_paths_whatever_the_content_id_is() -> None:
    """Two ids are never one channel."""
    assert channels.channel_name("film 1") == "film 1"
    assert channels.channel_name("a/b") != channels.channel_name("a_b")
    assert channels.channel_url("https://x/", "demo", "ä b") == "https://x/channels/demo/%C3%A4%20b/master.m3u8"
