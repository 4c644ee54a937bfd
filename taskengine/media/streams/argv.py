"""Pieces of streams into ffmpeg's command lines. Every name in them is generated; golden tests hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskengine.media.ffmpeg import PREVIEW_Q, base_argv, input_of, number, sheets_output
from taskengine.media.probe import INPUT_LIMITS
from taskengine.media.thumbnails import Grid

PICTURES = "picture_%d.png"
_VIDEO = "0:V:0"
_TICK = 0.0001  # seconds: less than any frame lasts, more than a clock of 90 kHz rounds
_ONE = ("-frames:v", "1", "-update", "1", "-f", "image2")


def key_picture(ffmpeg: str, piece: str, after: float, previews: Grid, output: str, *, keys_alone: bool) -> list[str]:
    """The last key frame at most `after` seconds after a piece's first picture; of all frames where it has no key frame."""
    limit = number(after + _TICK)
    chain = f"setpts=PTS-STARTPTS,select='lte(t,{limit})',scale={previews.width}:{previews.height},setsar=1"
    skipped = ["-skip_frame", "nokey"] if keys_alone else []
    written = ["-fps_mode", "passthrough", "-update", "1", "-f", "image2", output]
    return [*base_argv(ffmpeg), *skipped, *input_of(piece), "-map", _VIDEO, "-vf", chain, *written]


def sheets(ffmpeg: str, previews: Grid) -> list[str]:
    """The pictures, numbered from 1, on their sheets."""
    source = ["-protocol_whitelist", "file", "-f", "image2", "-framerate", "1", "-start_number", "1", "-i", PICTURES]
    chain = f"tile={previews.columns}x{previews.rows}"
    return [*base_argv(ffmpeg), *source, "-vf", chain, *sheets_output(PREVIEW_Q)]


def ticks(ffprobe: str, piece: str) -> list[str]:
    """Ask for the time stamps of a piece's pictures, in ticks, and what a tick is."""
    entries = ["-select_streams", "V:0", "-show_entries", "packet=pts:stream=time_base", "-of", "csv"]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *entries, piece]


def frame(ffmpeg: str, piece: str, at: float, output: str) -> list[str]:
    """The picture whose time stamp is `at`, in its display size."""
    chain = f"select='gte(t,{number(at - _TICK)})',scale=trunc(iw*sar/2+0.5)*2:ih,setsar=1"
    quality = {"jpg": ["-q:v", "2"], "webp": ["-quality", "90"]}.get(output.rpartition(".")[2], [])
    return [*base_argv(ffmpeg), "-copyts", *input_of(piece), "-map", _VIDEO, "-vf", chain, *quality, *_ONE, output]


@dataclass(frozen=True, slots=True)
class Animation:
    """How a GIF is made: frames per second, pixels (-1: from the other one), how often it plays (0: for ever)."""

    fps: float
    width: int
    height: int
    plays: int
    reverse: bool
    speed: float


def gif(ffmpeg: str, pieces: Sequence[tuple[str, float, float]], wanted: Animation, output: str) -> list[str]:
    """(piece, seconds to begin at, seconds to end at) after one another, as a GIF with a palette of its own."""
    size = f"scale=iw*sar:ih,scale={wanted.width}:{wanted.height}:flags=lanczos,setsar=1"
    argv, chains = base_argv(ffmpeg), []
    for index, (piece, begin, end) in enumerate(pieces):
        argv += input_of(piece)
        cut = f"trim=start={number(begin)}:end={number(end)}"
        chains.append(f"[{index}:V:0]setpts=PTS-STARTPTS,{cut},setpts=PTS-STARTPTS,{size}[p{index}]")
    joined = "".join(f"[p{index}]" for index in range(len(pieces))) + f"concat=n={len(pieces)}"
    tempo = f"setpts=PTS/{number(wanted.speed)},fps={number(wanted.fps)}{',reverse' if wanted.reverse else ''}"
    colours = "split[a][b];[a]palettegen[c];[b][c]paletteuse"
    loop = {0: "0", 1: "-1"}.get(wanted.plays, str(wanted.plays - 1))  # a GIF counts its repeats
    graph = ";".join([*chains, f"{joined},{tempo},{colours}"])
    return [*argv, "-filter_complex", graph, "-loop", loop, "-f", "gif", output]
