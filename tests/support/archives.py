"""Archives of a live packager, made on the spot: CMAF segments with an HLS master and an MPD that tell the time of day."""

from __future__ import annotations

import re
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskengine.media.archive.boxes import read_init
from taskengine.media.tools import find_tools
from tests.support.media import AAC, H264, ffmpeg, picture, sound

BEGIN = datetime(2026, 1, 30, 20, 0, tzinfo=UTC)
SEGMENT_S = 2


def at(seconds: float) -> str:
    """A time of the archive, from its beginning, as jobs give it."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_archive(folder: Path, seconds: int = 16, *, captions: bool = False, begin: datetime = BEGIN) -> None:
    """Two pictures, one sound and perhaps captions, in segments of two seconds from `begin` on."""
    folder.mkdir(parents=True)
    keys = ["-bf", "2", "-force_key_frames", f"expr:gte(t,n_forced*{SEGMENT_S})"]
    small = ["-map", "0:v", "-s", "80x46", *H264, *keys, "small.mp4"]
    ffmpeg(
        folder,
        *picture("160x90", seconds=seconds),
        *sound(seconds),
        "-map",
        "0:v",
        "-map",
        "1:a",
        *H264,
        *keys,
        *AAC,
        "film.mp4",
        *small,
    )
    streams = [_stream("film.mp4", "video", "v1"), _stream("small.mp4", "video", "v2")]
    streams.append(_stream("film.mp4", "audio", "a1") + ",hls_group_id=sound,hls_name=English,language=en")
    if captions:
        cues = [
            f"00:00:{second:02}.500 --> 00:00:{second + 1:02}.200\nsecond {second}\n" for second in range(0, seconds, 2)
        ]
        (folder / "film.vtt").write_text("WEBVTT\n\n" + "\n".join(cues))
        streams.append(
            "in=film.vtt,stream=text,segment_template=t1/$Number$.vtt,playlist_name=t1.m3u8,hls_group_id=texts,"
            "hls_name=English,language=en"
        )
    argv = [
        find_tools().packager, "--quiet", *streams, "--segment_duration", str(SEGMENT_S), "--hls_playlist_type", "LIVE",
        "--hls_master_playlist_output", "master.m3u8", "--mpd_output", "manifest.mpd", "--add_program_date_time",
        "--time_shift_buffer_depth", "100000", "--preserved_segments_outside_live_window", "0",
    ]  # fmt: skip
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=60)
    for name in ("film.mp4", "small.mp4", "film.vtt"):
        (folder / name).unlink(missing_ok=True)
    _set_clock(folder, begin)


def set_forward(folder: Path, hours: int) -> None:
    """The HLS of an archive whose packager has been running for so long. Its captions say that they count from the zero of
    MPEG's clock, which has begun anew since."""
    (folder / "manifest.mpd").unlink()
    for track in ("v1", "v2", "a1"):
        ticks = hours * 3600 * read_init((folder / track / "init.mp4").read_bytes()).timescale
        for segment in (folder / track).glob("*.m4s"):
            segment.write_bytes(_later(segment.read_bytes(), ticks))
    for text in (folder / "t1").glob("*.vtt"):
        told = re.sub(r"00:(\d\d:\d\d\.\d)", rf"{hours:02}:\g<1>", text.read_text())
        text.write_text(told.replace("WEBVTT\n", "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n"))


def _later(segment: bytes, ticks: int) -> bytes:
    """A segment of one fragment, whose decode time gets the four bytes more that it needs."""
    begin = segment.index(b"tfdt") + 4
    assert segment[begin] == 0
    time = struct.pack(">BxxxQ", 1, ticks + int.from_bytes(segment[begin + 4 : begin + 8], "big"))
    made = bytearray(segment)
    sizes = [segment.index(kind) - 4 for kind in (b"moof", b"traf", b"tfdt")]
    for place in [*sizes, segment.index(b"trun") + 12]:  # where the data of the run begins
        struct.pack_into(">I", made, place, 4 + int.from_bytes(segment[place : place + 4], "big"))
    made[begin : begin + 8] = time
    return bytes(made)


def make_ffmpeg_archive(folder: Path, seconds: int = 8, *, muxed: bool = False, form: str = "fmp4") -> None:
    """One media playlist as ffmpeg writes it: a picture, or a picture and a sound in one segment."""
    folder.mkdir(parents=True)
    keys = ["-bf", "2", "-force_key_frames", f"expr:gte(t,n_forced*{SEGMENT_S})"]
    inputs = [*picture("160x90", seconds=seconds), *(sound(seconds) if muxed else [])]
    written = [
        "-hls_time",
        str(SEGMENT_S),
        "-hls_segment_type",
        form,
        "-hls_flags",
        "program_date_time",
        "-hls_list_size",
        "0",
    ]
    ffmpeg(folder, *inputs, *H264, *keys, *(AAC if muxed else []), "-f", "hls", *written, "ff.m3u8")
    playlist = folder / "ff.m3u8"
    dates = iter(range(seconds))
    text = re.sub(
        r"(PROGRAM-DATE-TIME:)\S+", lambda found: found[1] + at(next(dates) * SEGMENT_S), playlist.read_text()
    )
    playlist.write_text(text)


def _stream(source: str, kind: str, name: str) -> str:
    return f"in={source},stream={kind},init_segment={name}/init.mp4,segment_template={name}/$Number$.m4s,playlist_name={name}.m3u8"


def _set_clock(folder: Path, begin: datetime) -> None:
    """Packager tells the time at which it ran."""
    told = begin.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for playlist in folder.glob("*.m3u8"):
        playlist.write_text(re.sub(r"(PROGRAM-DATE-TIME:)\S+", rf"\g<1>{told}", playlist.read_text()))
    manifest = folder / "manifest.mpd"
    text = re.sub(r'availabilityStartTime="[^"]+"', f'availabilityStartTime="{told}"', manifest.read_text())
    manifest.write_text(text)
