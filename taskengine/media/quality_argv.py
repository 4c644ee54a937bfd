"""Measuring quality: command lines that lay renditions beside their source."""

from __future__ import annotations

from collections.abc import Sequence

from taskengine.media.encode_argv import common_filters, look_filters, seek
from taskengine.media.encoding import Chunk, VideoEncoding
from taskengine.media.ffmpeg import base_argv, input_of
from taskengine.media.ladder import fit_within

_SEEN_AT = (1920, 1080)  # what the model was trained on
_THREADS = 4


def vmaf_name(name: str) -> str:
    """Where the measurement of a rendition lies."""
    return f"{name}_vmaf.json"


def vmaf(
    ffmpeg: str, video: VideoEncoding, source: str, names: Sequence[str], *, part: Chunk | None = None, every: int = 1
) -> list[str]:  # fmt: skip
    """Compare `<name>.mp4` of each name with the source (or a part of it), at the source's size, every so many frames."""
    width, height = fit_within(video.size, _SEEN_AT)
    same = f"scale={width}:{height}:flags=bicubic,setsar=1,format=yuv420p"
    argv = base_argv(ffmpeg)
    for name in names:
        argv += ["-protocol_whitelist", "file", "-format_whitelist", "mov", "-i", f"{name}.mp4"]
    argv += [*(seek(video, part.first) if part else []), *input_of(source)]
    reference = ",".join([*common_filters(video, part), look_filters(video, "yuv420p"), same])
    labels = "".join(f"[r_{name}]" for name in names)
    graph = [f"[{len(names)}:{video.stream}]{reference},split={len(names)}{labels}"]
    for index, name in enumerate(names):
        options = f"log_fmt=json:log_path={vmaf_name(name)}:n_threads={_THREADS}:n_subsample={every}"
        graph.append(f"[{index}:v:0]setpts=PTS-STARTPTS,{same}[d_{name}]")
        graph.append(f"[d_{name}][r_{name}]libvmaf={options}:shortest=1:ts_sync_mode=nearest[o_{name}]")
    argv += ["-filter_complex", ";".join(graph)]
    for name in names:
        argv += ["-map", f"[o_{name}]", "-f", "null", "-"]
    return argv
