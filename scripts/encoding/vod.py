"""`scripts/bench vod`: a minute of 1080p into the ladder of H264, HLS and DASH, in interleaved rounds: by the engine, by
shaka-streamer with the same rungs, preset and bit rates (those that the engine's capped quality came to), and by one bare
ffmpeg with packager. All three use the same programs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.encoding.jobs import FOLDER, Encoded, encode, medians, note, tracks, values
from scripts.hosted import ROOT, Hosted, ScriptFailed, fresh_data_dir, hosted_engine, make_source
from scripts.orchestration.usage import cpu_s
from taskengine.domain.errors import TaskEngineError
from taskengine.media.profile_book import Profiles
from taskengine.media.tools import find_tools
from taskengine.process import SubprocessRunner

PROFILE = "H264"
WALL_BAR, OUTSIDE_BAR_S = 1.0, 1.5
_PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
_RAN = re.compile(r"\A(?P<line>[^\n]+)\nexit 0 after [0-9.]+ s")


async def measure(place: Path, rounds: int) -> dict[str, Any]:
    """Medians of wall and CPU seconds, and their ratios, by rounds."""
    source = place / "source-1080p.mp4"
    await make_source(source, size="1920x1080", seconds=60)
    data_dir = place / "vod"
    fresh_data_dir(data_dir, source, FOLDER)
    programs = _programs(place / "bin")
    found: list[dict[str, float]] = []
    async with hosted_engine(data_dir) as engine:
        pid = _child()
        first = await encode(engine, PROFILE)  # warms, and tells the bit rates
        commands = await _commands(engine, first)
        configs = _streamer_configs(source, tracks(data_dir))
        for number in range(rounds):
            found.append(await _round(engine, pid, place, source, commands, configs, programs))
            note(f"round {number + 1} of {rounds}: {values(found[-1])}")
    bars = {"wall_to_streamer": WALL_BAR, "outside_s": OUTSIDE_BAR_S}
    return {"medians": medians(found), "rounds": found, "bars": bars}


async def _round(
    engine: Hosted, pid: int, place: Path, source: Path, commands: Sequence[Sequence[str]], configs: str, programs: Path
) -> dict[str, float]:  # fmt: skip
    before = cpu_s(pid)
    job = await encode(engine, PROFILE)
    engine_cpu_s = cpu_s(pid) - before
    streamer_s, streamer_cpu_s = await _streamer(place / "streamer", configs, programs)
    bare_s, bare_cpu_s = await _bare(place / "bare", source, commands)
    return {
        "engine_s": job.wall_s, "streamer_s": streamer_s, "bare_s": bare_s, "outside_s": job.wall_s - job.process_s,
        "wall_to_streamer": job.wall_s / streamer_s, "wall_to_bare": job.wall_s / bare_s,
        "cpu_to_streamer": engine_cpu_s / streamer_cpu_s, "cpu_to_bare": engine_cpu_s / bare_cpu_s,
    }  # fmt: skip


def _child() -> int:
    """The engine: the one child of this process."""
    pid = os.getpid()
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(child)


async def _commands(engine: Hosted, job: Encoded) -> Sequence[Sequence[str]]:
    """The encoding and the packaging of the job, as its log has them."""
    entries = await engine.client.logs(job.job_id)
    lines = [match["line"] for entry in entries if (match := _RAN.match(str(entry["message"])))]
    found = [shlex.split(line) for line in lines]
    wanted = [argv for argv in found if "-filter_complex" in argv or "--mpd_output" in argv]
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
    script = str(ROOT / "scripts" / "encoding" / "peers" / "streamer_job.py")
    before = os.times()
    process = await asyncio.create_subprocess_exec(
        str(_PEERS_PYTHON), script, configs, str(folder), preset, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={"PATH": f"{programs}:{os.environ['PATH']}"},
    )  # fmt: skip
    output, errors = await process.communicate()
    after = os.times()
    if process.returncode != 0 or not (folder / "hls.m3u8").is_file():
        raise ScriptFailed(f"shaka-streamer ended with {process.returncode}: {errors.decode()[-2000:]}")
    return float(output.split()[-1]), _children_s(before, after)


async def _bare(folder: Path, source: Path, commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """(wall, CPU) seconds of the two commands, and nothing else."""
    _empty_but_for(folder, source)
    before, begun = os.times(), time.monotonic()
    for argv in commands:
        result = await SubprocessRunner().run(argv, cwd=folder, on_line=lambda _: None)
        if result.exit_code != 0:
            raise ScriptFailed(f"{shlex.join(argv)}: exit {result.exit_code}: {result.stderr_tail}")
    return time.monotonic() - begun, _children_s(before, os.times())


def _empty_but_for(folder: Path, source: Path) -> None:
    """A folder with the source under the name that the job gave it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "source_1.mp4").hardlink_to(source)


def _children_s(before: os.times_result, after: os.times_result) -> float:
    return after.children_user + after.children_system - before.children_user - before.children_system


def main(arguments: Sequence[str]) -> int:
    """The exit status: 1 where a bar was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench vod", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--place", type=Path, default=ROOT / "demo" / "bench", metavar="DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    given.place.mkdir(parents=True, exist_ok=True)
    (given.place / ".gitignore").write_text("*\n", encoding="ascii")
    try:
        result = asyncio.run(measure(given.place.absolute(), max(1, given.rounds)))
    except (ScriptFailed, TaskEngineError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if given.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result["medians"].items():
            bar = result["bars"].get(name)
            print(f"{name:<18} {value:8.2f}" + (f"   (bar {bar:g})" if bar else ""))
    return 1 if any(result["medians"][name] > bar for name, bar in result["bars"].items()) else 0
