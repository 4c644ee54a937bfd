"""A portion of a clip into the target profile, as ffmpeg's command lines. Every name in them is generated; golden tests hold
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.media import encoders
from taskengine.media.ffmpeg import PLAIN, TONE_MAP, assumed, base_argv, input_of, number
from taskengine.media.probe import VideoTrack
from taskengine.media.virtual.assembly import Rung

SEGMENT_S = 4.0
_ENCODERS = {"h264": ("libx264", "medium", 21), "hevc": ("libx265", "medium", 23), "av1": ("libsvtav1", "8", 30)}
_EARLY = 0.002  # seconds: less than a frame lasts, more than playlists round
_RATES = {"aac": 48_000, "ac3": 48_000, "eac3": 48_000}


@dataclass(frozen=True, slots=True)
class Sound:
    """Where the sound of a rung comes from: the number of the input, its stream, and seconds to begin at."""

    input: int
    stream: str
    begin: float


@dataclass(frozen=True, slots=True)
class Portion:
    """What is encoded: inputs by their names, the picture's stream in the first one, seconds to begin at, how long it lasts
    and its frame rate; the sound of each rung, None: silence."""

    inputs: Sequence[str]
    video: VideoTrack
    begin: float
    seconds: float
    rate: Fraction
    sounds: Sequence[Sound | None]


def encode(ffmpeg: str, portion: Portion, pictures: Sequence[Rung], sounds: Sequence[Rung]) -> list[str]:
    """All rungs in one run, each into `<rung>.mp4`."""
    argv = base_argv(ffmpeg)
    for name in portion.inputs:
        argv += input_of(name)
    argv += ["-filter_complex", ";".join([*_picture_graph(portion, pictures), *_sound_graph(portion, sounds)])]
    for rung in pictures:
        encoder, preset, crf = _ENCODERS[rung.codec]
        cap = max(100_000, rung.bitrate)
        profile = rung.profile or encoders.VIDEO[encoder].profile_for("yuv420p")
        rate = encoders.Rate(crf, cap, cap)
        keys = f"expr:gte(t,n_forced*{number(SEGMENT_S)})"
        argv += ["-map", f"[{rung.name}]"]
        argv += encoders.arguments(encoder, preset, profile, rate, keys, attempt=encoders.Attempt())
        argv += [*(["-level", f"{rung.level / 10:.1f}"] if rung.level else []), *PLAIN, "-f", "mp4", f"{rung.name}.mp4"]
    for rung in sounds:
        argv += [
            "-map",
            f"[{rung.name}]",
            "-c:a",
            rung.codec,
            "-b:a",
            str(rung.bitrate),
            *PLAIN,
            "-f",
            "mp4",
            f"{rung.name}.mp4",
        ]
    return argv


def _picture_graph(portion: Portion, rungs: Sequence[Rung]) -> list[str]:
    video = portion.video
    begin, end = portion.begin - _EARLY, portion.begin + portion.seconds - _EARLY
    chain = [f"trim=start={number(max(0.0, begin))}:end={number(end)}", "setpts=PTS-STARTPTS"]
    if video.interlaced:
        chain.append("bwdif=mode=send_frame:deint=all")
    chain.append(f"fps={portion.rate.numerator}/{portion.rate.denominator}")
    if video.hdr:
        chain += [*assumed(video.assumed_color), *TONE_MAP]
    chain += ["format=yuv420p", f"split={len(rungs)}" + "".join(f"[s_{rung.name}]" for rung in rungs)]
    graph = [f"[0:{video.index}]{','.join(chain)}"]
    return graph + [f"[s_{rung.name}]{_fitted(rung)}[{rung.name}]" for rung in rungs]


def _fitted(rung: Rung) -> str:
    """Into the rung's size, whatever shape the picture has."""
    size = f"{rung.width}:{rung.height}"
    return (
        f"scale=iw*sar:ih,scale={size}:force_original_aspect_ratio=decrease:out_range=tv,"
        f"pad={size}:(ow-iw)/2:(oh-ih)/2,setsar=1"
    )


def _sound_graph(portion: Portion, rungs: Sequence[Rung]) -> list[str]:
    seconds = number(portion.seconds)
    graph = []
    for rung, sound in zip(rungs, portion.sounds, strict=True):
        rate, layout = _RATES[rung.codec], _layout(rung.channels)
        form = f"aresample={rate},aformat=sample_rates={rate}:channel_layouts={layout}"
        if sound is None:
            graph.append(f"anullsrc=r={rate}:cl={layout},atrim=end={seconds}[{rung.name}]")
            continue
        begin = max(0.0, sound.begin)
        cut = f"atrim=start={number(begin)}:end={number(begin + portion.seconds)},asetpts=PTS-STARTPTS"
        whole = f"apad=whole_dur={seconds},atrim=end={seconds}"
        graph.append(f"[{sound.input}:{sound.stream}]{cut},{form},{whole}[{rung.name}]")
    return graph


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(channels, "stereo")


def copy(ffmpeg: str, inputs: Sequence[str], tracks: Sequence[tuple[Rung, int, int]]) -> list[str]:
    """(rung, number of its input, its stream) as they are, each into `<rung>.mp4`."""
    argv = base_argv(ffmpeg)
    for name in inputs:
        argv += input_of(name)
    for rung, place, stream in tracks:
        tag = ["-tag:v", "hvc1"] if rung.codec == "hevc" else []
        argv += ["-map", f"{place}:{stream}", "-c", "copy", *tag, *PLAIN, "-f", "mp4", f"{rung.name}.mp4"]
    return argv
