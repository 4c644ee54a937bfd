"""Listening for HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from taskengine.api import ApiRunner, HttpLimits

_CLOSE_S = 5.0  # for answers that are on their way at the end


@asynccontextmanager
async def listening(app: web.Application, limits: HttpLimits, host: str, port: int) -> AsyncIterator[str]:
    """Serve the application until the block ends; the URL, with the port that was taken where `port` is 0."""
    runner = ApiRunner(app, limits, shutdown_timeout=_CLOSE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        taken = runner.addresses[0]
        name = f"[{taken[0]}]" if ":" in taken[0] else taken[0]
        yield f"http://{name}:{taken[1]}"
    finally:
        await runner.cleanup()
