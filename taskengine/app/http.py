"""Listening for HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from taskengine.api import ApiRunner, HttpLimits
from taskengine.domain.errors import AddressUnavailable

_CLOSE_S = 5.0  # for answers that are on their way at the end


@asynccontextmanager
async def listening(app: web.Application, limits: HttpLimits, host: str, port: int) -> AsyncIterator[str]:
    """Serve the application until the block ends; the URL, with the port that was taken where `port` is 0.

    AddressUnavailable where it cannot be listened there.
    """
    runner = ApiRunner(app, limits, shutdown_timeout=_CLOSE_S)
    await runner.setup()
    try:
        await _listen(runner, host, port)
        taken = runner.addresses[0]
        name = f"[{taken[0]}]" if ":" in taken[0] else taken[0]
        yield f"http://{name}:{taken[1]}"
    finally:
        await runner.cleanup()


async def _listen(runner: ApiRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        number = error.errno or 0  # below zero: of a name that does not resolve
        why = os.strerror(number) if number > 0 else error.strerror or error
        raise AddressUnavailable(f"cannot listen on {host}, port {port}: {why}") from error
