"""After a protected job no plain key lies anywhere, and while it ran none was in a command line or environment."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskengine.api.views import job_object, task_detail
from taskengine.engine.submissions import Submission
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.files import contents_below
from tests.support.media import AAC, H264, ffmpeg, picture, sound
from tests.support.receiver import CallbackReceiver
from tests.support.wire import Wire

KEY_ID, STATIC, GIVEN = (secrets.token_hex(16) for _ in range(3))  # of this run alone: all processes are looked at
WAIT_S = 120
_LOOK_S = 0.003


def _forms(key: str) -> list[bytes]:
    """A key as it may be written: bytes, digits in either case, base64."""
    data = bytes.fromhex(key)
    return [data, key.encode(), key.upper().encode(), base64.b64encode(data).rstrip(b"=")]


FORMS = [form for key in (STATIC, GIVEN) for form in _forms(key)]


class Watch:
    """Looks at the command lines and environments of all processes, again and again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()  # programs
        self.leaks: set[str] = set()

    def look(self) -> None:
        """Once."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                command = (process / "cmdline").read_bytes()
                self.seen.add(command.partition(b"\0")[0].decode(errors="replace").rpartition("/")[2])
                if any(form in command + (process / "environ").read_bytes() for form in FORMS):
                    self.leaks.add(command.decode(errors="replace"))


@contextmanager
def watching() -> Iterator[Watch]:
    """Look until the block ends."""
    watch, over = Watch(), threading.Event()

    def run() -> None:
        while not over.wait(_LOOK_S):
            watch.look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Bench]:
    """An engine whose keys lie in a file."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(json.dumps({"*": [{"key_id": KEY_ID, "key": STATIC}]}))
    ffmpeg(_source(tmp_path), *picture("160x90", seconds=2), *sound(2), *H264, *AAC, "film.mp4")
    settings = settings_for(
        tmp_path, workflows_dirs=[], key_providers={"vault": {"kind": "static", "keys_file": str(keys)}},
        default_key_provider="vault",
    )  # fmt: skip
    async with CallbackReceiver() as receiver, bench(settings, receiver) as running:
        yield running


def _source(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "storage" / "source" / "film"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _done(world: Bench, name: str, **parameters: Any) -> int:
    given = {
        "content_id": name,
        "source_folder": "film",
        "output_folder": name,
        "create_thumbnail": False,
        **parameters,
    }
    given["rest_endpoints"] = [f"{world.receiver.url}/cb"]
    job_id = int((await world.engine.jobs.submit(Submission("demo", "vodstream", given)))["id"])
    job = await world.ended(job_id, WAIT_S)
    assert not job.failed, job.error
    return job_id


async def test_a_protected_job_leaves_no_key_behind(
    world: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Keys of a provider, and one that the job brings along: database, workspace, scratch, asset, log, messages, callbacks."""
    wire = Wire(world.engine.broker)
    with watching() as watch:
        jobs = await asyncio.gather(
            _done(world, "provided", drm=["clear", "cenc"]),
            _done(world, "brought", drm=["playready"], encrypt_ismv=True, playready_key=f"{KEY_ID}:{GIVEN}"),
        )
    assert any(name.startswith("packager") for name in watch.seen)
    assert watch.leaks == set()
    files = contents_below(tmp_path / "data")
    assert any(name.endswith("brought.mpd") for name in files)
    assert [name for name, data in files.items() if any(form in data for form in FORMS)] == []
    told = json.dumps([
        [job_object(await world.engine.views.view(ADMIN, job_id)) for job_id in jobs],
        [task_detail(one, {}, None) for job_id in jobs for one in await world.engine.views.tasks(ADMIN, job_id)],
        [dict(row) for job_id in jobs for row in await world.engine.store.logs(job_id, show_all=True)],
    ])  # fmt: skip
    everything = b"".join([*wire.bodies, *world.receiver.raw, told.encode(), "".join(capfd.readouterr()).encode()])
    assert b"vodstream" in everything
    assert [form for form in FORMS if form in everything] == []
