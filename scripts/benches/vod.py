"""`scripts/bench vod`: a minute of 1080p into the ladder of H264, HLS and DASH, in interleaved rounds: by the engine, by
shaka-streamer with the same rungs, preset and bit rates (those that the engine's capped quality came to), and by one bare
ffmpeg with packager. All three use the same programs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.benches.jobs import FOLDER, Encoded, bare, children_cpu_s, commands, encode, tracks
from scripts.benches.results import Result, above_bars, add_place, conclude, made, medians, note, report_medians, values
from scripts.benches.usage import cpu_s, only_child
from scripts.hosted import ROOT, Hosted, ScriptFailed, fresh_data_dir, hosted_engine, make_source
from taskengine.media.profile_book import Profiles
from taskengine.media.tools import find_tools

PROFILE = "H264"
WALL_BAR, OUTSIDE_BAR_S = 1.0, 1.5
_PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


async def measure(place: Path, rounds: int) -> Result:
    """Medians of wall and CPU seconds, and their ratios, by rounds."""
    source = place / "source-1080p.mp4"
    await make_source(source, size="1920x1080", seconds=60)
    data_dir = place / "vod"
    fresh_data_dir(data_dir, source, FOLDER)
    programs = _programs(place / "bin")
    found: list[dict[str, float]] = []
    async with hosted_engine(data_dir) as engine:
        pid = only_child()
        first = await encode(engine, PROFILE)  # warms, and tells the bit rates
        argvs = await _commands(engine, first)
        configs = _streamer_configs(source, tracks(data_dir))
        for number in range(rounds):
            found.append(await _round(engine, pid, place, source, argvs, configs, programs))
            note(f"round {number + 1} of {rounds}: {values(found[-1])}")
    bars = {"wall_to_streamer": WALL_BAR, "outside_s": OUTSIDE_BAR_S}
    return {"medians": medians(found), "rounds": found, "bars": bars}


async def _round(
    engine: Hosted, pid: int, place: Path, source: Path, argvs: Sequence[Sequence[str]], configs: str, programs: Path
) -> dict[str, float]:  # fmt: skip
    before = cpu_s(pid)
    job = await encode(engine, PROFILE)
    engine_cpu_s = cpu_s(pid) - before
    streamer_s, streamer_cpu_s = await _streamer(place / "streamer", configs, programs)
    bare_s, bare_cpu_s = await bare(place / "bare", source, argvs)
    return {
        "engine_s": job.wall_s, "streamer_s": streamer_s, "bare_s": bare_s, "outside_s": job.wall_s - job.process_s,
        "wall_to_streamer": job.wall_s / streamer_s, "wall_to_bare": job.wall_s / bare_s,
        "cpu_to_streamer": engine_cpu_s / streamer_cpu_s, "cpu_to_bare": engine_cpu_s / bare_cpu_s,
    }  # fmt: skip


async def _commands(engine: Hosted, job: Encoded) -> Sequence[Sequence[str]]:
    """The encoding and the packaging of the job."""
    wanted = [argv for argv in await commands(engine, job) if "-filter_complex" in argv or "--mpd_output" in argv]
    if len(wanted) != 2:
        raise ScriptFailed(f"the job ran {len(wanted)} commands that encode or package, not 2")
    return wanted


def _programs(folder: Path) -> Path:
    """A folder for PATH with the engine's programs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tools = find_tools()
    for name, target in (("ffmpeg", tools.ffmpeg), ("ffprobe", tools.ffprobe), ("packager", tools.packager)):
        (folder / name).symlink_to(target)
    return folder


def _streamer_configs(source: Path, made: Sequence[Mapping[str, Any]]) -> str:
    """shaka-streamer's three configurations: the same rungs at the bit rates that the engine came to."""
    video = [track for track in made if track["kind"] == "video"]
    resolutions = {
        f"r{track['height']}": {
            "max_width": track["width"], "max_height": track["height"], "bitrates": {"h264": f"{track['bitrate'] // 1000}k"},
        }
        for track in video
    }  # fmt: skip
    layouts = {"stereo": {"max_channels": 2, "bitrates": {"aac": "128k"}}}
    inputs = [{"name": str(source), "media_type": kind} for kind in ("video", "audio")]
    pipeline = {
        "streaming_mode": "vod", "resolutions": list(resolutions), "channel_layouts": ["stereo"], "audio_codecs": ["aac"],
        "video_codecs": ["h264"], "manifest_format": ["dash", "hls"], "segment_size": 4, "quiet": True,
    }  # fmt: skip
    bitrates = {"video_resolutions": resolutions, "audio_channel_layouts": layouts}
    return json.dumps({"input": {"inputs": inputs}, "pipeline": pipeline, "bitrates": bitrates})


async def _streamer(folder: Path, configs: str, programs: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of one job of shaka-streamer."""
    shutil.rmtree(folder, ignore_errors=True)
    preset = Profiles().get(PROFILE, "").video[0].preset
    script = str(ROOT / "scripts" / "benches" / "peers" / "streamer_job.py")
    before = os.times()
    process = await asyncio.create_subprocess_exec(
        str(_PEERS_PYTHON), script, configs, str(folder), preset, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={"PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    output, errors = await process.communicate()
    after = os.times()
    if process.returncode != 0 or not (folder / "hls.m3u8").is_file():
        raise ScriptFailed(f"shaka-streamer ended with {process.returncode}: {errors.decode()[-2000:]}")
    return float(output.split()[-1]), children_cpu_s(before, after)


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench vod", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    measurement = measure(made(given.place), max(1, given.rounds))
    return conclude(measurement, as_json=given.json, report=report_medians, faults=above_bars)
