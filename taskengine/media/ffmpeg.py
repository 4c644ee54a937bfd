"""Values into ffmpeg's command lines. Every name in them is generated; golden tests hold them."""

from __future__ import annotations

from collections.abc import Sequence

from taskengine.media.copying import Output
from taskengine.media.encoding import AudioEncoding, Encoding, VideoEncoding
from taskengine.media.ladder import Rendition
from taskengine.media.languages import three_letters
from taskengine.media.probe import INPUT_LIMITS
from taskengine.media.thumbnails import Grid
from taskengine.media.tracks import TrackKind

POSTER = "poster.jpg"
SHEETS = "sheet_%d.jpg"
TRIPLETS, TRIPLET_TIMES = "triplets.bin", "triplets.txt"
_GUESSED = 2  # frames at most that the filter of rates and our count may differ by
_TONE_MAP = (
    "zscale=t=linear:npl=100", "format=gbrpf32le", "zscale=p=bt709", "tonemap=tonemap=hable:desat=0",
    "zscale=t=bt709:m=bt709:r=tv",
)  # fmt: skip


def base_argv(ffmpeg: str) -> list[str]:
    """What every command line begins with."""
    return [ffmpeg, "-nostdin", "-y", "-hide_banner", "-loglevel", "level+warning", "-progress", "pipe:1", "-nostats"]


def _input(name: str) -> list[str]:
    return [*INPUT_LIMITS, "-i", name]


def transcode(ffmpeg: str, encoding: Encoding) -> list[str]:
    """All renditions, poster, sprite and audio in one process with one decode."""
    argv = base_argv(ffmpeg)
    for name in encoding.inputs:
        argv += _input(name)
    argv += ["-filter_complex", ";".join(_graph(encoding))]
    if encoding.video:
        for rendition in encoding.video.renditions:
            argv += _video_output(encoding.video, rendition, encoding.segment_duration)
    for audio in encoding.audio:
        argv += _audio_output(audio, encoding.audio_encoder)
    if encoding.poster is not None:
        argv += ["-map", "[poster]", *_POSTER_OUTPUT]
    if encoding.previews:
        argv += ["-map", "[previews]", *_sheets_output()]
    return argv


_POSTER_OUTPUT = ("-frames:v", "1", "-q:v", "3", "-update", "1", "-f", "image2", POSTER)
PREVIEW_Q = 4


def _sheets_output(q: int = PREVIEW_Q) -> list[str]:
    return ["-fps_mode", "passthrough", "-q:v", str(q), "-f", "image2", SHEETS]


def _graph(encoding: Encoding) -> list[str]:
    return [*(_video_graph(encoding.video, encoding) if encoding.video else []), *_audio_graph(encoding)]


def _video_graph(video: VideoEncoding, encoding: Encoding) -> list[str]:
    branches = {
        rendition.name: f"scale={rendition.width}:{rendition.height}:out_range=tv,setsar=1"
        for rendition in video.renditions
    }
    if encoding.poster is not None:
        top = video.renditions[0]
        branches["poster"] = (
            f"select='gte(t,{_number(encoding.poster - 0.001)})',scale={top.width}:{top.height},setsar=1"
        )
    if encoding.previews:
        branches["previews"] = f"{_first_at_each_mark(encoding.previews)},{_tile(encoding.previews)}"
    names = "".join(f"[s_{name}]" for name in branches)
    head = f"[{video.input}:{video.stream}]{','.join(_common(video))},split={len(branches)}{names}"
    return [head, *(f"[s_{name}]{chain}[{name}]" for name, chain in branches.items())]


def _common(video: VideoEncoding) -> list[str]:
    """What every branch needs, done once: from zero, progressive, at a constant rate, 8 bits, SDR."""
    chain = ["setpts=PTS-STARTPTS"]
    if video.interlaced:
        chain.append("bwdif=mode=send_frame:deint=all")
    chain.append(f"fps={video.rate.numerator}/{video.rate.denominator}")
    if not video.exact:  # the last frame's length is anybody's guess: as many frames as the sound is long
        chain += [f"tpad=stop={_GUESSED}:stop_mode=clone", f"trim=end_frame={video.frames}"]
    if video.assumed_color:
        chain.append("setparams=" + ":".join(f"{name}={value}" for name, value in video.assumed_color.items()))
    if video.hdr:
        chain += _TONE_MAP
    return [*chain, f"format={video.settings.pixel_format}"]


def _first_at_each_mark(previews: Grid) -> str:
    """The first frame at or after each mark (`fps=1/N` picks frames half an interval late)."""
    step = _number(previews.interval)
    passed = f"gt(floor((t+0.001)/{step}),floor((prev_selected_t+0.001)/{step}))"
    return f"select='isnan(prev_selected_t)+{passed}'"


def _tile(previews: Grid) -> str:
    return f"scale={previews.width}:{previews.height},setsar=1,tile={previews.columns}x{previews.rows}"


def _audio_graph(encoding: Encoding) -> list[str]:
    """Each track is decoded once, however many renditions it has, and laid exactly over the video's length."""
    graph = []
    inputs = list(dict.fromkeys((audio.input, audio.stream) for audio in encoding.audio))
    for source in inputs:
        uses = [audio for audio in encoding.audio if (audio.input, audio.stream) == source]
        labels = [f"[{source[0]}:{source[1]}]"]
        if len(uses) > 1:
            split = [f"[s_{audio.name}]" for audio in uses]
            graph.append(f"{labels[0]}asplit={len(uses)}{''.join(split)}")
            labels = split
        for label, audio in zip(labels, uses, strict=True):
            graph.append(f"{label}{','.join(_audio_chain(audio, encoding.duration))}[{audio.name}]")
    return graph


def _audio_chain(audio: AudioEncoding, duration: float) -> list[str]:
    chain = [f"asetpts=PTS-({_number(audio.offset)})/TB"] if audio.offset else []
    chain += [f"aresample={audio.sample_rate}:async=1:first_pts=0", f"aformat=channel_layouts={audio.layout}"]
    if duration > 0:
        chain += [f"apad=whole_dur={_number(duration)}", f"atrim=end={_number(duration)}"]
    return chain


def _video_output(video: VideoEncoding, rendition: Rendition, segment: float) -> list[str]:
    settings = video.settings
    return [
        "-map", f"[{rendition.name}]", "-c:v", settings.encoder, "-preset", settings.preset,
        "-profile:v", rendition.profile, "-crf", str(rendition.crf), "-maxrate", str(rendition.max_bitrate),
        "-bufsize", str(2 * rendition.max_bitrate), "-force_key_frames", f"expr:gte(t,n_forced*{_number(segment)})",
        "-x264-params", "scenecut=0:open-gop=0:keyint=infinite", "-fps_mode", "passthrough",
        "-map_metadata", "-1", "-map_chapters", "-1", f"{rendition.name}.mp4",
    ]  # fmt: skip


def _audio_output(audio: AudioEncoding, encoder: str) -> list[str]:
    return [
        "-map", f"[{audio.name}]", "-c:a", encoder, "-b:a", str(audio.bitrate),
        "-map_metadata", "-1", "-map_chapters", "-1", f"{audio.name}.mp4",
    ]  # fmt: skip


def remux(ffmpeg: str, source: str, outputs: Sequence[Output], delay: float = 0.0) -> list[str]:
    """Copy streams of one source into MP4 files of their own, without encoding but for audio that must be.

    `delay`: what all of them are moved by, so that none begins before zero, which packager does not take.
    """
    moved = ["-output_ts_offset", _number(delay)] if delay else []
    argv = [*base_argv(ffmpeg), *_input(source)]
    for output in outputs:
        argv += ["-map", f"0:{output.stream}", *_copied_or_encoded(output)]
        argv += [*moved, "-map_metadata", "-1", "-map_chapters", "-1", "-f", "mp4", output.file]
    return argv


def _copied_or_encoded(output: Output) -> list[str]:
    if output.encoded is None:
        return ["-c", "copy", *(["-tag:v", "hvc1"] if output.codec == "hevc" else [])]
    layout, bitrate, rate = output.encoded
    return ["-af", f"aresample={rate},aformat=channel_layouts={layout}", "-c:a", "aac", "-b:a", str(bitrate)]


def texts(ffmpeg: str, source: str, outputs: Sequence[tuple[int, str, str]]) -> list[str]:
    """Subtitle tracks (stream, codec, file) of one source as SubRip, those of WebVTT as they are; on the source's clock."""
    argv = [*base_argv(ffmpeg), "-copyts", *_input(source)]
    for index, codec, name in outputs:
        form = ["-c:s", "copy", "-f", "webvtt"] if codec == "webvtt" else ["-c:s", "srt", "-f", "srt"]
        argv += ["-map", f"0:{index}", *form, name]
    return argv


def captions(ffmpeg: str, source: str) -> list[str]:
    """The caption data of all frames of a source's picture, and beside them their times, on the source's clock."""
    graph = f"movie=filename={source}:format_opts='protocol_whitelist=file'[out0+subcc]"
    outputs = (("data", TRIPLETS), ("framecrc", TRIPLET_TIMES))
    written = [word for form, name in outputs for word in ("-map", "0:s", "-c", "copy", "-f", form, name)]
    return [*base_argv(ffmpeg), "-copyts", "-f", "lavfi", "-i", graph, *written]


def poster(ffmpeg: str, source: str, stream: int, time: float, size: tuple[int, int]) -> list[str]:
    """One frame at `time`, by input seek: no decode of what is before its key frame."""
    seek = ["-ss", _number(time)] if time > 0 else []
    chain = f"scale={size[0]}:{size[1]},setsar=1"
    return [*base_argv(ffmpeg), *seek, *_input(source), "-map", f"0:{stream}", "-vf", chain, *_POSTER_OUTPUT]


def previews(
    ffmpeg: str, source: str, stream: int, wanted: Grid, *, keys_alone: bool = True, q: int = PREVIEW_Q
) -> list[str]:
    """Sprite sheets from key frames alone: the last one at or before each mark, repeated where there is no other.

    Without `keys_alone` all is decoded: key frames of open groups do not decode alone in their right order.
    """
    step = _number(wanted.interval)
    chain = ",".join([
        "setpts=PTS-STARTPTS",
        f"fps=fps=1/{step}:round=up:start_time=0",
        "tpad=stop=-1:stop_mode=clone",
        f"trim=end_frame={wanted.count}",
        _tile(wanted),
    ])  # fmt: skip
    limited = [*(["-skip_frame", "nokey"] if keys_alone else []), *_input(source)]
    return [*base_argv(ffmpeg), *limited, "-map", f"0:{stream}", "-vf", chain, *_sheets_output(q)]


def progressive(ffmpeg: str, tracks: Sequence[tuple[str, TrackKind, str]], output: str) -> list[str]:
    """A progressive MP4 of these (file, kind, language) tracks, the index first, without encoding."""
    argv = base_argv(ffmpeg)
    for name, _, _ in tracks:
        argv += _input(name)
    for number, (_, kind, language) in enumerate(tracks):
        argv += ["-map", f"{number}:{kind[0]}:0", f"-metadata:s:{number}", f"language={three_letters(language)}"]
    return [*argv, "-c", "copy", "-map_chapters", "-1", "-movflags", "+faststart", "-f", "mp4", output]


def decode_check(ffmpeg: str, segments: Sequence[tuple[str, str]]) -> list[str]:
    """Decode (init, segment) pairs, all in one process, and keep nothing."""
    argv = base_argv(ffmpeg)
    for init, segment in segments:
        argv += ["-protocol_whitelist", "concat,file", "-format_whitelist", "mov", "-i", f"concat:{init}|{segment}"]
    for number in range(len(segments)):
        argv += ["-map", f"{number}:0"]
    return [*argv, "-f", "null", "-"]


def _number(value: float) -> str:
    """A number as ffmpeg takes it: no exponent, no more digits than a microsecond."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
