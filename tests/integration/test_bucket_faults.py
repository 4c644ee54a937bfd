"""What a bucket's server, its network and the disk do to transfers: nothing half visible, nothing left, told clearly."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from taskengine.domain.errors import NotFound, StorageError
from taskengine.storage.buckets import bucket
from taskengine.storage.object_transfers import PART, SHA256
from taskengine.storage.objects import ObjectStorage
from taskengine.storage.registry import settled
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.seaweedfs import S3Server

LARGE = 3 * PART + 12345
_VICTIM = """
import asyncio, json, sys
from pathlib import Path
from taskengine.storage.buckets import bucket
storage = bucket(json.loads(sys.argv[1]), "").storage()
asyncio.run(storage.store(Path(sys.argv[2]), "large.mp4", lambda sent: print(sent, flush=True)))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that goes in parts."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    path.write_bytes(b"".join(hashlib.sha512(number.to_bytes(4)).digest() for number in range(LARGE // 64 + 1))[:LARGE])
    return path


@pytest.fixture
async def proxy(s3: S3Server) -> AsyncIterator[FaultProxy]:
    """A way to the server that can be cut."""
    async with fault_proxy(s3.endpoint) as between:
        yield between
    await settled()


def settings_through(s3: S3Server, proxy: FaultProxy, **more: Any) -> dict[str, Any]:
    """A storage that is reached by way of the proxy."""
    return s3.settings(endpoint=f"http://127.0.0.1:{proxy.port}", **more)


def opened(settings: Mapping[str, Any]) -> ObjectStorage:
    """The storage of it."""
    return bucket(settings, "").storage()


async def test_an_upload_that_is_cut_goes_on(s3: S3Server, proxy: FaultProxy, large: Path) -> None:
    """A connection that is reset in the middle of a part costs that part; the file arrives whole."""
    storage = opened(settings_through(s3, proxy))
    sent: list[int] = []
    seen = 0

    def in_the_third_part(piece: bytes) -> bool:
        nonlocal seen
        seen += len(piece)
        return seen > 2.5 * PART and proxy.cuts < 2

    proxy.watch = in_the_third_part
    await storage.store(large, "large.mp4", sent.append)
    assert proxy.cuts == 2
    assert sum(sent) == LARGE
    found = await storage.stat("large.mp4")
    assert found is not None
    assert found.size == LARGE
    assert s3.unfinished() == 0


async def test_an_upload_to_a_server_that_goes_away_fails_and_leaves_nothing(
    s3: S3Server, proxy: FaultProxy, large: Path
) -> None:
    """The former file stays, the fault is one that another try may mend, and the upload that was begun is ended."""
    settings = settings_through(s3, proxy, retries=0)
    storage, direct = opened(settings), opened({**settings, "options": s3.settings()["options"]})
    await direct.write("large.mp4", b"former")
    seen = 0

    def once_two_parts_are_there(piece: bytes) -> bool:
        nonlocal seen
        seen += len(piece)
        return seen > 2 * PART and not piece.startswith((b"GET", b"DELETE", b"POST"))

    proxy.watch = once_two_parts_are_there
    with pytest.raises(StorageError) as caught:
        await storage.store(large, "large.mp4")
    assert caught.value.retryable
    assert f"s3://{S3Server.bucket}/" in str(caught.value)
    assert await direct.read("large.mp4") == b"former"
    assert s3.unfinished() == 0


async def test_a_fetch_that_breaks_goes_on(s3: S3Server, proxy: FaultProxy, large: Path, tmp_path: Path) -> None:
    """What broke on its way is fetched again, part by part, and is what was stored."""
    storage = opened(settings_through(s3, proxy))
    await storage.store(large, "large.mp4")
    proxy.delay_s = 0.002
    fetching = asyncio.create_task(storage.fetch("large.mp4", tmp_path / "fetched"))
    for size in (PART // 2, 2 * PART):
        while not (tmp_path / "fetched").exists() or (tmp_path / "fetched").stat().st_blocks * 512 < size:
            if fetching.done():
                break
            await asyncio.sleep(0.005)
        proxy.reset()
    await fetching
    assert (tmp_path / "fetched").read_bytes() == large.read_bytes()


async def test_a_file_that_is_replaced_while_it_is_fetched_is_never_a_mixture(
    s3: S3Server, large: Path, tmp_path: Path
) -> None:
    """Parts of two versions never make a file."""
    storage = opened(s3.settings())
    await storage.store(large, "large.mp4")
    other = tmp_path / "other.mp4"
    other.write_bytes(bytes(LARGE))
    replacing = asyncio.create_task(storage.store(other, "large.mp4"))
    outcomes = []
    for number in range(4):
        try:
            await storage.fetch("large.mp4", tmp_path / f"fetched-{number}")
            outcomes.append((tmp_path / f"fetched-{number}").read_bytes() in {large.read_bytes(), other.read_bytes()})
        except StorageError as error:
            assert error.retryable  # noqa: PT017 - both outcomes are right
    await replacing
    assert all(outcomes)


async def test_what_came_is_checked_against_what_was_stored(s3: S3Server, tmp_path: Path) -> None:
    """A file whose content is not what its checksum says is not taken, and no local file is left of it."""
    settings = s3.settings(prefix := uuid.uuid4().hex)
    config: Any = {**settings["credentials"], **settings["options"]}
    raw = S3Store(S3Server.bucket, prefix=prefix, config=config, client_options={"allow_http": True})
    await obstore.put_async(raw, "a", b"other", attributes={SHA256: hashlib.sha256(b"stored").hexdigest()})
    with pytest.raises(StorageError, match="SHA-256"):
        await opened(settings).fetch("a", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    await settled()


async def test_a_cancelled_upload_leaves_nothing(s3: S3Server, proxy: FaultProxy, large: Path) -> None:
    """Whoever is called off stops sending, ends the upload, and only then is gone."""
    storage = opened(settings_through(s3, proxy))
    begun = asyncio.Event()
    proxy.delay_s = 0.01
    sending = asyncio.create_task(storage.store(large, "large.mp4", lambda _: begun.set()))
    await begun.wait()
    sending.cancel()
    proxy.delay_s = 0
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await storage.stat("large.mp4") is None
    assert s3.unfinished() == 0


async def test_a_worker_that_is_killed_leaves_an_upload_that_the_janitor_ends(
    s3: S3Server, proxy: FaultProxy, large: Path
) -> None:
    """Its file is not there, its parts are until they are old; younger uploads go on."""
    settings = settings_through(s3, proxy)
    proxy.delay_s = 0.01
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _VICTIM, json.dumps(settings), str(large), stdout=asyncio.subprocess.PIPE
    )
    assert victim.stdout is not None
    await victim.stdout.readline()
    os.kill(victim.pid, signal.SIGKILL)
    await victim.wait()
    proxy.delay_s = 0
    made = bucket(settings, "")
    uploads = made.uploads()
    assert uploads is not None
    assert await made.storage().stat("large.mp4") is None
    assert s3.unfinished() == 1
    now = round(time.time() * 1000)
    assert await uploads.sweep(now - 3_600_000) == 0
    assert s3.unfinished() == 1
    assert await uploads.sweep(now + 3_600_000) == 1
    assert s3.unfinished() == 0


async def test_a_full_disk_fails_the_fetch_and_leaves_nothing(s3: S3Server, large: Path, tmp_path: Path) -> None:
    """Where there is no room for a file there is none of it."""
    storage = opened(s3.settings())
    await storage.store(large, "large.mp4")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PART + 1000, before[1]))
    try:
        with pytest.raises(StorageError, match="the local file: File too large"):
            await storage.fetch("large.mp4", tmp_path / "fetched")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "fetched").exists()
    await settled()


@pytest.mark.parametrize(
    ("change", "retryable", "told"),
    [
        ({"credentials": {"access_key_id": "tests", "secret_access_key": "wrong"}}, True,
         r"access was refused \(the server answered 403 SignatureDoesNotMatch\): check its credentials"),
        ({"url": "s3://nowhere/vod"}, False, "the bucket or container does not exist"),
        ({"options": {"endpoint": "http://127.0.0.1:9", "region": "us-east-1"}, "retries": 0}, True,
         "the server does not answer"),
    ],
)  # fmt: skip
async def test_faults_are_told_apart(
    s3: S3Server, tmp_path: Path, change: Mapping[str, Any], retryable: bool, told: str  # noqa: FBT001 - pytest gives it
) -> None:  # fmt: skip
    """Wrong credentials, a missing bucket and a server that is away: each with its own words, without secrets, and never
    as a missing file."""
    storage = opened({**s3.settings(), **change})
    (tmp_path / "source").write_bytes(b"x")
    for call in (storage.store(tmp_path / "source", "a"), storage.read("a")):
        with pytest.raises(StorageError, match=told) as caught:
            await call
        assert not isinstance(caught.value, NotFound)
        assert caught.value.retryable == retryable
    await settled()


async def test_players_are_told_what_a_file_is(s3: S3Server) -> None:
    """Manifests and segments have their content types."""
    prefix = uuid.uuid4().hex
    storage = opened(s3.settings(prefix))
    for name, kind in (("a.m3u8", "application/vnd.apple.mpegurl"), ("a.mpd", "application/dash+xml"),
                       ("a.m4s", "video/iso.segment"), ("a.jpg", "image/jpeg")):  # fmt: skip
        await storage.write(name, b"x")
        assert s3.head(f"/{prefix}/{name}")["Content-Type"] == kind
    await settled()
