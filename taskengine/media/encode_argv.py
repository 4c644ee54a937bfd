"""An encoding into ffmpeg's command lines: whole, in passes, in chunks. Every name is generated; golden tests hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from taskengine.media import encoders
from taskengine.media.audio_argv import audio_graph, audio_output
from taskengine.media.encoding import NORMALISED, Chunk, Encoding, VideoEncoding
from taskengine.media.ffmpeg import (
    PLAIN,
    POSTER_OUTPUT,
    TONE_MAP,
    assumed,
    base_argv,
    input_of,
    number,
    sheets_output,
    tile,
)
from taskengine.media.ladder import Rendition
from taskengine.media.thumbnails import Grid

_Size = tuple[int, int]  # width and height

_GUESSED = 2  # frames at most that the filter of rates and our count may differ by


def transcode(ffmpeg: str, encoding: Encoding) -> list[list[str]]:
    """All renditions, poster, sprite and audio in one process with one decode; before it, where there are two passes,
    the first one of the video."""
    if not encoding.two_passes or not encoding.video:
        return [_whole(ffmpeg, encoding, 0)]
    first = encoding.video_part(encoding.video.in_passes)
    return [_whole(ffmpeg, first, 1), _whole(ffmpeg, encoding, 2)]


def _whole(ffmpeg: str, encoding: Encoding, pass_number: int) -> list[str]:
    argv = base_argv(ffmpeg)
    for index, name in enumerate(encoding.inputs):
        own = encoding.video is not None and index == encoding.video.input
        argv += [*(_steady(encoding.video) if own else []), *input_of(name)]
    if graph := _graph(encoding):
        argv += ["-filter_complex", ";".join(graph)]
    if encoding.video:
        argv += _video_outputs(encoding.video, _keys(encoding.segment_duration), pass_number)
    for audio in encoding.audio:
        argv += audio_output(audio, encoding.audio_encoder)
    if encoding.poster is not None:
        argv += ["-map", "[poster]", *POSTER_OUTPUT]
    if encoding.previews:
        argv += ["-map", "[previews]", *sheets_output()]
    return argv


def _steady(video: VideoEncoding | None) -> list[str]:
    """Option of an input: where its pictures change their size, the filters go on, and scale them to the planned one; to
    begin anew would begin a second film. (The filter of fields cannot go on.)"""
    return ["-reinit_filter:v", "0"] if video and not video.interlaced else []


def _video_outputs(video: VideoEncoding, keys: str, pass_number: int) -> list[str]:
    """What has two passes first, as in the first one: passes know their streams by number."""
    passing = video.in_passes if pass_number else []
    argv = []
    for rendition in passing:
        argv += _video_output(video, rendition, keys, encoders.Attempt(pass_number, rendition.name))
    for rendition in video.encoded:
        argv += [] if rendition in passing else _video_output(video, rendition, keys, encoders.Attempt())
    for rendition in video.copied:
        argv += _copied(video, rendition)
    return argv


def chunk(ffmpeg: str, encoding: Encoding, part: Chunk) -> list[str]:
    """The renditions of a chunk, in one process with one decode. The seek goes between two frames."""
    video = _video_of(encoding)
    name = encoding.inputs[video.input]
    graph = _video_graph(video, encoding, source="0", part=part)
    argv = [*base_argv(ffmpeg), *seek(video, part.first), *input_of(name), "-filter_complex", ";".join(graph)]
    keys = _keys(encoding.segment_duration, part.keys_ahead)
    for rendition in video.encoded:
        attempt = encoders.Attempt(later=part.index > 0)
        argv += _video_output(video, rendition, keys, attempt, ticks=timescale(video.rate))
    return argv


def seek(video: VideoEncoding, first: int) -> list[str]:
    """To just before a frame, as an option of its input."""
    return ["-ss", number(video.begin + float((first - Fraction(1, 2)) / video.rate))] if first else []


def timescale(rate: Fraction) -> int:
    """Ticks per second in which every frame of this rate is a whole number of ticks long."""
    return rate.numerator * max(1, -(-10_000 // rate.numerator))


def chunks_list(rendition: Rendition) -> str:
    """The name of the list of a rendition's chunks."""
    return f"{rendition.name}_chunks.txt"


def join(ffmpeg: str, video: VideoEncoding, rendition: Rendition) -> list[str]:
    """The listed chunks as one track, without encoding; each frame on its place to the tick."""
    ticks = timescale(video.rate) * video.rate.denominator // video.rate.numerator
    exact = f"setts=pts=round(PTS/{ticks})*{ticks}:dts=round(DTS/{ticks})*{ticks}"
    listed = [
        "-protocol_whitelist",
        "file",
        "-format_whitelist",
        "concat,mov",
        "-f",
        "concat",
        "-i",
        chunks_list(rendition),
    ]
    tag = ["-tag:v", "hvc1"] if rendition.codec == "hevc" else []
    return [
        *base_argv(ffmpeg), *listed, "-map", "0:v:0", "-c", "copy", "-bsf:v", exact, *tag,
        "-video_track_timescale", str(timescale(video.rate)), *PLAIN, f"{rendition.name}.mp4",
    ]  # fmt: skip


def copy(ffmpeg: str, encoding: Encoding, renditions: Sequence[Rendition]) -> list[str]:
    """The renditions that the source is already."""
    video = _video_of(encoding)
    argv = base_argv(ffmpeg)
    for name in encoding.inputs:
        argv += input_of(name)
    for rendition in renditions:
        argv += _copied(video, rendition)
    return argv


def normalise(ffmpeg: str, encoding: Encoding) -> list[str]:
    """A copy of the video whose frames can be counted: progressive, at a constant rate, as good as the source."""
    video = _video_of(encoding)
    depth = encoders.TEN_BITS if video.ten_bits or video.hdr else "yuv420p"
    graph = f"[0:{video.stream}]{','.join([*common_filters(video), f'format={depth}'])}[video]"
    source = [*_steady(video), *input_of(encoding.inputs[video.input])]
    return [
        *base_argv(ffmpeg), *source, "-filter_complex", graph, "-map", "[video]",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "6", "-g", str(max(1, round(video.rate))),
        "-fps_mode", "passthrough", "-video_track_timescale", str(timescale(video.rate)), *PLAIN, NORMALISED,
    ]  # fmt: skip


def _video_of(encoding: Encoding) -> VideoEncoding:
    if encoding.video is None:
        raise ValueError("there is no video to encode")
    return encoding.video


def _graph(encoding: Encoding) -> list[str]:
    video = _video_graph(encoding.video, encoding, source=str(encoding.video.input)) if encoding.video else []
    return [*video, *audio_graph(encoding)]


def _video_graph(
    video: VideoEncoding, encoding: Encoding, *, source: str, part: Chunk | None = None
) -> list[str]:  # fmt: skip
    """Decoded once; renditions of the same colours share the way to them."""
    groups = _groups(video, encoding)
    if not groups:
        return []
    head = f"[{source}:{video.stream}]{','.join(common_filters(video, part))}"
    if len(groups) == 1:
        (((hdr, pixel_format), group),) = groups.items()
        return _branches(f"{head},{look_filters(video, pixel_format, hdr=hdr)}", group)
    labels = [f"[g_{index}]" for index in range(1, len(groups) + 1)]
    graph = [f"{head},split={len(groups)}{''.join(labels)}"]
    for label, ((hdr, pixel_format), group) in zip(labels, groups.items(), strict=True):
        graph += _branches(f"{label}{look_filters(video, pixel_format, hdr=hdr)}", group)
    return graph


@dataclass(slots=True)
class _Group:
    """What is made of pictures of the same colours."""

    sizes: dict[_Size, list[str]] = field(default_factory=dict)  # the renditions of each
    images: dict[str, str] = field(default_factory=dict)  # branch → its filters


def _groups(video: VideoEncoding, encoding: Encoding) -> dict[tuple[bool, str], _Group]:
    """By (HDR kept, pixel format). Images are made of what is SDR."""
    groups: dict[tuple[bool, str], _Group] = {}
    for rendition in video.encoded:
        group = groups.setdefault((rendition.hdr, rendition.pixel_format), _Group())
        group.sizes.setdefault((rendition.width, rendition.height), []).append(rendition.name)
    images = _images(video, encoding)
    if images:
        plain = next((look for look in groups if not look[0]), (False, "yuv420p"))
        groups.setdefault(plain, _Group()).images = images
    return groups


def _images(video: VideoEncoding, encoding: Encoding) -> dict[str, str]:
    branches = {}
    if encoding.poster is not None:
        top = video.renditions[0]
        at = number(encoding.poster - 0.001)
        branches["poster"] = f"select='gte(t,{at})',scale={top.width}:{top.height},setsar=1"
    if encoding.previews:
        branches["previews"] = f"{_first_at_each_mark(encoding.previews)},{tile(encoding.previews)}"
    return branches


def _branches(head: str, group: _Group) -> list[str]:
    """A picture is made of the next larger one, the largest of the source's
    (docs/decisions/0029-sizes-are-scaled-in-a-chain.md)."""
    sizes = sorted(group.sizes, reverse=True)
    labels = {size: f"[s_{names[0]}]" for size, names in group.sizes.items()}
    smaller = {large: small for large, small in pairwise(sizes) if small[1] <= large[1]}
    first = [labels[size] for size in sizes if size not in smaller.values()] + [f"[s_{name}]" for name in group.images]
    graph = [f"{head},split={len(first)}{''.join(first)}"]
    for size in sizes:
        made = [f"[{name}]" for name in group.sizes[size]] + ([labels[smaller[size]]] if size in smaller else [])
        scaled = f"{labels[size]}scale={size[0]}:{size[1]}:out_range=tv,setsar=1"
        graph.append(scaled + (f",split={len(made)}" if len(made) > 1 else "") + "".join(made))
    return graph + [f"[s_{name}]{chain}[{name}]" for name, chain in group.images.items()]


def common_filters(video: VideoEncoding, part: Chunk | None = None) -> list[str]:
    """What every branch needs, done once: from zero, progressive, at a constant rate."""
    chain = ["setpts=PTS-STARTPTS"]
    if video.interlaced:
        chain.append("bwdif=mode=send_frame:deint=all")
    chain.append(f"fps={video.rate.numerator}/{video.rate.denominator}")
    if part:
        chain.append(f"trim=end_frame={part.frames}")
    elif not video.exact:  # the last frame's length is anybody's guess: as many frames as the sound is long
        chain += [f"tpad=stop={_GUESSED}:stop_mode=clone", f"trim=end_frame={video.frames}"]
    return [*chain, *assumed(video.assumed_color)]


def look_filters(video: VideoEncoding, pixel_format: str, *, hdr: bool = False) -> str:
    """Into the pixel format; HDR is mapped to SDR unless it is kept."""
    mapped = TONE_MAP if video.hdr and not hdr else ()
    return ",".join([*mapped, f"format={pixel_format}"])


def _first_at_each_mark(previews: Grid) -> str:
    """The first frame at or after each mark (`fps=1/N` picks frames half an interval late)."""
    step = number(previews.interval)
    passed = f"gt(floor((t+0.001)/{step}),floor((prev_selected_t+0.001)/{step}))"
    return f"select='isnan(prev_selected_t)+{passed}'"


def _keys(segment: float, ahead: float = 0.0) -> str:
    """Key frames at multiples of the segment; `ahead`: what the grid began before the first frame, in seconds."""
    return f"expr:gte(t{f'+{number(ahead)}' if ahead else ''},n_forced*{number(segment)})"


def _video_output(
    video: VideoEncoding, rendition: Rendition, keys: str, attempt: encoders.Attempt, ticks: int | None = None
) -> list[str]:  # fmt: skip
    rate = encoders.Rate(rendition.crf, rendition.max_bitrate, rendition.average)
    light = video.light if rendition.hdr else None
    scale = ["-video_track_timescale", str(ticks)] if ticks else []
    file = ["-f", "null", "-"] if attempt.number == 1 else [*scale, *PLAIN, f"{rendition.name}.mp4"]
    return [
        "-map", f"[{rendition.name}]",
        *encoders.arguments(
            rendition.encoder, rendition.preset, rendition.profile, rate, keys, attempt=attempt, light=light
        ),
        "-fps_mode", "passthrough", *file,
    ]  # fmt: skip


def _copied(video: VideoEncoding, rendition: Rendition) -> list[str]:
    moved = ["-output_ts_offset", number(-video.begin)] if video.begin else []
    tag = ["-tag:v", "hvc1"] if rendition.codec == "hevc" else []
    return ["-map", f"{video.input}:{video.stream}", "-c:v", "copy", *tag, *moved, *PLAIN, f"{rendition.name}.mp4"]
