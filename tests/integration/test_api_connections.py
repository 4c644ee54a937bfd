"""Connections: those that ask nothing, those that are too many, and what is written of those that ask."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from taskengine.api import HttpLimits, create_app
from taskengine.app.http import listening
from taskengine.domain.errors import AddressUnavailable
from tests.support.api import World, api_world

ASK = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def served(tmp_path: Path, limits: HttpLimits) -> AsyncIterator[tuple[World, int]]:
    """The API as the engine serves it, and its port."""
    async with api_world(tmp_path) as world, listening(create_app(world.services), limits, "127.0.0.1", 0) as url:
        yield world, int(url.rpartition(":")[2])


async def asked(port: int, data: bytes) -> bytes:
    """What comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"POST /job HTTP/1.1\r\nX-A: b"])
async def test_a_connection_that_asks_nothing_is_closed(tmp_path: Path, sent: bytes) -> None:
    """However little it has said; one that asks is answered, and may ask again later."""
    async with served(tmp_path, HttpLimits(header_s=0.3)) as (_, port):
        began = time.monotonic()
        assert await asked(port, sent) == b""
        assert 0.2 < time.monotonic() - began < 5
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(ASK)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"}")
            await asyncio.sleep(0.5)
        writer.close()


@pytest.mark.parametrize(("host", "why"), [("127.0.0.1", "Address already in use"), ("no-such-host.invalid", "")])
async def test_an_address_that_cannot_be_had_is_named(tmp_path: Path, host: str, why: str) -> None:
    """With the port and the reason, for the one line that `serve` then prints."""
    async with served(tmp_path, HttpLimits()) as (world, port):
        with pytest.raises(AddressUnavailable, match=f"cannot listen on {host}, port {port}: {why}"):
            async with listening(create_app(world.services), HttpLimits(), host, port):
                pass


async def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    """Those that are open go on, and when one ends there is room again."""
    async with served(tmp_path, HttpLimits(connections=3)) as (_, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in held:
            writer.write(ASK)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await asked(port, ASK) == b""
        held[0][1].close()
        await held[0][1].wait_closed()
        await asyncio.sleep(0.1)
        assert (await asked(port, ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).startswith(
            b"HTTP/1.1 200"
        )
        for _, writer in held:
            writer.close()


async def test_one_address_has_a_limit_of_its_own(tmp_path: Path) -> None:
    """However many there may be in all."""
    async with served(tmp_path, HttpLimits(connections_per_address=1)) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.1)
        assert await asked(port, ASK) == b""
        writer.close()


async def test_each_call_is_a_line_without_secrets(tmp_path: Path) -> None:
    """Who, what, how long; of the query the names alone; probes are told to debuggers alone."""
    async with api_world(tmp_path) as world:
        with capture_logs() as lines:
            await world.call("GET", "/jobs?search=my-secret&limit=1")
            await world.call("GET", "/jobs/77", headers={"api-key": "wrong-secret"})
            await world.call("GET", "/livez", by=None)
    told = [line for line in lines if line["event"] == "request"]
    found, refused, probe = told
    assert (found["method"], found["path"], found["status"], found["client"]) == ("GET", "/jobs", 200, "demo")
    assert found["query"] == ["limit", "search"]
    assert found["bytes"] == 2
    assert found["remote"] == "127.0.0.1"
    assert (refused["status"], refused["client"], refused["log_level"]) == (401, None, "info")
    assert probe["log_level"] == "debug"
    assert "secret" not in json.dumps(told, default=str)


async def test_the_access_log_may_be_off(tmp_path: Path) -> None:
    """As the configuration says."""
    async with api_world(tmp_path, access_log=False) as world:
        with capture_logs() as lines:
            await world.call("GET", "/jobs")
    assert [line for line in lines if line["event"] == "request"] == []
