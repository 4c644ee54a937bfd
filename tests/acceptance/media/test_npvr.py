"""vodnpvr: assets over the shared segments of an archive, read and played as clients would."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from taskengine.domain.errors import InputFault, InternalFault, InvalidRequest, TimeoutFault
from taskengine.engine.submissions import Submission
from taskengine.handlers import publication, publish
from taskengine.keys.seed import derive_key_id
from taskengine.media.tools import find_tools
from taskengine.media.tracks import SharedFile
from taskengine.storage.buckets import bucket
from tests.support.archives import at, make_archive, make_ffmpeg_archive
from tests.support.decrypting import SEED, frames, joined, key_of
from tests.support.engine import bench, settings_for
from tests.support.media import Studio
from tests.support.receiver import CallbackReceiver
from tests.support.seaweedfs import S3Server
from tests.support.storages import paths

MPD = "{urn:mpeg:dash:schema:mpd:2011}"
SIGNAL = "FC302000000000000000FFF00F05000000017FFFFE0052CCF500010000000000000000"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of sixteen seconds."""
    folder = tmp_path_factory.mktemp("archive") / "channel1"
    make_archive(folder)
    return folder


@pytest.fixture
def studio(tmp_path: Path, archive: Path) -> Studio:
    """The archive below the output root."""
    made = Studio(tmp_path)
    shutil.copytree(archive, tmp_path / "output" / "channel1")
    return made


def clip(start: float, end: float, capture_id: str = "channel1") -> dict[str, str]:
    """A clip by seconds of the archive."""
    return {"capture_id": capture_id, "start": at(start), "end": at(end)}


async def record(studio: Studio, *clips: dict[str, str], folder: str = "npvr/one", **parameters: Any) -> dict[str, Any]:
    """Run the workflow."""
    return await studio.run("vodnpvr", output_folder=folder, clips=list(clips), **parameters)


def shared(studio: Studio) -> Mapping[str, int]:
    """The shared files and when they were written."""
    root = studio.folder / "output" / "segments"
    return {str(path): path.stat().st_mtime_ns for path in sorted(root.rglob("*")) if path.is_file()}


def decoded(manifest: str, *options: str) -> tuple[int, float, str]:
    """(frames, seconds, complaints) of a whole play by ffmpeg."""
    argv = [
        find_tools().ffmpeg, "-nostdin", "-v", "error", "-stats", *options, "-i", manifest, "-map", "0:v:0", "-map", "0:a?",
        "-f", "null", "-",
    ]  # fmt: skip
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    lines = done.stderr.replace("\r", "\n").splitlines()
    stats = [line for line in lines if line.startswith("frame=")]
    ignored = ("frame=", "[NULL @")  # of renditions that are not asked for
    complaints = "\n".join(line for line in lines if not line.startswith(ignored))
    found = re.search(r"frame=\s*(\d+).*time=(\d+):(\d+):(\d+\.\d+)", stats[-1]) if stats else None
    assert found, done.stderr
    return int(found[1]), int(found[2]) * 3600 + int(found[3]) * 60 + float(found[4]), complaints


HLS = ("-allowed_extensions", "ALL", "-extension_picky", "0")
DASH = ("-allowed_extensions", "ALL")


async def test_two_assets_share_their_segments(studio: Studio) -> None:
    """Whole segments from the one that covers the start; each is there once, and what both need is not written again. Both
    manifests of both play in full, and deleting one asset leaves the other."""
    first = await record(studio, clip(3, 9))
    before = shared(studio)
    assert first["metadata"]["duration"] == 8
    assert first["metadata"]["frames"] == 200
    assert len(first["segments"]) == 12  # 4 each of two pictures and a sound
    assert all(Path(path).stat().st_size for path in first["segments"])
    assert not any(path.endswith((".m4s", ".mp4")) for path in first["files"])

    second = await record(studio, clip(5, 13.5), folder="deep/er/two", content_id="other")
    after = shared(studio)
    assert {path: after[path] for path in before} == before
    assert len(second["segments"]) == 15
    assert set(after) == set(before) | set(second["segments"])  # the init segments are there from the first on
    assert len(set(first["segments"]) & set(second["segments"])) == 9

    for answer, count in ((first, 200), (second, 250)):
        for kind, options in (("hls", HLS), ("dash", DASH)):
            frames_shown, seconds, complaints = decoded(answer["manifests"][kind], *options)
            assert (frames_shown, complaints) == (count, "")
            assert seconds == pytest.approx(count / 25, abs=0.1)
    playlist = (studio.folder / "output/npvr/one/v/1-1/clear/video_1.m3u8").read_text()
    assert f"#EXT-X-PROGRAM-DATE-TIME:{at(2)}" in playlist
    metadata = json.loads((studio.folder / "output/npvr/one/metadata.json").read_text())
    assert {file["path"]: file["size"] for file in metadata["shared"]} == {
        path.split("/output/")[1]: Path(path).stat().st_size for path in before
    }

    await studio.run("voddelete", folder="npvr/one")
    assert shared(studio) == after
    assert decoded(second["manifests"]["hls"], *HLS)[0] == 250


async def test_captions_and_times_are_those_of_the_archive(tmp_path: Path) -> None:
    """HLS has the archive's caption segments; DASH their cues, counted from the beginning of its period."""
    studio = Studio(tmp_path)
    make_archive(tmp_path / "source" / "channel1", 8, captions=True)  # below the source root, this one
    await record(studio, clip(4, 8))
    base = studio.folder / "output/npvr/one/v/1-1/clear"
    assert len(re.findall(r"\.vtt$", (base / "text_1.m3u8").read_text(), re.MULTILINE)) == 2
    assert "00:00:00.500 --> 00:00:01.200" in (base / "text_1/text.vtt").read_text()
    manifest = etree.fromstring((base / "manifest.mpd").read_bytes())
    assert {each.get("wallClockTime") for each in manifest.iter(f"{MPD}ProducerReferenceTime")} == {at(4)}


def periods(manifest: str) -> list[float]:
    """How long the periods of a MPD last."""
    root = etree.fromstring(Path(manifest).read_bytes())
    return [float(each.get("duration", "").removeprefix("PT").removesuffix("S")) for each in root.iter(f"{MPD}Period")]


async def test_clips_and_gaps_are_cuts(studio: Studio) -> None:
    """Two clips, and what is missing within one, are discontinuities and periods; what a rendition alone lacks is a gap of
    it. More missing than the limit fails the job, says how much and where, and leaves the former asset as it was."""
    archive = studio.folder / "output" / "channel1"
    for name in ("v1", "v2", "a1"):
        (archive / name / "5.m4s").unlink()  # seconds 8 to 10
    (archive / "v2" / "7.m4s").unlink()  # 12 to 14
    answer = await record(studio, clip(0, 3), clip(6, 16), missing_content_limit="4.5")
    playlist = (studio.folder / "output/npvr/one/v/1-1/clear/video_1.m3u8").read_text()
    assert periods(answer["manifests"]["dash"]) == pytest.approx([4, 2, 6])
    assert playlist.count("#EXT-X-DISCONTINUITY\n") == 2
    assert re.findall(r"DATE-TIME:(\S+)", playlist) == [at(0), at(6), at(10)]
    assert "EXT-X-GAP" not in playlist
    lower = (studio.folder / "output/npvr/one/v/1-1/clear/video_2.m3u8").read_text()
    assert (lower.count("#EXT-X-GAP\n"), lower.count("#EXT-X-DISCONTINUITY\n")) == (1, 2)
    shown, _, complaints = decoded(answer["manifests"]["hls"], *HLS)
    assert (shown, complaints) == (300, "")
    assert answer["metadata"]["duration"] == pytest.approx(12)
    assert re.search(r"4\.00\d s of the clips are missing in the archive: 2\.00", studio.log.text)

    former = Path(answer["message"]).read_bytes()
    with pytest.raises(InputFault, match=r"missing_content_limit: 4\.00\d s .* 1 s may be: 2\.00\d s from 20"):
        await record(studio, clip(6, 16), missing_content_limit=1)
    with pytest.raises(InputFault, match=r"clips\[0\]: the archive channel1 has nothing from"):
        await record(studio, clip(100, 110), missing_content_limit=1000)
    with pytest.raises(InputFault, match=r"clips\[1\]\.capture_id: there is no stream at"):
        await record(studio, clip(0, 2), clip(0, 2, "elsewhere"))
    assert Path(answer["message"]).read_bytes() == former
    assert decoded(answer["manifests"]["hls"], *HLS)[0] == 300


async def test_protected_segments_are_shared_by_their_keys(studio: Studio) -> None:
    """Encrypted copies are stored once, too: their keys are the archive's. They decode by these alone, at the same times as
    the clear ones. A profile's keys make copies of their own, under a manifest with the client's name."""
    wanted: dict[str, Any] = {"drm": ["clear", "widevine", "playready", "fairplay", "aes"], "download_cpix": True}
    answer = await record(studio, clip(2, 8), **wanted)
    before = shared(studio)
    assert {path.split("/segments/channel1/")[1].split("/")[0] for path in before} == {"clear", "cenc", "cbcs", "aes"}
    assert len(answer["segments"]) == 4 * 9
    base = studio.folder / "output/npvr/one/v/1-1"
    clear = decoded(str(base / "clear/video_1.m3u8"), *HLS)
    for scheme in ("cenc", "cbcs"):
        text = (base / scheme / "video_1.m3u8").read_text()
        assert ("com.apple.streamingkeydelivery" in text) is (scheme == "cbcs")
        locked = joined(base / scheme / "video_1.m3u8")
        key = key_of(scheme, "SD", "channel1")
        assert frames(locked, key) == frames(joined(base / "clear" / "video_1.m3u8"))
        assert frames(locked) != frames(joined(base / "clear" / "video_1.m3u8"))
        sound = key_of(scheme, "AUDIO", "channel1")
        assert frames(joined(base / scheme / "audio_1.m3u8"), sound) == frames(joined(base / "clear" / "audio_1.m3u8"))
    assert derive_key_id(SEED, "channel1", "cenc", "SD").hex() in (base / "cenc/manifest.mpd").read_text().replace(
        "-", ""
    )
    key_file = studio.folder / "key.bin"
    key_file.write_bytes(key_of("aes", "SD", "channel1"))
    whole = base / "aes" / "video_1.m3u8"
    local = whole.with_name("local.m3u8")
    local.write_text(re.sub(r'URI="https://keys[^"]+"', f'URI="{key_file}"', whole.read_text()))
    assert decoded(str(local), *HLS) == clear
    assert "#EXT-X-MAP" not in local.read_text()
    assert {Path(path).suffix for path in answer["segments"] if "/aes/" in path} == {".ts"}
    await record(studio, clip(2, 8), folder="npvr/whole", drm=["aes"])
    mp4 = await studio.run("createmp4", source_folder="npvr/whole", output_folder="mp4")
    assert decoded(mp4["files"][0])[::2] == (150, "")

    second = await record(
        studio, clip(4, 10), folder="npvr/two", drm=["cenc", "widevine", "playready"], apply_custom_drm=True, profile_id="gold",
        custom_manifest_name="gold.ism",
    )  # fmt: skip
    after = shared(studio)
    assert {path: after[path] for path in before} == before
    new = sorted(set(after) - set(before))
    names = [path.split("/segments/channel1/")[1] for path in new if "/init-" not in path]
    assert {name.split("/")[0] for name in names} == {"cenc"}
    assert len(names) == 3 + 9  # the last two seconds, and all by the profile's keys
    assert not [path for path in second["segments"] if "/clear/" in path]
    custom = studio.folder / "output/npvr/two/gold.ism"
    assert {str(custom / ".m3u8"), str(custom / ".mpd")} <= set(second["files"])
    gold = joined(next((studio.folder / "output/npvr/two/v").iterdir()) / "custom/video_1.m3u8")
    assert frames(gold, key_of("cenc", "SD", "gold"))[1] == ""
    assert frames(gold, key_of("cenc", "SD", "channel1"))[1] != ""
    assert "custom/video_1.m3u8" in (custom / ".m3u8").read_text()
    with pytest.raises(InputFault, match="profile_id: apply_custom_drm needs"):
        await record(studio, clip(4, 10), apply_custom_drm=True)


def emsg(time: int, timescale: int) -> bytes:
    """A message box of SCTE-35 at a time of the media."""
    payload = bytes.fromhex(SIGNAL)
    body = b"\1\0\0\0" + struct.pack(">IQII", timescale, time, 90_000, 7) + b"urn:scte:scte35:2013:bin\0001\0" + payload
    return struct.pack(">I4s", 8 + len(body), b"emsg") + body


async def test_ad_markers_are_carried(studio: Studio) -> None:
    """Date ranges and cue tags of the playlists, in DASH too where their payload is told; messages in segments, also in those
    that are encrypted; what is outside of the clip is left out."""
    archive = studio.folder / "output" / "channel1"
    first = f'#EXT-X-DATERANGE:ID="ad-1",START-DATE="{at(5)}",PLANNED-DURATION=6.0,SCTE35-OUT=0x{SIGNAL}'
    later = f'#EXT-X-DATERANGE:ID="ad-2",START-DATE="{at(14)}",SCTE35-OUT=0x{SIGNAL}'
    cue = f"#EXT-OATCLS-SCTE35:{base64.b64encode(bytes.fromhex(SIGNAL)).decode()}"
    for name in ("v1", "v2"):
        playlist = archive / f"{name}.m3u8"
        text = playlist.read_text().replace("#EXTINF", f"{first}\n{later}\n#EXTINF", 1)
        head, line, tail = text.rpartition(f"#EXTINF:2.000,\n{name}/4.m4s")
        playlist.write_text(f"{head}{cue}\n#EXT-X-CUE-OUT:6.0\n{line}{tail}")
    segment = archive / "v1" / "4.m4s"
    segment.write_bytes(emsg(7 * 12_800, 12_800) + segment.read_bytes())

    await record(studio, clip(4, 8), clip(9, 11), drm=["clear", "widevine"])
    base = studio.folder / "output/npvr/one/v/1-1"
    for protection in ("clear", "cenc"):
        lines = (base / protection / "video_2.m3u8").read_text().splitlines()
        assert lines.count(first) == 2  # the break goes on in the second clip
        assert later not in lines
        place = lines.index(cue)
        assert lines[place + 1] == "#EXT-X-CUE-OUT:6.0"
        assert lines[place + 2].startswith("#EXTINF")
        root = etree.fromstring((base / protection / "manifest.mpd").read_bytes())
        streams = list(root.iter(f"{MPD}EventStream"))
        assert {stream.get("schemeIdUri") for stream in streams} == {"urn:scte:scte35:2014:xml+bin"}
        events = [[(each.get("presentationTime"), each.get("duration")) for each in stream] for stream in streams]
        assert events == [[("1000", "6000"), ("2000", None)], [("0", "6000")]]
        assert streams[1].get("presentationTimeOffset") == "3000"  # it began three seconds before this period
        [inband] = {each.get("schemeIdUri") for each in root.iter(f"{MPD}InbandEventStream")}
        assert inband == "urn:scte:scte35:2013:bin"
        [stored] = (studio.folder / "output/segments/channel1").glob(f"{protection}/video-160x90-*/*/76800.m4s")
        assert stored.read_bytes().count(emsg(7 * 12_800, 12_800)) == 1


async def test_markers_of_dash_are_told_by_hls(studio: Studio) -> None:
    """An EventStream of the archive is a date range, and stays an EventStream on the asset's time line; an archive may have
    a MPD alone."""
    archive = studio.folder / "output" / "channel1"
    for playlist in archive.glob("*.m3u8"):
        playlist.unlink()
    binary = base64.b64encode(bytes.fromhex(SIGNAL)).decode()
    event = (
        '<EventStream schemeIdUri="urn:scte:scte35:2014:xml+bin" timescale="90000">'
        '<Event presentationTime="540000" duration="180000" id="9">'
        f'<Signal xmlns="http://www.scte.org/schemas/35/2016"><Binary>{binary}</Binary></Signal></Event></EventStream>'
    )
    manifest = archive / "manifest.mpd"
    manifest.write_text(re.sub(r"(<Period [^>]*>)", rf"\1{event}", manifest.read_text()))
    await record(studio, clip(4, 8))
    base = studio.folder / "output/npvr/one/v/1-1/clear"
    [line] = re.findall("#EXT-X-DATERANGE.*", (base / "video_1.m3u8").read_text())
    assert f'START-DATE="{at(6)}"' in line
    assert f"SCTE35-CMD=0x{SIGNAL}" in line
    [found] = etree.fromstring((base / "manifest.mpd").read_bytes()).iter(f"{MPD}Event")
    assert (found.get("presentationTime"), found.get("duration"), found.get("id")) == ("2000", "2000", "9")
    assert "".join(str(text) for text in found.itertext()).strip() == binary


async def test_the_target_is_emptied_unless_it_is_to_be_kept(studio: Studio) -> None:
    """What lay in the folder goes once the manifests are in place; `empty_target: false` keeps it. Segments are written again
    where that is asked for. No asset lies in the folder of the shared ones, or where a part of its archive lies."""
    folder = studio.folder / "output/npvr/one"
    (folder / "old").mkdir(parents=True)
    (folder / "old" / "file.txt").write_text("old")
    (folder / "note.txt").write_text("old")
    await record(studio, clip(0, 4), empty_target=False)
    before = shared(studio)
    assert (folder / "note.txt").is_file()
    assert (folder / "old" / "file.txt").is_file()
    answer = await record(studio, clip(0, 4), overwrite_segments=True, content_id="new")
    after = shared(studio)
    assert set(after) == set(before)
    assert all(after[path] > before[path] for path in before)
    there = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert there == set(answer["files"])
    archive = {path: path.read_bytes() for path in (studio.folder / "output/channel1").rglob("*") if path.is_file()}
    for place in ("channel1", "channel1/v2"):
        with pytest.raises(
            InputFault, match=rf"output_folder: {place}: a part of the archive that clips\[0\].capture_id"
        ):
            await record(studio, clip(0, 4), folder=place)
    assert all(path.read_bytes() == data for path, data in archive.items())
    with pytest.raises(InputFault, match=r"output_folder: segments/x: below segments lie"):
        await record(studio, clip(0, 4), folder="segments/x")
    with pytest.raises(InvalidRequest, match=r"clips\[0\].end must be after start"):
        await record(studio, clip(4, 4))


async def test_other_packagers_archives(tmp_path: Path) -> None:
    """A single media playlist of ffmpeg's, without a master: codecs, size and rate are read from its segments. What does
    not tell the time of day is refused."""
    studio = Studio(tmp_path)
    archive = tmp_path / "output" / "ff"
    make_ffmpeg_archive(archive)
    answer = await record(studio, clip(2, 6, "ff"), drm=["clear", "cenc"])
    master = Path(answer["manifests"]["hls"]).read_text()
    assert 'CODECS="avc1.4d400b"' in master
    assert "RESOLUTION=160x90,FRAME-RATE=25.000" in master
    assert answer["metadata"]["frames"] == 100
    playlist = archive / "ff.m3u8"
    playlist.write_text(re.sub("#EXT-X-PROGRAM.*\n", "", playlist.read_text()))
    with pytest.raises(InputFault, match=r"clips\[0\].capture_id: the archive does not tell its time of day"):
        await record(studio, clip(2, 6, "ff"))


async def test_segments_are_shared_in_a_bucket(tmp_path: Path, archive: Path, s3: S3Server) -> None:
    """Whole jobs of an engine: archive and assets in one bucket, and from the disk into it. The callback tells the segments'
    full paths; each is there once."""
    settings = s3.settings()
    output = bucket(settings, "output").storage()
    for file in sorted(archive.rglob("*")):
        if file.is_file():
            await bucket(settings, "source").storage().store(file, f"channel1/{file.relative_to(archive).as_posix()}")
    shutil.copytree(archive, tmp_path / "data" / "storage" / "source" / "channel1")
    storages = {"local": {"kind": "local"}, "S3": settings}
    jobs: list[dict[str, Any]] = [
        {"clips": [clip(0, 4)], "source_storage": "S3"},
        {"clips": [clip(2, 6)], "source_storage": "local", "destination_storage": "S3"},
    ]
    told: list[Mapping[str, Any]] = []
    times: list[Mapping[str, int]] = []
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path, storages=storages), receiver) as world:
        for number, job in enumerate(jobs):
            given = {
                "content_id": "film",
                "output_folder": f"npvr/{number}",
                "rest_endpoints": [f"{receiver.url}/cb"],
                **job,
            }
            answer = await world.engine.jobs.submit(Submission("demo", "vodnpvr", given))
            ended = await world.ended(int(answer["id"]), 60)
            assert not ended.failed, ended.error
            [body] = [
                one.body for one in receiver.received if one.body["job_id"] == ended.id and "segments" in one.body
            ]
            told.append(body)
            times.append({file.path: file.modified_at for file in await output.list("segments")})
    base = f"{settings['url']}/output"
    for number, body in enumerate(told):
        assert body["message"] == f"{base}/npvr/{number}/film.m3u8"
        assert len(body["segments"]) == 6
        assert {path.removeprefix(f"{base}/") for path in body["segments"]} <= set(times[number])
        assert {path.removeprefix(f"{base}/") for path in body["files"]} == set(await paths(output, f"npvr/{number}"))
    assert len(set(told[0]["segments"]) & set(told[1]["segments"])) == 3
    assert {path: times[1][path] for path in times[0]} == times[0]


async def test_what_cannot_be_published_leaves_the_former_asset(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared segment that is lost before the manifests are switched fails the job, and the former asset plays on; so does a
    name that belongs to another file."""
    answer = await record(studio, clip(0, 4))
    former = {path: Path(path).read_bytes() for path in answer["files"]}
    whole = publication.verify_shared

    async def lost(target: publication.Target, files: Sequence[SharedFile]) -> None:
        await target.storage.delete([files[-1].path])
        await whole(target, files)

    with monkeypatch.context() as patched:
        patched.setattr(publish, "verify_shared", lost)
        with pytest.raises(InternalFault, match=r"segments/channel1/.*: expected \d+ shared bytes, found 0"):
            await record(studio, clip(8, 12))
    with pytest.raises(InputFault, match=r"custom_manifest_name: film.m3u8 is the name of another file"):
        await record(studio, clip(0, 4), apply_custom_drm=True, profile_id="gold", custom_manifest_name="film.m3u8")
    there = {str(path): path.read_bytes() for path in (studio.folder / "output/npvr").rglob("*") if path.is_file()}
    assert there == former
    assert decoded(answer["manifests"]["hls"], *HLS)[0] == 100


@pytest.mark.parametrize("form", ["fmp4", "mpegts"])
async def test_tracks_are_taken_out_of_muxed_segments(tmp_path: Path, form: str) -> None:
    """Picture and sound of one segment become a track each, at the times that they had; again in every job the same, and
    protected ones like others."""
    studio = Studio(tmp_path)
    make_ffmpeg_archive(tmp_path / "output" / "muxed", muxed=True, form=form)
    first = await record(studio, clip(0, 4, "muxed"), drm=["clear", "widevine"], enable_drm=False)
    before = shared(studio)
    second = await record(studio, clip(2, 6, "muxed"), folder="npvr/two", drm=["clear", "fairplay"], enable_drm=False)
    assert {path: shared(studio)[path] for path in before} == before
    assert len(first["segments"]) == len(second["segments"]) == 8
    assert len(set(first["segments"]) & set(second["segments"])) == 2
    assert len([path for path in shared(studio) if "/init-" in path]) == 6
    assert first["metadata"]["audio_tracks"] == 1
    for answer, kind, options in ((first, "hls", HLS), (second, "dash", DASH), (second, "hls", HLS)):
        shown, seconds, complaints = decoded(answer["manifests"][kind], *options)
        assert (shown, complaints) == (100, "")
        assert seconds == pytest.approx(4, abs=0.1)
    base = studio.folder / "output/npvr/two/v/2-1"
    locked = frames(joined(base / "cbcs" / "video_1.m3u8"), key_of("cbcs", "SD", "muxed"))
    assert locked == frames(joined(base / "clear" / "video_1.m3u8"))
    source = decoded_hash(tmp_path / "output/muxed/ff.m3u8", seconds=4)
    assert frames(joined(studio.folder / "output/npvr/one/v/1-1/clear/video_1.m3u8"))[0] == source


def decoded_hash(playlist: Path, seconds: int) -> str:
    """The hash of the pictures at the beginning of a stream."""
    argv = [find_tools().ffmpeg, "-v", "error", *HLS, "-i", str(playlist), "-t", str(seconds), "-map", "0:v"]
    argv += ["-fps_mode", "passthrough", "-f", "md5", "-"]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


async def test_an_asset_is_taken_apart_as_others_are(studio: Studio) -> None:
    """From shared segments, also from encrypted ones alone, whose keys are the archive's: an MP4, another protection. Pieces of
    one that has several go on from one another then, sound with picture; one of which a part is missing says why it cannot."""
    await record(studio, clip(2, 6), drm=["cenc"])
    await studio.run("createmp4", source_folder="npvr/one")
    assert decoded(str(studio.folder / "output/npvr/one/film.mp4"))[0] == 100
    switched = await studio.run("drmswitch", folder="npvr/one", drm=["fairplay"])
    assert "cbcs/video_1.m3u8" in Path(switched["message"]).read_text()
    await record(studio, clip(8, 12), clip(2, 4), drm=["cenc"])
    archive = joined(studio.folder / "output/channel1/v1.m3u8")
    await studio.run("createmp4", source_folder="npvr/one")
    made = studio.folder / "output/npvr/one/film.mp4"
    shown, seconds, complaints = decoded(str(made))
    assert (shown, complaints) == (150, "")
    assert seconds == pytest.approx(6, abs=0.05)
    assert pictures_of(made) == pictures_of(archive)[200:300] + pictures_of(archive)[50:100]
    await studio.run("drmswitch", folder="npvr/one", drm=["fairplay"])
    playlist = next((studio.folder / "output/npvr/one/v").glob("*/cbcs/video_1.m3u8")).read_text()
    assert sum(float(each) for each in re.findall(r"#EXTINF:([\d.]+)", playlist)) == pytest.approx(6, abs=0.05)
    (studio.folder / "output/channel1/v2/3.m4s").unlink()
    await record(studio, clip(2, 8))
    with pytest.raises(InputFault, match=r"source_folder: video_2.m3u8: a part of it is missing"):
        await studio.run("createmp4", source_folder="npvr/one", mezzanine=True)


def pictures_of(path: Path) -> list[str]:
    """The hash of each picture."""
    argv = [
        find_tools().ffmpeg,
        "-v",
        "error",
        "-i",
        str(path),
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    return [line.rpartition(",")[2].strip() for line in lines if line and not line.startswith("#")]


async def test_the_end_of_a_broadcast_is_waited_for(tmp_path: Path) -> None:
    """A job that comes when its clip has just ended takes the last segments, too, which are written a little later; a limit
    of its own ends the wait."""
    studio = Studio(tmp_path)
    archive = tmp_path / "output" / "channel1"
    begin = datetime.now(UTC) - timedelta(seconds=7)
    make_archive(archive, 8, begin=begin)
    whole = {playlist: playlist.read_text() for playlist in archive.glob("[av]*.m3u8")}

    def time_of(seconds: float) -> str:
        return (begin + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    for playlist, text in whole.items():
        playlist.write_text(text.partition(f"#EXTINF:{text.rsplit('#EXTINF:', 1)[1]}")[0])
    wanted = {"capture_id": "channel1", "start": time_of(2), "end": time_of(8)}
    with pytest.raises(TimeoutFault, match="remote_execute_timeout_seconds: 1 s are over"):
        await record(studio, wanted, missing_content_limit=0.5, remote_execute_timeout_seconds=1)
    running = asyncio.create_task(record(studio, wanted, missing_content_limit=0.5))
    while studio.contexts[-1].task.job_id != 2:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    for playlist, text in whole.items():
        playlist.write_text(text)
    answer = await running
    assert answer["metadata"]["duration"] == pytest.approx(6)
