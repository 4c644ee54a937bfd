"""How many jobs a second `POST /job` accepts, beside `bare_insert`: the same body, as many at one time, in turns."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import aiohttp

from scripts.hosted import ScriptFailed

AT_ONCE, ROUNDS, _WARM = 32, 5, 100
BODY = {"job": {"workflow": "chain", "run_at": "2040-01-01"}, "parameters": {"content_id": "bench"}}


async def throughput(engine: aiohttp.ClientSession, database: str, calls: int) -> dict[str, float]:
    """Medians of the rounds: accepted a second by the engine and by the bare handler, and the share."""
    rates: dict[str, list[float]] = {"engine": [], "bare": []}
    async with _bare(database) as bare:
        for session in (engine, bare):
            await _rate(session, _WARM)
        for _ in range(ROUNDS):
            rates["engine"].append(await _rate(engine, calls))
            rates["bare"].append(await _rate(bare, calls))
    found = {name: median(values) for name, values in rates.items()}
    return {**found, "share": median(e / b for e, b in zip(rates["engine"], rates["bare"], strict=True))}


async def _rate(session: aiohttp.ClientSession, calls: int) -> float:
    left = iter(range(calls))

    async def some() -> None:
        for _ in left:
            async with session.post("/job", json=BODY) as response:
                if response.status != 200:
                    raise ScriptFailed(f"POST /job: {response.status} {await response.text()}")
                await response.read()

    begun = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return calls / (time.perf_counter() - begun)


@asynccontextmanager
async def _bare(database: str) -> AsyncIterator[aiohttp.ClientSession]:
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.benches.bare_insert", database, stdin=pipe, stdout=pipe
    )
    if server.stdin is None or server.stdout is None:
        raise ScriptFailed("the bare handler has no pipes")
    try:
        url = (await asyncio.wait_for(server.stdout.readline(), 30)).decode().strip()
        async with aiohttp.ClientSession(url) as session:
            yield session
    finally:
        server.stdin.close()
        await server.wait()
