"""What the demonstration and the measurements share: a source, and an engine in a process of its own."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from taskengine.client import Client, connect
from taskengine.media.tools import find_tools
from taskengine.process import SubprocessRunner

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0
STOP_S = 10.0  # between the first and the second SIGTERM, when the engine is told to end


class ScriptFailed(Exception):
    """What the script was to show did not happen; the message says why."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """An engine that is ready."""

    url: str
    client: Client
    ready_s: float  # from its start


async def make_source(target: Path, *, size: str, seconds: int) -> None:
    """A moving picture with sound, made once: whoever finds the file uses it."""
    partial = _to_be_made(target)
    if partial is None:
        return
    argv = [
        find_tools().ffmpeg, "-nostdin", "-y", "-hide_banner", "-loglevel", "error",
        "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}",
        "-f", "lavfi", "-i", f"sine=frequency=440:beep_factor=4:sample_rate=48000:duration={seconds}",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p", "-g", "50",
        "-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart", str(partial),
    ]  # fmt: skip
    result = await SubprocessRunner().run(argv, cwd=target.parent)
    if result.exit_code != 0:
        raise ScriptFailed(f"ffmpeg made no source: {result.stderr_tail}")
    partial.rename(target)


def _to_be_made(target: Path) -> Path | None:
    """Where to make it first; None where it is there."""
    if target.exists():
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f"partial-{target.name}")


def fresh_data_dir(data_dir: Path, source: Path, folder: str) -> None:
    """An empty data directory but for the source in its folder."""
    shutil.rmtree(data_dir, ignore_errors=True)
    target = data_dir / "storage" / "source" / folder / source.name
    target.parent.mkdir(parents=True)
    target.hardlink_to(source)


@asynccontextmanager
async def hosted_engine(data_dir: Path, *arguments: str) -> AsyncIterator[Hosted]:
    """`python -m taskengine serve` on a free port, ended with the block (and with this process, whatever ends it)."""
    argv = [sys.executable, "-m", "taskengine", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments]
    lines: asyncio.Queue[str] = asyncio.Queue()
    begun = time.monotonic()
    running = asyncio.create_task(_run(argv, lines))
    try:
        line = await _first_line(lines, running)
        ready_s = time.monotonic() - begun
        url = line.split("ready: ", 1)[1].split(" ", 1)[0]
        key = (data_dir / "api-key").read_text(encoding="ascii").strip()
        async with connect(url, client="demo", api_key=key) as client:
            yield Hosted(url, client, ready_s)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def _run(argv: Sequence[str], lines: asyncio.Queue[str]) -> None:
    result = await SubprocessRunner(wait_s=STOP_S).run(argv, cwd=ROOT, on_line=lines.put_nowait)
    raise ScriptFailed(f"the engine ended with {result.exit_code}: {result.stderr_tail}")


async def _first_line(lines: asyncio.Queue[str], running: asyncio.Task[None]) -> str:
    """The line that says that the engine is ready; what it died of where it is not to be."""
    line = asyncio.create_task(lines.get())
    done, _ = await asyncio.wait([line, running], timeout=READY_S, return_when=asyncio.FIRST_COMPLETED)
    if line in done:
        return line.result()
    line.cancel()
    if running in done:
        running.result()
    raise ScriptFailed(f"the engine was not ready after {READY_S:.0f} s")
