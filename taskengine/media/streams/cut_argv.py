"""Cutting and joining captured pieces as ffmpeg's command lines. Every name in them is generated; golden tests hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.media.ffmpeg import PLAIN, base_argv, input_of, number
from taskengine.media.probe import FORMATS, INPUT_LIMITS

_VIDEO = "0:V:0"
_EDGE_CRF = "17"
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_SOUNDS = {
    "aac": ("aac", "mp4"), "ac3": ("ac3", "mp4"), "eac3": ("eac3", "mp4"), "opus": ("libopus", "mp4"),
    "flac": ("flac", "mp4"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures are encoded again: pixels, the codec (h264, hevc), the pixel format, frames per second (None: as they
    come), the id of the parameter sets (H.264), bit/s at most (None: no limit), and whether fields are made frames."""

    codec: str
    width: int
    height: int
    pixel_format: str
    rate: Fraction | None = None
    sets: int = 1
    most: int | None = None
    deinterlaced: bool = False
    resized: bool = False


def packets(ffprobe: str, piece: str) -> list[str]:
    """Ask for the times and flags of the packets of a piece's picture, in ticks, and what a tick is."""
    entries = ["-select_streams", "V:0", "-show_entries", "packet=pts,dts,flags:stream=time_base", "-of", "csv"]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *entries, piece]


def sound_start(ffprobe: str, piece: str, stream: str = "a:0") -> list[str]:
    """Ask for the time of the first packet of a piece's sound."""
    entries = [
        "-select_streams",
        stream,
        "-read_intervals",
        "%+#1",
        "-show_entries",
        "packet=pts_time",
        "-of",
        "csv=p=0",
    ]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *entries, piece]


def isolated(ffmpeg: str, piece: str, output: str, timescale: int, early: int = 0) -> list[str]:
    """The picture of a piece alone, its first packet at zero, decoded so many ticks later."""
    zeroed = _zeroed() + (f"+{early}" if early else "")
    return [
        *base_argv(ffmpeg), *input_of(piece), "-map", _VIDEO, "-c", "copy", "-bsf:v", zeroed, *_movie(output, timescale),
    ]  # fmt: skip


def _zeroed(delay: int | None = None) -> str:
    """Times from zero on; with `delay` (ticks) decoding is that far ahead of showing."""
    decoded = "DTS-STARTPTS" if delay is None else f"PTS-STARTPTS-{delay}"
    return f"setts=pts=PTS-STARTPTS:dts={decoded}"


def _movie(output: str, timescale: int) -> list[str]:
    return [*PLAIN, "-video_track_timescale", str(timescale), "-f", "mp4", output]


def copied(ffmpeg: str, picture: str, at: Fraction, frames: int, timescale: int, output: str) -> list[str]:
    """So many frames from a key frame on, as they are; `at`: seconds, within that frame."""
    seek = ["-ss", number(float(at))] if at > 0 else []
    return [
        *base_argv(ffmpeg), *seek, *input_of(picture), "-map", "0:0", "-frames:v", str(frames), "-c", "copy",
        "-bsf:v", _zeroed(), *_movie(output, timescale),
    ]  # fmt: skip


def encoded(
    ffmpeg: str, picture: str, at: Fraction, frames: int, timescale: int, delay: int, look: Look, output: str
) -> list[str]:  # fmt: skip
    """So many frames, encoded again; `at`: seconds, just before the first one."""
    seek = ["-ss", number(float(at))] if at > 0 else []
    limit = [] if look.rate else ["-frames:v", str(frames)]
    timing = ["-fps_mode", "cfr", "-r", str(look.rate), "-frames:v", str(frames)] if look.rate else [
        "-fps_mode", "passthrough", "-enc_time_base", f"1/{timescale}",
    ]  # fmt: skip
    chain = [
        *(["bwdif=mode=send_frame:deint=interlaced"] if look.deinterlaced else []),
        *(_fitted(look) if look.resized else []),
    ]
    return [
        *base_argv(ffmpeg), *seek, *input_of(picture), "-map", _VIDEO, *limit, *(["-vf", ",".join(chain)] if chain else []),
        *timing, *_encoder(look), "-bsf:v", _zeroed(delay) if not look.rate else _spread(delay, timescale),
        *_movie(output, timescale),
    ]  # fmt: skip


def _spread(delay: int, timescale: int) -> str:
    """As `_zeroed`, where the encoder has another clock than the file."""
    return f"setts=pts=PTS-STARTPTS:dts=PTS-STARTPTS-round({delay}/({timescale}*TB))"


def _fitted(look: Look) -> list[str]:
    size = f"{look.width}:{look.height}"
    return [
        f"scale=trunc(iw*sar/2+0.5)*2:ih,scale={size}:force_original_aspect_ratio=decrease:force_divisible_by=2",
        f"pad={size}:-1:-1", "setsar=1",
    ]  # fmt: skip


def _encoder(look: Look) -> list[str]:
    capped = ["-maxrate", str(look.most), "-bufsize", str(2 * look.most)] if look.most else []
    common = ["-pix_fmt", look.pixel_format, "-force_key_frames", "source", "-preset", "medium"]
    if look.codec == "hevc":
        options = "keyint=9999:scenecut=0:open-gop=0:bframes=0:log-level=error"
        return [*common, "-c:v", "libx265", "-crf", "20", *capped, "-x265-params", options, "-tag:v", "hvc1"]
    options = f"sps-id={look.sets}:stitchable=1:keyint=infinite:scenecut=0:open-gop=0"
    return [*common, "-c:v", "libx264", "-bf", "0", "-crf", _EDGE_CRF, *capped, "-x264-params", options]


def sound(ffmpeg: str, piece: str, begin: Fraction, samples: int, rate: int, output: str) -> list[str]:
    """The sound of a piece from a time of its own clock on (seconds), so many samples of it; silence where there is none."""
    first = round(begin * rate)
    chain = f"aresample={rate}:async=1:first_pts={first},asetpts=PTS-STARTPTS,apad=whole_len={samples},atrim=end_sample={samples}"
    return [
        *base_argv(ffmpeg), "-copyts", *input_of(piece), "-map", "0:a:0", "-af", chain, "-c:a", "flac",
        "-sample_fmt", "s16", *PLAIN, "-f", "flac", output,
    ]  # fmt: skip


def joined(ffmpeg: str, names: str, timescale: int, output: str, *, tag: str | None = None) -> list[str]:
    """The parts that a list names, after one another, as they are."""
    limits = ["-protocol_whitelist", "file", "-format_whitelist", f"concat,{FORMATS}", "-auto_convert", "0"]
    tagged = ["-tag:v", tag] if tag else []
    return [*base_argv(ffmpeg), *limits, "-f", "concat", "-i", names, "-map", "0:0", "-c", "copy", *tagged,
            *_movie(output, timescale)]  # fmt: skip


def later(ffmpeg: str, part: str, ticks: int, timescale: int, output: str) -> list[str]:
    """A part whose decoding is further ahead of showing by so many ticks."""
    return [*base_argv(ffmpeg), *input_of(part), "-map", "0:0", "-c", "copy", "-bsf:v", f"setts=dts=DTS-{ticks}",
            *_movie(output, timescale)]  # fmt: skip


def join_list(parts: Sequence[tuple[str, Fraction]]) -> str:
    """The list of parts, each with the seconds that it lasts."""
    lines = [f"file {name}\nduration {number(float(seconds))}" for name, seconds in parts]
    return "\n".join(["ffconcat version 1.0", *lines]) + "\n"


def sounds(
    ffmpeg: str, parts: Sequence[tuple[str | None, int]], rate: int, channels: int, codec: str, bitrate: int, output: str
) -> list[str]:  # fmt: skip
    """Parts of sound after one another, encoded once: (file, or None for silence; samples)."""
    argv, chains, layout = base_argv(ffmpeg), [], _LAYOUTS.get(channels, "stereo")
    form = f"aresample={rate},aformat=sample_fmts=fltp:channel_layouts={layout}"
    files = 0
    for number_, (name, samples) in enumerate(parts):
        if name is None:
            chains.append(f"anullsrc=r={rate}:cl={layout},atrim=end_sample={samples},{form}[p{number_}]")
            continue
        argv += input_of(name)
        chains.append(f"[{files}:a:0]{form},apad=whole_len={samples},atrim=end_sample={samples}[p{number_}]")
        files += 1
    names = "".join(f"[p{number_}]" for number_ in range(len(parts)))
    chains.append(f"{names}concat=n={len(parts)}:v=0:a=1[sound]")
    encoder, form_ = _SOUNDS.get(codec, _SOUNDS["aac"])
    return [*argv, "-filter_complex", ";".join(chains), "-map", "[sound]", "-c:a", encoder, "-b:a", str(bitrate), *PLAIN,
            "-f", form_, output]  # fmt: skip


def sound_codec(codec: str) -> str:
    """The codec that sound of a codec is encoded in."""
    return codec if codec in _SOUNDS else "aac"
