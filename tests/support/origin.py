"""Streams as origins have them, made on the spot: each frame's grey tells its number, each second of sound its pitch."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from taskengine.media.tools import find_tools
from tests.support.media import ffmpeg

RATE, SECONDS, GOP = 10, 12, 20
LEVELS = 60  # of grey, after which they begin anew
NOON = datetime(2026, 6, 6, 12, tzinfo=UTC)
KEY_ID, KEY = "00112233445566778899aabbccddeeff", "0123456789abcdef0123456789abcdef"
SIZES = {"large": "320x180", "small": "160x90"}
NUMBERED = f"format=yuv420p,geq=lum='16+mod(N\\,{LEVELS})*3.5':cb=128:cr=128"


def sources(folder: Path, *, seconds: int = SECONDS, rate: int = RATE) -> None:
    """`large.mp4`, `small.mp4` (closed GOPs of two seconds, B-frames), `sound.mp4` (silent but for each second's begin)."""
    folder.mkdir(parents=True, exist_ok=True)
    coding = ["-c:v", "libx264", "-preset", "medium", "-crf", "8", "-bf", "2", "-g", str(2 * rate), "-keyint_min", str(2 * rate),
              "-sc_threshold", "0", "-x264-params", "open-gop=0"]  # fmt: skip
    for name, size in SIZES.items():
        ffmpeg(
            folder, "-f", "lavfi", "-i", f"color=s={size}:r={rate}:d={seconds}", "-vf", NUMBERED, *coding, f"{name}.mp4"
        )
    beep = f"aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.1)':s=48000:d={seconds}"
    ffmpeg(folder, "-f", "lavfi", "-i", beep, "-ac", "2", "-c:a", "aac", "-b:a", "96k", "sound.mp4")


def packaged(folder: Path, made: Path, *, encrypted: bool = False, segment: int = 2) -> None:
    """HLS (`master.m3u8`, with times of day from noon on) and DASH (`manifest.mpd`) of the sources in `made`."""
    folder.mkdir(parents=True, exist_ok=True)
    drm = ",drm_label=ALL" if encrypted else ""
    tracks = [
        f"in={made}/{name}.mp4,stream=video,init_segment={name}/init.mp4,segment_template={name}/$Number$.m4s,playlist_name={name}.m3u8{drm}"
        for name in SIZES
    ]
    tracks.append(
        f"in={made}/sound.mp4,stream=audio,init_segment=sound/init.mp4,segment_template=sound/$Number$.m4s,"
        f"playlist_name=sound.m3u8,hls_group_id=audio,hls_name=English,language=en{drm}"
    )
    keys = ["--enable_raw_key_encryption", "--keys", f"label=ALL:key_id={KEY_ID}:key={KEY}", "--clear_lead", "0"]
    argv = [find_tools().packager, "--quiet", *tracks, "--segment_duration", str(segment), "--generate_static_live_mpd",
            "--mpd_output", "manifest.mpd", "--hls_master_playlist_output", "master.m3u8", *(keys if encrypted else [])]  # fmt: skip
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=60)
    for name in (*SIZES, "sound"):
        dated(folder / f"{name}.m3u8", NOON)


def dated(playlist: Path, begin: datetime) -> None:
    """Tell the time of day of each segment."""
    at, lines = begin, []
    for line in playlist.read_text().splitlines():
        if line.startswith("#EXTINF:"):
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{at.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}")
            at += timedelta(seconds=float(line[8:].rstrip(",")))
        lines.append(line)
    playlist.write_text("\n".join(lines) + "\n")


def cut_out(playlist: Path, numbers: Sequence[int]) -> None:
    """Remove these segments (from 1) of a playlist that tells times of day: a gap."""
    text = playlist.read_text()
    for number in numbers:
        text = re.sub(rf"#EXT-X-PROGRAM-DATE-TIME:[^\n]*\n#EXTINF:[^\n]*\n[^\n]*/{number}\.m4s\n", "", text)
    playlist.write_text(text)


def broken(folder: Path) -> None:
    """`broken.m3u8`: the fourth segment of the small rendition, and then, after a discontinuity, the first."""
    text = (folder / "small.m3u8").read_text()
    head = text[: text.index("#EXT-X-PROGRAM-DATE-TIME")]
    parts = [f"#EXTINF:2.0,\nsmall/{number}.m4s\n" for number in (4, 1)]
    (folder / "broken.m3u8").write_text(f"{head}{parts[0]}#EXT-X-DISCONTINUITY\n{parts[1]}#EXT-X-ENDLIST\n")


def transport(folder: Path, made: Path) -> None:
    """One playlist of TS segments with picture and sound, encrypted whole by AES-128."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key").write_bytes(bytes.fromhex(KEY))
    (folder / "info").write_text(f"key\n{folder}/key\n")
    ffmpeg(folder, "-i", str(made / "small.mp4"), "-i", str(made / "sound.mp4"), "-map", "0:v", "-map", "1:a", "-c", "copy",
           "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod", "-hls_key_info_file", "info", "media.m3u8")  # fmt: skip


def smooth(folder: Path, made: Path) -> None:
    """Smooth Streaming of the sources in `made`: `x.ism/Manifest`, which tells when its fragments begin."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [word for name in (*SIZES, "sound") for word in ("-i", f"{made}/{name}.mp4")]
    ffmpeg(folder, *inputs, "-map", "0", "-map", "1", "-map", "2", "-c", "copy", "-f", "smoothstreaming", "-min_frag_duration",
           "1500000", "x.ism")  # fmt: skip
    manifest = folder / "x.ism" / "Manifest"
    text = manifest.read_text()
    for kind in ("video", "audio"):
        [level] = {path.parent for path in folder.glob(f"x.ism/*/Fragments({kind}=*)")} if kind == "audio" else [
            next(folder.glob("x.ism/*/Fragments(video=*)")).parent
        ]  # fmt: skip
        begin = min(int(path.name.rpartition("=")[2][:-1]) for path in level.glob(f"Fragments({kind}=*)"))
        text = re.sub(rf'(?s)(Type="{kind}".*?<c n="0") ', rf'\1 t="{begin}" ', text, count=1)
    manifest.write_text(text)


def with_texts(folder: Path) -> None:
    """Add a text rendition of WebVTT segments of two seconds, each with a cue that tells its number."""
    (folder / "text").mkdir()
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", "#EXT-X-PLAYLIST-TYPE:VOD"]
    for number in range(SECONDS // 2):
        begin = 2 * number
        cue = f"00:00:{begin:02d}.500 --> 00:00:{begin + 1:02d}.500\ncue {number + 1}\n"
        (folder / "text" / f"{number + 1}.vtt").write_text(
            f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:0,LOCAL:00:00:00.000\n\n{cue}"
        )
        lines += ["#EXTINF:2.0,", f"text/{number + 1}.vtt"]
    (folder / "text.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n")
    dated(folder / "text.m3u8", NOON)
    media = '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="English",LANGUAGE="en",URI="text.m3u8"\n'
    master = (folder / "master.m3u8").read_text()
    master = master.replace("#EXT-X-STREAM-INF:", f"{media}#EXT-X-STREAM-INF:", 1).replace(
        'AUDIO="audio"', 'AUDIO="audio",SUBTITLES="text"'
    )
    (folder / "master.m3u8").write_text(master)


def with_texts_in_mp4(folder: Path) -> None:
    """Add a text of MP4 fragments (`wvtt`) to the DASH manifest, with a cue over two of them."""
    (folder / "cues.vtt").write_text("WEBVTT\n\n00:00:09.500 --> 00:00:11.500\ncue 9\n")
    track = (
        "in=cues.vtt,stream=text,language=en,format=mp4,init_segment=wvtt/init.mp4,segment_template=wvtt/$Number$.m4s"
    )
    argv = [find_tools().packager, "--quiet", track, "--segment_duration", "2", "--generate_static_live_mpd", "--mpd_output",
            "cues.mpd"]  # fmt: skip
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=60)
    [texts] = re.findall(r"<AdaptationSet.*?</AdaptationSet>", (folder / "cues.mpd").read_text(), re.DOTALL)
    manifest = folder / "manifest.mpd"
    manifest.write_text(manifest.read_text().replace("</Period>", f"{texts}</Period>"))


def copy_of(folder: Path, target: Path) -> Path:
    """Another origin of the same stream."""
    shutil.copytree(folder, target)
    return target


def without_texts(manifest: Path) -> Path:
    """ffmpeg does not open WebVTT files that a DASH manifest names."""
    path = manifest.with_name(f"plain_{manifest.name}")
    path.write_text(
        re.sub(r'<AdaptationSet[^>]*contentType="text".*?</AdaptationSet>', "", manifest.read_text(), flags=re.DOTALL)
    )
    return path


def numbers(manifest: Path, folder: Path, stream: str = "0:v:0") -> list[int]:
    """The numbers (of LEVELS) of all frames that a manifest or a file plays, by their grey."""
    options = ["-allowed_extensions", "ALL"] if manifest.suffix == ".m3u8" else []
    manifest = without_texts(manifest) if manifest.suffix == ".mpd" else manifest
    out = folder / "frames.bin"
    ffmpeg(folder, *options, "-i", str(manifest), "-map", stream, "-vf", "crop=16:16:32:32,extractplanes=y", "-fps_mode",
           "passthrough", "-f", "rawvideo", str(out))  # fmt: skip
    return [round((level - 16) / 3.5) for level in out.read_bytes()[::256]]


def beeps(manifest: Path, folder: Path) -> list[float]:
    """When the sound begins each time, in seconds."""
    options = ["-allowed_extensions", "ALL"] if manifest.suffix == ".m3u8" else []
    manifest = without_texts(manifest) if manifest.suffix == ".mpd" else manifest
    out = folder / "sound.bin"
    ffmpeg(folder, *options, "-i", str(manifest), "-map", "0:a:0", "-ac", "1", "-ar", "8000", "-f", "s8", "-c:a", "pcm_s8",
           str(out))  # fmt: skip
    levels = [abs(byte - 256 if byte > 127 else byte) for byte in out.read_bytes()]
    loud = [max(levels[at : at + 80]) > 20 for at in range(0, len(levels), 80)]  # of hundredths of a second
    return [at / 100 for at, now in enumerate(loud) if now and not any(loud[max(0, at - 20) : at])]
