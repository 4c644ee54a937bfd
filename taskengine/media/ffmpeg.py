"""Values into ffmpeg's command lines. Every name in them is generated; golden tests hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskengine.media.copying import Output
from taskengine.media.languages import three_letters
from taskengine.media.packager import TRANSPORT_OFFSET_S
from taskengine.media.probe import FORMATS, INPUT_LIMITS
from taskengine.media.thumbnails import Grid
from taskengine.media.tracks import TrackKind

POSTER = "poster.jpg"
SHEETS = "sheet_%d.jpg"
TRIPLETS, TRIPLET_TIMES = "triplets.bin", "triplets.txt"
TONE_MAP = (
    "zscale=t=linear:npl=100", "format=gbrpf32le", "zscale=p=bt709", "tonemap=tonemap=hable:desat=0",
    "zscale=t=bt709:m=bt709:r=tv",
)  # fmt: skip
PLAIN = ("-map_metadata", "-1", "-map_chapters", "-1")  # nothing of the source's but its media


def base_argv(ffmpeg: str) -> list[str]:
    """What every command line begins with."""
    return [ffmpeg, "-nostdin", "-y", "-hide_banner", "-loglevel", "level+warning", "-progress", "pipe:1", "-nostats"]


def input_of(name: str) -> list[str]:
    """A file of a client as input."""
    return [*INPUT_LIMITS, "-i", name]


def assumed(colors: Mapping[str, str]) -> list[str]:
    """The filter that says what a track leaves unsaid of its colours."""
    return ["setparams=" + ":".join(f"{name}={value}" for name, value in colors.items())] if colors else []


POSTER_OUTPUT = ("-frames:v", "1", "-q:v", "3", "-update", "1", "-f", "image2", POSTER)
PREVIEW_Q = 4


def sheets_output(q: int = PREVIEW_Q) -> list[str]:
    """The sheets of previews, as JPEGs of this quality (2 is the best)."""
    return ["-fps_mode", "passthrough", "-q:v", str(q), "-f", "image2", SHEETS]


def tile(previews: Grid) -> str:
    """The filters that lay frames out on sheets."""
    return f"scale={previews.width}:{previews.height},setsar=1,tile={previews.columns}x{previews.rows}"


def remux(ffmpeg: str, source: str, outputs: Sequence[Output], delay: float = 0.0) -> list[str]:
    """Copy streams of one source into MP4 files of their own, without encoding but for audio that must be.

    `delay`: what all of them are moved by, so that none begins before zero, which packager does not take.
    """
    moved = ["-output_ts_offset", number(delay)] if delay else []
    argv = [*base_argv(ffmpeg), *input_of(source)]
    for output in outputs:
        argv += ["-map", f"0:{output.stream}", *_copied_or_encoded(output)]
        argv += [*moved, "-map_metadata", "-1", "-map_chapters", "-1", "-f", "mp4", output.file]
    return argv


def from_transport(ffmpeg: str, source: str, output: str) -> list[str]:
    """Copy the one stream of a transport stream of packager's into an MP4 file, at the times that it had before: what begins
    before zero, as the priming of AAC does, is cut by an edit list again."""
    return [
        *base_argv(ffmpeg), "-copyts", *input_of(source), "-map", "0:0", "-c", "copy",
        "-output_ts_offset", number(-TRANSPORT_OFFSET_S), "-avoid_negative_ts", "disabled",
        "-map_metadata", "-1", "-f", "mp4", output,
    ]  # fmt: skip


def _copied_or_encoded(output: Output) -> list[str]:
    if output.encoded is None:
        return ["-c", "copy", *(["-tag:v", "hvc1"] if output.codec == "hevc" else [])]
    layout, bitrate, rate = output.encoded
    return ["-af", f"aresample={rate},aformat=channel_layouts={layout}", "-c:a", "aac", "-b:a", str(bitrate)]


def texts(ffmpeg: str, source: str, outputs: Sequence[tuple[int, str, str]]) -> list[str]:
    """Subtitle tracks (stream, codec, file) of one source as SubRip, those of WebVTT as they are; on the source's clock."""
    argv = [*base_argv(ffmpeg), "-copyts", *input_of(source)]
    for index, codec, name in outputs:
        form = ["-c:s", "copy", "-f", "webvtt"] if codec == "webvtt" else ["-c:s", "srt", "-f", "srt"]
        argv += ["-map", f"0:{index}", *form, name]
    return argv


def captions(ffmpeg: str, source: str) -> list[str]:
    """The caption data of all frames of a source's picture, and beside them their times, on the source's clock."""
    limits = f"protocol_whitelist=file\\:format_whitelist={FORMATS}"
    graph = f"movie=filename={source}:format_opts='{limits}'[out0+subcc]"
    outputs = (("data", TRIPLETS), ("framecrc", TRIPLET_TIMES))
    written = [word for form, name in outputs for word in ("-map", "0:s", "-c", "copy", "-f", form, name)]
    return [*base_argv(ffmpeg), "-copyts", "-f", "lavfi", "-i", graph, *written]


def poster(
    ffmpeg: str, source: str, stream: int, time: float, size: tuple[int, int], *, look: Sequence[str] = ()
) -> list[str]:  # fmt: skip
    """One frame at `time`, by input seek: no decode of what is before its key frame. `look`: filters of it."""
    seek = ["-ss", number(time)] if time > 0 else []
    chain = ",".join([*look, f"scale={size[0]}:{size[1]}", "setsar=1"])
    return [*base_argv(ffmpeg), *seek, *input_of(source), "-map", f"0:{stream}", "-vf", chain, *POSTER_OUTPUT]


def previews(
    ffmpeg: str, source: str, stream: int, wanted: Grid, *, keys_alone: bool = True, q: int = PREVIEW_Q,
    look: Sequence[str] = (),
) -> list[str]:  # fmt: skip
    """Sprite sheets from key frames alone: the last one at or before each mark, repeated where there is no other.

    Without `keys_alone` all is decoded: key frames of open groups do not decode alone in their right order. `look`: filters
    of the frames that are left.
    """
    step = number(wanted.interval)
    chain = ",".join([
        "setpts=PTS-STARTPTS",
        f"fps=fps=1/{step}:round=up:start_time=0",
        "tpad=stop=-1:stop_mode=clone",
        f"trim=end_frame={wanted.count}",
        *look,
        tile(wanted),
    ])  # fmt: skip
    limited = [*(["-skip_frame", "nokey"] if keys_alone else []), *input_of(source)]
    return [*base_argv(ffmpeg), *limited, "-map", f"0:{stream}", "-vf", chain, *sheets_output(q)]


def progressive(ffmpeg: str, tracks: Sequence[tuple[str, TrackKind, str]], output: str) -> list[str]:
    """A progressive MP4 of these (file, kind, language) tracks, the index first, without encoding. Texts are WebVTT files.
    Each track begins when it does: the times are not those from the beginning of its own file."""
    argv, texts = [*base_argv(ffmpeg), "-copyts"], ["-protocol_whitelist", "file", "-format_whitelist", "webvtt", "-i"]
    for name, kind, _ in tracks:
        argv += [*texts, name] if kind is TrackKind.TEXT else input_of(name)
    for index, (_, kind, language) in enumerate(tracks):
        stream = "s" if kind is TrackKind.TEXT else kind[0]
        argv += ["-map", f"{index}:{stream}:0", f"-metadata:s:{index}", f"language={three_letters(language)}"]
    coded = ["-c:s", "mov_text"] if any(kind is TrackKind.TEXT for _, kind, _ in tracks) else []
    return [*argv, "-c", "copy", *coded, "-map_chapters", "-1", "-movflags", "+faststart", "-f", "mp4", output]


DAMAGED = "Error applying bitstream filters"  # what it then says


def divide_check(ffmpeg: str, source: str, stream: int, codec: str) -> list[str]:
    """Divide a picture's packets into their units, up to the first that does not divide, and keep nothing."""
    divided = ["-map", f"0:{stream}", "-c", "copy", "-bsf:v", f"{codec}_mp4toannexb", "-f", "null", "-"]
    return [*base_argv(ffmpeg), "-xerror", *input_of(source), *divided]


def decode_check(ffmpeg: str, inputs: Sequence[str], form: str = "mov") -> list[str]:
    """Decode MP4s (`concat:init|segment` too), all in one process, and keep nothing. `form`: mov, or mpegts."""
    argv = base_argv(ffmpeg)
    for name in inputs:
        argv += ["-protocol_whitelist", "concat,file", "-format_whitelist", form, "-i", name]
    for index in range(len(inputs)):
        argv += ["-map", f"{index}:0"]
    return [*argv, "-f", "null", "-"]


def number(value: float) -> str:
    """A number as ffmpeg takes it: no exponent, no more digits than a microsecond."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
