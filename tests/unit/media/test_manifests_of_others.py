"""DASH manifests of others, HLS masters with all their tracks, streams on a storage: what is read of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from taskengine.domain.errors import InputFault
from taskengine.handlers.stream_readers import StorageReader
from taskengine.handlers.streams import open_presentation, with_segments
from taskengine.media.streams import index, manifests, playlists
from taskengine.media.streams.addressing import seconds_of_duration
from taskengine.media.streams.model import Presentation, Rendition, Resource, Segment, Stream, StreamFault, aligned
from taskengine.media.tracks import TrackKind
from taskengine.storage.local import LocalStorage

URL = "https://cdn.example/live/x.isml/.mpd?token=1"
NOON = 2_222_942_400_000
MPD = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {root}><!-- a comment -->{body}</MPD>"""
TEMPLATE = (
    '<AdaptationSet contentType="video" lang="de"><SegmentTemplate timescale="1000" media="$RepresentationID$/$Time$.m4s"'
    ' initialization="$RepresentationID$/init.mp4" presentationTimeOffset="5000"><SegmentTimeline>{times}'
    '</SegmentTimeline></SegmentTemplate><Representation id="v1" bandwidth="1300000" width="640" height="360"'
    ' frameRate="30000/1001" codecs="avc1.64001f"/></AdaptationSet>'
)


def mpd(body: str, root: str = "", now: int = NOON) -> Presentation:
    """A manifest that is read at noon."""
    return manifests.read(MPD.format(root=root, body=body), URL, now)


def placed(segments: Sequence[Segment]) -> list[tuple[str, float, float]]:
    """(name, start, duration) of each."""
    return [(each.media.url.rpartition("/live/x.isml/")[2], each.start, each.duration) for each in segments]


def test_a_time_line_gives_segments_their_exact_times() -> None:
    """Repeats, a hole, the offset of the clock; the description of the rendition; URLs from the manifest's."""
    times = '<S t="5000" d="2000" r="1"/><S t="11000" d="1000"/>'
    [video] = mpd(f"<Period>{TEMPLATE.format(times=times)}</Period>", 'mediaPresentationDuration="PT7S"').renditions
    assert placed(video.segments) == [("v1/5000.m4s", 0, 2), ("v1/7000.m4s", 2, 2), ("v1/11000.m4s", 6, 1)]
    assert video.segments[0].init == Resource("https://cdn.example/live/x.isml/v1/init.mp4")
    assert (video.segments[0].shift, video.segments[0].at) == (-5, None)
    described = (video.kind, video.bandwidth, video.width, video.height, video.language, video.codecs)
    assert described == (TrackKind.VIDEO, 1_300_000, 640, 360, "de", "avc1.64001f")
    assert video.frame_rate == pytest.approx(29.97, abs=0.001)
    assert video.stream is not None
    assert video.stream.ended


def test_a_live_window_counts_from_its_first_segment_and_tells_the_time_of_day() -> None:
    """By a time line, and by numbers, of which those that are complete and still there count."""
    root = 'type="dynamic" availabilityStartTime="2040-06-10T11:00:00Z" timeShiftBufferDepth="PT10S"'
    times = '<S t="3595000" d="2000" r="2"/>'
    found = mpd(f'<Period start="PT10S">{TEMPLATE.format(times=times)}</Period>', root)
    assert [(start, length) for _, start, length in placed(found.renditions[0].segments)] == [(0, 2), (2, 2), (4, 2)]
    assert found.renditions[0].segments[0].at == NOON - 3600_000 + 3600_000
    assert not found.ended
    numbers = (
        '<AdaptationSet mimeType="audio/mp4"><Representation id="a" bandwidth="1"><SegmentTemplate duration="4" '
        'media="a-$Number%03d$.m4s" startNumber="1"/></Representation></AdaptationSet>'
    )
    [audio] = mpd(f'<Period start="PT0S">{numbers}</Period>', root, NOON + 1000).renditions
    assert placed(audio.segments) == [("a-898.m4s", 0, 4), ("a-899.m4s", 4, 4), ("a-900.m4s", 8, 4)]
    assert [each.at for each in audio.segments] == [NOON - 12_000, NOON - 8_000, NOON - 4_000]


def test_lists_single_files_and_plain_files_are_understood() -> None:
    """With ranges; an index is read from its bytes; `BaseURL` counts at each level."""
    body = """<BaseURL>media/</BaseURL><Period duration="PT5S">
      <AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="9"><BaseURL>v.mp4</BaseURL>
        <SegmentList timescale="10" duration="20"><Initialization range="0-99"/><SegmentURL mediaRange="100-199"/>
        <SegmentURL mediaRange="200-299"/><SegmentURL mediaRange="300-399"/></SegmentList></Representation></AdaptationSet>
      <AdaptationSet mimeType="audio/mp4" lang="en"><Role value="description"/><Representation id="a" bandwidth="9">
        <BaseURL>a.mp4</BaseURL><SegmentBase indexRange="700-755"><Initialization range="0-699"/></SegmentBase>
        </Representation></AdaptationSet>
      <AdaptationSet mimeType="text/vtt" lang="fr"><Representation id="t" bandwidth="1"><BaseURL>t.vtt</BaseURL>
        </Representation></AdaptationSet>
      <AdaptationSet mimeType="video/mp4"><EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode"/>
        <Representation id="k" bandwidth="1"><BaseURL>k.mp4</BaseURL></Representation></AdaptationSet></Period>"""
    video, audio, text = mpd(body).renditions
    where = "https://cdn.example/live/x.isml/media/"
    assert [each.media for each in video.segments] == [Resource(f"{where}v.mp4", at, 100) for at in (100, 200, 300)]
    assert (video.segments[0].init, video.segments[2].start) == (Resource(f"{where}v.mp4", 0, 100), 4)
    assert (audio.role, audio.index) == ("description", Resource(f"{where}a.mp4", 700, 56))
    assert (text.kind, text.language, placed(text.segments)) == (TrackKind.TEXT, "fr", [("media/t.vtt", 0, 5)])
    head = [b"sidx", bytes(4), bytes(4), (10).to_bytes(4), (20).to_bytes(4), (5).to_bytes(4), bytes(2), (2).to_bytes(2)]
    entries = [(50).to_bytes(4) + (30).to_bytes(4) + bytes(4), (60).to_bytes(4) + (10).to_bytes(4) + bytes(4)]
    box = b"".join([(56).to_bytes(4), *head, *entries])
    parts = index.read(box, Resource(f"{where}a.mp4", 700, 56))
    read = manifests.with_index(audio, parts)
    assert [(each.media.offset, each.media.length) for each in read.segments] == [(761, 50), (811, 60)]
    assert [(each.start, each.duration) for each in read.segments] == [(2, 3), (5, 1)]
    with pytest.raises(StreamFault, match="damaged"):
        index.read(box[:40], Resource(f"{where}a.mp4", 700, 56))


def test_periods_go_on_from_one_another() -> None:
    """Each rendition with the nearest of the next period; a run for each; lengths come from their neighbours."""
    first = TEMPLATE.format(times='<S t="5000" d="2000" r="-1"/>')
    second = TEMPLATE.format(times='<S t="5000" d="3000"/>').replace('id="v1"', 'id="other"')
    found = mpd(f'<Period duration="PT5S">{first}</Period><Period duration="PT3S">{second}</Period>')
    [video] = found.renditions
    assert [(each.run, each.start) for each in video.segments] == [(0, 0), (0, 2), (0, 4), (1, 5)]
    assert video.segments[3].shift == 0
    assert seconds_of_duration("P1DT2H3M4.5S") == 93_784.5


def timed(times: str) -> str:
    """A manifest with this time line."""
    return MPD.format(root="", body=f"<Period>{TEMPLATE.format(times=times)}</Period>")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<html/>", "its root is html"), ("<MPD", "it is not XML"), ("<MPD/>", "no period"), ("<MPD><Period/></MPD>", "no representation"),
        ('<MPD><Period xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="a"/></MPD>', "xlink"),
        ('<MPD><Period start="soon"/></MPD>', "is no duration"),
        (timed("<S/>"), "does not parse"),
        (timed('<S d="0"/>'), "lasts no time"),
        (timed('<S d="1" r="9999999"/>'), "more than"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><MPD>&b;</MPD>', "no period"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_told(text: str, fault: str) -> None:
    """Each with its own words."""
    with pytest.raises(StreamFault, match=fault):
        manifests.read(text, URL, NOON)


MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Deutsch",LANGUAGE="de",CHANNELS="2",URI="de.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Beschreibung",LANGUAGE="de",CHARACTERISTICS="public.accessibility.describes-video",URI="ad.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="b",NAME="Deutsch",LANGUAGE="de",CHANNELS="6/JOC",URI="surround.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="t",NAME="English",LANGUAGE="en",FORCED=YES,URI="en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS="avc1.64001f,mp4a.40.2",AUDIO="a",SUBTITLES="t"
v.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1200000,RESOLUTION=640x360,CODECS="avc1.64001f,ec-3",AUDIO="b",SUBTITLES="t"
v.m3u8
"""


def test_a_master_names_every_track_once() -> None:
    """All audio groups, texts, roles and channels; a picture that comes with several sounds is one."""
    found = playlists.read(MASTER, "https://cdn.example/m.m3u8")
    assert isinstance(found, Presentation)
    assert [(each.id, each.bandwidth) for each in found.of(TrackKind.VIDEO)] == [("video_1", 900_000)]
    audio = [
        (each.language, each.role, each.channels, each.location.rpartition("/")[2])
        for each in found.of(TrackKind.AUDIO)
    ]
    assert audio == [
        ("de", None, 2, "de.m3u8"), ("de", "description", None, "ad.m3u8"), ("de", None, 6, "surround.m3u8"),
    ]  # fmt: skip
    assert [(each.language, each.role) for each in found.of(TrackKind.TEXT)] == [("en", "forced-subtitle")]


@pytest.mark.parametrize(
    ("codecs", "sounds"), [('CODECS="avc1.64001f,mp4a.40.2",', 1), ('CODECS="avc1.64001f",', 0), ("", 1)]
)
def test_sound_within_the_picture_is_a_track_of_its_own(codecs: str, sounds: int) -> None:
    """Of the best variant; none where the codecs say that there is none."""
    variants = "".join(f"#EXT-X-STREAM-INF:{codecs}BANDWIDTH={rate}\n{rate}.m3u8\n" for rate in (1, 2))
    found = playlists.read(f"#EXTM3U\n{variants}", "https://cdn.example/m.m3u8")
    assert isinstance(found, Presentation)
    assert [each.within for each in found.of(TrackKind.AUDIO)] == ["video_2"] * sounds


def test_live_playlists_that_were_read_one_after_the_other_are_aligned() -> None:
    """By the time of day, else by the numbers of their segments."""

    def rendition(name: str, first: int, at: int | None) -> Rendition:
        times = [None if at is None else at + 2000 * number for number in range(3)]
        parts = [Segment(Resource(f"{n}"), 2.0 * n, 2.0, 0, at=times[n], number=first + n) for n in range(3)]
        stream = Stream(parts, False)
        return Rendition(name, TrackKind.VIDEO, 10 if name == "a" else 1, stream=stream)

    for at, starts in ((None, [2, 4, 6]), (NOON, [2, 4, 6])):
        later = None if at is None else at + 2000
        found = aligned(Presentation("hls", [rendition("a", 7, at), rendition("b", 8, later)]))
        assert [each.start for each in found.renditions[1].segments] == starts
    earlier = aligned(Presentation("hls", [rendition("a", 7, None), rendition("b", 6, None)]))
    assert [each.start for each in earlier.renditions[1].segments] == [-2, 0, 2]
    assert replace(earlier.renditions[0]) == rendition("a", 7, None)


async def test_a_stream_on_a_storage_is_read_as_one_on_a_server(tmp_path: Path) -> None:
    """Relative references, parts of files, protection told; what points outside is refused."""
    folder = tmp_path / "root" / "live" / "a b"
    folder.mkdir(parents=True)
    (folder / "master.m3u8").write_text(
        '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=2x2,CODECS="avc1"\nv/v.m3u8\n'
    )
    (folder / "v").mkdir()
    media = '#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://1"\n#EXTINF:1,\n#EXT-X-BYTERANGE:2@3\n../x.mp4\n#EXT-X-ENDLIST\n'
    (folder / "v" / "v.m3u8").write_text(media)
    (folder / "x.mp4").write_bytes(b"0123456789")
    reader = StorageReader(LocalStorage(tmp_path / "root"), tmp_path, "local_source")
    found = await open_presentation(reader, StorageReader.location("live/a b/master.m3u8"))
    read = await with_segments(reader, found, found.renditions)
    [segment] = read.renditions[0].segments
    assert (segment.media.url, segment.protection) == ("file:///live/a%20b/x.mp4", "SAMPLE-AES")
    await reader.bring(segment.media, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == b"34" == await reader.bytes_of(segment.media)
    assert sorted(read.documents) == ["file:///live/a%20b/master.m3u8", "file:///live/a%20b/v/v.m3u8"]
    for location, told in (
        ("https://elsewhere.example/a", "names https://elsewhere.example"), ("file:///a/%2e%2e/b", "may not be read"),
        ("file:///a/gone", "local_source: "),
    ):  # fmt: skip
        with pytest.raises(InputFault, match=told):
            await reader.document(location)


class FarStorage(LocalStorage):
    """Its files take a moment to come."""

    async def fetch(self, path: str, target: Path) -> None:
        """See `Storage.fetch`."""
        await asyncio.sleep(0.05)
        await super().fetch(path, target)


async def test_parts_of_one_stored_file_may_be_wanted_at_the_same_time(tmp_path: Path) -> None:
    """The file is fetched once, and nobody reads it before it is whole."""
    content = bytes(range(256)) * 4096
    stored = tmp_path / "root/live/film.mp4"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(content)
    reader = StorageReader(FarStorage(tmp_path / "root"), tmp_path, "local_source")
    at = StorageReader.location("live/film.mp4")
    parts = [(place * 1000, 1000) for place in range(16)]
    read = await asyncio.gather(*(reader.bytes_of(Resource(at, *part)) for part in parts))
    assert read == [content[offset : offset + length] for offset, length in parts]
    await asyncio.gather(
        *(reader.bring(Resource(at, *part), tmp_path / f"part_{place}") for place, part in enumerate(parts))
    )
    assert [(tmp_path / f"part_{place}").read_bytes() for place in range(16)] == read
    assert [file.name for file in tmp_path.glob("stored_*")] == ["stored_1"]
