"""Shaka Player in a headless Chromium, over assets served from a folder."""

from __future__ import annotations

import ctypes.util
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.nodejs import install
from tests.support.services import require_service

PLAYERS = Path(__file__).parents[1] / "acceptance" / "players"
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# A browser for tests asks nobody outside for anything.
_ARGUMENTS = [
    "--autoplay-policy=no-user-gesture-required", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-gpu", "--disable-quic",
]  # fmt: skip


def chromium() -> str:
    """Its path; skips the test where there is none."""
    found = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    require_service("Chromium", None if found else "it is not installed (Debian's package chromium)")
    atomic = ctypes.util.find_library("atomic") or not sys.platform.startswith("linux")
    require_service("Playwright", None if atomic else "its driver needs libatomic (Debian's package libatomic1)")
    return str(found)


def shaka_player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of Shaka Player's built files."""
    return install(PLAYERS, tmp_path_factory.mktemp("players")) / "node_modules" / "shaka-player" / "dist"


class Player:
    """A page with a player; see `player.html` for what it can do."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def __call__(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page and await what it gives."""
        return await self._page.evaluate(f"(given) => {function}(...given)", list(arguments))

    async def open(
        self, manifest: str, keys: Mapping[str, str] | None = None, captions: str | None = None
    ) -> dict[str, Any]:
        """Load a manifest by its path below the served folder; `keys`: key id → key, in hex; `captions`: the language of those
        that are on."""
        opened: dict[str, Any] = await self("open", f"/assets/{manifest}", dict(keys or {}), captions)
        return opened


async def _page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(PLAYERS / "player.html")


@asynccontextmanager
async def player_over(folder: Path, shaka: Path) -> AsyncIterator[Player]:
    """A player whose assets are below `folder`."""
    from playwright.async_api import async_playwright  # it is a group of dependencies of its own

    application = web.Application()
    application.router.add_get("/", _page)
    application.router.add_static("/player", shaka)
    application.router.add_static("/assets", folder)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        port = runner.addresses[0][1]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=chromium(), args=_ARGUMENTS, chromium_sandbox=False
            )
            page = await browser.new_page()
            await page.goto(f"http://127.0.0.1:{port}/")
            yield Player(page)
            await browser.close()
    finally:
        await runner.cleanup()
