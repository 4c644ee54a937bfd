"""The audio of an encoding into filters and outputs of ffmpeg; the measurement of its loudness."""

from __future__ import annotations

from taskengine.media import loudness
from taskengine.media.encoding import AudioEncoding, Encoding
from taskengine.media.ffmpeg import PLAIN, base_argv, input_of, number
from taskengine.media.profiles import Loudness

_DOWNMIX = {"dialogue": ":center_mix_level=1:surround_mix_level=0.5", "matrix": ":matrix_encoding=dplii"}
_OVERRULED = "asidedata=mode=delete:type=DOWNMIX_INFO"  # what AC-3 says of itself would count for more


def loudness_name(audio: AudioEncoding) -> str:
    """Where the measurement of a track lies."""
    return f"{audio.name}_loudness.json"


def measure_loudness(ffmpeg: str, encoding: Encoding) -> list[str]:
    """What every audio rendition would measure as it is."""
    argv = base_argv(ffmpeg)
    for name in encoding.inputs:
        argv += input_of(name)
    argv += ["-filter_complex", ";".join(audio_graph(encoding, measuring=True))]
    for audio in encoding.audio:
        argv += ["-map", f"[{audio.name}]", "-f", "null", "-"]
    return argv


def audio_graph(encoding: Encoding, *, measuring: bool = False) -> list[str]:
    """Each track is decoded once, however many renditions it has, and laid exactly over the video's length."""
    graph = []
    for source in encoding.audio_inputs:
        uses = [audio for audio in encoding.audio if (audio.input, audio.stream) == source]
        labels = [f"[{source[0]}:{source[1]}]"]
        if len(uses) > 1:
            split = [f"[s_{audio.name}]" for audio in uses]
            graph.append(f"{labels[0]}asplit={len(uses)}{''.join(split)}")
            labels = split
        for label, audio in zip(labels, uses, strict=True):
            chain = _measuring(audio, encoding) if measuring else _audio_chain(audio, encoding)
            graph.append(f"{label}{','.join(chain)}[{audio.name}]")
    return graph


def _resampled(audio: AudioEncoding) -> list[str]:
    chain = [f"asetpts=PTS-({number(audio.offset)})/TB"] if audio.offset else []
    mix = _DOWNMIX.get(audio.downmix or "", "")
    return [
        *chain,
        *([_OVERRULED] if mix else []),
        f"aresample={audio.sample_rate}:async=1:first_pts=0{mix}",
        f"aformat=channel_layouts={audio.layout}",
    ]


def _measuring(audio: AudioEncoding, encoding: Encoding) -> list[str]:
    options = loudness.options(encoding.loudness or Loudness(), None)
    return [*_resampled(audio), f"loudnorm={options}:stats_file={loudness_name(audio)}"]


def _audio_chain(audio: AudioEncoding, encoding: Encoding) -> list[str]:
    chain = _resampled(audio)
    if encoding.loudness and audio.loudness and not audio.loudness.silent:
        options = loudness.options(encoding.loudness, audio.loudness)
        chain += [f"loudnorm={options}", f"aresample={audio.sample_rate}"]  # it works at 192 kHz at times
    if encoding.duration > 0:
        chain += [f"apad=whole_dur={number(encoding.duration)}", f"atrim=end={number(encoding.duration)}"]
    return chain


def audio_output(audio: AudioEncoding, encoder: str) -> list[str]:
    """One audio rendition into its file."""
    return ["-map", f"[{audio.name}]", "-c:a", encoder, "-b:a", str(audio.bitrate), *PLAIN, f"{audio.name}.mp4"]
