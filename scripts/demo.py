"""The demonstration: a made video becomes an asset by a real job of an engine in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import openm3u8
from aiohttp import web
from filelock import FileLock, Timeout

from scripts.hosted import ROOT, Hosted, ScriptFailed, fresh_data_dir, hosted_engine, make_source
from taskengine.cli.output import console_for_stdout, printable
from taskengine.cli.progress import follow, job_display
from taskengine.cli.watching import POLL_S, JobWatcher, conclusion
from taskengine.domain.errors import TaskEngineError

SECONDS = 30
TOLERANCE_S = 0.1
CALLBACKS_S = 15.0
FOLDER = "demo"


class Receiver:
    """Takes callbacks, as a client of the engine would."""

    def __init__(self) -> None:
        self.received: list[Mapping[str, Any]] = []
        self.job_ended = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """One callback."""
        body = json.loads(await request.read())
        self.received.append(body)
        if "status" in body:
            self.job_ended.set()
        return web.Response(status=204)


async def main(place: Path, *, keep: bool, length: int) -> None:
    """Everything, from the source to the verdict."""
    begun = time.monotonic()
    source = place / "source.mp4"
    say(f"the source: {source} ({length} s, 1280×720, with sound)")
    await make_source(source, size="1280x720", seconds=length)
    data_dir = place / "data"
    fresh_data_dir(data_dir, source, FOLDER)
    async with receiving() as receiver, hosted_engine(data_dir) as engine:
        say(f"the engine: {engine.url}, ready in {engine.ready_s:.1f} s")
        manifest = await one_job(engine, receiver)
        seconds, segments = judge(manifest, length)
        say(
            f"the asset: {segments} segments, {seconds:.2f} s, made in {time.monotonic() - begun:.1f} s with all around it"
        )
        print(f"  HLS   {manifest}\n  DASH  {manifest.with_suffix('.mpd')}\n  URL   {manifest.as_uri()}")
        if keep:
            async with published(data_dir / "storage" / "output") as url:
                await leave_running(engine, f"{url}/{manifest.relative_to(data_dir / 'storage' / 'output')}")


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


async def one_job(engine: Hosted, receiver: Receiver) -> Path:
    """Submit, watch, and show the callbacks; the manifest that the job callback names."""
    parameters = {
        "content_id": FOLDER,
        "source_folder": FOLDER,
        "output_folder": FOLDER,
        "encode_source": True,
        "generate_mp4": False,
        "rest_endpoints": [receiver.url],
    }
    answer = await engine.client.submit({"job": {"workflow": "vodstream"}, "parameters": parameters})
    say(f"the job: {answer['id']}, vodstream with encode_source")
    watcher = JobWatcher(engine.client, int(answer["id"]))
    with job_display(console_for_stdout(), err=False) as display:
        job = await follow(watcher.look, display, pause=partial(asyncio.sleep, POLL_S))
    try:
        await asyncio.wait_for(receiver.job_ended.wait(), CALLBACKS_S)
    except TimeoutError:
        raise ScriptFailed(f"no job callback came within {CALLBACKS_S:.0f} s") from None
    say(f"the callbacks: {len(receiver.received)}, as they came")
    for body in receiver.received:
        say(f"  {callback_line(body)}")
    if not job.succeeded:
        raise ScriptFailed(conclusion(job))
    return Path(str(receiver.received[-1]["message"]))


def callback_line(body: Mapping[str, Any]) -> str:
    """A callback in one line."""
    if "status" in body:
        duration = (body.get("metadata") or {}).get("duration")
        return printable(f"{body['time']} job {body['job_id']} {body['status']}: {body['message']} ({duration} s)")
    return printable(f"{body['time']} task {body['task_id']} {body['task_name']}: {body['event']} {body['message']}")


def judge(manifest: Path, length: int) -> tuple[float, int]:
    """(duration, number of segments); ScriptFailed where one is missing, or the duration is not the source's."""
    master = openm3u8.loads(manifest.read_text(encoding="utf-8"))
    names = [str(playlist.uri) for playlist in master.playlists] + [
        str(media.uri) for media in master.media if media.uri
    ]
    if not names or not manifest.with_suffix(".mpd").is_file():
        raise ScriptFailed(f"{manifest} names no playlist, or has no DASH manifest beside it")
    durations, segments = [], 0
    for path in (manifest.parent / name for name in dict.fromkeys(names)):
        playlist = openm3u8.loads(path.read_text(encoding="utf-8"))
        files = [str(segment.uri) for segment in playlist.segments]
        files += [str(part.uri) for part in playlist.segment_map if part.uri]
        missing = [
            name for name in files if not (path.parent / name).is_file() or not (path.parent / name).stat().st_size
        ]
        if missing or not files:
            raise ScriptFailed(f"{path} names files that are missing or empty: {', '.join(missing) or 'none at all'}")
        durations.append(sum(float(segment.duration or 0) for segment in playlist.segments))
        segments += len(playlist.segments)
    if any(abs(duration - length) > TOLERANCE_S for duration in durations):
        raise ScriptFailed(f"the playlists last {durations} s, the source {length} s")
    return max(durations), segments


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """The receiver of callbacks, listening."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/callbacks", receiver.take)
    async with listening(app) as url:
        receiver.url = f"{url}/callbacks"
        yield receiver


@asynccontextmanager
async def published(folder: Path) -> AsyncIterator[str]:
    """A folder over HTTP, for players on this machine."""

    async def open_to_players(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Access-Control-Allow-Origin"] = "*"

    app = web.Application()
    app.router.add_static("/", folder)
    app.on_response_prepare.append(open_to_players)
    async with listening(app) as url:
        yield url


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[str]:
    """The application on a free port of this machine alone; its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def leave_running(engine: Hosted, url: str) -> None:
    """Until somebody interrupts."""
    say(f"the engine goes on at {engine.url}; play {url}\nCtrl-C ends both")
    await asyncio.Event().wait()


def run(arguments: Sequence[str]) -> int:
    """The exit status: 0 only where the asset is whole."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the engine and the asset to be looked at")
    parser.add_argument("--place", type=Path, default=ROOT / "demo", metavar="DIR", help="where everything is put")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of the video")
    parser.add_argument("--clean", action="store_true", help="remove what a run left, and end")
    given = parser.parse_args(arguments)
    place = given.place.absolute()
    place.mkdir(parents=True, exist_ok=True)
    (place / ".gitignore").write_text("*\n", encoding="ascii")
    try:
        with FileLock(place / ".lock", timeout=0):
            if not given.clean:
                asyncio.run(main(place, keep=given.keep, length=given.seconds))
        if given.clean:
            shutil.rmtree(place)
    except Timeout:
        print(f"demo: another demonstration is running in {place}", file=sys.stderr)
        return 1
    except (ScriptFailed, TaskEngineError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0 if given.keep else 130
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
